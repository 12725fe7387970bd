"""The command line that trains a recipe again."""

from __future__ import annotations

import shlex

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.sources import is_photos
from neoclassic.networks import OWN, Entry
from neoclassic.recipes import choose
from neoclassic.train.recipe import Recipe

OPTIONS = {
    "data": "--data",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--lr",
    "schedule": "--schedule",
    "warmup_epochs": "--warmup-epochs",
    "initialisation": "--initialisation",
    "validation": "--validation",
    "image_size": "--image-size",
    "seed": "--seed",
}
OPTIMIZER_OPTIONS = {"name": "--optimizer", "momentum": "--momentum", "weight_decay": "--weight-decay"}


def command(recipe: Recipe, engine: str) -> tuple[str, list[str]]:
    """The command line that trains this recipe again, and the fields of the recipe that it has no option for.

    That of one fold trains the other folds, too.
    """
    network = recipe.network if recipe.tree is None else recipe.entry
    try:
        base = choose(network, recipe.name)
        words = ["neoclassic", "train", recipe.network, "--recipe", recipe.name]
    except UsageError:  # not a published recipe: the network's defaults
        base = _default(network, recipe)
        words = ["neoclassic", "train", recipe.network]
    values, defaults = recipe.to_dict(), base.to_dict()
    for name, option in OPTIONS.items():
        if values[name] != defaults[name]:
            words += [option, f"{values[name]:g}" if isinstance(values[name], float) else str(values[name])]
    if values["standardise"] != defaults["standardise"]:
        words.append("--standardise" if values["standardise"] else "--no-standardise")
    for name, option in OPTIMIZER_OPTIONS.items():
        value = values["optimizer"][name]
        if value != defaults["optimizer"][name]:
            words += [option, str(value)]
    if recipe.fold:
        words += ["--folds", str(recipe.fold[1])]
    covered = {*OPTIONS, "fold", "standardise", "optimizer", "name", "network", "source", "about", "reaches", "tree"}
    rest = [name for name in values if name not in covered and values[name] != defaults[name]]
    if recipe.network == OWN:  # no file names the tree
        rest = ["tree", *rest]
    return shlex.join([*words, "--engine", engine]), rest


def _default(network: str | Entry, recipe: Recipe) -> Recipe:
    """What `neoclassic train NETWORK` takes, which depends on the photos if they are still there."""
    plain = choose(network, None)
    if recipe.weights or not is_photos(recipe.data):
        return plain
    try:
        return choose(network, None, recipe.data).but(data=plain.data)
    except NeoclassicError:
        return plain
