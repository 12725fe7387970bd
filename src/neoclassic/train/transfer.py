"""Transfer: a run that starts from the weights of another, ours or torchvision's; what stands still, what moves slowly.

Layers whose shape differs start afresh: the last one, where the classes are others. Names decide, never positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from safetensors import safe_open

from neoclassic.artefact import Model
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Weights
from neoclassic.engines.weights import take_over
from neoclassic.errors import NeoclassicError, UsageError
from neoclassic.measure import Shape
from neoclassic.torchvision_weights import HEADS, from_torchvision, read_weights
from neoclassic.train.recipe import Recipe
from neoclassic.tree import Node

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation that torchvision's weights expect


@dataclass(frozen=True)
class Start:
    """The weights that a run starts from, mean and deviation of the pixels that they expect, and what to tell."""

    weights: Weights
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()


def start(recipe: Recipe, tree: Node, shape: Shape, fresh: Weights, preprocessing: Preprocessing) -> Start:
    """From `recipe.weights`, or `fresh` where there is none.

    NeoclassicError for a file that cannot be read or does not fit; UsageError for weights of another network.
    """
    if not recipe.weights:
        return Start(fresh, preprocessing)
    if _is_ours(recipe.weights):
        return _from_ours(Model.load(recipe.weights), recipe, fresh, preprocessing)
    found, notes = from_torchvision(recipe.network, read_weights(recipe.weights), tree, shape, recipe.seed)
    kept = {key: fresh[key] if _afresh(key, notes) else array for key, array in found.items()}
    if preprocessing.channels == 3 and recipe.network != "googlenet:torchvision":
        preprocessing = replace(preprocessing, mean=IMAGENET[0], std=IMAGENET[1])
    return Start(kept, preprocessing, tuple(notes))


def _afresh(key: str, notes: Iterable[str]) -> bool:
    return key.rpartition(".")[0] in HEADS and any("last layer starts afresh" in note for note in notes)


def _is_ours(path: str) -> bool:
    """A run folder, or a `.safetensors` file with our header."""
    if Path(path).is_dir():
        return True
    if Path(path).suffix != ".safetensors" or not Path(path).is_file():
        return False
    try:
        with safe_open(path, "numpy") as file:
            return "neoclassic" in (file.metadata() or {})
    except Exception:  # what is wrong with it, its reader tells
        return False


def _from_ours(model: Model, recipe: Recipe, fresh: Weights, preprocessing: Preprocessing) -> Start:
    if model.network != recipe.network:
        raise UsageError(f"{recipe.weights} holds {model.network!r}: train that, not {recipe.network!r}")
    try:
        weights, notes = take_over(model.weights, fresh)
    except NeoclassicError as error:
        raise NeoclassicError(f"{recipe.weights}: {error}") from None
    if model.preprocessing.channels == preprocessing.channels:
        preprocessing = replace(preprocessing, mean=model.preprocessing.mean, std=model.preprocessing.std)
    return Start(weights, preprocessing, tuple(notes))


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
