"""How work is divided among the programs of a kernel, and how their partial sums are added up."""

from __future__ import annotations

from functools import cache

import torch
import triton
from torch import Tensor
from triton import language as tl

from neoclassic.engines.torch.cuda.indexing import kernel

TILE = 2048  # elements of a program's tile
PROGRAMS = 792  # programs that share a sum: 6 for each multiprocessor of an H100


@cache
def triton_error(device: torch.device) -> str:
    """Why Triton does not work on a device (no C compiler, no Python headers, an old GPU); "" if it works."""
    try:
        twos = sum_partials(torch.ones(2, 16, device=device))
        return "" if bool((twos == 2).all()) else "its sums are wrong"
    except Exception as error:  # a compiler may raise anything
        return (str(error).strip() or repr(error)).splitlines()[0]


def channel_rows(x: Tensor) -> tuple[Tensor, int]:
    """Maps whose channels are adjacent in memory, and the distance between two pixels.

    The distance is C, or more if x is a slice of wider maps, which is not copied.
    """
    N, C, H, W = x.shape
    n, c, i, j = x.stride()
    distance = j if W > 1 else i if H > 1 else n if N > 1 else C
    if c == 1 and (W == 1 or j == distance) and (H == 1 or i == W * distance) and (N == 1 or n == H * W * distance):
        return x, distance
    return x.contiguous(memory_format=torch.channels_last), C


def empty_maps(like: Tensor, C: int, H: int, W: int, dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised channels-last maps, as many as `like` has."""
    shape = len(like), C, H, W
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last)


def output_size(size: int, K: int, S: int, P: int, ceil_mode: bool = False) -> int:
    """Windows along a side of `size` pixels. As in torch, no window starts in the padding at the end."""
    n = (size + 2 * P - K + (S - 1 if ceil_mode else 0)) // S + 1
    return n - 1 if ceil_mode and (n - 1) * S >= size + P else n


def block(C: int) -> tuple[int, int]:
    """Pixels and channels of a tile, both powers of 2. There are few choices, as each one is compiled."""
    channels = 64 if C > 32 else 32 if C > 16 else 16
    return TILE // channels, channels


def grid(n: int, C: int) -> tuple[int, int]:
    """Programs for n pixels of C channels, one per tile."""
    pixels, channels = block(C)
    return triton.cdiv(n, pixels), triton.cdiv(C, channels)


def partial_sums(n: int, C: int, width: int, like: Tensor) -> tuple[tuple[int, int], Tensor]:
    """A grid for sums over n pixels of C channels, and an array for its partial sums, programs × width."""
    across, down = grid(n, C)
    across = min(across, max(PROGRAMS // down, 1))
    return (across, down), torch.empty(across, width, device=like.device)


@kernel
def _sum(partials, total, n, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, n, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < n)[:, None] & (column < width)[None, :]
        sums += tl.load(partials + row[:, None] * width + column[None, :], mask, 0.0)
    tl.store(total + column, tl.sum(sums, 0), column < width)


def sum_partials(partials: Tensor) -> Tensor:
    """The sum of the programs' partial sums, of shape (width,)."""
    n, width = partials.shape
    total = torch.empty(width, device=partials.device)
    _sum[(triton.cdiv(width, 16),)](partials, total, n, width, 128, 16)
    return total
