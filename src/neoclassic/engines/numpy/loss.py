"""The cross-entropy loss, and the RBF layer of LeNet-5."""

from __future__ import annotations

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result


def cross_entropy(logits_KN: Array, labels: Array) -> tuple[Array, Array]:
    """Loss −Σ t · log softmax(logits) of each image, and its gradient softmax(logits) · Σ t − t, K×N.

    K classes, N images. labels: N integers, which means that t is 1 at the label and 0 elsewhere; or t itself, N×K.
    """
    N = logits_KN.shape[1]
    shifted_KN = logits_KN - logits_KN.max(0)
    p_KN = np.exp(shifted_KN)
    sums_N = p_KN.sum(0)
    p_KN /= sums_N
    if labels.ndim == 2:
        t_KN = labels.T.astype(logits_KN.dtype)
        totals_N = t_KN.sum(0)
        losses_N = np.log(sums_N) * totals_N - (t_KN * shifted_KN).sum(0)
        p_KN *= totals_N
        p_KN -= t_KN
        return losses_N, p_KN
    columns_N = np.arange(N)
    losses_N = np.log(sums_N) - shifted_KN[labels, columns_N]
    p_KN[labels, columns_N] -= 1
    return losses_N, p_KN


def rbf(x_FN: Array, w_KF: Array, new: New) -> Result:
    """y[k, n] = −Σ over f of (x[f, n] − w[k, f])²;   dx = −2 · (x · Σ dy − wᵀ · dy), the sum over k."""
    y_KN = -np.square(x_FN - w_KF[:, :, None]).sum(1)

    def backward(dy_KN: Array) -> tuple[Array | None, ...]:
        dx_FN = np.multiply(x_FN, dy_KN.sum(0), out=new(x_FN.shape))
        dx_FN -= w_KF.T @ dy_KN
        dx_FN *= -2
        return (dx_FN,)

    return y_KN, backward
