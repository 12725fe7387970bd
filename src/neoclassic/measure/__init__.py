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

from neoclassic.base import called
from neoclassic.measure.fold import measure, smallest_input
from neoclassic.measure.layers import FLOAT, Shape, ShapeError, by, output_size, pooling
from neoclassic.measure.rows import Cost, Field, Measure, Memory, Row

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


called.make_callable(__name__)
