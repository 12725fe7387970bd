"""One operation on a batch, with the images divided among the cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from neoclassic.base.machine import cores
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import Buffers, New
from neoclassic.engines.numpy.operation import Backward, Result
from neoclassic.engines.numpy.team import Member, Team

SMALL = 1 << 16  # arrays of fewer numbers are not worth dividing
_lock = threading.Lock()  # one operation at a time uses the team and its buffers


@cache
def _team(_process: int) -> Team:
    """The threads of a process; each process has its own, since threads do not survive a fork."""
    return Team(cores())


@cache
def _buffers(dtype: np.dtype, rank: int = 0) -> Buffers:
    """The buffers of this type that belong to a thread of the team."""
    return Buffers(dtype)


def divided(operate: Callable[[Array, New], Result], x: Array) -> Result:
    """Run an operation on x, whose last axis is the images: each thread takes some of them."""
    N = x.shape[-1] if x.ndim else 1
    with _lock:
        team = _team(os.getpid())
        if team.size == 1 or team.size > N or x.size < SMALL:
            with np.errstate(all="ignore"):  # an overflow shows as inf or nan in the loss
                return operate(x, _buffers(x.dtype))

        def forward(member: Member) -> tuple[Array, Backward]:
            y, backward = operate(x[..., member.part(N)], _buffers(x.dtype, member.rank))
            joined = _join(y, member, N)
            assert joined is not None
            return joined, backward

        (y, _), *_ = parts = team.run(forward, team.size)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        def work(member: Member) -> tuple[Array | None, list[Array | None]]:
            dx, *dws = parts[member.rank][1](np.ascontiguousarray(dy[..., member.part(N)]))
            return _join(dx, member, N), dws

        with _lock:
            grads = team.run(work, team.size)
        return grads[0][0], *(sum(dws) for dws in zip(*(dws for _, dws in grads), strict=True))  # type: ignore[arg-type]

    return y, backward


def _join(mine: Array | None, member: Member, N: int) -> Array | None:
    """All threads' images in one array, which all threads return."""
    if mine is None:
        return None
    shape = (*mine.shape[:-1], N)
    joined = member.share(_buffers(mine.dtype)(shape) if member.rank == 0 else mine)[0]
    joined[..., member.part(N)] = mine
    return joined
