"""What an operation gives back: its output, and the function that turns the output's gradient into its inputs'."""

from __future__ import annotations

from collections.abc import Callable

from neoclassic.engines.contract import Array

# d loss / d output → d loss / d each input, then / d each parameter; None where nobody asked
Backward = Callable[[Array], tuple[Array | None, ...]]
Result = tuple[Array, Backward]
