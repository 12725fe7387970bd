"""The book's modules, and the names that a star import of each defines."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.compat import dlfs
from neoclassic.compat.dlfs import chapter4

_FUNCTIONS = (
    *("identity_function", "step_function", "sigmoid", "sigmoid_grad", "relu", "relu_grad", "softmax"),
    *("sum_squared_error", "mean_squared_error", "cross_entropy_error", "softmax_loss"),
)
_LAYERS = (
    *("Relu", "Sigmoid", "Affine", "SoftmaxWithLoss", "Dropout", "BatchNormalization", "Convolution", "Pooling"),
    *("im2col", "col2im", *_FUNCTIONS),
)
_OPTIMIZERS = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam")
_LIBRARY: dict[str, tuple[str, ...] | None] = {  # a package has None
    "dataset": None,
    "dataset.mnist": ("load_mnist", "init_mnist"),
    "common": None,
    "common.functions": _FUNCTIONS,
    "common.gradient": ("numerical_gradient", "numerical_gradient_2d"),
    "common.layers": _LAYERS,
    "common.optimizer": _OPTIMIZERS,
    "common.trainer": ("Trainer", *_OPTIMIZERS),
    "common.util": ("smooth_curve", "shuffle_dataset", "conv_output_size", "im2col", "col2im"),
    "common.multi_layer_net": ("MultiLayerNet",),
    "common.multi_layer_net_extend": ("MultiLayerNetExtend",),
}
_CHAPTERS: dict[str, dict[str, tuple[str, ...]]] = {
    "ch02": {"and_gate": ("AND",), "nand_gate": ("NAND",), "or_gate": ("OR",), "xor_gate": ("XOR",)},
    "ch04": {"two_layer_net": ("TwoLayerNet",), "gradient_2d": ("numerical_gradient",)},
    "ch05": {"two_layer_net": ("TwoLayerNet",), "layer_naive": ("MulLayer", "AddLayer")},
    "ch07": {"simple_convnet": ("SimpleConvNet",)},
    "ch08": {"deep_convnet": ("DeepConvNet",)},
}
# a module of a chapter is imported by its name alone, from beside the script, or with its folder, from the book's
MODULES = _LIBRARY | dict.fromkeys(_CHAPTERS)
for _folder, _modules in _CHAPTERS.items():
    MODULES |= _modules | {f"{_folder}.{_name}": _names for _name, _names in _modules.items()}


def names_of(module: str) -> dict[str, Any]:
    """The names that one of `MODULES` defines."""
    names = MODULES[module]
    if names is None:
        return {}
    found = {"np": np, **{name: getattr(dlfs, name) for name in names}}
    if module.endswith("gradient_2d"):  # its function of this name is that of rows
        found["numerical_gradient"] = dlfs.numerical_gradient_2d
    if module == "ch04.two_layer_net" or (module == "two_layer_net" and _folder_of_the_script() != "ch05"):
        found["TwoLayerNet"] = chapter4.TwoLayerNet
    return found


def _folder_of_the_script() -> str:
    """Which of ch04 and ch05, also written ch5 or chapter05, is the first on sys.path; "" if none is."""
    for folder in (*sys.path, ""):
        if found := re.fullmatch(r"(?:ch|chap|chapter)[ _-]?0?([45])", Path(folder).resolve().name.lower()):
            return f"ch0{found[1]}"
    return ""
