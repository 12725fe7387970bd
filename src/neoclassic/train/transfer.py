"""Transfer learning: start from given weights, ours or torchvision's.

Layers whose shape differs are initialised afresh, such as the last one if the classes differ. Weights are matched by
name, never by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines import Weights
from neoclassic.model import published
from neoclassic.model.opening import full_name, open_weights, trained_size
from neoclassic.model.published import Pixels
from neoclassic.model.torchvision import NETWORKS, adopt
from neoclassic.train.recipe import Recipe

FEW = 200  # photos per class below which training from scratch is advised against


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
    if recipe.tree is not None and published.is_name(recipe.weights):
        raise UsageError(f"{recipe.weights} is for networks of the zoo, not for {recipe.network}: name a file or a run")
    weights = full_name(recipe.weights, recipe.network)
    return recipe.but(weights=weights, image_size=recipe.image_size or trained_size(weights))


def advice(network: str, per_class: Sequence[int]) -> str | None:
    """What to tell before photos train a network from scratch; None if there are enough. per_class: their numbers.

    The median decides: below FEW photos of a class, pretrained weights help more than any recipe.
    """
    if not per_class or (typical := median(per_class)) >= FEW:
        return None
    few = f"{typical:.0f} photos per class (the median) are few for training a network from scratch"
    if network in NETWORKS:
        return f"{few}: add --weights imagenet to start from weights trained on a million photos"
    family = network.partition(":")[0]
    other = next((name for name in NETWORKS if name.partition(":")[0] == family), "mobilenet-v2")
    return f"{few}: there are pretrained weights for {other}, with --weights imagenet"


def start(recipe: Recipe, fresh: Weights, channels: int, resumed: bool = False) -> Start:
    """Start from `recipe.weights`, or from `fresh` if the recipe names none. channels: of the images.

    resumed: whether a checkpoint replaces the weights, so that published ones are not needed again; it also says which
    layers started afresh. NeoclassicError for a file that cannot be read or does not fit; UsageError for weights of
    another network.
    """
    if not recipe.weights:
        return Start(fresh)
    if resumed and published.is_name(recipe.weights):
        return Start(fresh, (), published.pixels(recipe.network, channels))
    file, model = open_weights(recipe.weights, recipe.network)
    if model and recipe.tree is None and model.network != recipe.network:
        raise UsageError(f"{recipe.weights} holds {model.network!r}: train that, not {recipe.network!r}")
    try:
        adopted = adopt(recipe.entry, file.arrays, {key: w.shape for key, w in fresh.items()}, lambda: fresh)
    except NeoclassicError as error:
        raise type(error)(f"{recipe.weights}: {error}") from None
    pixels: Pixels | None = None
    if model and model.preprocessing.channels == channels:
        pixels = model.preprocessing.mean, model.preprocessing.std
    if not adopted.ours:
        p = file.preprocessing
        pixels = published.of_channels((p.mean, p.std) if p else published.pixels(recipe.network), channels)
    return Start(adopted.weights, (*file.notes, *adopted.notes), pixels, adopted.afresh)
