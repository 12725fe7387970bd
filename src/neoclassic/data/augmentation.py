"""Augmentation of whole batches: random parameters are drawn on the CPU, and applied on any device.

`Augmentation.draw` makes a few small NumPy arrays. `augment` and `mix` apply them, and call only functions that NumPy
and torch have under the same name, so the same draw gives the same images on every engine and device.

Legend: N images, H height, W width, C channels; i, j rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np

from neoclassic.base.records import require
from neoclassic.data.preprocessing import Array, Preprocessing

ERASED_AREA = (0.02, 1 / 3)  # fraction of the image, and aspect ratios, as in Zhong et al.
ERASED_ASPECT = (0.3, 1 / 0.3)
COLOUR_SAMPLE = 1_000_000  # pixels, enough to measure how colours vary


@dataclass(frozen=True)
class Augmentation:
    """The random changes to a batch of training images. By default there are none.

    pad       surround the image with this many black pixels, and crop it to its size at a random position
    flip      mirror half of the images at random
    shift     move by at most this fraction of the height and width
    rotate    rotate by at most this many degrees
    scale     enlarge or shrink by at most this fraction
    colour    standard deviation of shifts along the principal components of the training set's colours; 0.1 in AlexNet
    erase     probability of filling a rectangle with the training set's mean; Zhong et al. 2017, arXiv 1708.04896
    mixup     α of the weight of another image; Zhang et al. 2018, arXiv 1710.09412
    cutmix    α of the area cut from another image; Yun et al. 2019, arXiv 1905.04899; with mixup, a batch gets either
    elastic   α of elastic distortion, in pixels: each pixel is displaced by a field of random numbers from -α to α that
              a Gaussian smooths, whose standard deviation is `elastic_sigma` pixels; Simard, Steinkraus and Platt 2003,
              "Best practices for convolutional neural networks", with 34 and 4 for digits
    warp      probability that an image is shifted, rotated, scaled and elastically distorted; the others stay as sharp
              as test images are
    """

    pad: int = 0
    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    colour: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0
    warp: float = 1.0

    def checked(self) -> Augmentation:
        """Return self. UsageError for a value outside its range."""
        for field, most in zip(fields(self), (512, 1, 1, 180, 0.9, 10, 1, 100, 100, 10_000, 100, 1), strict=True):
            value, least = getattr(self, field.name), 0.1 if field.name == "elastic_sigma" else 0
            require(field.name, value, least <= value <= most, f"from {least} to {most}")
        return self

    @property
    def mixes(self) -> bool:
        """Whether images, and with them labels, are mixed."""
        return bool(self.mixup or self.cutmix)

    def draw(self, n: int, size: tuple[int, int], rng: np.random.Generator, colours: Array | None = None) -> Draw:
        """Draw the parameters for n images of height and width `size`. colours: C×C, from `principal_colours`."""
        h, w = size
        rows, columns = (np.broadcast_to(np.arange(side), (n, side)) for side in (h, w))
        if self.pad:
            corners = rng.integers(0, 2 * self.pad + 1, (2, n, 1)) - self.pad
            rows, columns = rows + corners[0], columns + corners[1]
        if self.flip:
            columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
        draw = Draw(
            rows=rows if self.pad else None,
            columns=columns if self.pad or self.flip else None,
            affine=self._affine(n, size, rng) if self.shift or self.rotate or self.scale else None,
            colour=_shifts(n, self.colour, colours, rng) if self.colour and colours is not None else None,
            erased=_boxes(n, self.erase, size, rng) if self.erase else None,
            mixture=self._mixture(n, size, rng) if self.mixes and n else None,
            elastic=_displacements(n, self.elastic, self.elastic_sigma, size, rng) if self.elastic else None,
        )
        if self.warp < 1:
            draw.unwarp(rng.random(n) >= self.warp)
        return draw

    def _affine(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> Array:
        """N×2×3 matrices from a pixel of the new image to its position in the old one, around the centre."""
        h, w = size
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate, n))
        zoom = 1 / (1 + rng.uniform(-self.scale, self.scale, n))
        move = rng.uniform(-self.shift, self.shift, (n, 2)) * (h, w)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
        turn *= zoom[:, None, None]
        centre = np.array([(h - 1) / 2, (w - 1) / 2])
        return np.concatenate([turn, (centre - turn @ centre - move)[:, :, None]], 2).astype(np.float32)

    def _mixture(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> Mixture:
        cut = bool(self.cutmix) and (not self.mixup or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        kept = float(rng.beta(alpha, alpha))
        partner = rng.permutation(n)
        if not cut:
            return Mixture(partner, kept)
        h, w = size
        side = math.sqrt(1 - kept)
        i, j = int(rng.integers(h)), int(rng.integers(w))
        half_h, half_w = int(h * side) // 2, int(w * side) // 2
        top, bottom = max(i - half_h, 0), min(i + half_h, h)
        left, right = max(j - half_w, 0), min(j + half_w, w)
        return Mixture(partner, 1 - (bottom - top) * (right - left) / (h * w), (top, bottom, left, right))


@dataclass(frozen=True)
class Mixture:
    """How each image is mixed with another one of the batch, its partner.

    partner  N, indices
    kept     the fraction of the image itself
    box      top, bottom, left, right of what CutMix replaces; None for mixup
    """

    partner: Array
    kept: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Draw:
    """The random parameters for one batch; None for a change that is not made.

    rows, columns  N×H and N×W, the old index of each new row and column; outside the image is black
    affine         N×2×3: pixel (i, j) comes from A (i, j, 1)
    colour         N×C, added to values in [0, 1]
    erased         N×4: top, bottom, left, right
    mixture        how images are mixed
    elastic        N×2×H×W, added to the row and the column that a pixel comes from
    """

    rows: Array | None = None
    columns: Array | None = None
    affine: Array | None = None
    colour: Array | None = None
    erased: Array | None = None
    mixture: Mixture | None = None
    elastic: Array | None = None

    def unwarp(self, images: Array) -> None:
        """Let some images, a mask of N, keep the places of their pixels."""
        if self.affine is not None:
            self.affine[images] = np.eye(2, 3)
        if self.elastic is not None:
            self.elastic[images] = 0

    def select(self, images: slice) -> Draw:
        """Return the parameters for some images of the batch, without mixing."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "mixture"}
        return replace(self, mixture=None, **{k: v if v is None else v[images] for k, v in values.items()})


