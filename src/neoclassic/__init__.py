"""The classic convolutional networks, LeNet to MobileNet V3: exact, fast, and the same answer everywhere."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neoclassic.base import called, display, moved
from neoclassic.base.errors import MissingAttribute, MissingPackage, NeoclassicError, UsageError, one_line
from neoclassic.networks import list_networks, network
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Node,
    PadChannels,
    Product,
    ReLU,
    ReLU6,
    Select,
    Sequential,
    Sigmoid,
    Sum,
    Tanh,
)

if TYPE_CHECKING:  # a type checker sees the functions
    from neoclassic import torch as torch
    from neoclassic.classifier import Classifier, embed, load
    from neoclassic.measure import measure
    from neoclassic.verbs import (
        check,
        compare,
        diagnose,
        diff,
        draw,
        evaluate,
        explain,
        export,
        join,
        list_recipes,
        recipe,
        search,
        train,
    )
else:  # a module, which can be called
    from neoclassic import measure

__all__ = [
    "RBF",
    "AdaptiveAvgPool2d",
    "Auxiliary",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Classifier",
    "Concat",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "NeoclassicError",
    "Node",
    "PadChannels",
    "Product",
    "ReLU",
    "ReLU6",
    "Select",
    "Sequential",
    "Sigmoid",
    "Sum",
    "Tanh",
    "UsageError",
    "check",
    "check_labels",
    "compare",
    "diagnose",
    "diff",
    "draw",
    "embed",
    "evaluate",
    "explain",
    "export",
    "join",
    "list_networks",
    "list_recipes",
    "load",
    "measure",
    "network",
    "recipe",
    "search",
    "train",
]
__version__ = "0.1.0"

# Where names are that are imported when they are first used. Those in the second table are modules that can be called:
# they have the name of their function, which stands in `verbs`.
_LATER = {
    **dict.fromkeys(("Classifier", "embed", "load"), "neoclassic.classifier"),
    **dict.fromkeys(("list_recipes", "recipe"), "neoclassic.recipes"),
    **dict.fromkeys(("check", "check_labels", "diagnose", "diff", "draw", "evaluate", "join"), "neoclassic.verbs"),
    "search": "neoclassic.verbs",
}
_CALLED = {
    "compare": "neoclassic.insight.compare",
    "explain": "neoclassic.insight.explain",
    "export": "neoclassic.model.export",
    "train": "neoclassic.train",
}

moved.install()
called.register("neoclassic.measure.fold", "neoclassic.measure")
called.register("neoclassic.verbs", *_CALLED.values())
display.register("neoclassic.views.cells", "Node", "Measure", "Diff", "Drawing")
display.register("neoclassic.insight.cells", "Recipe", "Recipes", "Model", "Result", "Run")
display.register("neoclassic.insight.cells", "CrossValidation", "Search")
display.register("neoclassic.insight.cells", "Evaluation", "Review", "Explanation", "Comparison")
display.register("neoclassic.insight.cells", "Diagnosis", "Suspects")


def __getattr__(name: str) -> Any:
    """Import what is not imported with the package when it is first used."""
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    if name in _CALLED:
        return importlib.import_module(_CALLED[name])
    if name == "torch":
        try:
            return importlib.import_module("neoclassic.torch")
        except MissingPackage as error:
            raise one_line(MissingAttribute(str(error))) from None
    raise AttributeError(f"module 'neoclassic' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, which docs/python.md describes. `import *` does not load `torch`."""
    return sorted([*__all__, "__version__", "torch"])
