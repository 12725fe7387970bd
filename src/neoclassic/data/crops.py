"""Which images are cropped from others: upright or mirrored, at any size, quality, brightness or aspect ratio.

A crop shows a window of another image, of at least half of its width, of its height and of its area. Everything is
compared by the lowest frequencies of the discrete cosine transform of 64×64 grey thumbnails, in three steps:

1. The marks of all images, 32 numbers each, are compared with those of a few windows of every image.
2. Where an image resembles one of these, it is compared with some 200 windows on a grid of places and sizes. The marks
   of all of them are one product of three matrices.
3. The edges of the best windows are moved until image and window agree best: Gauss–Newton on the four edges, which is
   the registration of Lucas and Kanade (1981). A crop then agrees in the finer frequencies as well, and an image that
   has few of them is too plain to tell.

Time grows with the square of the number of images, and memory with the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from neoclassic.data.preprocessing import Array

SIDE = 64
THUMBNAIL = (SIDE, SIDE)
MOST = 20_000  # images that are compared within one or two minutes
WHOLE = 0.98  # of the area: a window that is larger is the image itself

SMALLEST = 0.5  # windows of the grid: of the width, of the height and of the area
SIZES = 6  # lengths of their sides, in equal ratios
STEP = 0.14  # from one window to the next at most, as a share of their length
FEW = 40  # windows of step 1
ALIKE = 0.68  # correlation of a crop's mark with those of step 1, at least
LIKELY = 0.88  # and with those of the grid
TRIES = 8  # images that each may be a crop of, tried in step 3

COARSE, FINE = 6, 16  # frequencies on each axis, in a mark and in the decision
ROUGH, EXACT = (COARSE, COARSE), (8, 12, 12, 12)  # and in the steps of Gauss–Newton
PROMISING = 0.92  # correlation after ROUGH, at least
SHORTEST = 0.45  # side of a window that is moved
NUDGE = 0.004  # of an edge, for a slope
DETAIL = 4  # the sum of the frequencies of rows and columns, from which they count as fine
PLAIN = 4.0  # grey levels: an image whose fine frequencies are weaker shows too little
NEAR = 0.98  # correlation of the fine frequencies of a crop and its window, at least
EVIDENCE = 250.0  # see `_evidence`; handwritten ones reach 200

ROWS, COLUMNS = 8, 2048  # images whose windows are compared at once, and with how many
PIECE = 512  # spectra, or pairs that are fitted, at once

V, U = np.mgrid[:FINE, :FINE]  # frequencies of rows and columns
FINER = U + V >= DETAIL
SIGNS = np.where(U % 2, -1, 1).astype(np.float32)  # what a mirror does to a spectrum
MARK = (U + V > 0) & (U + V < 9) & (U < COARSE) & (V < COARSE)
ORDER = np.argsort(SIGNS[MARK] < 0, kind="stable")  # first what a mirror leaves as it is
EVEN = int((SIGNS[MARK] > 0).sum())
WEIGHTS = np.sqrt(U + V)[MARK][ORDER].astype(np.float32)  # coarse frequencies are strong in every image


@dataclass(frozen=True)
class Crops:
    """Pairs of images, M of them, in the order of the parts.

    whole, part  indices of an image and of one that is cropped from it, int64
    mirrored     whether the part is mirrored, too, bool
    """

    whole: Array
    part: Array
    mirrored: Array


def cropped(thumbnails: Array) -> Crops:
    """Find the crops among N images, from their thumbnails, uint8 N×64×64."""
    everything = np.tile([0.0, 1, 0, 1], (len(thumbnails), 1))
    spectra = np.empty((len(thumbnails), FINE, FINE), np.float32)
    for start in range(0, len(thumbnails), PIECE):
        piece = slice(start, start + PIECE)
        spectra[piece] = _spectra(thumbnails[piece], everything[piece], FINE)
    chosen = np.flatnonzero(np.linalg.norm(spectra[:, FINER], axis=1) >= PLAIN)
    thumbnails, spectra = thumbnails[chosen], spectra[chosen]
    marks = _marks(spectra)
    whole, part, window = _candidates(thumbnails, marks)
    found, mirrored = np.zeros(len(part), bool), np.zeros(len(part), bool)
    for start in range(0, len(part), PIECE):
        piece = slice(start, start + PIECE)
        images, windows = thumbnails[whole[piece]].astype(np.float32), _grid().windows[window[piece]]
        seen = _marks(_spectra(images, windows, COARSE))
        mirrored[piece] = np.einsum("nd,nd->n", seen[:, EVEN:], marks[part[piece], EVEN:]) < 0
        targets = np.where(mirrored[piece, None, None], SIGNS, 1) * spectra[part[piece]]
        found[piece] = _agree(images, windows, targets)
    return Crops(chosen[whole[found]], chosen[part[found]], mirrored[found])


# ── spectra and marks ────────────────────────────────────────────────────────────────────────────────


def _waves(start: Array, stop: Array, count: int) -> Array:
    """The matrices that take the lowest frequencies of intervals of a row of SIDE pixels, float32 N×count×SIDE.

    start, stop: as shares of the row. The mean is frequency 0; the others do not see it.
    """
    start, stop = start[:, None], stop[:, None]
    edges = np.arange(SIDE + 1) / SIDE
    inside = (np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)).clip(0)
    inside = (inside / inside.sum(1, keepdims=True))[:, None]
    place = ((edges[1:] + edges[:-1]) / 2 - start) / (stop - start)
    waves: Array = np.cos(np.pi * np.arange(count)[:, None] * place[:, None]) * inside
    waves[:, 1:] -= waves[:, 1:].sum(-1, keepdims=True) * inside
    waves[:, 1:] *= np.sqrt(2)
    return waves.astype(np.float32, copy=False)


def _spectra(images: Array, windows: Array, count: int) -> Array:
    """The lowest frequencies of a window of each of N images, in grey levels, float32 N×count×count.

    windows: top, bottom, left and right edge, as shares of the sides, N×4.
    """
    top, bottom, left, right = windows.T
    rows = _waves(top, bottom, count) @ images.astype(np.float32)
    spectra: Array = rows @ _waves(left, right, count).transpose(0, 2, 1)
    return spectra


def _marks(spectra: Array) -> Array:
    """Unit vectors of spectra, float32 …×32. A mirror changes the signs of all numbers from EVEN on."""
    n = spectra.shape[-1]
    marks: Array = spectra[..., MARK[:n, :n]][..., ORDER] * WEIGHTS
    marks /= np.maximum(np.linalg.norm(marks, axis=-1, keepdims=True), 1e-6)
    return marks


@dataclass(frozen=True)
class _Grid:
    """The windows that every image is divided into.

    windows        K×4, see `_spectra`
    few            indices of FEW windows that are far from each other
    waves          of the intervals of which rows and columns are pairs
    rows, columns  of each window, indices of intervals
    """

    windows: Array
    few: Array
    waves: Array
    rows: Array
    columns: Array

    def marks(self, images: Array) -> Array:
        """The marks of all windows of N images, float32 N×K×32."""
        n = len(self.waves) // COARSE
        spectra = (self.waves @ images.astype(np.float32) @ self.waves.T).reshape(-1, n, COARSE, n, COARSE)
        return _marks(spectra[:, self.rows, :, self.columns].swapaxes(0, 1))


@cache
def _grid() -> _Grid:
    intervals = []
    for length in SMALLEST ** np.linspace(0, 1, SIZES):
        n = int(np.ceil((1 - length) / (STEP * length) - 1e-9)) + 1
        intervals += [(start, start + length) for start in np.linspace(0, 1 - length, n)]
    start, stop = np.array(intervals).T
    rows, columns = np.nonzero(np.outer(stop - start, stop - start) >= SMALLEST - 1e-9)
    windows = np.stack([start[rows], stop[rows], start[columns], stop[columns]], 1)
    few = [0]
    distance = np.square(windows - windows[0]).sum(1)
    while len(few) < FEW:
        few.append(int(distance.argmax()))
        distance = np.minimum(distance, np.square(windows - windows[few[-1]]).sum(1))
    return _Grid(windows, np.array(few), _waves(start, stop, COARSE).reshape(-1, SIDE), rows, columns)


# ── steps 1 and 2 ────────────────────────────────────────────────────────────────────────────────────


def _candidates(thumbnails: Array, marks: Array) -> tuple[Array, Array, Array]:
    """Pairs of images of which the second may be cropped from the first: for each, at most TRIES, the likeliest.

    Returns the indices of both, and of the window that resembles the second most.
    """
    best = np.full((len(marks), TRIES), LIKELY, np.float32)
    wholes, windows = np.full(best.shape, -1), np.zeros(best.shape, np.int64)
    for start in range(0, len(marks), ROWS):
        grids = _grid().marks(thumbnails[start : start + ROWS])
        for whole, (grid, parts) in enumerate(zip(grids, _alike(grids, marks), strict=True), start):
            parts = parts[parts != whole]
            correlation = _correlation(grid, marks[parts])
            score, worst = correlation.max(0), best[parts].argmin(1)
            better = np.flatnonzero(score > best[parts, worst])
            place = parts[better], worst[better]
            best[place], wholes[place] = score[better], whole
            windows[place] = correlation[:, better].argmax(0)
    part, column = np.nonzero(wholes >= 0)
    return wholes[part, column], part, windows[part, column]


def _alike(grids: Array, marks: Array) -> list[Array]:
    """For each image of the grids, N×K×32, the indices of the marks that resemble one of its FEW windows."""
    few = grids[:, _grid().few].reshape(-1, grids.shape[2])
    alike = np.empty((len(grids), len(marks)), bool)
    for start in range(0, len(marks), COLUMNS):
        piece = slice(start, start + COLUMNS)
        alike[:, piece] = _correlation(few, marks[piece]).reshape(len(grids), FEW, -1).max(1) > ALIKE
    return [np.flatnonzero(each) for each in alike]


def _correlation(some: Array, others: Array) -> Array:
    """The correlation of each of M marks with each of N, upright or mirrored, whichever is higher, M×N."""
    correlation: Array = some[:, :EVEN] @ others[:, :EVEN].T
    odd = some[:, EVEN:] @ others[:, EVEN:].T
    correlation += np.abs(odd, out=odd)
    return correlation


# ── step 3 ───────────────────────────────────────────────────────────────────────────────────────────


def _agree(images: Array, windows: Array, targets: Array) -> Array:
    """Whether a window of each of N images, near the given one, has the target's spectrum, bool N."""
    for count in ROUGH:
        windows = _moved(images, windows, targets, count)
    near = _cosine(*(_flat(each[:, :COARSE, :COARSE]) for each in (_spectra(images, windows, COARSE), targets)))
    chosen = np.flatnonzero(near >= PROMISING)
    agree = np.zeros(len(images), bool)
    if len(chosen):
        images, windows, targets = images[chosen], windows[chosen], targets[chosen]
        for count in EXACT:
            windows = _moved(images, windows, targets, count)
        top, bottom, left, right = windows.T
        fine = targets[:, FINER]
        cosine = _cosine(_spectra(images, windows, FINE)[:, FINER], fine)
        enough = (cosine >= NEAR) & (_evidence(cosine, fine) >= EVIDENCE)
        agree[chosen] = enough & ((bottom - top) * (right - left) <= WHOLE)
    return agree


