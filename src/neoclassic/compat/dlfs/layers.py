"""The book's layers: `forward(x)`, then `backward(dout)`, which also keeps the gradients of the parameters.

Readers see images as N×C×H×W. The engine's operations take x_CHWN, so a layer returns a transposed view of its output,
and the next layer transposes it back: nothing is copied in between.

A layer takes what the book's formula takes: whole numbers, numbers in the place of biases, and a vector in the place of
one row. Its output has NumPy's type for x and the parameters. `dout` is never written to, since it may be shared.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.compat.dlfs import windows
from neoclassic.compat.dlfs.arguments import check_images, each, rows, weights
from neoclassic.compat.dlfs.functions import labels_of, softmax
from neoclassic.compat.dlfs.threads import divided
from neoclassic.compat.dlfs.util import output_size
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


class Layer:
    """The base class of the layers that run on the engine's operations.

    They compute in float32 at least, so that whole numbers and float16 lose nothing on the way.
    """

    _back: Backward = staticmethod(_no_forward)
    _computing: np.dtype = np.dtype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """All but the last backward function, which cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_back"}

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dout: Array) -> Array:
        (dx,) = self._back(_images_last(np.asarray(dout, self._computing)))
        assert dx is not None
        return _images_first(dx)

    def _types(self, *arrays: Any, floating: bool = False) -> np.dtype:
        """NumPy's type for a result of these arrays. It also determines the type in which the layer computes.

        floating: whether the result of whole numbers is float64 too.
        """
        known = (np.ndarray, int, float)
        result = np.result_type(*[array if type(array) in known else np.asarray(array) for array in arrays])
        if floating and result.kind != "f":
            result = np.dtype(np.float64)
        self._computing = np.promote_types(result, np.float32)
        return result

    def _run(self, operate: Callable[[Array, New], Result], x: Array, result: np.dtype) -> Array:
        y, self._back = divided(operate, _images_last(np.asarray(x, self._computing)))
        return _images_first(y).astype(result, copy=False)


# ── activations ──────────────────────────────────────────────────────────────────────────────────────


class Relu(Layer):
    """max(x, 0)."""

    def forward(self, x: Array) -> Array:
        x = np.asarray(x)
        return self._run(lambda x, new: activations.relu(x, new(x.shape), new), x, self._types(x))


class Sigmoid(Layer):
    """1 / (1 + e^−x); `out` is the last output."""

    out: Array

    def forward(self, x: Array) -> Array:
        x = np.asarray(x)
        sigmoid = activations.sigmoid
        self.out = self._run(lambda x, new: sigmoid(x, new(x.shape), new), x, self._types(x, floating=True))
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
        x = np.asarray(x)
        if not train_flg:
            scaled: Array = x * (1 - float(self.dropout_ratio))
            return scaled
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio  # noqa: NPY002 — readers seed it as the book does
        kept: Array = x * self.mask
        return kept

    def backward(self, dout: Array) -> Array:
        dx: Array = np.multiply(dout, self.mask)
        return dx


# ── layers with weights ──────────────────────────────────────────────────────────────────────────────


class Affine(Layer):
    """xW + b. Images are flattened first. W is inputs×outputs. `dW` and `db` are set by backward."""

    x: Array
    original_x_shape: tuple[int, ...]

    def __init__(self, W: Array, b: Array | float) -> None:
        self.W, self.b = W, b
        self.dW: Array | None = None
        self.db: Array | None = None

    def forward(self, x: Array) -> Array:
        x = np.asarray(x)
        result = self._types(x, self.W, self.b)
        W = weights(self.W, 2, "inputs×outputs", self._computing)
        b = each(self.b, W.shape[1], "the bias", self._computing)
        self.original_x_shape = x.shape
        self.x = np.asarray(rows(x, len(W), "an affine layer"), self._computing)
        y = self._run(lambda x, new: linear.linear(x, W.T, b, new), self.x, result)
        return y[0] if x.ndim == 1 and len(W) != 1 else y

    def backward(self, dout: Array) -> Array:
        dout = np.asarray(dout, self._computing)
        dx_FN, dW_OF, self.db = self._back(np.ascontiguousarray(dout.reshape(len(self.x), -1).T))
        assert dx_FN is not None
        assert dW_OF is not None
        self.dW = dW_OF.T
        return dx_FN.T.reshape(self.original_x_shape)


