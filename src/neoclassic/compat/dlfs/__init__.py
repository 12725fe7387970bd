"""*Deep Learning from Scratch*: the names of the book's `common`, `dataset` and chapters.

    >>> from neoclassic.compat import dlfs
    >>> network = dlfs.DeepConvNet()

K. Saitoh, O'Reilly Japan 2016. Arrays are images, N×C×H×W, or rows, N×D, as in the book. The layers run on the NumPy
engine's operations in the dtype of their weights, which is float32 in the networks of this package. docs/books.md lists
the errors in the printed listings and what neoclassic does about each.
"""

from __future__ import annotations

import difflib
from types import ModuleType
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.compat import book_module
from neoclassic.compat.dlfs.functions import (
    cross_entropy_error,
    identity_function,
    relu,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    softmax,
    softmax_loss,
    step_function,
    sum_squared_error,
)
from neoclassic.compat.dlfs.layers import (
    Affine,
    BatchNormalization,
    Convolution,
    Dropout,
    Pooling,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
)
from neoclassic.compat.dlfs.mnist import init_mnist, load_mnist
from neoclassic.compat.dlfs.networks import DeepConvNet, MultiLayerNet, MultiLayerNetExtend, SimpleConvNet, TwoLayerNet
from neoclassic.compat.dlfs.optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from neoclassic.compat.dlfs.pickles import load_arrays
from neoclassic.compat.dlfs.trainer import Trainer
from neoclassic.compat.dlfs.util import (
    col2im,
    conv_output_size,
    im2col,
    numerical_gradient,
    shuffle_dataset,
    smooth_curve,
)

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Affine",
    "BatchNormalization",
    "Convolution",
    "DeepConvNet",
    "Dropout",
    "Momentum",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Nesterov",
    "Pooling",
    "RMSprop",
    "Relu",
    "Sigmoid",
    "SimpleConvNet",
    "SoftmaxWithLoss",
    "Trainer",
    "TwoLayerNet",
    "col2im",
    "conv_output_size",
    "cross_entropy_error",
    "identity_function",
    "im2col",
    "init_mnist",
    "load_arrays",
    "load_mnist",
    "numerical_gradient",
    "relu",
    "relu_grad",
    "shuffle_dataset",
    "sigmoid",
    "sigmoid_grad",
    "smooth_curve",
    "softmax",
    "softmax_loss",
    "step_function",
    "sum_squared_error",
]


class MissingName(UsageError, AttributeError):
    """A name that neoclassic does not have."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    near = difflib.get_close_matches(name, __all__, n=1, cutoff=0.6)
    raise MissingName(
        f"dlfs.{name} is not here: {f'did you mean dlfs.{near[0]}?' if near else 'dir(dlfs) lists the names'}"
    )


# the book's modules, and the names that a star import of each defines
_FUNCTIONS = (
    *("identity_function", "step_function", "sigmoid", "sigmoid_grad", "relu", "relu_grad", "softmax"),
    *("sum_squared_error", "cross_entropy_error", "softmax_loss"),
)
_LAYERS = (
    *("Relu", "Sigmoid", "Affine", "SoftmaxWithLoss", "Dropout", "BatchNormalization", "Convolution", "Pooling"),
    *("im2col", "col2im", *_FUNCTIONS),
)
_OPTIMIZERS = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam")
_MODULES: dict[str, tuple[str, ...] | None] = {
    "dataset": None,
    "dataset.mnist": ("load_mnist", "init_mnist"),
    "common": None,
    "common.functions": _FUNCTIONS,
    "common.gradient": ("numerical_gradient",),
    "common.layers": _LAYERS,
    "common.optimizer": _OPTIMIZERS,
    "common.trainer": ("Trainer", *_OPTIMIZERS),
    "common.util": ("smooth_curve", "shuffle_dataset", "conv_output_size", "im2col", "col2im"),
    "common.multi_layer_net": ("MultiLayerNet",),
    "common.multi_layer_net_extend": ("MultiLayerNetExtend",),
    "two_layer_net": ("TwoLayerNet",),
    "simple_convnet": ("SimpleConvNet",),
    "deep_convnet": ("DeepConvNet",),
}


def book_modules() -> dict[str, ModuleType]:
    """The modules that `install` adds, by name."""

    def namespace(names: tuple[str, ...] | None) -> dict[str, Any] | None:
        return None if names is None else {"np": np, **{name: globals()[name] for name in names}}

    about = "Deep Learning from Scratch, by neoclassic"
    return {name: book_module(name, about, namespace(names)) for name, names in _MODULES.items()}