def _moved(images: Array, windows: Array, targets: Array, count: int) -> Array:
    """The windows after one step of Gauss–Newton towards spectra that are multiples of the targets'."""
    now, slopes = _slopes(images, windows, count)
    target = _flat(targets[:, :count, :count])
    target = target / np.maximum(np.linalg.norm(target, axis=1, keepdims=True), 1e-6)
    size = np.maximum(np.linalg.norm(now, axis=1), 1e-6)[:, None]
    slopes = slopes / size[..., None]
    slopes -= target[..., None] * np.einsum("nd,ndk->nk", target, slopes)[:, None]  # contrast may differ
    gap = now / size - target * np.einsum("nd,nd->n", target, now / size)[:, None]
    square = np.einsum("ndk,ndl->nkl", slopes, slopes) + 0.01 * np.eye(4)
    step = np.linalg.solve(square, np.einsum("ndk,nd->nk", slopes, gap)[..., None])[..., 0]
    moved: Array = windows - step.clip(-0.08, 0.08)
    moved[:, ::2] = moved[:, ::2].clip(0, 1 - SHORTEST)
    moved[:, 1::2] = np.clip(moved[:, 1::2], moved[:, ::2] + SHORTEST, 1)
    return moved


def _slopes(images: Array, windows: Array, count: int) -> tuple[Array, Array]:
    """The spectra of the windows without the mean, N×D, and how they change with each edge, N×D×4."""
    top, bottom, left, right = windows.T
    y, x = _waves(top, bottom, count), _waves(left, right, count)
    rows, columns = y @ images, images @ x.transpose(0, 2, 1)
    moved_y = [_waves(top + NUDGE, bottom, count), _waves(top, bottom + NUDGE, count)]
    moved_x = [_waves(left + NUDGE, right, count), _waves(left, right + NUDGE, count)]
    changes = [(moved - y) @ columns for moved in moved_y]
    changes += [rows @ (moved - x).transpose(0, 2, 1) for moved in moved_x]
    return _flat(y @ columns), np.stack([_flat(change) for change in changes], 2) / NUDGE


def _evidence(cosine: Array, spectra: Array) -> Array:
    """How little chance explains such a correlation, N.

    In d dimensions, chance gives a correlation of r or more in about (1 − r²)^(d/2) of all cases; this is minus the
    logarithm of it. d is the number of frequencies that matter in a spectrum, N×D: (Σ|x|)² / Σx².
    """
    d = np.square(np.abs(spectra).sum(1)) / np.square(spectra).sum(1)
    evidence: Array = -d / 2 * np.log(np.maximum(1 - np.square(cosine), 1e-6))
    return evidence


def _cosine(some: Array, others: Array) -> Array:
    """The correlation of each row with the other one, N."""
    sizes = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    cosine: Array = np.einsum("nd,nd->n", some, others) / np.maximum(sizes, 1e-6)
    return cosine


def _flat(spectra: Array) -> Array:
    """Spectra as vectors, without the mean."""
    return spectra.reshape(len(spectra), -1)[:, 1:]
