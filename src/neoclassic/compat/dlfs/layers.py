"""The book's layers: `forward(x)`, then `backward(dout)`, and the gradients of the parameters beside them.

Images are N×C×H×W to the reader. The engine's operations want x_CHWN, so a layer hands on a view of its output with the
axes turned, and the next one turns them back: nothing is copied on the way. The images of a batch are shared out among
the cores.

A layer works in the type of its weights. `dout` is never written into: it may be shared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.base.machine import cores
from neoclassic.compat.dlfs.functions import labels_of, softmax
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import activations, convolution, linear, normalisation, pooling
from neoclassic.engines.numpy.buffers import Buffers, New
from neoclassic.engines.numpy.operation import Backward, Result
from neoclassic.engines.numpy.team import Meeting, Member, Team

SMALL = 1 << 16  # numbers: less is not worth a meeting
_ALONE = Member(0, Meeting(1))
_turn = threading.Lock()  # one operation at a time has the team and its arrays


@cache
def _team(_process: int) -> Team:
    """Threads do not survive a fork: every process has its own."""
    return Team(cores())


@cache
def _buffers(dtype: np.dtype, rank: int = 0) -> Buffers:
    """The store of arrays of that type, of each thread of the team."""
    return Buffers(dtype)


def _shared(operate: Callable[[Array, New], Result], x: Array) -> Result:
    """An operation on all images, the last axis of x, each thread of the team on its own."""
    N = x.shape[-1]
    with _turn:
        team = _team(os.getpid())
        if team.size == 1 or team.size > N or x.size < SMALL:
            with np.errstate(all="ignore"):  # an overflow ends as inf or nan in the loss, which is looked at
                return operate(x, _buffers(x.dtype))

        def forward(member: Member) -> tuple[Array, Backward]:
            y, backward = operate(x[..., member.part(N)], _buffers(x.dtype, member.rank))
            whole = _whole(y, member, N)
            assert whole is not None
            return whole, backward

        (y, _), *_ = parts = team.run(forward, team.size)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        def work(member: Member) -> tuple[Array | None, list[Array | None]]:
            dx, *dws = parts[member.rank][1](np.ascontiguousarray(dy[..., member.part(N)]))
            return _whole(dx, member, N), dws

        with _turn:
            grads = team.run(work, team.size)
        return grads[0][0], *(sum(dws) for dws in zip(*(dws for _, dws in grads), strict=True))  # type: ignore[arg-type]

    return y, backward


def _whole(mine: Array | None, member: Member, N: int) -> Array | None:
    """Everybody's images side by side."""
    if mine is None:
        return None
    shape = (*mine.shape[:-1], N)
    whole = member.share(_buffers(mine.dtype)(shape) if member.rank == 0 else mine)[0]
    whole[..., member.part(N)] = mine
    return whole


def _images_last(x: Array) -> Array:
    """N×C×H×W to C×H×W×N, N×D to D×N."""
    return x.transpose(1, 2, 3, 0) if x.ndim == 4 else x.T


def _images_first(x: Array) -> Array:
    return x.transpose(3, 0, 1, 2) if x.ndim == 4 else x.T


def _no_forward(_: Array) -> tuple[Array | None, ...]:
    raise UsageError("backward() goes back over a forward(): call forward(x) first")


def _square(name: str, height: int, width: int) -> int:
    if height != width:
        raise UsageError(f"{name} is {height}×{width}: only squares are computed here")
    return height


class Layer:
    """What every layer has."""

    _back: Backward = staticmethod(_no_forward)

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dout: Array) -> Array:
        (dx,) = self._back(_images_last(dout))
        assert dx is not None
        return _images_first(dx)

    def _run(self, operate: Callable[[Array, New], Result], x: Array) -> Array:
        y, self._back = _shared(operate, _images_last(x))
        return _images_first(y)


# ── activations ──────────────────────────────────────────────────────────────────────────────────────


class Relu(Layer):
    """max(x, 0)."""

    def forward(self, x: Array) -> Array:
        return self._run(lambda x, new: activations.relu(x, new(x.shape), new), x)


class Sigmoid(Layer):
    """1 / (1 + e^−x); `out` is the last output."""

    out: Array

    def forward(self, x: Array) -> Array:
        self.out = self._run(lambda x, new: activations.sigmoid(x, new(x.shape), new), x)
        return self.out


class Dropout(Layer):
    """In training a unit is kept with probability 1 − dropout_ratio, unscaled; at test all are scaled by that.

    Hinton et al. 2012, arXiv 1207.0580, as in the book, so that its published weights keep their meaning; PyTorch
    scales in training instead. `mask` is the last draw, from numpy.random.
    """

    mask: Array

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        self.dropout_ratio = dropout_ratio

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        if not train_flg:
            scaled: Array = x * x.dtype.type(1 - self.dropout_ratio)
            return scaled
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio  # noqa: NPY002 — readers seed it as the book does
        kept: Array = x * self.mask
        return kept

    def backward(self, dout: Array) -> Array:
        dx: Array = dout * self.mask
        return dx


# ── layers with weights ──────────────────────────────────────────────────────────────────────────────


