# ruff: noqa: E741 (O is the letter for output channels)
"""3×3 convolution of stride 1 with 16 products instead of 36: Winograd's F(2×2, 3×3).

    y = Aᵀ · [(G · g · Gᵀ) ⊙ (Bᵀ · d · B)] · A        for each tile of 2×2 outputs y, 4×4 inputs d and a 3×3 kernel g

Winograd 1980; for networks Lavin & Gray 2015, arXiv 1509.09308. Bᵀ and Aᵀ contain only 0, 1 and −1, so these products
are additions; the ⊙, summed over the channels, is 16 matrix products. Every step is linear, so its gradient is its
transpose: what forward reads from one place and adds to another, backward reads from there and adds back.

    C  input channels    O  output channels    N  images    h, w  number of tiles along each axis, plus one
    L  h · w · N, all tiles in one line; the last row and column of tiles are unused
    T  length of a block of that line

The padded map is split by the parity of rows and columns into four parts: x_22CL[a, b] holds the pixels
(2r + a, 2c + b). Then the tile to the right is N steps further along the line and the tile below w · N steps, and
additions and products run over long contiguous blocks of the line, each small enough for the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result

BLOCK = 1 << 18  # numbers in the transformed tiles of one block

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def pays(k: int, stride: int, padding: int, C: int, O: int, H: int, W: int) -> bool:
    """Whether this method can compute a convolution, and is faster for it."""
    Ho, Wo = H + 2 * padding - 2, W + 2 * padding - 2
    h, w = (Ho + 1) // 2 + 1, (Wo + 1) // 2 + 1
    return k == 3 and stride == 1 and padding <= 2 and min(C, O) >= 128 and 16 * (h - 1) * w < 9 * Ho * Wo


def conv3x3(x_CHWN: Array, w_OIkk: Array, b_O: Array, padding: int, new: New, need_dx: bool) -> Result:
    """y = w ⋆ x + b, stride 1."""
    C, H, W, N = x_CHWN.shape
    O = len(w_OIkk)
    Ho, Wo = H + 2 * padding - 2, W + 2 * padding - 2
    h, w = (Ho + 1) // 2 + 1, (Wo + 1) // 2 + 1
    below, right = w * N, N  # steps to the tile below, and to the tile on the right
    GG_16_9 = np.kron(G, G).astype(x_CHWN.dtype)  # G · g · Gᵀ of every kernel is one product with its nine numbers
    u_16OC = np.matmul(GG_16_9, w_OIkk.reshape(O * C, 9).T).reshape(16, O, C)
    blocks = list(_blocks(h * w * N - below - right, max(C, O)))

    x_22CL, y_22OL = _split(x_CHWN, padding, h, w, new), new((2, 2, O, h * w * N))
    for start, stop in blocks:
        v_16CT = _inputs(x_22CL[..., start : stop + below + right], below, right, new)
        m_16OT = np.matmul(u_16OC, v_16CT, out=new((16, O, stop - start)))
        _outputs(m_16OT, y_22OL[..., start:stop], new)
    y_OHWN = new((O, Ho, Wo, N))
    _interleave(y_22OL, y_OHWN, 0, h, w)
    if len(b_O):
        y_OHWN += b_O[:, None, None, None]
    del x_22CL, y_22OL

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        x_22CL, dy_22OL = _split(x_CHWN, padding, h, w, new), _split(dy_OHWN, 0, h, w, new)
        du_16OC, part_16OC = np.zeros_like(u_16OC), new(u_16OC.shape)
        dx_22CL = new(x_22CL.shape)
        dx_22CL[...] = 0
        for start, stop in blocks:
            inputs = slice(start, stop + below + right)
            dm_16OT = _outputs_back(dy_22OL[..., start:stop], new)
            v_16CT = _inputs(x_22CL[..., inputs], below, right, new)
            du_16OC += np.matmul(dm_16OT, v_16CT.transpose(0, 2, 1), out=part_16OC)
            if need_dx:
                dv_16CT = np.matmul(u_16OC.transpose(0, 2, 1), dm_16OT, out=v_16CT)
                _inputs_back(dv_16CT, dx_22CL[..., inputs], below, right, new)
        dw_OIkk = np.matmul(du_16OC.reshape(16, -1).T, GG_16_9).reshape(w_OIkk.shape)
        dx_CHWN = new(x_CHWN.shape) if need_dx else None
        if dx_CHWN is not None:
            _interleave(dx_22CL, dx_CHWN, padding, h, w)
        return dx_CHWN, dw_OIkk, dy_OHWN.reshape(O, -1).sum(1) if len(b_O) else None

    return y_OHWN, backward


def _blocks(tiles: int, channels: int) -> Iterator[tuple[int, int]]:
    """The line in blocks of nearly equal length, as (start, stop)."""
    count = max(1, min(-(-16 * channels * tiles // BLOCK), tiles // 256))
    for i in range(count):
        yield tiles * i // count, tiles * (i + 1) // count


# ── a map and its four parts ─────────────────────────────────────────────────────────────────────────


def _split(x_CHWN: Array, padding: int, h: int, w: int, new: New) -> Array:
    """The padded map split by parity, with zeros where it has no pixels."""
    C, H, W, N = x_CHWN.shape
    x_22ChwN = new((2, 2, C, h, w, N))
    x_22ChwN[...] = 0
    for part, pixels in zip(_parts(x_22ChwN, H, W, padding), _pixels(x_CHWN, padding), strict=True):
        part[...] = pixels
    return x_22ChwN.reshape(2, 2, C, h * w * N)


def _interleave(x_22CL: Array, x_CHWN: Array, padding: int, h: int, w: int) -> None:
    """The inverse of `_split`: put the parts back into a map, without the padding and the unused tiles."""
    C, H, W, N = x_CHWN.shape
    x_22ChwN = x_22CL.reshape(2, 2, C, h, w, N)
    for part, pixels in zip(_parts(x_22ChwN, H, W, padding), _pixels(x_CHWN, padding), strict=True):
        pixels[...] = part


def _pixels(x_CHWN: Array, padding: int) -> Iterator[Array]:
    """The pixels of the map that belong to each of the four parts."""
    for a in (0, 1):
        for b in (0, 1):
            yield x_CHWN[:, (a + padding) % 2 :: 2, (b + padding) % 2 :: 2]


def _parts(x_22ChwN: Array, H: int, W: int, padding: int) -> Iterator[Array]:
    """Where these pixels are in the four parts, after the padding."""

    def position(size: int, parity: int) -> slice:
        first = (parity + padding) % 2
        start = (first + padding) // 2
        return slice(start, start + (size - first + 1) // 2)

    for a in (0, 1):
        for b in (0, 1):
            yield x_22ChwN[a, b, :, position(H, a), position(W, b)]


# ── v = Bᵀ · d · B and y = Aᵀ · m · A, with their transposes: along the rows, then along the columns ────────────────


def _inputs(x_22CL: Array, below: int, right: int, new: New) -> Array:
    """v = Bᵀ · d · B for every tile of a block, which reads the tiles below and on the right."""
    C, T = x_22CL.shape[2], x_22CL.shape[3] - below - right
    r_42CT, v_44CT = new((4, 2, C, T + right)), new((4, 4, C, T))
    _four(x_22CL, r_42CT, below)
    _four(r_42CT.swapaxes(0, 1), v_44CT.swapaxes(0, 1), right)
    return v_44CT.reshape(16, C, T)


def _inputs_back(dv_16CT: Array, dx_22CL: Array, below: int, right: int, new: New) -> None:
    _, C, T = dv_16CT.shape
    dr_42CT = new((4, 2, C, T + right))
    dr_42CT[...] = 0
    _four_back(dv_16CT.reshape(4, 4, C, T).swapaxes(0, 1), dr_42CT.swapaxes(0, 1), right)
    _four_back(dr_42CT, dx_22CL, below)


def _outputs(m_16OT: Array, y_22OT: Array, new: New) -> None:
    """y = Aᵀ · m · A for every tile."""
    _, O, T = m_16OT.shape
    s_24OT = new((2, 4, O, T))
    _two(m_16OT.reshape(4, 4, O, T), s_24OT)
    _two(s_24OT.swapaxes(0, 1), y_22OT.swapaxes(0, 1))


def _outputs_back(dy_22OT: Array, new: New) -> Array:
    _, _, O, T = dy_22OT.shape
    ds_42OT, dm_44OT = new((4, 2, O, T)), new((4, 4, O, T))
    _two_back(dy_22OT, ds_42OT)
    _two_back(ds_42OT.swapaxes(0, 1), dm_44OT.swapaxes(0, 1))
    return dm_44OT.reshape(16, O, T)


def _pixels_of(d: Array, T: int, step: int) -> tuple[Array, Array, Array, Array]:
    """d₀ … d₃ of every tile: the two parities of d are pixels 0 and 1; those of the next tile are pixels 2 and 3."""
    return d[0, ..., :T], d[1, ..., :T], d[0, ..., step : step + T], d[1, ..., step : step + T]


def _four(d: Array, t: Array, step: int) -> None:
    """t = Bᵀ · d."""
    d0, d1, d2, d3 = _pixels_of(d, t.shape[-1], step)
    np.subtract(d0, d2, out=t[0])
    np.add(d1, d2, out=t[1])
    np.subtract(d2, d1, out=t[2])
    np.subtract(d1, d3, out=t[3])


def _four_back(dt: Array, dd: Array, step: int) -> None:
    """dd = dd + B · dt."""
    dd0, dd1, dd2, dd3 = _pixels_of(dd, dt.shape[-1], step)
    dd0 += dt[0]
    dd2 -= dt[0]
    dd1 += dt[1]
    dd2 += dt[1]
    dd2 += dt[2]
    dd1 -= dt[2]
    dd1 += dt[3]
    dd3 -= dt[3]


def _two(m: Array, y: Array) -> None:
    """y = Aᵀ · m."""
    np.add(m[0], m[1], out=y[0])
    y[0] += m[2]
    np.subtract(m[1], m[2], out=y[1])
    y[1] -= m[3]


def _two_back(dy: Array, dm: Array) -> None:
    """dm = A · dy."""
    np.copyto(dm[0], dy[0])
    np.add(dy[0], dy[1], out=dm[1])
    np.subtract(dy[0], dy[1], out=dm[2])
    np.negative(dy[1], out=dm[3])
