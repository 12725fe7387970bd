"""Progress on standard error or in a notebook's cell. If it cannot be shown, the work continues."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from contextlib import suppress
from typing import Any

from tqdm import tqdm
from tqdm.utils import disp_len, disp_trim

from neoclassic.base.notebook import in_notebook
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


def window() -> int | None:
    """The columns of the terminal that standard error goes to; None if it goes elsewhere."""
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    return None


class FittingBar(tqdm):  # type: ignore[misc]
    """A progress bar that leaves out figures in a narrow terminal, so that it stays on one line."""

    FORMS = (
        "{l_bar}{bar}{r_bar}",
        "{l_bar}{bar}| {remaining} left, {rate_fmt}{postfix}",
        "{l_bar}{bar}| {remaining} left{postfix}",
        "{l_bar}{bar}| {remaining} left",
        "{l_bar}{bar}|",
    )

    @staticmethod
    def format_meter(n: float, total: float | None, elapsed: float, ncols: int | None = None, **rest: Any) -> str:
        """The line in the first form that fits `ncols` with a bar of ten characters, or in the last one."""
        line = functools.partial(tqdm.format_meter, n, total, elapsed)
        if ncols and total and n <= total:
            forms = [rest | {"bar_format": form} for form in FittingBar.FORMS]
            rest = next((form for form in forms if disp_len(line(**form)) <= ncols), forms[-1])
        shown = str(line(ncols=ncols, **rest))
        return disp_trim(shown, ncols) if ncols else shown


def progress_bar(**options: Any) -> Any:
    """A tqdm bar with tqdm's options: in a terminal or a notebook, and nothing elsewhere.

    A bar in a notebook disappears when it is closed, as those with `leave=False` do in a terminal: a saved notebook
    could show only how the bar began.
    """
    if not in_notebook():
        return FittingBar(**{"disable": None, "file": QUIET, "dynamic_ncols": True} | options)
    return _notebook_bar()(**options | {"leave": False})


class _Cell:
    """A place in a notebook's cell for a line of text: what is written replaces what was there."""

    def __init__(self) -> None:
        from IPython.display import display

        self.place = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        self.place.update({"text/plain": text.strip()}, raw=True)

    def flush(self) -> None:
        pass


@functools.cache
def _notebook_bar() -> Any:
    """tqdm's widget, or its line of text where ipywidgets is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm asks for ipywidgets, and does without
        from tqdm.auto import tqdm as auto

    if auto.status_printer is tqdm.status_printer:  # of text
        return lambda **options: FittingBar(file=_Cell(), **options | {"ncols": 80, "dynamic_ncols": False})
    from IPython.display import display

    class Bar(auto):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, display=False)
            self.cell = display(self.container, display_id=True)

        def close(self) -> None:
            super().close()
            self.cell.update({"text/plain": ""}, raw=True)

    return Bar
