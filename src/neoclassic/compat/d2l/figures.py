"""Where the book's figures are shown: in a notebook's cell, in a window, or in a PNG file.

A figure always holds everything that was drawn, so `plt.savefig` and `plt.show` are complete at any time. Showing it is
slow: while a figure grows, that takes at most a twentieth of the time, and the figure is shown once more when the
training, the cell or the process ends. Outside notebooks, figure n of a script is saved as `figures/<script>-<n>.png`
in the folder that the script was started from. matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

import atexit
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoclassic.base.notebook import in_notebook, shell
from neoclassic.views.picture import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
PAUSE = 20  # after a figure is shown, its next display waits for at least this many times what showing it took
_numbers = itertools.count(1)


@cache
def pyplot() -> Any:
    """matplotlib's pyplot; without windows if the backend that MPLBACKEND names is not available."""
    import_matplotlib()
    import matplotlib
    from matplotlib import pyplot

    try:
        if not pyplot.get_fignums():  # otherwise a backend is already in use
            pyplot.switch_backend(matplotlib.get_backend())
    except ImportError:
        pyplot.switch_backend("agg")
    return pyplot


def subplots(nrows: int, ncols: int, figsize: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A new figure and its axes, row by row."""
    with pyplot().rc_context({"figure.max_open_warning": 0}):
        figure, axes = pyplot().subplots(nrows, ncols, figsize=figsize, squeeze=False)
    for each in axes.flat:
        each._neoclassic_made = True  # not by the reader, see plots._chosen_axes
    return figure, list(axes.flat)


def figure_of(axes: Axes) -> Figure:
    """The figure that axes belong to."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


# ── displays ─────────────────────────────────────────────────────────────────────────────────────────


_outdated: dict[Display, None] = {}  # displays that do not yet show their whole figure, in order
_cells = 0  # cells that have started


def flush() -> None:
    """Show everything that is new, now."""
    for display in list(_outdated):
        display.flush()


@contextmanager
def shown_in_full() -> Iterator[None]:
    """Show all that is new when the block, or the decorated function, ends, with or without an error."""
    try:
        yield
    finally:
        flush()


@cache
def _flush_at_exit() -> None:
    atexit.register(flush)  # registered after pyplot's handler, which closes windows, and so runs before it


def _cell_begins(*_: Any) -> None:
    global _cells
    _cells += 1


def _cell_ends(*_: Any) -> None:
    flush()


class Display:
    """Where one figure is shown. `Display.of(figure)` returns the display of a figure."""

    def __init__(self, figure: Any) -> None:
        script = Path(sys.argv[0] if sys.argv and sys.argv[0] else "session").stem or "session"
        self.figure = figure
        self.path = None if in_notebook() else Path.cwd() / FOLDER / f"{script}-{next(_numbers)}.png"
        self._handle: Any = None
        self._cell = -1
        self._next = 0.0
        _flush_at_exit()
        if running := shell():
            running.events.register("pre_run_cell", _cell_begins)
            running.events.register("post_run_cell", _cell_ends)
        if in_notebook():
            figure._ipython_display_ = self._show_in_cell

    @classmethod
    def of(cls, figure: Any) -> Display:
        """The display of a figure; always the same one."""
        if not hasattr(figure, "_neoclassic_display"):
            figure._neoclassic_display = cls(figure)
        display: Display = figure._neoclassic_display
        return display

    def changed(self) -> None:
        """Say that the figure has changed: it is shown now, or soon."""
        _outdated[self] = None
        if time.perf_counter() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Show the figure now, if it has changed."""
        if self not in _outdated:
            return
        del _outdated[self]
        start = time.perf_counter()
        if in_notebook():
            self._show_in_cell()
        else:
            self._write()
            self._show_in_window()
        end = time.perf_counter()
        self._next = end + PAUSE * (end - start)

    def _write(self) -> None:
        """Save the PNG. If it cannot be written or drawn, print why and train on without it."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(exist_ok=True)
            self.figure.savefig(self.path, dpi=150, bbox_inches="tight")
        except OSError as error:
            print(f"neoclassic: no picture: cannot write {self.path} ({error.strerror or error})", file=sys.stderr)
            self.path = None
        except ValueError as error:
            print(f"neoclassic: no picture: {' '.join(str(error).split())}", file=sys.stderr)
            self.path = None

    def _show_in_window(self) -> None:
        if getattr(self.figure.canvas, "required_interactive_framework", None):
            self.figure.show()
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()

    def _show_in_cell(self) -> None:
        """Show the figure once in a cell and update it there, also when `plt.show()` or the cell's end shows it."""
        from IPython.display import display

        self.figure._ipython_display_ = None  # otherwise IPython would call this method again instead of drawing
        try:
            if self._cell == _cells:
                self._handle.update(self.figure)
            else:
                self._handle, self._cell = display(self.figure, display_id=True), _cells
        finally:
            self.figure._ipython_display_ = self._show_in_cell
