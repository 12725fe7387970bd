"""*Dive into Deep Learning*: the names of `d2l.torch` in both editions, for the convolutional chapters.

    >>> from neoclassic.compat import d2l
    >>> train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size=256)

A. Zhang, Z. Lipton, M. Li, A. Smola: zh.d2l.ai, the older edition (`d2l.train_ch6`), and d2l.ai, the newer one
(`d2l.Trainer`). The names behave as the book describes; docs/books.md lists where they do better. Importing this module
without PyTorch raises MissingPackage, a UsageError.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from neoclassic.base.errors import MissingPackage, install, one_line

if importlib.util.find_spec("torch") is None:
    raise one_line(MissingPackage(f"the book's code needs PyTorch: {install('torch')}"))

from neoclassic.compat import book_module
from neoclassic.compat.d2l.blocks import LeNet, Residual, ResNeXtBlock, corr2d, init_cnn, resnet18
from neoclassic.compat.d2l.curves import Animator, ProgressBoard
from neoclassic.compat.d2l.d2lzh import not_in_mxnets
from neoclassic.compat.d2l.devices import cpu, gpu, num_gpus, try_all_gpus, try_gpu
from neoclassic.compat.d2l.downloads import DATA_HUB, DATA_URL, download, download_all, download_extract, extract
from neoclassic.compat.d2l.figures import pyplot
from neoclassic.compat.d2l.linear import (
    SGD,
    LinearRegression,
    LinearRegressionScratch,
    SoftmaxRegression,
    cross_entropy,
)
from neoclassic.compat.d2l.loaders import (
    DataModule,
    FashionMNIST,
    SyntheticRegressionData,
    get_dataloader_workers,
    get_fashion_mnist_labels,
    load_array,
    load_data_fashion_mnist,
    synthetic_data,
)
from neoclassic.compat.d2l.loops import (
    Accumulator,
    Timer,
    accuracy,
    evaluate_accuracy,
    evaluate_accuracy_gpu,
    evaluate_loss,
    linreg,
    predict_ch3,
    sgd,
    squared_loss,
    train_ch3,
    train_ch6,
    train_epoch_ch3,
)
from neoclassic.compat.d2l.missing import MissingName, missing, not_in_package
from neoclassic.compat.d2l.parameters import HyperParameters, add_to_class
from neoclassic.compat.d2l.plots import plot, restore_svg_formats, set_axes, set_figsize, show_images, use_svg_display
from neoclassic.compat.d2l.tensors import (
    abs,  # noqa: A004
    arange,
    argmax,
    astype,
    batch_matmul,
    concat,
    cos,
    cosh,
    exp,
    expand_dims,
    eye,
    float32,
    int32,
    int64,
    linspace,
    log,
    matmul,
    meshgrid,
    nn_Module,
    normal,
    numpy,
    ones,
    ones_like,
    rand,
    randn,
    reduce_mean,
    reduce_sum,
    repeat,
    reshape,
    sigmoid,
    sin,
    sinh,
    size,
    stack,
    swapaxes,
    tan,
    tanh,
    tensor,
    to,
    transpose,
    zeros,
    zeros_like,
)
from neoclassic.compat.d2l.trainer import Classifier, Module, Trainer
from neoclassic.compat.d2l.vision import (
    copyfile,
    mkdir_if_not_exist,
    read_csv_labels,
    reorg_test,
    reorg_train_valid,
    split_batch,
    train_batch_ch13,
    train_ch13,
)

__all__ = [
    "DATA_HUB",
    "DATA_URL",
    "SGD",
    "Accumulator",
    "Animator",
    "Classifier",
    "DataModule",
    "FashionMNIST",
    "HyperParameters",
    "LeNet",
    "LinearRegression",
    "LinearRegressionScratch",
    "Module",
    "ProgressBoard",
    "ResNeXtBlock",
    "Residual",
    "SoftmaxRegression",
    "SyntheticRegressionData",
    "Timer",
    "Trainer",
    "abs",
    "accuracy",
    "add_to_class",
    "arange",
    "argmax",
    "astype",
    "batch_matmul",
    "concat",
    "copyfile",
    "corr2d",
    "cos",
    "cosh",
    "cpu",
    "cross_entropy",
    "download",
    "download_all",
    "download_extract",
    "evaluate_accuracy",
    "evaluate_accuracy_gpu",
    "evaluate_loss",
    "exp",
    "expand_dims",
    "extract",
    "eye",
    "float32",
    "get_dataloader_workers",
    "get_fashion_mnist_labels",
    "gpu",
    "init_cnn",
    "int32",
    "int64",
    "linreg",
    "linspace",
    "load_array",
    "load_data_fashion_mnist",
    "log",
    "matmul",
    "meshgrid",
    "mkdir_if_not_exist",
    "nn_Module",
    "normal",
    "num_gpus",
    "numpy",
    "ones",
    "ones_like",
    "plot",
    "predict_ch3",
    "rand",
    "randn",
    "read_csv_labels",
    "reduce_mean",
    "reduce_sum",
    "reorg_test",
    "reorg_train_valid",
    "repeat",
    "reshape",
    "resnet18",
    "set_axes",
    "set_figsize",
    "sgd",
    "show_images",
    "sigmoid",
    "sin",
    "sinh",
    "size",
    "split_batch",
    "squared_loss",
    "stack",
    "swapaxes",
    "synthetic_data",
    "tan",
    "tanh",
    "tensor",
    "to",
    "train_batch_ch13",
    "train_ch3",
    "train_ch6",
    "train_ch13",
    "train_epoch_ch3",
    "transpose",
    "try_all_gpus",
    "try_gpu",
    "use_svg_display",
    "zeros",
    "zeros_like",
]

# modules that the book's listings reach through its package, as in d2l.nn
_MODULES = {
    "F": "torch.nn.functional",
    "Image": "PIL.Image",
    "collections": "collections",
    "data": "torch.utils.data",
    "inspect": "inspect",
    "math": "math",
    "nn": "torch.nn",
    "np": "numpy",
    "os": "os",
    "random": "random",
    "sys": "sys",
    "time": "time",
    "torch": "torch",
    "torchvision": "torchvision",
    "transforms": "torchvision.transforms",
}


def __getattr__(name: str) -> Any:
    if name == "plt":
        return pyplot()
    if name in _MODULES:
        try:
            return importlib.import_module(_MODULES[name])
        except ModuleNotFoundError as error:
            raise MissingName(f"d2l.{name} needs {error.name}: pip install {error.name}") from None
    if name.startswith("__"):
        raise AttributeError(name)
    raise missing(name, __all__)


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "plt"]


def book_modules() -> dict[str, ModuleType]:
    """The modules that `install` adds, by name."""
    package = book_module("d2l", "Dive into Deep Learning, by neoclassic")
    package.__dict__["__version__"] = "1.0.3"  # the version whose names these are
    this = importlib.import_module(__name__)
    this.__neoclassic__ = True  # type: ignore[attr-defined]

    package.__getattr__ = not_in_package  # type: ignore[method-assign]
    mxnets = book_module("d2lzh", "Dive into Deep Learning for MXNet, which is not here")
    mxnets.__getattr__ = not_in_mxnets  # type: ignore[method-assign]
    restore_svg_formats()
    translated = importlib.import_module(f"{__name__}.d2lzh")
    translated.__neoclassic__ = True  # type: ignore[attr-defined]
    return {"d2l": package, "d2l.torch": this, "d2lzh": mxnets, "d2lzh_pytorch": translated}
