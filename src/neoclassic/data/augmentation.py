"""Augmentation of whole batches: what is drawn, on the host, from a generator; what is done with it, anywhere.

`Augmentation.draw` makes a few small NumPy arrays. `augment` and `mix` are written once for NumPy and torch, whose
functions they call by the names that both have: the same draw gives the same images on every engine and device.

Legend: N images, H height, W width, C channels; i, j rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from neoclassic.base.records import require
from neoclassic.data.preprocessing import Array, Preprocessing

ERASED = (0.02, 1 / 3)  # of the image's area, and Zhong et al.'s aspect ratios from 0.3 to 1/0.3
ASPECTS = (0.3, 1 / 0.3)
COLOURS = 1_000_000  # pixels that are enough to tell how colours vary


@dataclass(frozen=True)
class Augmentation:
    """What is done to a batch of training images, at random. Nothing, unless told otherwise.

    pad       pixels of black around the image, of which a crop of its own size is taken
    flip      mirrored, every second image
    shift     moved by at most this fraction of height and width
    rotate    turned by at most so many degrees
    scale     enlarged or made smaller by at most this fraction
    colour    deviation of the shifts along the principal components of the training set's colours; AlexNet's is 0.1
    erase     probability of a rectangle at the training set's mean; Zhong et al. 2017, arXiv 1708.04896
    mixup     α of the weight of another image; Zhang et al. 2018, arXiv 1710.09412
    cutmix    α of the area cut from another image; Yun et al. 2019, arXiv 1905.04899; with mixup, one or the other
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

    def checked(self) -> Augmentation:
        """Itself. UsageError for a value that cannot be."""
        for field, most in zip(fields(self), (512, 1, 1, 180, 0.9, 10, 1, 100, 100), strict=True):
            value = getattr(self, field.name)
            require(field.name, value, 0 <= value <= most, f"from 0 to {most}")
        return self

    @property
    def mixes(self) -> bool:
        """Whether images, and so labels, are mixed."""
        return bool(self.mixup or self.cutmix)

    def draw(self, n: int, size: tuple[int, int], rng: np.random.Generator, colours: Array | None = None) -> Draw:
        """For n images of height and width `size`. colours: what `principal_colours` found, C×C."""
        h, w = size
        rows, columns = (np.broadcast_to(np.arange(side), (n, side)) for side in (h, w))
        if self.pad:
            corners = rng.integers(0, 2 * self.pad + 1, (2, n, 1)) - self.pad
            rows, columns = rows + corners[0], columns + corners[1]
        if self.flip:
            columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
        return Draw(
            rows=rows if self.pad else None,
            columns=columns if self.pad or self.flip else None,
            affine=self._affine(n, size, rng) if self.shift or self.rotate or self.scale else None,
            colour=_shifts(n, self.colour, colours, rng) if self.colour and colours is not None else None,
            erased=_boxes(n, self.erase, size, rng) if self.erase else None,
            mixture=self._mixture(n, size, rng) if self.mixes and n else None,
        )

    def _affine(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> Array:
        """N×2×3, from a pixel of the new image to its place in the old one, about the middle."""
        h, w = size
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate, n))
        zoom = 1 / (1 + rng.uniform(-self.scale, self.scale, n))
        move = rng.uniform(-self.shift, self.shift, (n, 2)) * (h, w)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
        turn *= zoom[:, None, None]
        middle = np.array([(h - 1) / 2, (w - 1) / 2])
        return np.concatenate([turn, (middle - turn @ middle - move)[:, :, None]], 2).astype(np.float32)

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
    """Each image keeps a part of itself, the rest is its partner's; `box` is what is cut, else all is mixed."""

    partner: Array
    kept: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Draw:
    """What was drawn for one batch; None for what is not done.

    rows, columns  N×H and N×W, where each comes from; outside of the image is black
    affine         N×2×3: (i, j) ← A (i, j, 1)
    colour         N×C, added to values in [0, 1]
    erased         N×4: top, bottom, left, right
    mixture        with which other image of the batch
    """

    rows: Array | None = None
    columns: Array | None = None
    affine: Array | None = None
    colour: Array | None = None
    erased: Array | None = None
    mixture: Mixture | None = None

    def part(self, images: slice) -> Draw:
        """For some images of the batch, unmixed."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "mixture"}
        return replace(self, mixture=None, **{k: v if v is None else v[images] for k, v in values.items()})


def principal_colours(images: Array) -> Array:
    """C×C of uint8 N×H×W×C: the principal components of the values in [0, 1], each times its variance, as rows.

    A. Krizhevsky, I. Sutskever, G. Hinton 2012, section 4.1.
    """
    channels = images.shape[3]
    values = images[:: max(len(images) // 4096, 1)].reshape(-1, channels)
    values = values[:: len(values) // COLOURS | 1].astype(np.float64) / 255  # an odd step, so no column is left out
    variances, vectors = np.linalg.eigh(np.atleast_2d(np.cov(values.T)))
    vectors *= np.sign(vectors.sum(0)) + (vectors.sum(0) == 0)  # eigenvectors have no sign of their own
    found: Array = (vectors * variances).T
    return found


def _shifts(n: int, deviation: float, colours: Array, rng: np.random.Generator) -> Array:
    drawn: Array = (rng.standard_normal((n, len(colours))) * deviation) @ colours
    return drawn.astype(np.float32)


def _boxes(n: int, probability: float, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """N×4; an empty box where nothing is erased."""
    h, w = size
    area = rng.uniform(*ERASED, n) * h * w
    aspect = np.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1]), n))
    tall = np.clip(np.sqrt(area * aspect).round(), 1, h).astype(int)
    wide = np.clip(np.sqrt(area / aspect).round(), 1, w).astype(int)
    top = (rng.random(n) * (h - tall + 1)).astype(int)
    left = (rng.random(n) * (w - wide + 1)).astype(int)
    hit = rng.random(n) < probability
    return np.stack([top, top + tall * hit, left, left + wide], 1)


# ── done with NumPy or torch ─────────────────────────────────────────────────────────────────────────

Put = Callable[[Any], Any]  # from a NumPy array to one where the images are


def augment(x_NHWC: Any, draw: Draw, p: Preprocessing, xp: Any, put: Put) -> Any:
    """float32 N×H×W×C, normalised as p says, of uint8 N×H×W×C. xp: numpy or torch."""
    if draw.rows is not None or draw.columns is not None:
        x_NHWC = _gathered(x_NHWC, draw, xp, put)
    x_NHWC = xp.asarray(x_NHWC, dtype=xp.float32)
    if draw.affine is not None:
        x_NHWC = _sampled(x_NHWC, put(draw.affine), xp, put)
    x_NHWC = x_NHWC / put(np.array([255], np.float32))  # by a number, CUDA multiplies with its rounded inverse instead
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
    """Images and targets, each with its partner's."""
    partner, kept = put(mixture.partner), mixture.kept
    t_NK = t_NK * kept + t_NK[partner] * (1 - kept)
    if mixture.box is None:
        return x_NHWC * kept + x_NHWC[partner] * (1 - kept), t_NK
    top, bottom, left, right = mixture.box
    taken = x_NHWC[partner][:, top:bottom, left:right]  # a copy: the partner's own box is replaced too
    x_NHWC[:, top:bottom, left:right] = taken
    return x_NHWC, t_NK


