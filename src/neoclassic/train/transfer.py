"""Transfer learning: start from given weights, ours or torchvision's.

Layers whose shape differs are initialised afresh, such as the last one if the classes differ. Weights are matched by
name, never by position.
"""

from __future__ import annotations

from dataclasses import dataclass

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Weights
from neoclassic.model import published
from neoclassic.model.opening import full_name, open_weights, trained_size
from neoclassic.model.published import Pixels
from neoclassic.model.torchvision import adopt
from neoclassic.train.recipe import Recipe


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


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with what its weights leave open: their version, and the size of images that they were trained on.

    UsageError for an unknown name, or one of another network.
    """
    if not recipe.weights:
        return recipe
    weights = full_name(recipe.weights, recipe.network)
    return recipe.but(weights=weights, image_size=recipe.image_size or trained_size(weights))


def start(recipe: Recipe, fresh: Weights, channels: int, resumed: bool = False) -> Start:
    """Start from `recipe.weights`, or from `fresh` if the recipe names none. channels: of the images.

    resumed: whether a checkpoint replaces the weights, so that published ones are not needed again. NeoclassicError for
    a file that cannot be read or does not fit; UsageError for weights of another network.
    """
    if not recipe.weights:
        return Start(fresh)
    if resumed and published.is_name(recipe.weights):
        return Start(fresh, (), published.pixels(recipe.network, channels))
    file, model = open_weights(recipe.weights, recipe.network)
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
        pixels = _pixels(file.preprocessing, channels) or published.pixels(recipe.network, channels)
    return Start(adopted.weights, (*file.notes, *adopted.notes), pixels, adopted.afresh)


def _pixels(said: Preprocessing | None, channels: int) -> Pixels | None:
    """Mean and deviation of a preprocessing for images with other channels, perhaps; None if nothing is said."""
    if said is None or channels == said.channels:
        return (said.mean, said.std) if said else None
    mean, std = (sum(values) / len(values) for values in (said.mean, said.std))
    return (round(mean, 3),) * channels, (round(std, 3),) * channels
