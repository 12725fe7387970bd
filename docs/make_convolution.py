"""Make the pictures of convolution.md with the engine's own functions.

python docs/make_convolution.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from neoclassic import data
from neoclassic.engines.numpy import convolution
from neoclassic.engines.numpy.buffers import Buffers

PICTURES = Path(__file__).parent / "pictures"
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)  # responds where the right is brighter than the left
plt.rcParams |= {"svg.hashsalt": "neoclassic", "font.size": 8, "image.cmap": "gray", "svg.fonttype": "none"}


def show(axes: plt.Axes, array: np.ndarray, title: str, **options: object) -> None:
    axes.imshow(array, interpolation="nearest", **options)  # type: ignore[arg-type]
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(PICTURES / name, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    image = data.load("fashion-mnist").train.images[0, ::2, ::2, 0].astype(np.float32) / 255  # 14×14: a boot
    new = Buffers(np.dtype(np.float32))
    x_CHWN, w_OIkk = image[None, :, :, None], SOBEL[None, None]
    columns_KP = np.concatenate([c for _, _, stack in convolution._columns(x_CHWN, 3, 1, 0, 1, new) for c in stack], 1)
    y_CHWN, backward = convolution.conv2d(x_CHWN, w_OIkk, np.zeros(1, np.float32), 1, 0, 1, new)

    figure, axes = plt.subplots(1, 4, figsize=(9, 2.2), width_ratios=(1, 0.6, 3.2, 1), layout="constrained")
    show(axes[0], image, "x, 14×14")
    show(axes[1], SOBEL, "w, 3×3")
    show(axes[2], columns_KP, "columns, 9×144", aspect=6)
    show(axes[3], y_CHWN[0, :, :, 0], "y = w · columns, 12×12")
    save(figure, "convolution-forward.svg")

    dy = np.zeros_like(y_CHWN)
    dy[0, 3, 2, 0] = dy[0, 8, 8, 0] = dy[0, 8, 9, 0] = 1
    dx_CHWN, dw_OIkk, _ = backward(dy)
    counts = convolution._scatter(np.ones_like(y_CHWN), np.ones_like(w_OIkk), 1, 0, x_CHWN.shape, new)
    assert dx_CHWN is not None
    assert dw_OIkk is not None
    figure, axes = plt.subplots(1, 4, figsize=(9, 2.2), layout="constrained")
    show(axes[0], dy[0, :, :, 0], "dy: three places")
    show(axes[1], dx_CHWN[0, :, :, 0], "dx: w added at each")
    show(axes[2], dw_OIkk[0, 0], "dw: what w saw there, summed")
    show(axes[3], counts[0, :, :, 0], "places that see a pixel: 1 to 9")
    save(figure, "convolution-backward.svg")


if __name__ == "__main__":
    main()
