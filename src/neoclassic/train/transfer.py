"""Transfer: a run that starts from the weights of another, ours or torchvision's; what stands still, what moves slowly.

Layers whose shape differs start afresh: the last one, where the classes are others. Names decide, never positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines import Weights
from neoclassic.model.opening import open_weights
from neoclassic.model.torchvision import adopt
from neoclassic.train.recipe import Recipe

Pixels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation, each a number a channel
IMAGENET: Pixels = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # that torchvision's weights expect
HALF: Pixels = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # that its googlenet expects


@dataclass(frozen=True)
class Start:
    """The weights that a run starts from, what to tell, and the pixels that they expect.

    pixels  mean and deviation of each channel; None where the weights have learnt from no others than these
    """

    weights: Weights
    notes: tuple[str, ...] = ()
    pixels: Pixels | None = None


def start(recipe: Recipe, fresh: Weights, channels: int) -> Start:
    """From `recipe.weights`, or `fresh` where there is none. channels: of the images.

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
        if channels == 1:  # the first kernels are summed: grey is the mean of the colours
            mean, std = (round(sum(mean) / 3, 3),), (round(sum(std) / 3, 3),)
        pixels = mean, std
    return Start(adopted.weights, (*file.notes, *adopted.notes), pixels)


def rates(recipe: Recipe, parameters: Iterable[str]) -> dict[str, float]:
    """What the learning rate of each parameter is multiplied with, where that is not 1.

    UsageError for a pattern that fits none, or where nothing is left to train.
    """
    names = list(parameters)
    found: dict[str, float] = {}
    for pattern, rate in (*recipe.rates, *((pattern, 0.0) for pattern in recipe.freeze)):
        matched = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not matched:
            layers = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise UsageError(f"no parameter matches {pattern!r}: the paths begin with {layers}")
        found |= dict.fromkeys(matched, rate)
    if not any(found.get(name, 1.0) for name in names):
        raise UsageError("every parameter is frozen: there is nothing to train")
    return {name: rate for name, rate in found.items() if rate != 1}
