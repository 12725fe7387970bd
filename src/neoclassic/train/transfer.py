"""Transfer learning: start from given weights, ours or torchvision's.

Layers whose shape differs are initialised afresh, such as the last one if the classes differ. Weights are matched by
name, never by position.
"""

from __future__ import annotations

from dataclasses import dataclass

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines import Weights
from neoclassic.model.opening import open_weights
from neoclassic.model.torchvision import adopt
from neoclassic.train.recipe import Recipe

Pixels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation, each a number a channel
IMAGENET: Pixels = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what torchvision's weights expect
HALF: Pixels = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # what its googlenet expects


@dataclass(frozen=True)
class Start:
    """The weights that a run starts from.

    notes   lines to tell the user
    pixels  mean and standard deviation that the weights expect of each channel; None where there is no expectation
    afresh  keys of layers that the file lacks, and that start afresh beside it
    """

    weights: Weights
    notes: tuple[str, ...] = ()
    pixels: Pixels | None = None
    afresh: frozenset[str] = frozenset()


def start(recipe: Recipe, fresh: Weights, channels: int) -> Start:
    """Start from `recipe.weights`, or from `fresh` if the recipe names none. channels: of the images.

    NeoclassicError for a file that cannot be read or does not fit; UsageError for weights of another network.
    """
    if not recipe.weights:
        return Start(fresh)
    file, model = open_weights(recipe.weights)
    if model and model.network != recipe.network:
        raise UsageError(f"{recipe.weights} holds {model.network!r}: train that, not {recipe.network!r}")
    try:
        adopted = adopt(recipe.network, file.arrays, {key: w.shape for key, w in fresh.items()}, lambda: fresh)
    except NeoclassicError as error:
        raise type(error)(f"{recipe.weights}: {error}") from None
    pixels: Pixels | None = None
    if model and model.preprocessing.channels == channels:
        pixels = model.preprocessing.mean, model.preprocessing.std
    if not adopted.ours:
        mean, std = HALF if recipe.network == "googlenet:torchvision" else IMAGENET
        if file.preprocessing:
            mean, std = file.preprocessing.mean, file.preprocessing.std
        if channels == 1:  # the first kernels are summed over the colours, so grey takes the mean of their statistics
            mean, std = (round(sum(mean) / len(mean), 3),), (round(sum(std) / len(std), 3),)
        pixels = mean, std
    return Start(adopted.weights, (*file.notes, *adopted.notes), pixels, adopted.afresh)
