"""A picture of many images, each with its name, its true class and its predicted class."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from math import ceil
from pathlib import Path

import numpy as np

from neoclassic.insight.maps import show
from neoclassic.views import lettering
from neoclassic.views.picture import GREY, INK, TRAIN, figure, save

COLUMNS = 8


def draw(pixels: np.ndarray, captions: Sequence[tuple[str, str, str]], path: Path | BytesIO, title: str) -> None:
    """Images, uint8 N×H×W×C, as a grid.

    captions: (name, true class, predicted class) of each image; the true class is printed above the predicted class.
    """
    n = len(pixels)
    rows, columns = ceil(n / COLUMNS), min(n, COLUMNS)
    tall = pixels.shape[1] / pixels.shape[2]
    fig = figure(max(1.3 * columns, 4), 0.5 + rows * (1.2 * tall + 0.62), title)
    for i, axes in enumerate(fig.subplots(rows, columns, squeeze=False).flat):
        axes.set_visible(i < n)
        if i < n:
            name, true, predicted = captions[i]
            show(axes, pixels[i])
            lines = (
                (lettering.name(true, 16), INK),
                (lettering.name(predicted, 18), TRAIN),
                (lettering.name(name, 22), GREY),
            )
            for j, (text, colour) in enumerate(lines):
                size = 7.5 if j < 2 else 5.5
                axes.annotate(
                    text,
                    (0.5, 0),
                    (0, -5 - 9 * j),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    ha="center",
                    va="top",
                    fontsize=size,
                    color=colour,
                    weight="bold" if j == 0 else "normal",
                )
    save(fig, path)
