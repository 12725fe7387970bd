"""The feature maps of every layer, small and as bytes, for a page that shows the whole network at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.measure import Measure
from neoclassic.tree import Auxiliary, Combinator, Dropout, Identity, Node, Sequential, join

MAPS, SIDE = 24, 48  # of a layer: maps, and pixels of a side, in the overview
UNITS = 512  # numbers of a flat output


@dataclass(frozen=True)
class Sheet:
    """The maps of one layer, n×h×w uint8 below each other: 128 is 0, and 1 and 255 are −`most` and `most`."""

    path: str
    maps: Array
    most: float

    def to_dict(self) -> dict[str, Any]:
        """Everything but the bytes, as plain JSON values."""
        n, height, width = self.maps.shape
        return {"path": self.path, "maps": n, "height": height, "width": width, "most": self.most}


def shown(m: Measure) -> list[str]:
    """The paths that have a sheet, in order of execution: layers that change something, and where branches join."""
    paths: list[str] = []

    def visit(node: Node, path: str) -> None:
        if isinstance(node, Auxiliary):
            return
        for name, child in node.children if isinstance(node, Combinator) else ():
            visit(child, join(path, name))
        if not isinstance(node, Sequential | Dropout | Identity):
            paths.append(path)

    visit(m.rows[0].node, "")
    return paths


def sheet(path: str, values: Array, maps: int = MAPS, side: int = SIDE, first: int = 0) -> Sheet:
    """The sheet of an output, K×h×w or K: `maps` maps from `first` on; those with longer sides become smaller.

    A flat output becomes one map with a row. All maps have one scale, that of the whole layer.
    """
    if values.ndim == 1:
        part = values[None, None, first : first + UNITS]
    else:
        part = values[first : first + maps]
        step = ceil(max(part.shape[1:]) / side)
        if step > 1:
            n, height, width = len(part), part.shape[1] // step, part.shape[2] // step
            whole = part[:, : height * step, : width * step]
            part = whole.reshape(n, height, step, width, step).mean((2, 4))
    most = float(max(values.max(), -values.min(), 0.0))
    most = most if np.isfinite(most) else 0.0
    scaled = np.nan_to_num(part * np.float32(127 / most if most else 0))
    return Sheet(path, np.round(scaled + 128).clip(0, 255).astype(np.uint8), most)


def sheets(m: Measure, values: Mapping[str, Array]) -> list[Sheet]:
    """The sheets of a network's outputs, by path and without the batch axis."""
    return [sheet(path, values[path]) for path in shown(m) if path in values]
