"""Pictures of what a network holds and where it looks: filters, feature maps, heat over the image, a unit's field."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neoclassic.views import lettering
from neoclassic.views.picture import GREY, INK, TRAIN, figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray
MOST = 64  # maps or filters in a picture
HEAT = "inferno"


def _bare(axes: Axes, title: str = "") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(lettering.name(title), fontsize=8.5, color=INK)


def show(axes: Axes, pixels: Array, title: str = "", faint: bool = False) -> None:
    """uint8 H×W×C, grey or colour; `faint` for what something is laid over."""
    image = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, alpha=0.55 if faint else 1)
    if faint:
        axes.set_facecolor("black")
    _bare(axes, title)


def draw_cams(pixels: Array, heat: Sequence[Array], layer: str, path: Path | BytesIO, title: str) -> None:
    """The image, and Grad-CAM and Grad-CAM++ over it; `heat` is scaled to 1."""
    panel = figure(8.4, 3.2, title)
    axes = panel.subplots(1, 3)
    show(axes[0], pixels, "what the network sees")
    for a, values, name in zip(axes[1:], heat, ("Grad-CAM", "Grad-CAM++"), strict=True):
        lay(a, pixels, values, f"{name}, {layer}")
    save(panel, path)


def lay(axes: Axes, pixels: Array, heat: Array, title: str = "") -> None:
    """Heat from 0 to 1 over an image; nothing where it is 0."""
    show(axes, pixels, title)
    axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=np.clip(0.15 + 0.6 * heat, 0, 0.75))


def draw_occlusion(pixels: Array, lost: Array, path: Path | BytesIO, title: str) -> None:
    """The image, and the probability lost where it was hidden: red lost, blue won."""
    panel = figure(6.2, 3.2, title)
    axes = panel.subplots(1, 2)
    show(axes[0], pixels, "what the network sees")
    show(axes[1], pixels, "hidden there, the probability falls by")
    most = max(float(np.abs(lost).max()), 1e-6)
    layer = axes[1].imshow(lost, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.75)
    bar = panel.colorbar(layer, ax=axes[1], fraction=0.046, format=lambda v, _: f"{v:.{0 if most > 0.05 else 1}%}")
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    save(panel, path)


def _grid(n: int, columns: int | None = None) -> tuple[int, int]:
    columns = columns or min(n, max(4, ceil(n**0.5 * 1.4)))
    return ceil(n / columns), columns


def draw_features(features: Array, path: Path | BytesIO, title: str) -> None:
    """K×h×w, each map scaled by itself, the first 64 of them; or K numbers as bars."""
    if features.ndim == 1 or features.shape[1:] == (1, 1):
        values = features.reshape(-1)
        panel = figure(8.4, 2.6, title)
        axes = panel.subplots()
        axes.bar(range(len(values)), values, width=1 if len(values) > 60 else 0.8, color="#2563a8")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=INK)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel("unit", fontsize=8.5, color=INK)
        save(panel, path)
        return
    shown = features[:MOST]
    rows, columns = _grid(len(shown))
    more = f", the first {MOST}" if len(features) > MOST else ""
    panel = figure(8.4, 0.6 + 8.4 * rows / columns, title + more)
    for i, a in enumerate(panel.subplots(rows, columns, squeeze=False).flat):
        a.set_visible(i < len(shown))
        if i < len(shown):
            a.imshow(shown[i], cmap="viridis")
            _bare(a, str(i))
            a.title.set(fontsize=6.5, color=GREY)
    save(panel, path)


def draw_filters(weights_OIHW: Array, path: Path | BytesIO, title: str) -> None:
    """Each filter of a first layer: of three channels in colour, of one in grey; grey is 0, all to one scale."""
    shown = weights_OIHW[:MOST]
    most = float(np.abs(shown).max()) or 1.0
    tiles = 0.5 + (shown.transpose(0, 2, 3, 1) if shown.shape[1] == 3 else shown[:, 0]) / (2 * most)
    rows, columns = _grid(len(tiles), columns=min(len(tiles), 8))
    panel = figure(max(0.95 * columns, 4.2), 0.7 + 0.95 * rows, title)
    for i, a in enumerate(panel.subplots(rows, columns, squeeze=False).flat):
        a.set_visible(i < len(tiles))
        if i < len(tiles):
            a.imshow(tiles[i], cmap="gray", vmin=0, vmax=1)
            _bare(a)
    save(panel, path)


def draw_field(pixels: Array, field: tuple[tuple[int, int], tuple[int, int]], path: Path | BytesIO, title: str) -> None:
    """The pixels that a unit sees, framed; the rest is dimmed."""
    (top, bottom), (left, right) = field
    panel = figure(4.2, 4.2, f"{title} sees {bottom - top}×{right - left} pixels")
    axes = panel.subplots()
    show(axes, pixels)
    shade = np.zeros((*pixels.shape[:2], 4))
    shade[..., 3] = 0.6
    shade[top:bottom, left:right] = 0
    axes.imshow(shade)
    from matplotlib.patches import Rectangle

    wide, tall = right - left, bottom - top
    frame = Rectangle((left - 0.5, top - 0.5), wide, tall, fill=False, edgecolor=TRAIN, linewidth=2.2)
    frame.set_clip_on(False)
    axes.add_patch(frame)
    save(panel, path)
