"""The book's drawings, seen wherever they are made: in a notebook's cell, in a window, in a terminal and a PNG file.

A figure always holds all that was drawn, so `plt.savefig` and `plt.show` have the whole of it at any time. To show it
is slow: while it grows that takes a twentieth of the time at most, and it is shown once more when the training ends,
and when the cell or the process does. Outside notebooks figure n of a script is kept as `figures/<script>-<n>.png` in
the folder it was started from. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import atexit
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neoclassic.compat.d2l.parameters import HyperParameters
from neoclassic.views.picture import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FOLDER = "figures"
REST = 20  # a drawing's own time, that many times over, lies between it and the next
_number = itertools.count(1)


@cache
def pyplot() -> Any:
    """matplotlib's pyplot; without windows where the backend that MPLBACKEND names cannot be had."""
    import_matplotlib()
    import matplotlib
    from matplotlib import pyplot

    try:
        if not pyplot.get_fignums():  # or a backend is at work already
            pyplot.switch_backend(matplotlib.get_backend())
    except ImportError:
        pyplot.switch_backend("agg")
    return pyplot


def _shell() -> Any:
    """IPython's, where this runs in one."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell."""
    return getattr(_shell(), "kernel", None) is not None


# ── where a figure is seen ───────────────────────────────────────────────────────────────────────────


_waiting: dict[_Screen, None] = {}  # screens that do not yet show all of their figure, in order
_cells = 0  # that have begun


def flush() -> None:
    """Show whatever is new, now."""
    for screen in list(_waiting):
        screen.flush()


@contextmanager
def shown_in_full() -> Iterator[None]:
    """However the block, or the function that it decorates, ends: what it drew is shown then."""
    try:
        yield
    finally:
        flush()


@cache
def _flush_at_exit() -> None:
    atexit.register(flush)  # after pyplot's own, which closes windows and would otherwise run first


def _cell_begins(*_: Any) -> None:
    global _cells
    _cells += 1


def _cell_ends(*_: Any) -> None:
    flush()


class _Screen:
    """Where one figure is seen; `of` finds it."""

    def __init__(self, figure: Any) -> None:
        script = Path(sys.argv[0] if sys.argv and sys.argv[0] else "session").stem or "session"
        self.figure = figure
        self.path = None if in_notebook() else Path.cwd() / FOLDER / f"{script}-{next(_number)}.png"
        self._handle: Any = None
        self._cell = -1
        self._next = 0.0
        _flush_at_exit()
        if shell := _shell():
            shell.events.register("pre_run_cell", _cell_begins)
            shell.events.register("post_run_cell", _cell_ends)
        if in_notebook():
            figure._ipython_display_ = self._show_in_cell

    @classmethod
    def of(cls, figure: Any) -> _Screen:
        """The one of a figure, however often it is drawn on."""
        if not hasattr(figure, "_neoclassic_screen"):
            figure._neoclassic_screen = cls(figure)
        screen: _Screen = figure._neoclassic_screen
        return screen

    def changed(self) -> None:
        """Something new is to be seen: show it, now or soon."""
        _waiting[self] = None
        if time.perf_counter() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Show what is new, now."""
        if self not in _waiting:
            return
        del _waiting[self]
        start = time.perf_counter()
        if in_notebook():
            self._show_in_cell()
        else:
            self._write()
            self._show_in_window()
        end = time.perf_counter()
        self._next = end + REST * (end - start)

    def _write(self) -> None:
        """A folder that cannot be written to, or text that cannot be drawn, costs the picture, not the training."""
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
        """Once in a cell, and from then on in its place: also where `plt.show()` or the end of the cell shows it."""
        from IPython.display import display

        self.figure._ipython_display_ = None  # or it would be asked again, instead of drawn
        try:
            if self._cell == _cells:
                self._handle.update(self.figure)
            else:
                self._handle, self._cell = display(self.figure, display_id=True), _cells
        finally:
            self.figure._ipython_display_ = self._show_in_cell


def _subplots(nrows: int, ncols: int, figsize: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    with pyplot().rc_context({"figure.max_open_warning": 0}):
        figure, axes = pyplot().subplots(nrows, ncols, figsize=figsize, squeeze=False)
    return figure, list(axes.flat)


def _whole(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _say(x: float, xlabel: str | None, values: dict[str, float]) -> None:
    """A point as a line of text; a notebook has the picture."""
    if not in_notebook():
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{xlabel or 'x'} {x:.4g}  {shown}", flush=True)


# ── one picture ──────────────────────────────────────────────────────────────────────────────────────


def use_svg_display() -> None:
    """Sharp pictures in notebooks; elsewhere there is nothing to do."""
    if in_notebook():
        pyplot()  # with the notebook's backend
        if inline := sys.modules.get("matplotlib_inline.backend_inline"):
            inline.set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Width and height of figures to come, in inches."""
    use_svg_display()
    pyplot().rcParams["figure.figsize"] = figsize


