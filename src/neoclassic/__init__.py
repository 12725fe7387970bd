"""The classic convolutional networks, LeNet to MobileNet V3: exact, fast, and the same answer everywhere."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neoclassic.base import display, moved
from neoclassic.base.errors import MissingAttribute, NeoclassicError, UsageError, install
from neoclassic.networks import list_networks, network

if TYPE_CHECKING:  # a type checker sees the function
    from neoclassic.measure import measure
else:  # the module, which can be called
    from neoclassic import measure

__all__ = ["Classifier", "NeoclassicError", "UsageError", "embed", "list_networks", "load", "measure", "network"]
__version__ = "0.1.0"

moved.install()
display.register("neoclassic.views.cells", "Node", "Measure", "Diff", "Drawing")


def __getattr__(name: str) -> Any:
    """Import `nc.torch`, `nc.Classifier`, `nc.embed` and `nc.load` when they are first used."""
    if name in ("Classifier", "embed", "load"):
        return getattr(importlib.import_module("neoclassic.classifier"), name)
    if name == "torch":
        try:
            return importlib.import_module("neoclassic.torch")
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
        raise MissingAttribute(f"nc.torch needs PyTorch, which is not installed here: {install('torch')}")
    raise AttributeError(f"module 'neoclassic' has no attribute {name!r}")
