"""The book's plots of data and images."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from neoclassic.base.notebook import in_notebook
from neoclassic.compat.d2l.figures import Display, figure_of, pyplot, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def use_svg_display() -> None:
    """Draw figures in notebooks as SVG, which stays sharp. Does nothing elsewhere."""
    if in_notebook():
        pyplot()  # loads the notebook's backend
        if inline := sys.modules.get("matplotlib_inline.backend_inline"):
            inline.set_matplotlib_formats("svg")


def restore_svg_formats() -> None:
    """Give IPython.display its function set_matplotlib_formats back, which chapters of the editions to v0.16 call.

    IPython 8 moved it to matplotlib_inline. Does nothing where IPython is not installed.
    """
    if importlib.util.find_spec("IPython") is None:
        return
    from IPython import display

    def set_matplotlib_formats(*formats: str, **kwargs: Any) -> None:
        pyplot()
        inline = importlib.import_module("matplotlib_inline.backend_inline")
        inline.set_matplotlib_formats(*formats, **kwargs)

    if not hasattr(display, "set_matplotlib_formats"):
        display.set_matplotlib_formats = set_matplotlib_formats


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """Set the width and height, in inches, of the figures that follow."""
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
    """Set labels, limits, scales and legend, and draw a grid."""
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
    for limits, set_limits in ((xlim, axes.set_xlim), (ylim, axes.set_ylim)):
        if limits is not None and limits[0] != limits[1]:  # with one epoch, [1, epochs] is empty
            set_limits(*limits)
    if legend:
        axes.legend(legend)
    axes.grid()


def _lines(data: Any) -> list[Any]:
    """One line or several, as a list of lines."""
    single = data.ndim == 1 if hasattr(data, "ndim") else bool(len(data)) and not hasattr(data[0], "__len__")
    return [_to_numpy(data)] if single else [_to_numpy(line) for line in data]


def _to_numpy(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _chosen_axes() -> Axes | None:
    """The current axes if the reader has made them, as by `plt.subplot`; None if there are none of these."""
    if not pyplot().get_fignums():
        return None
    axes: Axes = pyplot().gca()
    return None if hasattr(axes, "_neoclassic_made") else axes


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
    """Draw one line or several: Y over X, or X over its index. A single X is used for every Y.

    axes: by default the current ones, if the reader has made them (`plt.subplot`); otherwise those of a new figure.
    """
    set_figsize(figsize)
    ys = _lines(X if Y is None else Y)
    xs = [range(len(y)) for y in ys] if Y is None else _lines(X)
    axes = axes or _chosen_axes() or subplots(1, 1, figsize)[1][0]
    axes.cla()
    for x, y, fmt in zip(xs * len(ys) if len(xs) == 1 else xs, ys, itertools.cycle(fmts), strict=False):
        axes.plot(x, y, fmt)
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)
    Display.of(figure_of(axes)).changed()


def show_images(
    imgs: Any, num_rows: int, num_cols: int, titles: Sequence[str] | None = None, scale: float = 1.5
) -> np.ndarray:
    """Draw images in rows and columns, and return the axes as a flat array.

    imgs: tensors H×W, 1×H×W or H×W×3 on any device, arrays of these shapes, or Pillow images.
    """
    figure, axes = subplots(num_rows, num_cols, (num_cols * scale, num_rows * scale))
    for i, (image, ax) in enumerate(zip(imgs, axes, strict=False)):
        pixels = _to_numpy(image)
        ax.imshow(pixels[0] if getattr(pixels, "ndim", 2) == 3 and len(pixels) == 1 else pixels)
        if titles:
            ax.set_title(titles[i])
    for ax in axes:
        ax.get_xaxis().set_visible(False)
        ax.get_yaxis().set_visible(False)
    Display.of(figure).changed()
    flat = np.empty(len(axes), object)
    flat[:] = axes
    return flat
