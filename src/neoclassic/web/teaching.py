"""Train a network on photos that are in memory: its last layer on features, or all of it from scratch.

It is the ordinary loop with the ordinary recipe for photos, in a run folder that is removed at the end.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic import networks
from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.data.dataset import Dataset, Splits, stratified_split
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.recipes import neoclassic as ours
from neoclassic.train import loop, transfer
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Run, Settings, State

SMALL = ("lenet:bn", "mnist-residual", "deepconvnet")  # networks to train from scratch
LEAST = 3  # photos of a class
VALIDATION = 0.2
FEW = 200  # photos up to which a batch has 8: of 32, an epoch would be a step or two
Read = Callable[[Preprocessing], Array]  # a photo's pixels for a network


class Stopped(NeoclassicError):
    """The training was stopped before its end."""


@dataclass(frozen=True)
class Way:
    """What is trained.

    network  the name of one of `SMALL`, or of the zoo if there are weights
    weights  the name of a model whose last layer is replaced; None to train all layers from scratch
    """

    network: str
    weights: str | None = None

    @classmethod
    def of(cls, kind: str, name: str, models: Sequence[str]) -> Way:
        """The way that a user names: "head" and a model, or "scratch" and a network. UsageError for anything else."""
        if kind == "head":
            if name not in models:
                raise unknown("model", name, models)
            return cls(name.partition("@")[0], name)
        if kind != "scratch":
            raise unknown("way", kind, ("head", "scratch"))
        if name not in SMALL:
            raise unknown("network", name, SMALL)
        return cls(name)

    def recipe(self, n: int) -> Recipe:
        """The recipe for photos, for n of them in memory."""
        found = ours.photos(self.network, n, bool(self.weights), "head" if self.weights else "all")
        batch = 8 if n <= FEW else found.batch_size
        found = found.but(data="photos", weights=self.weights, batch_size=batch, validation=VALIDATION)
        found = transfer.resolved(found)
        side = found.image_size or max(networks.entry(self.network).input[1:])
        return found.but(image_size=side, channels=3, fit="crop")


class Progress(Listener):
    """What a training has reached, as plain JSON values; and the way to stop it."""

    def __init__(self) -> None:
        self.epochs = 0
        self.log: list[dict[str, Any]] = []
        self.stopping = False

    def started(self, job: Job, run: Run, state: State) -> None:
        self.epochs = job.recipe.epochs

    def stepped(self, epoch: int, images: int) -> None:
        if self.stopping:
            raise Stopped("stopped")

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        row = vars(log[-1])
        self.log.append({name: row[name] for name in ("epoch", "train_accuracy", "validation_accuracy")})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"epochs": self.epochs, "log": list(self.log)}


def check(labels: Sequence[str]) -> None:
    """UsageError for photos of fewer than two classes, or fewer than `LEAST` of a class."""
    counts = Counter(labels)
    if len(counts) < 2:
        raise UsageError("give photos of at least two classes")
    if few := [name for name, n in sorted(counts.items()) if n < LEAST]:
        raise UsageError(f"give at least {LEAST} photos of each class: {few[0]!r} has fewer")


def taught(way: Way, photos: Sequence[tuple[str, Read]], progress: Progress) -> tuple[Model, tuple[str, ...]]:
    """Train on photos, each with its class; return the model, and lines that say what makes it doubtful.

    If it is stopped, the model is the best until then. UsageError as from `check`; `Stopped` if it was stopped before
    its first epoch ended; NeoclassicError if training fails.
    """
    labels = np.array([label for label, _ in photos])
    check(labels.tolist())
    recipe = way.recipe(len(photos))
    with tempfile.TemporaryDirectory(prefix="neoclassic-", ignore_cleanup_errors=True) as folder:
        run, said = Run(Path(folder) / "run"), tuple[str, ...]()
        try:
            splits = _splits(recipe, labels, [read for _, read in photos])
            result = loop.train(recipe, Settings("numpy"), run.folder, splits, [progress], kept=False)
            said = tuple(result.warnings) if result else ()
        except Stopped:
            if not run.model.exists():
                raise
        return _untested(Model.load(run.model)), said


def _splits(recipe: Recipe, labels: Array, reads: Sequence[Read]) -> Splits:
    assert recipe.image_size is not None
    p = Preprocessing((recipe.image_size, recipe.image_size), 3, recipe.fit or "crop")
    full = Dataset.from_arrays(np.stack([read(p) for read in reads]), labels, name="photos")
    kept, held = stratified_split(full.labels, recipe.validation, recipe.seed)
    validation = full.subset(held)
    return Splits(full.subset(kept), test=validation, validation=validation)


def _untested(model: Model) -> Model:
    """The model without test metrics: there was no test set, and the validation set stood in for it."""
    return replace(model, metrics={name: value for name, value in model.metrics.items() if name != "test"})