def set_axes(
    axes: Axes,
    xlabel: str | None,
    ylabel: str | None,
    xlim: Sequence[float] | None,
    ylim: Sequence[float] | None,
    xscale: str,
    yscale: str,
    legend: Sequence[str] | None,
) -> None:
    """Labels, limits, scales, legend and grid of a drawing."""
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
    for limits, set_limits in ((xlim, axes.set_xlim), (ylim, axes.set_ylim)):
        if limits is not None and limits[0] != limits[1]:  # one epoch has no length on [1, epochs]
            set_limits(*limits)
    if legend:
        axes.legend(legend)
    axes.grid()


def _lines(data: Any) -> list[Any]:
    """One line or several as a list of lines."""
    flat = data.ndim == 1 if hasattr(data, "ndim") else bool(len(data)) and not hasattr(data[0], "__len__")
    return [_plain(data)] if flat else [_plain(line) for line in data]


def _plain(line: Any) -> Any:
    return line.detach().cpu().numpy() if isinstance(line, Tensor) else line


def plot(
    X: Any,
    Y: Any = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] | None = None,
    xlim: Sequence[float] | None = None,
    ylim: Sequence[float] | None = None,
    xscale: str = "linear",
    yscale: str = "linear",
    fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
    figsize: tuple[float, float] = (3.5, 2.5),
    axes: Axes | None = None,
) -> None:
    """Draw one line or several: Y over X, or X over its index; one X serves every Y."""
    set_figsize(figsize)
    ys = _lines(X if Y is None else Y)
    xs = [range(len(y)) for y in ys] if Y is None else _lines(X)
    axes = axes or _subplots(1, 1, figsize)[1][0]
    axes.cla()
    for x, y, fmt in zip(xs * len(ys) if len(xs) == 1 else xs, ys, itertools.cycle(fmts), strict=False):
        axes.plot(x, y, fmt)
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)
    _Screen.of(_whole(axes)).changed()


def show_images(
    imgs: Any, num_rows: int, num_cols: int, titles: Sequence[str] | None = None, scale: float = 1.5
) -> np.ndarray:
    """Draw images in rows and columns: tensors H×W, 1×H×W or H×W×3 of any device, arrays, or Pillow's.

    The axes, as a flat array.
    """
    figure, axes = _subplots(num_rows, num_cols, (num_cols * scale, num_rows * scale))
    for i, (image, at) in enumerate(zip(imgs, axes, strict=False)):
        pixels = _plain(image)
        at.imshow(pixels[0] if getattr(pixels, "ndim", 2) == 3 and len(pixels) == 1 else pixels)
        if titles:
            at.set_title(titles[i])
    for at in axes:
        at.get_xaxis().set_visible(False)
        at.get_yaxis().set_visible(False)
    _Screen.of(figure).changed()
    found = np.empty(len(axes), object)
    found[:] = axes
    return found


# ── pictures that grow ───────────────────────────────────────────────────────────────────────────────


def _stand(lines: Iterable[Line2D], axes: Axes) -> bool:
    """Whether lines are still on their axes, which a reader may have cleared."""
    return all(line.axes is axes for line in lines)


