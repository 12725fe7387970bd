"""The book's drawings, seen wherever they are made: in a notebook, a window, a terminal; and always in a PNG file.

Outside notebooks figure n of a script is kept as `figures/<script>-<n>.png` in the folder it was started from. A figure
that grows is drawn again as often as costs a twentieth of the time, and once more at the end. matplotlib is imported
when something is drawn.
"""

from __future__ import annotations

import atexit
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neoclassic.compat.d2l.parameters import HyperParameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
REST = 20  # a drawing's own time, that many times over, lies between it and the next
_number = itertools.count(1)


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class _Screen:
    """Where one figure is seen. `paint` brings it up to date; it may be slow and is called as rarely as will do."""

    def __init__(self, figure: Figure, paint: Callable[[], None] = lambda: None) -> None:
        script = Path(sys.argv[0] if sys.argv and sys.argv[0] else "session").stem or "session"
        name = "notebook" if in_notebook() else script
        self.figure, self.paint = figure, paint
        self.path: Path | None = Path.cwd() / FOLDER / f"{name}-{next(_number)}.png"
        self._handle: Any = None
        self._stale, self._next = False, 0.0
        atexit.register(self.flush)

    def changed(self) -> None:
        """Something new is to be seen: show it, now or soon."""
        self._stale = True
        if time.perf_counter() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Show what is new, now."""
        if not self._stale:
            return
        self._stale, start = False, time.perf_counter()
        self.paint()
        self._write()
        if in_notebook():
            self._show_in_cell()
        elif getattr(self.figure.canvas, "required_interactive_framework", None):
            self.figure.show()
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()
        end = time.perf_counter()
        self._next = end + REST * (end - start)

    def _write(self) -> None:
        """A folder that cannot be written to costs the picture, not the training."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(exist_ok=True)
            self.figure.savefig(self.path, dpi=150, bbox_inches="tight")
        except OSError as error:
            print(f"neoclassic: no picture: cannot write {self.path} ({error.strerror or error})", file=sys.stderr)
            self.path = None

    def _show_in_cell(self) -> None:
        from IPython.display import display
        from matplotlib import pyplot

        if self._handle is None:
            self._handle = display(self.figure, display_id=True)
            pyplot.close(self.figure)  # or the cell would show it once more when it ends
        else:
            self._handle.update(self.figure)


def _subplots(nrows: int, ncols: int, figsize: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    from matplotlib import pyplot

    with pyplot.rc_context({"figure.max_open_warning": 0}):
        figure, axes = pyplot.subplots(nrows, ncols, figsize=figsize, squeeze=False)
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
    if in_notebook() and "matplotlib_inline" in sys.modules:
        sys.modules["matplotlib_inline"].backend_inline.set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Width and height of figures to come, in inches."""
    from matplotlib import pyplot

    use_svg_display()
    pyplot.rcParams["figure.figsize"] = figsize


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
    _Screen(_whole(axes)).changed()


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
    _Screen(figure).changed()
    found = np.empty(len(axes), object)
    found[:] = axes
    return found


# ── pictures that grow ───────────────────────────────────────────────────────────────────────────────


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
        self._screen = _Screen(self.fig, self._paint)

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
        self._screen.changed()

    def _paint(self) -> None:
        self.axes[0].cla()
        for x, y, fmt in zip(self.X, self.Y, itertools.cycle(self.fmts), strict=False):
            self.axes[0].plot(x, y, fmt)
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
        self._screen: _Screen | None = None

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
        if self._screen is None:
            self._open()
        assert self._screen is not None
        self._screen.changed()

    def _open(self) -> None:
        if self.axes is not None:
            self.fig = _whole(self.axes)
        elif self.fig is not None:
            self.axes = self.fig.add_subplot()
        else:
            self.fig, (self.axes,) = _subplots(1, 1, self.figsize)
        assert self.fig is not None
        self._screen = _Screen(self.fig, self._paint)

    def _paint(self) -> None:
        assert self.axes is not None
        self.axes.cla()
        styles = zip(itertools.cycle(self.ls), itertools.cycle(self.colors), strict=False)
        for (label, line), (style, colour) in zip(self.data.items(), styles, strict=False):
            self.axes.plot([p.x for p in line], [p.y for p in line], linestyle=style, color=colour, label=label)
        set_axes(self.axes, self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale, None)
        self.axes.legend()


def _mean(values: Sequence[Any]) -> float:
    """Of numbers, or of tensors on any device, which are waited for only here."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    return float(torch.stack(tensors).float().mean()) if tensors else float(np.mean(np.array(values, float)))
