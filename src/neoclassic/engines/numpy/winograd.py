# ruff: noqa: E741 (O is the letter for output channels)
"""3×3 convolution of stride 1 with 16 products where the plain way takes 36: Winograd's F(2×2, 3×3).

    y = Aᵀ · [(G · g · Gᵀ) ⊙ (Bᵀ · d · B)] · A        for each tile of 2×2 outputs y, 4×4 inputs d and a 3×3 kernel g

Winograd 1980; for networks Lavin & Gray 2015, arXiv 1509.09308. Bᵀ and Aᵀ hold only 0, 1 and −1, so they are additions;
the ⊙, summed over the channels, is 16 matrix products. Every step is linear, so its gradient is its transpose:
whatever forward reads from one place and adds to another, backward reads from there and adds back.

    C  input channels    O  output channels    N  images    h, w  tiles, and one more, along each axis
    L  h · w · N, the tiles of all images in one line; the last row and column of each image are waste

The padded map is split by the parity of rows and columns into four parts, x_22CL[a, b] holding the pixels
(2r + a, 2c + b). Then the next tile is N steps along the line, the tile below is w · N steps, and every addition is one
run over all channels and images; what it mixes across the end of a line goes into waste, which is never read back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result

BLOCK = 1 << 19

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def pays(k: int, stride: int, padding: int, C: int, O: int, H: int, W: int) -> bool:
    """Whether a convolution is of this kind, and large enough to gain."""
    Ho, Wo = H + 2 * padding - 2, W + 2 * padding - 2
    h, w = (Ho + 1) // 2 + 1, (Wo + 1) // 2 + 1
    return k == 3 and stride == 1 and padding <= 2 and min(C, O) >= 8 and 16 * h * w < 0.75 * 9 * Ho * Wo


def conv3x3(x_CHWN: Array, w_OIkk: Array, b_O: Array, padding: int, new: New, need_dx: bool) -> Result:
    """y = w ⋆ x + b, stride 1."""
    C, H, W, N = x_CHWN.shape
    O = len(w_OIkk)
    Ho, Wo = H + 2 * padding - 2, W + 2 * padding - 2
    h, w = (Ho + 1) // 2 + 1, (Wo + 1) // 2 + 1
    GG_16_9 = np.kron(G, G).astype(x_CHWN.dtype)  # G · g · Gᵀ of every kernel is one product with its nine numbers
    u_16OC = np.matmul(GG_16_9, w_OIkk.reshape(O * C, 9).T).reshape(16, O, C)
    y_OHWN = new((O, Ho, Wo, N))
    count = min(N, -(-16 * max(C, O) * N * h * w // BLOCK))
    blocks = [slice(N * i // count, N * (i + 1) // count) for i in range(count)]

    def tiles(n: slice) -> Array:
        return _inputs(_split(x_CHWN[..., n], padding, h, w, new), h, w, new)

    kept_16CL = None
    for n in blocks:
        v_16CL = tiles(n)
        kept_16CL = v_16CL if len(blocks) == 1 else None  # else made again: they are four times as large as x
        m_16OL = np.matmul(u_16OC, v_16CL, out=new((16, O, v_16CL.shape[2])))
        _interleave(_outputs(m_16OL, new), y_OHWN[..., n], 0, h, w)
    if len(b_O):
        y_OHWN += b_O[:, None, None, None]

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        du_16OC, part_16OC = np.zeros_like(u_16OC), new(u_16OC.shape)
        dx_CHWN = new(x_CHWN.shape) if need_dx else None
        for n in blocks:
            dm_16OL = _outputs_back(_split(dy_OHWN[..., n], 0, h, w, new), new)
            v_16CL = tiles(n) if kept_16CL is None else kept_16CL
            du_16OC += np.matmul(dm_16OL, v_16CL.transpose(0, 2, 1), out=part_16OC)
            if dx_CHWN is not None:
                dv_16CL = np.matmul(u_16OC.transpose(0, 2, 1), dm_16OL, out=v_16CL)
                _interleave(_inputs_back(dv_16CL, h, w, new), dx_CHWN[..., n], padding, h, w)
        dw_OIkk = np.matmul(du_16OC.reshape(16, -1).T, GG_16_9).reshape(w_OIkk.shape)
        return dx_CHWN, dw_OIkk, dy_OHWN.reshape(O, -1).sum(1)

    return y_OHWN, backward


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


def _inputs(x_22CL: Array, h: int, w: int, new: New) -> Array:
    """v = Bᵀ · d · B for every tile."""
    _, _, C, L = x_22CL.shape
    r_42M, v_44M = new((4, 2, C * L)), new((4, 4, C * L))
    _four(x_22CL.reshape(2, 2, -1), r_42M, L // h)
    _four(r_42M.swapaxes(0, 1), v_44M.swapaxes(0, 1), L // h // w)
    return v_44M.reshape(16, C, L)


def _inputs_back(dv_16CL: Array, h: int, w: int, new: New) -> Array:
    _, C, L = dv_16CL.shape
    dr_42M, dx_22M = new((4, 2, C * L)), new((2, 2, C * L))
    _four_back(dv_16CL.reshape(4, 4, -1).swapaxes(0, 1), dr_42M.swapaxes(0, 1), L // h // w)
    _four_back(dr_42M, dx_22M, L // h)
    return dx_22M.reshape(2, 2, C, L)


def _outputs(m_16OL: Array, new: New) -> Array:
    """y = Aᵀ · m · A for every tile."""
    _, O, L = m_16OL.shape
    s_24M, y_22M = new((2, 4, O * L)), new((2, 2, O * L))
    _two(m_16OL.reshape(4, 4, -1), s_24M)
    _two(s_24M.swapaxes(0, 1), y_22M.swapaxes(0, 1))
    return y_22M.reshape(2, 2, O, L)


def _outputs_back(dy_22OL: Array, new: New) -> Array:
    _, _, O, L = dy_22OL.shape
    ds_42M, dm_44M = new((4, 2, O * L)), new((4, 4, O * L))
    _two_back(dy_22OL.reshape(2, 2, -1), ds_42M)
    _two_back(ds_42M.swapaxes(0, 1), dm_44M.swapaxes(0, 1))
    return dm_44M.reshape(16, O, L)


def _four(d: Array, t: Array, step: int) -> None:
    """t = Bᵀ · d: d₀ − d₂, d₁ + d₂, d₂ − d₁, d₁ − d₃. d holds the parities, 0 and 1; `step` further they are 2 and 3."""
    t[..., -step:] = 0  # waste, but zero times what happens to lie there must stay zero
    d0, d1, d2, d3 = d[0, ..., :-step], d[1, ..., :-step], d[0, ..., step:], d[1, ..., step:]
    np.subtract(d0, d2, out=t[0, ..., :-step])
    np.add(d1, d2, out=t[1, ..., :-step])
    np.subtract(d2, d1, out=t[2, ..., :-step])
    np.subtract(d1, d3, out=t[3, ..., :-step])


def _four_back(dt: Array, dd: Array, step: int) -> None:
    """dd = B · dt."""
    np.subtract(dt[1], dt[2], out=dd[1])
    dd[1] += dt[3]
    dd[1, ..., step:] -= dt[3, ..., :-step]
    np.add(dt[1, ..., :-step], dt[2, ..., :-step], out=dd[0, ..., step:])
    dd[0, ..., :step] = 0
    dd[0, ..., step:] -= dt[0, ..., :-step]
    dd[0] += dt[0]


def _two(m: Array, y: Array) -> None:
    """y = Aᵀ · m: m₀ + m₁ + m₂, m₁ − m₂ − m₃."""
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
