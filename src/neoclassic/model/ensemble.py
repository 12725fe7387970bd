"""Ensembles and test-time augmentation: the mean of the probabilities of several models, or of several views.

An ensemble has an engine's `logits`, so it can be used in place of an engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from neoclassic.base.errors import MissingAttribute, UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.measure import by
from neoclassic.model import folds, hub, pretrained
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import softmax
from neoclassic.model.opening import open_model

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class MultiView:
    """Test-time augmentation: mirror each image, and shift it by this many pixels up, down, left and right."""

    flip: bool = False
    shift: int = 0

    def of(self, images: Array) -> Iterator[Array]:
        """Yield every view of the images, float32 N×C×H×W. A shift repeats the pixels at the border."""
        d, (h, w) = self.shift, images.shape[2:]
        moves = [(0, 0), (-d, 0), (d, 0), (0, -d), (0, d)] if d else [(0, 0)]
        padded = np.pad(images, ((0, 0), (0, 0), (d, d), (d, d)), mode="edge") if d else images
        for i, j in moves:
            moved = padded[:, :, d + i : d + i + h, d + j : d + j + w]
            yield np.ascontiguousarray(moved)
            if self.flip:
                yield np.ascontiguousarray(moved[..., ::-1])


class Ensemble:
    """An engine that only predicts. Its logits are the logarithms of the mean of the calibrated probabilities."""

    name = "ensemble"
    device = "cpu"

    def __init__(self, members: Sequence[tuple[Model, Engine]], views: MultiView = MultiView()) -> None:
        self.members, self.views = members, views
        first = members[0][0]
        self.tree, self.input = first.tree, first.input

    def holds(self, nbytes: int) -> bool:
        return False

    def logits(self, images: Array, exact: bool = True) -> Array:
        first, total, n = self.members[0][0].preprocessing, np.zeros(()), 0
        for model, engine in self.members:
            for view in self.views.of(_as_expected(images, first, model.preprocessing)):
                total, n = total + softmax(engine.logits(view), model.temperature), n + 1
        logits: Array = np.log(np.maximum(total / n, 1e-30)).astype(np.float32)
        return logits

    def __getattr__(self, name: str) -> NoReturn:
        raise MissingAttribute(f"an ensemble only predicts and has no {name!r}: give one model, without views")


def _as_expected(images: Array, given: Preprocessing, wanted: Preprocessing) -> Array:
    """Images normalised by one mean and deviation, normalised by another instead."""
    if (given.mean, given.std) == (wanted.mean, wanted.std):
        return images
    m0, s0, m1, s1 = (np.array(v, np.float32)[:, None, None] for p in (given, wanted) for v in (p.mean, p.std))
    renormalised: Array = (images * s0 + m0 - m1) / s1
    return renormalised


def open_models(
    paths: Sequence[str],
    engine: str = "auto",
    device: str = "auto",
    views: MultiView = MultiView(),
    answering: bool = False,
) -> tuple[Model, Engine]:
    """Open one model as `open_model` does; with views, it and an ensemble.

    Of several models, a model without weights, whose classes, preprocessing and data are theirs, and an ensemble. A
    folder of `train --folds` is several models. UsageError for models whose classes or preprocessing differ.
    """
    paths = [member for path in paths for member in folds.trained(path) or [path]]
    members = [open_model(path, engine, device, answering) for path in paths]
    models = [model for model, _ in members]
    require_alike(paths, models)
    if not models[1:]:
        ((first, running),) = members
        return (first, running) if views == MultiView() else (replace(first, calibration={}), Ensemble(members, views))
    return of_all(models), Ensemble(members, views)


def require_alike(paths: Sequence[str], models: Sequence[Model]) -> None:
    """Raise UsageError, which names two paths, if the models have other classes or need other images."""
    first = models[0]
    for path, model in zip(paths, models, strict=True):
        if model.classes != first.classes:
            raise UsageError(
                f"{path} has different classes from {paths[0]}: an ensemble needs the same, in the same order"
            )
        a, b = (replace(m.preprocessing, mean=(0.0,), std=(1.0,)) for m in (first, model))
        if a != b:
            differ = [(k, x, y) for (k, x), y in zip(vars(a).items(), vars(b).values(), strict=True) if x != y]
            what = f"{by(first.input)} and {by(model.input)}"
            if first.input == model.input:
                what = "; ".join(f"{k} {x} and {y}" for k, x, y in differ)
            raise UsageError(f"{path} needs different images from {paths[0]} ({what}): an ensemble needs the same")


def of_all(models: Sequence[Model]) -> Model:
    """What is true of several models together: no weights, no metrics, and what their photos are to all of them.

    A photo is a test photo if none of them was trained on it.
    """
    first, photos = models[0], [model.data.get("photos", {}) for model in models]
    train, validation, test = ({mark for each in photos for mark in each.get(part, ())} for part in PARTS)
    marks = zip(PARTS, (train, validation, test - train - validation), strict=True)
    data = first.data | ({"photos": {part: sorted(found) for part, found in marks}} if any(photos) else {})
    return replace(first, data=data, weights={}, metrics={}, calibration={})


def models_first(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into the models that it begins with, at least one, and the rest."""
    n = 1
    while n < len(arguments) and _is_model(arguments[n]):
        n += 1
    return list(arguments[:n]), list(arguments[n:])


def _is_model(given: str) -> bool:
    """Whether an argument is an address or the name of a model, or a path that has the form of one."""
    if hub.is_address(given) or pretrained.is_known(given):
        return True
    path = Path(given)
    return path.suffix.lower() in (".safetensors", ".onnx") or any(
        (path / name).is_file() for name in ("model.safetensors", folds.FOLDS)
    )
