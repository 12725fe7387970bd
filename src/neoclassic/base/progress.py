"""Progress on standard error. If it cannot be shown, because the terminal is closed for example, the work continues."""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from neoclassic.base.text import printable


class _Quiet:
    """The current standard error, with its errors suppressed."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


QUIET = _Quiet()


def say(line: str, wanted: bool = True) -> None:
    """Print a line above the progress bar, if it is wanted."""
    if wanted:
        tqdm.write(printable(line), file=QUIET)


@functools.cache
def say_once(line: str) -> None:
    """Print a line once per process."""
    say(line)
