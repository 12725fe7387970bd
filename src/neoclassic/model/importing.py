"""Make a model of weights: with the names of the classes and a preprocessing, a file of weights becomes an artefact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.class_names import repeated
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.contract import Array
from neoclassic.measure import Shape
from neoclassic.model import published
from neoclassic.model.adopting import adopted_model
from neoclassic.model.artefact import Model
from neoclassic.model.opening import open_weights
from neoclassic.model.torchvision import outline
from neoclassic.networks import entry

KEEP = 224 / 256  # of the shorter side: how torchvision crops


def imported(
    path: str | Path,
    network: str,
    classes: Sequence[str] | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    image_size: int | None = None,
    fit: str = "crop",
    keep: float | None = None,
) -> tuple[Model, tuple[str, ...]]:
    """A model of the weights in a file, and notes for the user.

    path, network: as for `opening.open_weights`; the numbers of classes and channels are read from the file. classes:
    their names, in the order of the outputs; by default ImageNet's for 1000 classes under torchvision's names. mean,
    std: of the pixels; by default those that torchvision's weights expect, and 0 and 1 for weights under our names.
    image_size: in pixels; the network's published one when omitted. keep: the share of the shorter side that a centre
    crop keeps; by default 0.875 for weights under torchvision's names, and 1 for others.

    UsageError if names are missing or too many; NeoclassicError for weights that lack a layer or do not fit.
    """
    if keep is not None and fit != "crop":
        raise UsageError(f"keep applies only to a centre crop, but fit is {fit!r}: leave one out")
    row = entry(network)
    file, already = open_weights(path, network)
    if already:
        raise UsageError(f"{path} is a model already: use it as it is")
    try:
        found = outline(network, file.arrays)
        names = _names(classes, found.classes, found.ours)
        height, width = (image_size, image_size) if image_size else row.input[1:]
        usual = ((0.0,), (1.0,)) if found.ours else published.pixels(network, found.channels)
        if file.preprocessing:
            usual = published.of_channels((file.preprocessing.mean, file.preprocessing.std), found.channels)
        usual_keep = KEEP if fit == "crop" and not found.ours else 1.0
        p = Preprocessing(
            (height, width), found.channels, fit, "bilinear", mean or usual[0], std or usual[1], keep=keep or usual_keep
        )
        data = {"name": published.DATA if names == published.classes() else "unknown"}
        model, adopted = adopted_model(network, file.arrays, names, p, data, _Complete)
    except NeoclassicError as error:
        raise type(error)(f"{path}: {error}") from None
    notes = (*file.notes, *(note for note in adopted.notes if "auxiliary" not in note))
    return model, notes


def read_names(path: str | Path) -> tuple[str, ...]:
    """The names in a text file, one a line. NeoclassicError for a file that cannot be read or has a name twice."""
    try:
        lines = [line.strip() for line in Path(path).read_text("utf-8-sig").splitlines()]
    except OSError as error:
        raise NeoclassicError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NeoclassicError(f"{path} is not text in UTF-8: save it as UTF-8, one name per line") from None
    numbers, names = [i for i, line in enumerate(lines, 1) if line], [line for line in lines if line]
    if twice := repeated(names):
        name, one, other = twice
        where = f"in lines {numbers[one]} and {numbers[other]}"
        raise NeoclassicError(f"{path} has {name!r} twice, {where}: give each class a name of its own")
    return tuple(names)


def _names(given: Sequence[str] | None, classes: int, ours: bool) -> tuple[str, ...]:
    """The names of the classes, as many as the file has outputs."""
    if given is None:
        if classes == len(published.classes()) and not ours:
            return published.classes()
        raise UsageError(f"the names of its {classes} classes are not in it: give --classes names.txt, one per line")
    if len(given) != classes:
        raise UsageError(f"{len(given)} names are given, but it has {classes} classes")
    return tuple(given)


class _Complete(dict[str, Array]):
    """In place of initial weights: zeros for auxiliary heads, which only training uses, and an error for the rest."""

    def __init__(self, wanted: dict[str, Shape]) -> None:
        super().__init__()
        self.wanted = wanted

    def __missing__(self, key: str) -> Array:
        if key.startswith("auxiliary"):
            return np.zeros(self.wanted[key], np.float32)
        raise NeoclassicError(f"it has no {key} that fits: train that layer with 'neoclassic train --weights'")
