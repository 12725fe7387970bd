"""Pictures of filters, feature maps, receptive fields and of heat maps over an image."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neoclassic.views import lettering
from neoclassic.views.picture import GREY, INK, TRAIN, figure, import_matplotlib, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray
MOST = 64  # maps or filters in a picture
HEAT = "inferno"
FLAT = 0.0005  # a smaller change of a probability is none


def _bare(axes: Axes, title: str = "") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(lettering.name(title), fontsize=8.5, color=INK)


def show(axes: Axes, pixels: Array, title: str = "") -> None:
    """Show an image, uint8 H×W×C, grey or colour."""
    image = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    _bare(axes, title)


def draw_cams(pixels: Array, heat: Sequence[Array], layer: str, path: Path | BytesIO, title: str) -> None:
    """The image, then Grad-CAM and Grad-CAM++ over it. `heat` holds both maps, H×W from 0 to 1."""
    fig = figure(8.4, 3.2, title)
    axes = fig.subplots(1, 3)
    show(axes[0], pixels, "network input")
    for a, values, name in zip(axes[1:], heat, ("Grad-CAM", "Grad-CAM++"), strict=True):
        show(a, pixels, f"{name}, {layer}")
        a.imshow(values, cmap=HEAT, vmin=0, vmax=1, alpha=np.clip(0.15 + 0.6 * values, 0, 0.75))
    save(fig, path)


def overlay(pixels: Array, heat: Array) -> Array:
    """A heat map, H×W from 0 to 1, over the darkened image; uint8 H×W×3, enlarged to about 224 pixels."""
    import_matplotlib()
    from matplotlib import colormaps
    from PIL import Image

    times = max(1, round(224 / max(pixels.shape[:2])))
    size = (pixels.shape[1] * times, pixels.shape[0] * times)
    image = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))
    base = np.asarray(image.resize(size, Image.Resampling.NEAREST), np.float32) / 255
    warm = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
    colour = colormaps[HEAT](warm[..., 0])[..., :3]
    mixed = base * (1 - 0.65 * warm) + colour * 0.65 * warm
    overlaid: Array = np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
    return overlaid


def draw_occlusion(pixels: Array, lost: Array, path: Path | BytesIO, title: str) -> None:
    """The image, and the drop in probability where it was hidden: red is a drop, blue a rise."""
    fig = figure(6.2, 3.2, title)
    axes = fig.subplots(1, 2)
    show(axes[0], pixels, "network input")
    show(axes[1], pixels, "drop in probability when hidden")
    most = float(np.abs(lost).max())
    most = most if most > FLAT else 0.01  # a flat map is white, on a scale of 1%
    layer = axes[1].imshow(lost, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.75)
    bar = fig.colorbar(layer, ax=axes[1], fraction=0.046, ticks=(-most, 0, most))
    bar.ax.yaxis.set_major_formatter(lambda v, _: f"{v:z.{0 if most > 0.05 else 1}%}")
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)
    save(fig, path)


def _grid(n: int, columns: int | None = None) -> tuple[int, int]:
    columns = columns or min(n, max(4, ceil(n**0.5 * 1.4)))
    return ceil(n / columns), columns


def draw_features(features: Array, path: Path | BytesIO, title: str) -> None:
    """The first 64 feature maps of K×h×w, each with its own colour scale; or K numbers as bars."""
    if features.ndim == 1 or features.shape[1:] == (1, 1):
        values = features.reshape(-1)
        fig = figure(8.4, 2.6, title)
        axes = fig.subplots()
        axes.bar(range(len(values)), values, width=1 if len(values) > 60 else 0.8, color="#2563a8")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=INK)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlabel("unit", fontsize=8.5, color=INK)
        save(fig, path)
        return
    shown = features[:MOST]
    rows, columns = _grid(len(shown))
    more = f", the first {MOST}" if len(features) > MOST else ""
    fig = figure(8.4, 0.6 + 8.4 * rows / columns, title + more)
    for i, a in enumerate(fig.subplots(rows, columns, squeeze=False).flat):
        a.set_visible(i < len(shown))
        if i < len(shown):
            a.imshow(shown[i], cmap="viridis")
            _bare(a, str(i))
            a.title.set(fontsize=6.5, color=GREY)
    save(fig, path)


def draw_filters(weights_OIHW: Array, path: Path | BytesIO, title: str) -> None:
    """The first 64 filters of a first layer: in colour for 3 input channels, otherwise the first channel in grey.

    All filters share one scale, on which mid-grey is 0.
    """
    shown = weights_OIHW[:MOST]
    most = float(np.abs(shown).max()) or 1.0
    tiles = 0.5 + (shown.transpose(0, 2, 3, 1) if shown.shape[1] == 3 else shown[:, 0]) / (2 * most)
    rows, columns = _grid(len(tiles), columns=min(len(tiles), 8))
    fig = figure(max(0.95 * columns, 4.2), 0.7 + 0.95 * rows, title)
    for i, a in enumerate(fig.subplots(rows, columns, squeeze=False).flat):
        a.set_visible(i < len(tiles))
        if i < len(tiles):
            a.imshow(tiles[i], cmap="gray", vmin=0, vmax=1)
            _bare(a)
    save(fig, path)


def draw_field(pixels: Array, field: tuple[tuple[int, int], tuple[int, int]], path: Path | BytesIO, title: str) -> None:
    """The receptive field of a unit, framed, on the dimmed image. `field` is ((top, bottom), (left, right))."""
    (top, bottom), (left, right) = field
    fig = figure(4.2, 4.2, f"{title} sees {bottom - top}×{right - left} pixels")
    axes = fig.subplots()
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
    save(fig, path)