def principal_colours(images: Array) -> Array:
    """Return the principal components of the colours of uint8 N×H×W×C, scaled to [0, 1], as the rows of C×C.

    Each component is multiplied by its variance. A. Krizhevsky, I. Sutskever, G. Hinton 2012, section 4.1.
    """
    channels = images.shape[3]
    chosen, pixels = np.arange(0, len(images), max(len(images) // 4096, 1)), math.prod(images.shape[1:3])
    step = len(chosen) * pixels // COLOUR_SAMPLE | 1  # odd, so that it reaches every column
    blocks = []
    for start in range(0, len(chosen), 64):
        block = images[chosen[start : start + 64]].reshape(-1, channels)
        blocks.append(block[-start * pixels % step :: step].copy())  # a view would keep the whole block
    values = np.concatenate(blocks).astype(np.float64) / 255
    variances, vectors = np.linalg.eigh(np.atleast_2d(np.cov(values.T)))
    vectors *= np.sign(vectors.sum(0)) + (vectors.sum(0) == 0)  # the sign of an eigenvector is arbitrary
    components: Array = (vectors * variances).T
    return components


def _shifts(n: int, deviation: float, colours: Array, rng: np.random.Generator) -> Array:
    """N×C colour shifts."""
    shifts: Array = (rng.standard_normal((n, len(colours))) * deviation) @ colours
    return shifts.astype(np.float32)


def _boxes(n: int, probability: float, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """N×4 boxes to erase, empty if nothing is erased."""
    h, w = size
    area = rng.uniform(*ERASED_AREA, n) * h * w
    aspect = np.exp(rng.uniform(math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1]), n))
    tall = np.clip(np.sqrt(area * aspect).round(), 1, h).astype(int)
    wide = np.clip(np.sqrt(area / aspect).round(), 1, w).astype(int)
    top = (rng.random(n) * (h - tall + 1)).astype(int)
    left = (rng.random(n) * (w - wide + 1)).astype(int)
    hit = rng.random(n) < probability
    return np.stack([top, top + tall * hit, left, left + wide], 1)


def _displacements(n: int, alpha: float, sigma: float, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """N×2×H×W smooth random displacements in pixels; their standard deviation is α / (2σ √(3π)), less at the border."""
    noise = 2 * rng.random((n, 2, *size), dtype=np.float32) - 1
    vertical, horizontal = (_gaussian(side, sigma) for side in size)
    smooth: Array = alpha * (vertical @ noise @ horizontal)
    return smooth


@cache
def _gaussian(side: int, sigma: float) -> Array:
    """The symmetric side×side matrix that smooths a line of pixels by a Gaussian; there is nothing beyond its ends."""
    far = side + math.ceil(6 * sigma)
    kernel = np.exp(-(np.arange(-far, far + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    i = np.arange(side)
    matrix: Array = kernel[far + i[:, None] - i].astype(np.float32)
    return matrix


# ── applied with NumPy or torch ──────────────────────────────────────────────────────────────────────

Put = Callable[[Any], Any]  # copies a NumPy array to the images' device


def augment(x_NHWC: Any, draw: Draw, p: Preprocessing, xp: Any, put: Put) -> Any:
    """Augment uint8 N×H×W×C, and normalise it as p says: float32 N×H×W×C. xp: numpy or torch."""
    if draw.rows is not None or draw.columns is not None:
        x_NHWC = _gathered(x_NHWC, draw, xp, put)
    x_NHWC = xp.asarray(x_NHWC, dtype=xp.float32)
    if draw.affine is not None or draw.elastic is not None:
        x_NHWC = _sampled(x_NHWC, draw, xp, put)
    x_NHWC = x_NHWC / put(np.array([255], np.float32))  # CUDA divides by a Python number inexactly
    if draw.colour is not None:
        x_NHWC = x_NHWC + put(draw.colour)[:, None, None, :]
    if any(p.mean):
        x_NHWC = x_NHWC - put(np.array(p.mean, np.float32))
    if any(s != 1 for s in p.std):
        x_NHWC = x_NHWC / put(np.array(p.std, np.float32))
    if draw.erased is not None:
        inside_NHW = _inside(put(draw.erased), x_NHWC.shape, put)
        x_NHWC = xp.where(inside_NHW[..., None], put(np.float32(0)), x_NHWC)
    return x_NHWC


def mix(x_NHWC: Any, t_NK: Any, mixture: Mixture, put: Put) -> tuple[Any, Any]:
    """Mix images N×H×W×C and targets N×K with those of their partners."""
    partner, kept = put(mixture.partner), mixture.kept
    t_NK = t_NK * kept + t_NK[partner] * (1 - kept)
    if mixture.box is None:
        return x_NHWC * kept + x_NHWC[partner] * (1 - kept), t_NK
    top, bottom, left, right = mixture.box
    boxes = x_NHWC[partner][:, top:bottom, left:right]  # a copy, because the partner's box is replaced as well
    x_NHWC[:, top:bottom, left:right] = boxes
    return x_NHWC, t_NK


def _gathered(x_NHWC: Any, draw: Draw, xp: Any, put: Put) -> Any:
    """Take the drawn rows and columns of each image."""
    N, H, W, _ = x_NHWC.shape
    rows = np.broadcast_to(np.arange(H), (N, H)) if draw.rows is None else draw.rows
    columns = np.broadcast_to(np.arange(W), (N, W)) if draw.columns is None else draw.columns
    images = put(np.arange(N))[:, None, None]
    pixels = x_NHWC[images, put(rows.clip(0, H - 1))[:, :, None], put(columns.clip(0, W - 1))[:, None, :]]
    if draw.rows is None:
        return pixels
    inside = put((rows >= 0) & (rows < H))[:, :, None] & put((columns >= 0) & (columns < W))[:, None, :]
    return pixels * inside[..., None]


def _sampled(x_NHWC: Any, draw: Draw, xp: Any, put: Put) -> Any:
    """Sample bilinearly: each new pixel from the four around its position in the old image, black outside it."""
    N, H, W, _ = x_NHWC.shape
    y, x = put(np.arange(H, dtype=np.float32))[None, :, None], put(np.arange(W, dtype=np.float32))[None, None, :]
    if draw.affine is not None:
        a = put(draw.affine)[:, :, :, None, None]
        y, x = (a[:, k, 0] * y + a[:, k, 1] * x + a[:, k, 2] for k in (0, 1))
    if draw.elastic is not None:
        moves = put(draw.elastic)
        y, x = y + moves[:, 0], x + moves[:, 1]
    top, left = xp.floor(y), xp.floor(x)
    down, right = y - top, x - left
    rows, columns = xp.asarray(top, dtype=xp.int64), xp.asarray(left, dtype=xp.int64)
    images = put(np.arange(N))[:, None, None]
    total = 0.0
    for di, wi in ((0, 1 - down), (1, down)):
        for dj, wj in ((0, 1 - right), (1, right)):
            r, c = rows + di, columns + dj
            weight = wi * wj * ((r >= 0) & (r < H) & (c >= 0) & (c < W))
            total = total + x_NHWC[images, xp.clip(r, 0, H - 1), xp.clip(c, 0, W - 1)] * weight[..., None]
    return total


def _inside(box: Any, shape: tuple[int, ...], put: Put) -> Any:
    """Whether each pixel is in its image's box, N×H×W."""
    _, H, W, _ = shape
    i, j = put(np.arange(H))[None, :, None], put(np.arange(W))[None, None, :]
    top, bottom, left, right = (box[:, k, None, None] for k in range(4))
    return (i >= top) & (i < bottom) & (j >= left) & (j < right)
