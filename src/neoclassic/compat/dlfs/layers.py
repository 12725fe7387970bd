"""The book's layers: `forward(x)`, then `backward(dout)`, which also keeps the gradients of the parameters.

Readers see images as N×C×H×W. The engine's operations take x_CHWN, so a layer returns a transposed view of its output,
and the next layer transposes it back: nothing is copied in between.

A layer computes in the dtype of its weights. `dout` is never written to, since it may be shared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.compat.dlfs.functions import labels_of, softmax
from neoclassic.compat.dlfs.threads import divided
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import activations, convolution, linear, normalisation, pooling
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Backward, Result
from neoclassic.engines.numpy.team import Meeting, Member

_SINGLE = Member(0, Meeting(1))


def _images_last(x: Array) -> Array:
    """N×C×H×W to C×H×W×N, N×D to D×N."""
    return x.transpose(1, 2, 3, 0) if x.ndim == 4 else x.T


def _images_first(x: Array) -> Array:
    return x.transpose(3, 0, 1, 2) if x.ndim == 4 else x.T


def _no_forward(_: Array) -> tuple[Array | None, ...]:
    raise UsageError("backward() was called before forward(): call forward(x) first")


def _square(name: str, height: int, width: int) -> int:
    if height != width:
        raise UsageError(f"{name} is {height}×{width}: only squares are supported")
    return height


class Layer:
    """The base class of the layers that run on the engine's operations."""

    _back: Backward = staticmethod(_no_forward)

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dout: Array) -> Array:
        (dx,) = self._back(_images_last(dout))
        assert dx is not None
        return _images_first(dx)

    def _run(self, operate: Callable[[Array, New], Result], x: Array) -> Array:
        y, self._back = divided(operate, _images_last(x))
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
    """In training, keep each unit with probability 1 − dropout_ratio; at test, multiply all units by 1 − dropout_ratio.

    Hinton et al. 2012, arXiv 1207.0580, as in the book, so that its published weights keep their meaning. PyTorch
    scales in training instead. `mask` is the last mask, drawn from numpy.random.
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
    """xW + b. Images are flattened first. W is inputs×outputs. `dW` and `db` are set by backward."""

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
    """Convolution of images with W, filters×channels×k×k, plus b. `dW` and `db` are set by backward.

    need_dx: whether backward computes the gradient of the images; a network's first layer does not need it.
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
    """The maximum of each window. Padding is −∞, so it is never the maximum."""

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad

    def forward(self, x: Array) -> Array:
        k = _square("the window", self.pool_h, self.pool_w)
        return self._run(lambda x, new: pooling.max_pool2d(x, k, self.stride, self.pad, False, new), x)


def _new(x: Array) -> New:
    return lambda shape: np.empty(shape, x.dtype)


class BatchNormalization(Layer):
    """Batch normalisation of each feature over the batch. Images are flattened, so each pixel is a feature.

    momentum: the weight of the old running statistics. `dgamma` and `dbeta` are set by backward.
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
            (y_FN, self._back), _ = normalisation.batch_norm(x_FN, self.gamma, self.beta, self.EPS, _SINGLE, _new(x_FN))
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
    """The mean cross-entropy of softmax(x), computed from the logits, so that no logarithm needs an epsilon.

    t: labels, N, or one-hot rows, N×K. forward keeps `loss`, the probabilities `y`, and `t`.
    """

    loss: float
    y: Array
    t: Array

    def forward(self, x: Array, t: Array) -> float:
        self.t, self.y = t, softmax(x)
        shifted = x - x.max(1, keepdims=True)
        correct = shifted[np.arange(len(x)), labels_of(t, x)]
        self.loss = float((np.log(np.exp(shifted).sum(1)) - correct).mean())
        return self.loss

    def backward(self, dout: float = 1) -> Array:
        dx = self.y.copy()
        if np.size(self.t) == self.y.size:
            dx -= self.t.reshape(self.y.shape)
        else:
            dx[np.arange(len(dx)), labels_of(self.t, self.y)] -= 1
        dx *= dout / len(dx)
        return dx
