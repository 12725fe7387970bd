# ruff: noqa: N802 (the book names its gates so)
"""What the first chapters build by hand: the gates of chapter 2, and chapter 5's layers of plain numbers."""

from __future__ import annotations

from typing import Any


def AND(x1: float, x2: float) -> int:
    """1 if both inputs are 1: a perceptron with weights 0.5, 0.5 and bias −0.7."""
    return int(0.5 * x1 + 0.5 * x2 - 0.7 > 0)


def NAND(x1: float, x2: float) -> int:
    """0 if both inputs are 1: a perceptron with weights −0.5, −0.5 and bias 0.7."""
    return int(-0.5 * x1 - 0.5 * x2 + 0.7 > 0)


def OR(x1: float, x2: float) -> int:
    """1 if an input is 1: a perceptron with weights 0.5, 0.5 and bias −0.2."""
    return int(0.5 * x1 + 0.5 * x2 - 0.2 > 0)


def XOR(x1: float, x2: float) -> int:
    """1 if exactly one input is 1, which needs two layers of perceptrons."""
    return AND(NAND(x1, x2), OR(x1, x2))


class MulLayer:
    """xy. `backward` returns the gradients of x and y."""

    def __init__(self) -> None:
        self.x: Any = None
        self.y: Any = None

    def forward(self, x: Any, y: Any) -> Any:
        self.x, self.y = x, y
        return x * y

    def backward(self, dout: Any) -> tuple[Any, Any]:
        return dout * self.y, dout * self.x


class AddLayer:
    """x + y. `backward` returns the gradients of x and y."""

    def forward(self, x: Any, y: Any) -> Any:
        return x + y

    def backward(self, dout: Any) -> tuple[Any, Any]:
        return dout * 1, dout * 1  # two arrays, if it is one
