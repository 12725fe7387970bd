"""Ctrl-C, SIGTERM and a closed terminal, noted during training and answered between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

    try:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