def _lengthen(line: Line2D, axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Give a line its points, of which only the last is new."""
    line.set_data(np.array(x), np.array(y))
    if x:
        axes.update_datalim([(x[-1], y[-1])])
        axes.autoscale_view()


class Animator:
    """Lines that grow while something is trained, the earlier generation's.

    `add(x, y)` adds a point to each line; None leaves one out. `fig`, `axes`, and `X`, `Y`, the lines so far.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Sequence[float] | None = None,
        ylim: Sequence[float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
    ) -> None:
        use_svg_display()
        self.fig, self.axes = _subplots(nrows, ncols, figsize)
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []
        self.fmts = fmts
        self._xlabel, self._legend = xlabel, list(legend or [])
        limits = (xlabel, ylabel, xlim, ylim, xscale, yscale, legend)
        self.config_axes: Callable[[], None] = partial(set_axes, self.axes[0], *limits)
        self._lines: list[Line2D] = []

    def add(self, x: Any, y: Any) -> None:
        ys = list(y) if hasattr(y, "__len__") else [y]
        xs = list(x) if hasattr(x, "__len__") else [x] * len(ys)
        while len(self.Y) < len(ys):
            self.X.append([])
            self.Y.append([])
        said: dict[str, float] = {}
        for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
            if a is not None and b is not None:
                self.X[i].append(float(a))
                self.Y[i].append(float(b))
                said[self._legend[i] if i < len(self._legend) else f"line {i + 1}"] = float(b)
        if said:
            _say(float(next(a for a in xs if a is not None)), self._xlabel, said)
        if len(self._lines) < len(self.Y) or not _stand(self._lines, self.axes[0]):
            self._paint()
        for line, x, y in zip(self._lines, self.X, self.Y, strict=True):
            _lengthen(line, self.axes[0], x, y)
        _Screen.of(self.fig).changed()

    def _paint(self) -> None:
        self.axes[0].cla()
        styled = zip(self.X, self.Y, itertools.cycle(self.fmts), strict=False)
        self._lines = [self.axes[0].plot(x, y, fmt)[0] for x, y, fmt in styled]
        self.config_axes()


class Point(NamedTuple):
    """Of a line on a `ProgressBoard`."""

    x: float
    y: float


class ProgressBoard(HyperParameters):
    """Lines that grow while something is trained, the later generation's.

    `draw(x, y, label, every_n)` collects points, and puts the mean of every n of them on the line of that label.
    `data` holds the lines so far. With `display=False` nothing is shown.
    """

    xlabel: str | None
    ylabel: str | None
    xlim: Sequence[float] | None
    ylim: Sequence[float] | None
    xscale: str
    yscale: str
    ls: Sequence[str]
    colors: Sequence[str]
    fig: Figure | None
    axes: Axes | None
    figsize: tuple[float, float]
    display: bool

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        xlim: Sequence[float] | None = None,
        ylim: Sequence[float] | None = None,
        xscale: str = "linear",
        yscale: str = "linear",
        ls: Sequence[str] = ("-", "--", "-.", ":"),
        colors: Sequence[str] = ("C0", "C1", "C2", "C3"),
        fig: Figure | None = None,
        axes: Axes | None = None,
        figsize: tuple[float, float] = (3.5, 2.5),
        display: bool = True,
    ) -> None:
        self.save_hyperparameters()
        self.raw_points: dict[str, list[tuple[Any, Any]]] = {}
        self.data: dict[str, list[Point]] = {}
        self._lines: dict[str, Line2D] = {}
        self._looks = ""

    def draw(self, x: Any, y: Any, label: str, every_n: int = 1) -> None:
        waiting = self.raw_points.setdefault(label, [])
        line = self.data.setdefault(label, [])
        waiting.append((x, y.detach() if isinstance(y, Tensor) else y))
        if len(waiting) < max(int(every_n), 1):
            return
        point = Point(*(_mean(values) for values in zip(*waiting, strict=True)))
        waiting.clear()
        line.append(point)
        if not self.display:
            return
        _say(point.x, self.xlabel, {label: point.y})
        if self.axes is None or self.fig is None:
            self._open()
        assert self.axes is not None
        assert self.fig is not None
        looks = repr((self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale, self.ls, self.colors))
        if looks != self._looks or label not in self._lines or not _stand(self._lines.values(), self.axes):
            self._looks = looks
            self._paint(self.axes)
        _lengthen(self._lines[label], self.axes, [p.x for p in line], [p.y for p in line])
        _Screen.of(self.fig).changed()

    def _open(self) -> None:
        if self.axes is not None:
            self.fig = _whole(self.axes)
        elif self.fig is not None:
            self.axes = self.fig.add_subplot()
        else:
            self.fig, (self.axes,) = _subplots(1, 1, self.figsize)

    def _paint(self, axes: Axes) -> None:
        axes.cla()
        styles = zip(itertools.cycle(self.ls), itertools.cycle(self.colors), strict=False)
        for (label, line), (style, colour) in zip(self.data.items(), styles, strict=False):
            x, y = [p.x for p in line], [p.y for p in line]
            (self._lines[label],) = axes.plot(x, y, linestyle=style, color=colour, label=label)
        set_axes(axes, self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale, None)
        axes.legend()


def _mean(values: Sequence[Any]) -> float:
    """Of numbers, or of tensors on any device, which are waited for only here."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    return float(torch.stack(tensors).float().mean()) if tensors else float(np.mean(np.array(values, float)))
