"""Curves that grow during training: the older edition's `Animator` and the newer edition's `ProgressBoard`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neoclassic.base.notebook import in_notebook
from neoclassic.compat.d2l.figures import Display, figure_of, subplots
from neoclassic.compat.d2l.parameters import HyperParameters
from neoclassic.compat.d2l.plots import set_axes, use_svg_display
from neoclassic.compat.d2l.tensors import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def _print_point(x: float, xlabel: str | None, values: dict[str, float]) -> None:
    """Print a point as a line of text, except in a notebook, which shows the figure."""
    if not in_notebook():
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{xlabel or 'x'} {x:.4g}  {shown}", flush=True)


def _several(values: Any) -> bool:
    """Whether this is a sequence; a tensor or an array of one element without an axis is not."""
    return bool(values.ndim) if hasattr(values, "ndim") else hasattr(values, "__len__")


def _still_drawn(lines: Iterable[Line2D], axes: Axes) -> bool:
    """Whether lines are still on their axes, which a reader may have cleared."""
    return all(line.axes is axes for line in lines)


def _identify(line: Line2D, name: str) -> None:
    """Give a line an id, by which an SVG file of the figure can be read: "train loss" becomes `train-loss`."""
    line.set_gid("-".join(re.findall(r"\w+", str(name))) or None)


def _extend(line: Line2D, axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Set all points of a line, of which only the last one is new."""
    line.set_data(np.array(x), np.array(y))
    if x:
        axes.update_datalim([(x[-1], y[-1])])
        axes.autoscale_view()


class Animator:
    """The older edition's growing curves.

    `add(x, y)` adds a point to each line; None skips a line. `fig` and `axes` are matplotlib's; `X` and `Y` are the
    lines so far.
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
        self.fig, self.axes = subplots(nrows, ncols, figsize)
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []
        self.fmts = fmts
        self._xlabel, self._legend = xlabel, list(legend or [])
        limits = (xlabel, ylabel, xlim, ylim, xscale, yscale, legend)
        self.config_axes: Callable[[], None] = partial(set_axes, self.axes[0], *limits)
        self._lines: list[Line2D] = []

    def add(self, x: Any, y: Any) -> None:
        ys = list(y) if _several(y) else [y]
        xs = list(x) if _several(x) else [x] * len(ys)
        while len(self.Y) < len(ys):
            self.X.append([])
            self.Y.append([])
        added: dict[str, float] = {}
        for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
            if a is not None and b is not None:
                self.X[i].append(number(a))
                self.Y[i].append(number(b))
                added[self._legend[i] if i < len(self._legend) else f"line {i + 1}"] = self.Y[i][-1]
        if added:
            _print_point(number(next(a for a in xs if a is not None)), self._xlabel, added)
        if len(self._lines) < len(self.Y) or not _still_drawn(self._lines, self.axes[0]):
            self._redraw()
        for line, x, y in zip(self._lines, self.X, self.Y, strict=True):
            _extend(line, self.axes[0], x, y)
        Display.of(self.fig).changed()

    def _redraw(self) -> None:
        self.axes[0].cla()
        styled = zip(self.X, self.Y, itertools.cycle(self.fmts), strict=False)
        self._lines = [self.axes[0].plot(x, y, fmt)[0] for x, y, fmt in styled]
        for line, name in zip(self._lines, self._legend, strict=False):
            _identify(line, name)
        self.config_axes()


class Point(NamedTuple):
    """A point of a line on a `ProgressBoard`."""

    x: float
    y: float


class ProgressBoard(HyperParameters):
    """The newer edition's growing curves.

    `draw(x, y, label, every_n)` collects points and adds the mean of every n of them to the line with that label.
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
        self._style = ""

    def draw(self, x: Any, y: Any, label: str, every_n: int = 1) -> None:
        pending = self.raw_points.setdefault(label, [])
        self.data.setdefault(label, [])
        pending.append((x, y.detach() if isinstance(y, Tensor) else y))
        if len(pending) >= max(int(every_n), 1):
            self._add_mean(label)

    def complete(self) -> None:
        """Draw the points that are collected though fewer than n, so that no line ends before training does."""
        for label, pending in self.raw_points.items():
            if pending:
                self._add_mean(label)

    def _add_mean(self, label: str) -> None:
        """Add the mean of the collected points to the line."""
        pending, line = self.raw_points[label], self.data[label]
        point = Point(*(_mean(values) for values in zip(*pending, strict=True)))
        pending.clear()
        line.append(point)
        if not self.display:
            return
        _print_point(point.x, self.xlabel, {label: point.y})
        if self.axes is None or self.fig is None:
            self._open()
        assert self.axes is not None
        assert self.fig is not None
        style = repr((self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale, self.ls, self.colors))
        if style != self._style or label not in self._lines or not _still_drawn(self._lines.values(), self.axes):
            self._style = style
            self._redraw(self.axes)
        _extend(self._lines[label], self.axes, [p.x for p in line], [p.y for p in line])
        Display.of(self.fig).changed()

    def _open(self) -> None:
        use_svg_display()
        if self.axes is not None:
            self.fig = figure_of(self.axes)
        elif self.fig is not None:
            self.axes = self.fig.add_subplot()
        else:
            self.fig, (self.axes,) = subplots(1, 1, self.figsize)

    def _redraw(self, axes: Axes) -> None:
        axes.cla()
        styles = zip(itertools.cycle(self.ls), itertools.cycle(self.colors), strict=False)
        for (label, line), (style, colour) in zip(self.data.items(), styles, strict=False):
            x, y = [p.x for p in line], [p.y for p in line]
            (self._lines[label],) = axes.plot(x, y, linestyle=style, color=colour, label=label)
            _identify(self._lines[label], label)
        set_axes(axes, self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale, None)
        axes.legend()


def _mean(values: Sequence[Any]) -> float:
    """The mean of numbers, or of tensors on any device, which are waited for only here."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    return number(torch.stack(tensors).float().mean()) if tensors else float(np.mean(np.array(values, float)))
