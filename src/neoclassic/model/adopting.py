"""A model of weights that are somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Weights
from neoclassic.engines.weights import initial, shapes
from neoclassic.measure import Shape
from neoclassic.model.artefact import Model
from neoclassic.model.torchvision import Adopted, adopt
from neoclassic.networks import entry


def adopted_model(
    network: str,
    arrays: Mapping[str, Any],
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    data: dict[str, Any],
    fresh: Callable[[dict[str, Shape]], Weights] | None = None,
) -> tuple[Model, Adopted]:
    """The model of a network of the zoo with these arrays, and how they were adopted.

    fresh: draws the layers that the arrays lack, from the shapes of all; initial weights when omitted. Errors as from
    `torchvision.adopt`.
    """
    tree, shape = entry(network).tree(len(classes)), (preprocessing.channels, *preprocessing.size)
    wanted = shapes(tree, shape)
    adopted = adopt(network, arrays, wanted, lambda: fresh(wanted) if fresh else initial(tree, shape))
    return Model(network, tree, shape, classes, preprocessing, adopted.weights, data=data), adopted
