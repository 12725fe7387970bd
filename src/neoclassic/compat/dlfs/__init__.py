"""*Deep Learning from Scratch*: the names of the book's `common`, `dataset` and chapters.

    >>> from neoclassic.compat import dlfs
    >>> network = dlfs.DeepConvNet()

K. Saitoh, O'Reilly Japan 2016. Arrays are images, N×C×H×W, or rows, N×D, as in the book. The layers run on the NumPy
engine's operations; the weights of this package's networks are float32. docs/books.md lists the errors in the printed
listings and what neoclassic does about each.

Two chapters have a `TwoLayerNet`. The one here is chapter 5's (ReLU; `predict` returns scores); chapter 4's (sigmoid;
`predict` returns probabilities) is `neoclassic.compat.dlfs.chapter4.TwoLayerNet`. After `neoclassic.compat.install`,
`ch04.two_layer_net` and `ch05.two_layer_net` have one each, and `two_layer_net` has the one of the script's folder.
"""

from __future__ import annotations

import difflib
from typing import Any

from neoclassic.base.errors import UsageError
from neoclassic.compat.dlfs.functions import (
    cross_entropy_error,
    identity_function,
    mean_squared_error,
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
from neoclassic.compat.dlfs.steps import AND, NAND, OR, XOR, AddLayer, MulLayer
from neoclassic.compat.dlfs.trainer import Trainer
from neoclassic.compat.dlfs.util import (
    col2im,
    conv_output_size,
    im2col,
    numerical_gradient,
    numerical_gradient_2d,
    shuffle_dataset,
    smooth_curve,
)

__all__ = [
    "AND",
    "NAND",
    "OR",
    "SGD",
    "XOR",
    "AdaGrad",
    "Adam",
    "AddLayer",
    "Affine",
    "BatchNormalization",
    "Convolution",
    "DeepConvNet",
    "Dropout",
    "Momentum",
    "MulLayer",
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
    "mean_squared_error",
    "numerical_gradient",
    "numerical_gradient_2d",
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
        f"dlfs.{name} is not available here: {f'did you mean dlfs.{near[0]}?' if near else 'dir(dlfs) lists the names'}"
    )
