"""What a network costs and sees: shapes, parameters, MACs, memory and receptive fields of every path.

`measure(tree, input)` needs no weights and no torch, and takes milliseconds. Shapes are (channels, height, width) or
(features,), without the batch axis. MACs are the multiply-accumulates of convolutions and linear layers for one image:
the "FLOPs" of the papers, half of what torch's FlopCounterMode prints. Receptive fields follow Araujo et al.,
"Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.

    >>> from neoclassic.tree import Conv2d, Flatten, Linear, Sequential
    >>> m = measure(Sequential(Conv2d(6, 5), Flatten(), Linear(10)), (1, 28, 28))
    >>> m.parameters, m.macs, m["conv"].output
    (34726, 120960, (6, 24, 24))

The module itself can be called: after `import neoclassic as nc`, `nc.measure(tree, input)` is the function, and
`nc.measure.Row` a class of the module.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from neoclassic.measure.fold import measure, smallest_input
from neoclassic.measure.layers import FLOAT, Shape, ShapeError, by, output_size, pooling
from neoclassic.measure.rows import Cost, Field, Measure, Memory, Row
from neoclassic.tree import Node

__all__ = [
    "FLOAT",
    "Cost",
    "Field",
    "Measure",
    "Memory",
    "Row",
    "Shape",
    "ShapeError",
    "by",
    "measure",
    "output_size",
    "pooling",
    "smallest_input",
]


class _CallableModule(ModuleType):
    """A module that is called like its function `measure`."""

    def __call__(self, tree: Node, input: Shape) -> Measure:
        return measure(tree, input)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as functions are."""
        return importlib.import_module, (self.__name__,)


_CallableModule.__call__.__doc__ = measure.__doc__
sys.modules[__name__].__class__ = _CallableModule
