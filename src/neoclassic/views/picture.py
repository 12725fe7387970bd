"""What every picture has in common: its ink, its title, and that matplotlib is imported only when one is made."""

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

INK, GREY, RIM = "#1f2430", "#8a90a0", "#e6e8ee"
TRAIN, WATCHED = "#e07a1f", "#2563a8"
# told apart by people who do not see red and green alike: Okabe & Ito 2008
SERIES = ("#2563a8", "#e07a1f", "#14776e", "#b5468b", "#8a6d00", "#56a0d3", "#7a2e1d", "#4d4d4d")


def import_matplotlib() -> None:
    """Import matplotlib, whatever MPLBACKEND names, and without its advice on where it keeps its fonts.

    The variable chooses windows, which no picture here needs. A notebook hands its own to every command that it
    starts, and where that backend is not installed, the import would fail.
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
    """Without matplotlib's advice: on where it keeps its fonts, on a weight that one lacks, on names that need room."""
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
    """An empty picture of so many inches, with its title above, at the left."""
    import_matplotlib()
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=150, layout="constrained")
    made.suptitle(lettering.name(title), fontsize=11, color=INK, x=0.01, ha="left", weight="bold", wrap=True)
    return made


def save(made: Figure, path: Path | io.BytesIO) -> None:
    """As PNG, atomically, or into memory; the bytes depend on the picture alone."""
    content = io.BytesIO()
    lettering.find_letters(made)
    with _silent():
        made.savefig(content, format="png", metadata={"Software": "neoclassic"})
    if isinstance(path, io.BytesIO):
        path.write(content.getvalue())
    else:
        files.write(path, content.getvalue())


def draw_all(pictures: Mapping[str, Callable[[Path], None]], folder: Path) -> dict[str, str]:
    """Draw each picture into `folder/name.png`; the paths by name, without those that failed, which a warning names."""
    drawn = {}
    for name, draw in pictures.items():
        path = folder / f"{name}.png"
        with Ornament(str(path)):
            draw(path)
            drawn[name] = str(path)
    return drawn


def plain(axes: Axes) -> None:
    """Only the ink that says something."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(axis="y", color=RIM, linewidth=0.8)
    axes.set_axisbelow(True)