def _gathered(x_NHWC: Any, draw: Draw, xp: Any, put: Put) -> Any:
    N, H, W, _ = x_NHWC.shape
    rows = np.broadcast_to(np.arange(H), (N, H)) if draw.rows is None else draw.rows
    columns = np.broadcast_to(np.arange(W), (N, W)) if draw.columns is None else draw.columns
    images = put(np.arange(N))[:, None, None]
    found = x_NHWC[images, put(rows.clip(0, H - 1))[:, :, None], put(columns.clip(0, W - 1))[:, None, :]]
    if draw.rows is None:
        return found
    there = put((rows >= 0) & (rows < H))[:, :, None] & put((columns >= 0) & (columns < W))[:, None, :]
    return found * there[..., None]


def _sampled(x_NHWC: Any, affine: Any, xp: Any, put: Put) -> Any:
    """Bilinear: each new pixel from the four around its place in the old image; what is outside is black."""
    N, H, W, _ = x_NHWC.shape
    i, j = put(np.arange(H, dtype=np.float32))[None, :, None], put(np.arange(W, dtype=np.float32))[None, None, :]
    a = affine[:, :, :, None, None]
    y, x = (a[:, k, 0] * i + a[:, k, 1] * j + a[:, k, 2] for k in (0, 1))
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
    _, H, W, _ = shape
    i, j = put(np.arange(H))[None, :, None], put(np.arange(W))[None, None, :]
    top, bottom, left, right = (box[:, k, None, None] for k in range(4))
    return (i >= top) & (i < bottom) & (j >= left) & (j < right)
