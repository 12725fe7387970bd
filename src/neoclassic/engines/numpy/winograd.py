# ruff: noqa: E741 (O is the letter for output channels)
"""3×3 convolution of stride 1 with 16 products where the plain way takes 36: Winograd's F(2×2, 3×3).

    y = Aᵀ · [(G · g · Gᵀ) ⊙ (Bᵀ · d · B)] · A        for each tile of 2×2 outputs y, 4×4 inputs d and a 3×3 kernel g

Winograd 1980; for networks Lavin & Gray 2015, arXiv 1509.09308. Bᵀ and Aᵀ hold only 0, 1 and −1, so they are additions;
the ⊙, summed over the channels, is 16 matrix products. Every step is linear, so its gradient is its transpose:
whatever forward reads from one place and adds to another, backward reads from there and adds back.

    C  input channels    O  output channels    N  images    h, w  tiles, and one more, along each axis
    L  h · w · N, all tiles in one line; the last row and column of tiles are waste that nobody reads
    T  a stretch of that line

The padded map is split by the parity of rows and columns into four parts, x_22CL[a, b] holding the pixels
(2r + a, 2c + b). Then the next tile is N steps along the line, the tile below is w · N steps, and all additions, and
the products, run over long stretches of the line, one after the other as the cache has room for them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result

STRETCH = 1 << 18  # numbers in the transformed tiles of one stretch

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def pays(k: int, stride: int, padding: int, C: int, O: int, H: int, W: int) -> bool:
    """Whether a convolution is of this kind, and large enough to gain."""
    Ho, Wo = H + 2 * padding - 2, W + 2 * padding - 2
    h, w = (Ho + 1) // 2 + 1, (Wo + 1) // 2 + 1
    return k == 3 and stride == 1 and padding <= 2 and min(C, O) >= 128 and 16 * (h - 1) * w < 9 * Ho * Wo


def conv3x3(x_CHWN: Array, w_OIkk: Array, b_O: Array, padding: int, new: New, need_dx: bool) -> Result:
    """y = w ⋆ x + b, stride 1."""
    C, H, W, N = x_CHWN.shape
    O = len(w_OIkk)
    Ho, Wo = H + 2 * padding - 2, W + 2 * padding - 2
    h, w = (Ho + 1) // 2 + 1, (Wo + 1) // 2 + 1
    below, beside = w * N, N  # the steps to the tile below, and to the next tile
    GG_16_9 = np.kron(G, G).astype(x_CHWN.dtype)  # G · g · Gᵀ of every kernel is one product with its nine numbers
    u_16OC = np.matmul(GG_16_9, w_OIkk.reshape(O * C, 9).T).reshape(16, O, C)
    stretches = list(_stretches(h * w * N - below - beside, max(C, O)))

    x_22CL, y_22OL = _split(x_CHWN, padding, h, w, new), new((2, 2, O, h * w * N))
    for start, stop in stretches:
        v_16CT = _inputs(x_22CL[..., start : stop + below + beside], below, beside, new)
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
        for start, stop in stretches:
            seen = slice(start, stop + below + beside)
            dm_16OT = _outputs_back(dy_22OL[..., start:stop], new)
            v_16CT = _inputs(x_22CL[..., seen], below, beside, new)
            du_16OC += np.matmul(dm_16OT, v_16CT.transpose(0, 2, 1), out=part_16OC)
            if need_dx:
                dv_16CT = np.matmul(u_16OC.transpose(0, 2, 1), dm_16OT, out=v_16CT)
                _inputs_back(dv_16CT, dx_22CL[..., seen], below, beside, new)
        dw_OIkk = np.matmul(du_16OC.reshape(16, -1).T, GG_16_9).reshape(w_OIkk.shape)
        dx_CHWN = new(x_CHWN.shape) if need_dx else None
        if dx_CHWN is not None:
            _interleave(dx_22CL, dx_CHWN, padding, h, w)
        return dx_CHWN, dw_OIkk, dy_OHWN.reshape(O, -1).sum(1) if len(b_O) else None

    return y_OHWN, backward


def _stretches(tiles: int, channels: int) -> Iterator[tuple[int, int]]:
    """The line in stretches of nearly equal length, as (start, stop)."""
    count = max(1, min(-(-16 * channels * tiles // STRETCH), tiles // 256))
    for i in range(count):
        yield tiles * i // count, tiles * (i + 1) // count


# ── a map, and its four parts ────────────────────────────────────────────────────────────────────────


def _split(x_CHWN: Array, padding: int, h: int, w: int, new: New) -> Array:
    """The padded map by parity, zeros wherever it has no pixels."""
    C, H, W, N = x_CHWN.shape
    x_22ChwN = new((2, 2, C, h, w, N))
    x_22ChwN[...] = 0
    for part, pixels in zip(_parts(x_22ChwN, H, W, padding), _pixels(x_CHWN, padding), strict=True):
        part[...] = pixels
    return x_22ChwN.reshape(2, 2, C, h * w * N)


def _interleave(x_22CL: Array, x_CHWN: Array, padding: int, h: int, w: int) -> None:
    """`_split` undone: the parts put back into a map, padding and waste left out."""
    C, H, W, N = x_CHWN.shape
    x_22ChwN = x_22CL.reshape(2, 2, C, h, w, N)
    for part, pixels in zip(_parts(x_22ChwN, H, W, padding), _pixels(x_CHWN, padding), strict=True):
        pixels[...] = part


def _pixels(x_CHWN: Array, padding: int) -> Iterator[Array]:
    """The pixels that fall into each of the four parts when the map is padded."""
    for a in (0, 1):
        for b in (0, 1):
            yield x_CHWN[:, (a + padding) % 2 :: 2, (b + padding) % 2 :: 2]


def _parts(x_22ChwN: Array, H: int, W: int, padding: int) -> Iterator[Array]:
    """Where in the four parts the pixels are: padding first."""

    def place(size: int, parity: int) -> slice:
        first = (parity + padding) % 2
        start = (first + padding) // 2
        return slice(start, start + (size - first + 1) // 2)

    for a in (0, 1):
        for b in (0, 1):
            yield x_22ChwN[a, b, :, place(H, a), place(W, b)]


# ── v = Bᵀ · d · B and y = Aᵀ · m · A, with their transposes: along the rows, then along the columns ────────────────


def _inputs(x_22CL: Array, below: int, beside: int, new: New) -> Array:
    """v = Bᵀ · d · B for every tile of a stretch, which sees the tiles below and beside it."""
    C, T = x_22CL.shape[2], x_22CL.shape[3] - below - beside
    r_42CT, v_44CT = new((4, 2, C, T + beside)), new((4, 4, C, T))
    _four(x_22CL, r_42CT, below)
    _four(r_42CT.swapaxes(0, 1), v_44CT.swapaxes(0, 1), beside)
    return v_44CT.reshape(16, C, T)


def _inputs_back(dv_16CT: Array, dx_22CL: Array, below: int, beside: int, new: New) -> None:
    _, C, T = dv_16CT.shape
    dr_42CT = new((4, 2, C, T + beside))
    dr_42CT[...] = 0
    _four_back(dv_16CT.reshape(4, 4, C, T).swapaxes(0, 1), dr_42CT.swapaxes(0, 1), beside)
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
    """d₀ … d₃ of every tile: d holds the parities, 0 and 1; one tile further they are 2 and 3."""
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
