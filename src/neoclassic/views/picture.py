"""The style and the saving of matplotlib pictures. matplotlib is imported only when a picture is drawn."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from neoclassic.base import files
from neoclassic.base.errors import Ornament
from neoclassic.views import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, GRID = "#1f2430", "#8a90a0", "#e6e8ee"
TRAIN, VALIDATION = "#e07a1f", "#2563a8"
# distinguishable with red-green colour blindness: Okabe & Ito 2008
SERIES = ("#2563a8", "#e07a1f", "#14776e", "#b5468b", "#8a6d00", "#56a0d3", "#7a2e1d", "#4d4d4d")


def import_matplotlib() -> None:
    """Import matplotlib without its advice, even if MPLBACKEND names a backend that is not installed.

    MPLBACKEND chooses a window toolkit, which no picture here needs. A notebook sets it for every command that it
    starts, and the import fails if that backend is not installed.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        with _silent():
            import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


@contextmanager
def _silent() -> Iterator[None]:
    """Silence matplotlib's advice on font caches, missing font weights and layouts that do not fit."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of `width`×`height` inches with its title at the top left."""
    import_matplotlib()
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=150, layout="constrained")
    fig.suptitle(lettering.name(title), fontsize=11, color=INK, x=0.01, ha="left", weight="bold", wrap=True)
    return fig


def save(fig: Figure, path: Path | io.BytesIO) -> None:
    """Write a PNG, atomically, or into memory. Equal figures give equal bytes."""
    content = io.BytesIO()
    lettering.set_fonts(fig)
    with _silent():
        fig.savefig(content, format="png", metadata={"Software": "neoclassic"})
    if isinstance(path, io.BytesIO):
        path.write(content.getvalue())
    else:
        files.write(path, content.getvalue())


def svg(fig: Figure, description: str) -> str:
    """The figure as SVG, with a description of what it shows in its metadata. Equal figures give equal text."""
    import matplotlib

    content = io.StringIO()
    lettering.set_fonts(fig)
    with _silent(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "neoclassic"}):
        fig.savefig(content, format="svg", metadata={"Creator": None, "Date": None, "Description": description})
    return content.getvalue()


def draw_all(pictures: Mapping[str, Callable[[Path], None]], folder: Path) -> dict[str, str]:
    """Draw each picture into `folder/name.png` and return the paths by name. A picture that fails is a warning."""
    drawn = {}
    for name, draw in pictures.items():
        path = folder / f"{name}.png"
        with Ornament(str(path)):
            draw(path)
            drawn[name] = str(path)
    return drawn


def style_axes(axes: Axes) -> None:
    """Reduce the axes to a light grid and two spines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