class Affine(Layer):
    """xW + b of rows, or of images, flattened. W is inputs×outputs. `dW`, `db` after backward."""

    x: Array
    original_x_shape: tuple[int, ...]

    def __init__(self, W: Array, b: Array) -> None:
        self.W, self.b = W, b
        self.dW: Array | None = None
        self.db: Array | None = None

    def forward(self, x: Array) -> Array:
        self.original_x_shape = x.shape
        self.x = np.asarray(x, self.W.dtype).reshape(len(x), -1)
        return self._run(lambda x, new: linear.linear(x, self.W.T, self.b, new), self.x)

    def backward(self, dout: Array) -> Array:
        dx_FN, dW_OF, self.db = self._back(np.ascontiguousarray(dout.T, self.W.dtype))
        assert dx_FN is not None
        assert dW_OF is not None
        self.dW = dW_OF.T
        return dx_FN.T.reshape(self.original_x_shape)


class Convolution(Layer):
    """Convolution of images with W, filters×channels×k×k, and b. `dW`, `db` after backward.

    need_dx: whether backward is asked for the gradient of the images, which a network's first layer is not.
    """

    def __init__(self, W: Array, b: Array, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad
        self.dW: Array | None = None
        self.db: Array | None = None
        self.need_dx = True

    def forward(self, x: Array) -> Array:
        _square("the filter", *self.W.shape[2:])
        self.x = np.asarray(x, self.W.dtype)
        if self.x.ndim != 4 or self.x.shape[1] != self.W.shape[1]:
            raise UsageError(f"a convolution of {self.W.shape[1]} channels takes images N×C×H×W, not {x.shape}")
        settings = (self.W, self.b, self.stride, self.pad, 1)
        return self._run(lambda x, new: convolution.conv2d(x, *settings, new, self.need_dx), self.x)

    def backward(self, dout: Array) -> Array:
        dx, dW, db = self._back(np.ascontiguousarray(_images_last(dout), self.W.dtype))
        self.dW, self.db = dW, db
        return np.zeros(self.x.shape, self.W.dtype) if dx is None else _images_first(dx)


class Pooling(Layer):
    """The largest of every window. Padding is −∞, so that it never wins."""

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad

    def forward(self, x: Array) -> Array:
        k = _square("the window", self.pool_h, self.pool_w)
        return self._run(lambda x, new: pooling.max_pool2d(x, k, self.stride, self.pad, False, new), x)


def _new(x: Array) -> New:
    return lambda shape: np.empty(shape, x.dtype)


class BatchNormalization(Layer):
    """Batch normalisation of every feature over the batch; images are flattened, so every pixel is a feature.

    momentum: what running statistics keep of themselves. `dgamma`, `dbeta` after backward.
    Ioffe & Szegedy 2015, arXiv 1502.03167, with the book's eps of 1e-6.
    """

    EPS = 1e-6
    dgamma: Array
    dbeta: Array

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        momentum: float = 0.9,
        running_mean: Array | None = None,
        running_var: Array | None = None,
    ) -> None:
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.input_shape: tuple[int, ...] = ()

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        self.input_shape = x.shape
        x_FN = np.ascontiguousarray(x.reshape(len(x), -1).T, self.gamma.dtype)
        if self.running_mean is None or self.running_var is None:
            self.running_mean, self.running_var = np.zeros_like(x_FN[:, 0]), np.zeros_like(x_FN[:, 0])
        keep = self.momentum
        if train_flg:
            (y_FN, self._back), _ = normalisation.batch_norm(x_FN, self.gamma, self.beta, self.EPS, _ALONE, _new(x_FN))
            self.running_mean = keep * self.running_mean + (1 - keep) * x_FN.mean(1)
            self.running_var = keep * self.running_var + (1 - keep) * x_FN.var(1)
        else:
            scale = self.gamma / np.sqrt(self.running_var + self.EPS)
            y_FN = normalisation.scale_and_shift(
                x_FN, scale, self.beta - self.running_mean * scale, np.empty_like(x_FN)
            )
        return y_FN.T.reshape(self.input_shape)

    def backward(self, dout: Array) -> Array:
        dx_FN, dgamma, dbeta = self._back(np.ascontiguousarray(dout.reshape(len(dout), -1).T))
        assert dx_FN is not None
        assert dgamma is not None
        assert dbeta is not None
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx_FN.T.reshape(self.input_shape)


# ── the loss ─────────────────────────────────────────────────────────────────────────────────────────


class SoftmaxWithLoss:
    """The mean cross-entropy of softmax(x), computed from the logits: nothing is added to a logarithm.

    t are labels, N, or rows N×K with a 1 at the label. `loss`, `y` the probabilities, `t`.
    """

    loss: float
    y: Array
    t: Array

    def forward(self, x: Array, t: Array) -> float:
        self.t, self.y = t, softmax(x)
        shifted = x - x.max(1, keepdims=True)
        right = shifted[np.arange(len(x)), labels_of(t, x)]
        self.loss = float((np.log(np.exp(shifted).sum(1)) - right).mean())
        return self.loss

    def backward(self, dout: float = 1) -> Array:
        dx = self.y.copy()
        if np.size(self.t) == self.y.size:
            dx -= self.t.reshape(self.y.shape)
        else:
            dx[np.arange(len(dx)), labels_of(self.t, self.y)] -= 1
        dx *= dout / len(dx)
        return dx
