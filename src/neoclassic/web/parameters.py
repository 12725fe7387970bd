"""Whole numbers in the query of a request."""

from __future__ import annotations

import re

from neoclassic.base.errors import UsageError

MOST = 999_999_999


def whole_number(name: str, text: str, least: int = 0, most: int = MOST) -> int:
    """The number in a text of decimal digits. UsageError for anything else, and for one that is out of range."""
    if not (_digits(text) and least <= int(text) <= most):
        raise UsageError(f"{name} must be a whole number from {least} to {most:,}, not {text[:20]!r}")
    return int(text)


def whole_numbers(name: str, text: str, separator: str = ",", n: int | None = None) -> tuple[int, ...]:
    """The numbers in a text such as 3x28x28: n of them, or any number. UsageError for anything else."""
    parts = text.split(separator)
    if len(parts) != (n or len(parts)) or not all(map(_digits, parts)):
        form = separator.join(["0"] * n) if n else f"0{separator}0{separator}…"
        raise UsageError(f"{name} must be of the form {form}, not {text[:20]!r}")
    return tuple(map(int, parts))


def _digits(text: str) -> bool:
    return re.fullmatch(r"0|[1-9]\d{0,8}", text, re.ASCII) is not None  # up to MOST
