"""Linear layers. F input features, O output features, N images."""

from __future__ import annotations

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.engines.numpy.team import Member


def linear(x_FN: Array, w_OF: Array, b_O: Array, new: New, need_dx: bool = True) -> Result:
    """y = w · x + b;   dx = wᵀ · dy,   dw = dy · xᵀ,   db = Σ dy. An empty `b_O` means no bias."""
    y_ON = np.matmul(w_OF, x_FN, out=new((len(w_OF), x_FN.shape[1])))
    if len(b_O):
        y_ON += b_O[:, None]

    def backward(dy_ON: Array) -> tuple[Array | None, ...]:
        dx_FN = np.matmul(w_OF.T, dy_ON, out=new(x_FN.shape)) if need_dx else None
        dw_OF = np.matmul(dy_ON, x_FN.T, out=new(w_OF.shape))
        return dx_FN, dw_OF, dy_ON.sum(1) if len(b_O) else None

    return y_ON, backward


def team_wide_linear(x_FN: Array, w_OF: Array, b_O: Array, member: Member, need_dx: bool = True) -> Result:
    """`linear` of the whole batch, computed by the whole team: each member computes some rows of y, and of dw.

    Large weights are read once this way, and have one gradient. Backward returns this member's rows of it.
    """
    parts = member.share(x_FN)
    start = sum(x.shape[1] for x in parts[: member.rank])
    own, rows, inputs = slice(start, start + x_FN.shape[1]), member.part(len(w_OF)), member.part(len(x_FN))
    all_FN = np.concatenate(parts, 1)
    y_rows = w_OF[rows] @ all_FN
    if len(b_O):
        y_rows += b_O[rows, None]
    y_ON = np.concatenate([y[:, own] for y in member.share(y_rows)])

    def backward(dy_ON: Array) -> tuple[Array | None, ...]:
        dall_ON = np.concatenate(member.share(dy_ON), 1)
        dw_rows, db_rows = dall_ON[rows] @ all_FN.T, dall_ON[rows].sum(1) if len(b_O) else None
        if not need_dx:
            return None, dw_rows, db_rows
        dx_parts = member.share(w_OF[:, inputs].T @ dall_ON)
        return np.concatenate([dx[:, own] for dx in dx_parts]), dw_rows, db_rows

    return y_ON, backward
