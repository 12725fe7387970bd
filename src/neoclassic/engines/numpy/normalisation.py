"""Batch normalisation, with the statistics of the whole batch, and local response normalisation.

C channels, N images; M = H · W · N numbers per channel. An array `_C` has one number per channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.engines.numpy.team import Member


@dataclass(frozen=True)
class Moments:
    """Count, mean, and sum of squared distances from the mean, of each channel."""

    count: int
    mean: Array
    squares: Array

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan, Golub & LeVeque 1979)."""
        count = self.count + other.count
        delta_C = other.mean - self.mean
        mean = self.mean + delta_C * (other.count / count)
        squares = self.squares + other.squares + delta_C**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)


def batch_norm(
    x: Array, weight_C: Array, bias_C: Array, eps: float, member: Member, new: New
) -> tuple[Result, Moments]:
    """x̂ = (x − mean) / √(var + eps),   y = weight · x̂ + bias, with the moments of the whole batch, which are returned.

    dx = weight / √(var + eps) · (dy − mean(dy) − x̂ · mean(dy · x̂)).   Ioffe & Szegedy 2015, arXiv 1502.03167.
    """
    x_CM = x.reshape(len(x), -1)
    mean = x_CM.mean(1)
    centred_CM = np.subtract(x_CM, mean[:, None], out=new(x_CM.shape))
    first, *others = member.share(Moments(x_CM.shape[1], mean, _dot(centred_CM, centred_CM)))
    moments = sum(others, first)
    inverse_C = 1 / np.sqrt(moments.squares / moments.count + eps)
    scale_C = weight_C * inverse_C
    xhat_CM = centred_CM
    xhat_CM += (mean - moments.mean)[:, None]
    xhat_CM *= inverse_C[:, None]
    y_CM = np.multiply(xhat_CM, weight_C[:, None], out=new(x_CM.shape))
    y_CM += bias_C[:, None]

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dy_CM = dy.reshape(len(dy), -1)
        dweight_C, dbias_C = _dot(dy_CM, xhat_CM), dy_CM.sum(1)
        shared = member.share((dweight_C, dbias_C))
        mean_dy_xhat_C, mean_dy_C = (sum(parts) / moments.count for parts in zip(*shared, strict=True))
        dx_CM = np.multiply(xhat_CM, -mean_dy_xhat_C[:, None], out=new(dy_CM.shape))
        dx_CM += dy_CM
        dx_CM -= mean_dy_C[:, None]
        dx_CM *= scale_C[:, None]
        return dx_CM.reshape(dy.shape), dweight_C, dbias_C

    return (y_CM.reshape(x.shape), backward), moments


def _dot(a_CM: Array, b_CM: Array) -> Array:
    """Σ a · b of each channel."""
    products_C11: Array = np.matmul(a_CM[:, None, :], b_CM[:, :, None])
    return products_C11[:, 0, 0]


def scale_and_shift(x: Array, scale_C: Array, shift_C: Array, out: Array) -> Array:
    """y = scale · x + shift: batch norm with fixed statistics."""
    per_channel = (-1,) + (1,) * (x.ndim - 1)
    y: Array = np.multiply(x, scale_C.reshape(per_channel), out=out)
    y += shift_C.reshape(per_channel)
    return y


def frozen_batch_norm(x: Array, scale_C: Array, shift_C: Array, out: Array) -> Result:
    """`scale_and_shift` with its backward function;   dx = scale · dy."""

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (dy * scale_C.reshape((-1,) + (1,) * (dy.ndim - 1)),)

    return scale_and_shift(x, scale_C, shift_C, out), backward


def local_response_norm(x_CHWN: Array, size: int, alpha: float, beta: float, k: float, new: New) -> Result:
    """y = x · s^−beta,   s = k + alpha/size · Σ x² over the `size` channels around it.

    dx = dy · s^−beta − 2 · alpha · beta / size · x · Σ dy · y / s over the channels whose window holds this one.
    """
    before, after = size // 2, (size - 1) // 2
    s_CHWN = _sum_of_neighbours(x_CHWN * x_CHWN, before, after)
    s_CHWN *= alpha / size
    s_CHWN += k
    power_CHWN = s_CHWN**-beta
    y_CHWN = np.multiply(x_CHWN, power_CHWN, out=new(x_CHWN.shape))

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        dx_CHWN = _sum_of_neighbours(dy_CHWN * y_CHWN / s_CHWN, after, before)
        dx_CHWN *= x_CHWN
        dx_CHWN *= -2 * alpha * beta / size
        dx_CHWN += dy_CHWN * power_CHWN
        return (dx_CHWN,)

    return y_CHWN, backward


def _sum_of_neighbours(x_CHWN: Array, before: int, after: int) -> Array:
    """The sum of each channel with `before` channels before it and `after` channels after it."""
    total, C = x_CHWN.copy(), len(x_CHWN)
    for d in range(1, min(before, C - 1) + 1):
        total[d:] += x_CHWN[:-d]
    for d in range(1, min(after, C - 1) + 1):
        total[:-d] += x_CHWN[d:]
    return total
