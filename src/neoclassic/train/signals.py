"""Ctrl-C, SIGTERM and a closed terminal, noted during training and answered between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from neoclassic.base.signals import ENDINGS, handling


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """A function that says whether the process was asked to stop. Being asked twice is a KeyboardInterrupt at once.

    A process that ignores hang-ups, as one started by nohup does, continues to ignore them. Outside the main thread
    the caller's handlers stay in place.
    """
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    heard = [n for n in ENDINGS if n == signal.SIGTERM or signal.getsignal(n) != signal.SIG_IGN]
    with handling([signal.SIGINT, *heard], note):
        yield lambda: bool(caught)
