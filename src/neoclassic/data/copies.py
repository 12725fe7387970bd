"""Which images show the same picture: at another size, quality or brightness, mirrored, or turned by 90, 180 or 270°.

Two images are copies if their 32×32 grey thumbnails correlate by at least NEAR in one of the eight poses of a square.
The search is exact, and its memory is bounded. Most pairs are ruled out by a mark of 35 numbers: the lowest
frequencies of the thumbnail's discrete cosine transform, without their signs, and the two that a turn by 90° exchanges
in order of size. No pose changes a mark, and the marks of two thumbnails are never further apart than the thumbnails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from neoclassic.data.preprocessing import Array

SIDE = 32
THUMBNAIL = (SIDE, SIDE)
NEAR = 0.995  # correlation
APART = math.sqrt(2 - 2 * NEAR) + 1e-4  # of the marks of two copies, at most: |x − y|² = 2 − 2xy for unit vectors
FLAT = 4.0  # grey levels: a thumbnail with a smaller standard deviation shows nothing to compare
FREQUENCIES = 6  # on each axis, in a mark
BLOCK = 1024  # marks, compared with as many others at once
PIECE = 2048  # pairs whose thumbnails are compared at once

POSES = {  # mirrored or not, and quarter turns to the left: what gives the image again; and what the copy is then
    (False, 0): "",
    (False, 1): "turned to the right",
    (False, 2): "upside down",
    (False, 3): "turned to the left",
    (True, 0): "mirrored",
    (True, 1): "mirrored and turned",
    (True, 2): "mirrored and upside down",
    (True, 3): "mirrored and turned",
}


def similar(thumbnails: Array) -> Array:
    """For each of N thumbnails, uint8 N×32×32, the first index among those that show the same picture, directly or
    through others; its own if there are none. N int64."""
    found = np.arange(len(thumbnails))
    textured = np.flatnonzero(np.array([one.std() > FLAT for one in thumbnails], bool))
    for i, j in _candidates(_marks(thumbnails, textured)):
        one, other = _apart(found, textured[i], textured[j])
        for piece in range(0, len(one), PIECE):
            _join(found, thumbnails, one[piece : piece + PIECE], other[piece : piece + PIECE])
    return found


def _join(found: Array, thumbnails: Array, one: Array, other: Array) -> None:
    """Make one group of the groups of those pairs that are copies."""
    one, other = _apart(found, one, other)
    same = poses(thumbnails[one], thumbnails[other])[1] >= NEAR
    for i, j in zip(one[same].tolist(), other[same].tolist(), strict=True):
        first, second = sorted((found[i], found[j]))
        if first != second:
            found[found == second] = first


def _apart(found: Array, one: Array, other: Array) -> tuple[Array, Array]:
    """The pairs that are not in one group yet."""
    apart = found[one] != found[other]
    return one[apart], other[apart]


def pose(one: Array, other: Array) -> str:
    """How a copy differs from an image, from their thumbnails, uint8 32×32: "mirrored" …; "" if it is upright."""
    best, _ = poses(one[None], other[None])
    return list(POSES.values())[int(best[0])]


def poses(one: Array, other: Array) -> tuple[Array, Array]:
    """The pose in which each of M thumbnails resembles its partner most, as an index of POSES, and the correlation.

    An upright copy counts as upright, however symmetric the picture is.
    """
    x, y = _unit(one), _unit(other).reshape(-1, SIDE, SIDE)
    found = []
    for mirrored, turns in POSES:
        turned = np.rot90(y[:, :, ::-1] if mirrored else y, turns, (1, 2))
        found.append(np.einsum("nd,nd->n", x, np.ascontiguousarray(turned).reshape(x.shape)))
    correlation = np.array(found)
    best = np.where(correlation[0] >= NEAR, 0, correlation.argmax(0))
    return best, np.take_along_axis(correlation, best[None], 0)[0]


def _unit(thumbnails: Array) -> Array:
    """Thumbnails as vectors of mean 0 and length 1, float32 N×1024."""
    rows = thumbnails.reshape(-1, SIDE * SIDE).astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


def _marks(thumbnails: Array, chosen: Array) -> Array:
    """The marks of the chosen thumbnails, float32 M×35."""
    frequency, place = np.arange(FREQUENCIES)[:, None], np.arange(SIDE) + 0.5
    cosines = np.cos(np.pi / SIDE * frequency * place) * math.sqrt(2 / SIDE)
    cosines[0] /= math.sqrt(2)
    cosines = cosines.astype(np.float32)
    upper, lower = np.triu_indices(FREQUENCIES)
    marks = np.empty((len(chosen), FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(chosen), BLOCK):
        rows = _unit(thumbnails[chosen[start : start + BLOCK]]).reshape(-1, SIDE, SIDE)
        sizes = np.abs(cosines @ rows @ cosines.T)
        a, b = sizes[:, upper, lower], sizes[:, lower, upper]
        # without the mean, which is 0, and once where row and column have the same frequency
        both = np.maximum(a, b)[:, 1:], np.minimum(a, b)[:, upper != lower]
        marks[start : start + BLOCK] = np.concatenate(both, 1)
    return marks


def _candidates(marks: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of marks that are at most APART, as arrays of indices, at most BLOCK² at once."""
    if len(marks) < 2:
        return
    axis = marks[:, marks.var(0).argmax()]
    order = np.argsort(axis, kind="stable")
    marks, axis = marks[order], axis[order]
    squares, ones = np.square(marks).sum(1, keepdims=True), np.ones((len(marks), 1), np.float32)
    left, right = np.hstack([marks, squares, ones]), np.hstack([-2 * marks, ones, squares])  # left·right = |a − b|²
    for start in range(0, len(marks), BLOCK):
        rows = slice(start, start + BLOCK)
        end = int(np.searchsorted(axis, axis[rows][-1] + APART, side="right"))
        for at in range(start, end, BLOCK):
            near = left[rows] @ right[at : min(at + BLOCK, end)].T <= APART**2
            i, j = np.nonzero(np.triu(near, 1) if at == start else near)
            yield order[start + i], order[at + j]
