"""Progress, on standard error. That it cannot be shown ends nothing: the terminal may be closed."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from neoclassic.base.text import printable


class _Quiet:
    """Standard error as it is at the time, without its failures."""

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
    """A line above the progress bar, where it is wanted."""
    if wanted:
        tqdm.write(printable(line), file=QUIET)