class Convolution(Layer):
    """Convolution of images with W, filters×channels×height×width, plus b. `dW` and `db` are set by backward.

    need_dx: whether backward computes the gradient of the images; a network's first layer does not need it.
    """

    def __init__(self, W: Array, b: Array | float, stride: int = 1, pad: int = 0) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad
        self.dW: Array | None = None
        self.db: Array | None = None
        self.need_dx = True

    def forward(self, x: Array) -> Array:
        x = np.asarray(x)
        result = self._types(x, self.W, self.b)
        W = weights(self.W, 4, "filters×channels×height×width", self._computing)
        check_images(x, W.shape[1])
        output_size(x.shape, W.shape[2], W.shape[3], self.stride, self.pad)
        b = each(self.b, len(W), "the bias", self._computing)
        self.x = np.asarray(x, self._computing)
        if W.shape[2] != W.shape[3]:
            return self._run(lambda x, new: windows.conv2d(x, W, b, self.stride, self.pad), self.x, result)
        settings = (W, b, self.stride, self.pad, 1)
        return self._run(lambda x, new: convolution.conv2d(x, *settings, new, self.need_dx), self.x, result)

    def backward(self, dout: Array) -> Array:
        dx, self.dW, self.db = self._back(np.ascontiguousarray(_images_last(np.asarray(dout, self._computing))))
        return np.zeros(self.x.shape, self._computing) if dx is None else _images_first(dx)


class Pooling(Layer):
    """The maximum of each window. Padding is −∞, so it is never the maximum."""

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad

    def forward(self, x: Array) -> Array:
        x = np.asarray(x)
        check_images(x)
        h, w, stride, pad = self.pool_h, self.pool_w, self.stride, self.pad
        output_size(x.shape, h, w, stride, pad)
        if h != w:
            return self._run(lambda x, new: windows.max_pool2d(x, h, w, stride, pad), x, self._types(x))
        return self._run(lambda x, new: pooling.max_pool2d(x, h, stride, pad, False, new), x, self._types(x))


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
        gamma: Array | float,
        beta: Array | float,
        momentum: float = 0.9,
        running_mean: Array | None = None,
        running_var: Array | None = None,
    ) -> None:
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.input_shape: tuple[int, ...] = ()

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        x = np.asarray(x)
        result = self._types(x, self.gamma, self.beta, floating=True)
        features = np.size(self.gamma) if x.ndim == 1 else prod(x.shape[1:])
        x_FN = np.ascontiguousarray(rows(x, features, "batch normalisation").T, self._computing)
        gamma = each(self.gamma, features, "gamma", self._computing)
        beta = each(self.beta, features, "beta", self._computing)
        self.input_shape, self.batch_size = x.shape, x_FN.shape[1]
        if self.running_mean is None or self.running_var is None:
            self.running_mean, self.running_var = np.zeros_like(x_FN[:, 0]), np.zeros_like(x_FN[:, 0])
        keep = self.momentum
        if train_flg:
            (y_FN, self._back), _ = normalisation.batch_norm(x_FN, gamma, beta, self.EPS, _SINGLE, _new(x_FN))
            self.running_mean = keep * self.running_mean + (1 - keep) * x_FN.mean(1)
            self.running_var = keep * self.running_var + (1 - keep) * x_FN.var(1)
        else:
            scale = gamma / np.sqrt(self.running_var + self.EPS)
            y_FN = normalisation.scale_and_shift(x_FN, scale, beta - self.running_mean * scale, np.empty_like(x_FN))
        return y_FN.T.reshape(self.input_shape).astype(result, copy=False)

    def backward(self, dout: Array) -> Array:
        dout = np.asarray(dout, self._computing)
        dx_FN, dgamma, dbeta = self._back(np.ascontiguousarray(dout.reshape(self.batch_size, -1).T))
        assert dx_FN is not None
        assert dgamma is not None
        assert dbeta is not None
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx_FN.T.reshape(self.input_shape)


# ── the loss ─────────────────────────────────────────────────────────────────────────────────────────


class SoftmaxWithLoss:
    """The mean cross-entropy of softmax(x), computed from the logits, so that no logarithm needs an epsilon.

    x: N×K, or a vector of K. t: labels, N, or one-hot rows, N×K. forward keeps `loss`, the probabilities `y`, and `t`.
    """

    loss: float
    y: Array
    t: Array

    def forward(self, x: Array, t: Array) -> float:
        self.t, self.y = np.asarray(t), softmax(x)
        logits = np.atleast_2d(x)
        shifted = logits - logits.max(1, keepdims=True)
        correct = shifted[np.arange(len(logits)), labels_of(t, logits)]
        self.loss = float((np.log(np.exp(shifted).sum(1)) - correct).mean())
        return self.loss

    def backward(self, dout: float = 1) -> Array:
        dx = np.atleast_2d(self.y.copy())
        if self.t.size == self.y.size:
            dx -= self.t.reshape(dx.shape)
        else:
            dx[np.arange(len(dx)), labels_of(self.t, dx)] -= 1
        dx *= dout / len(dx)
        return dx.reshape(self.y.shape)
