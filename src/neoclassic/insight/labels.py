"""Images whose labels are probably wrong: those that models which have not seen them classify confidently otherwise.

The images are divided into folds, and each fold is predicted by a model that was trained on the others: a small
network, or the last layer alone on the features of given weights. What counts as confident follows C. Northcutt, L.
Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70, 2021 (arXiv 1911.00068): an
image is counted as class j if its probability of j is at least the mean probability of j over the images that are
labelled j.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base import display, files
from neoclassic.base.errors import UsageError
from neoclassic.base.progress import say
from neoclassic.base.text import csv_table, printable
from neoclassic.data.augmentation import Augmentation
from neoclassic.data.dataset import Dataset, Splits
from neoclassic.data.folds import divided, groups, pooled
from neoclassic.data.sources import SOURCES, is_photos
from neoclassic.engines.contract import Array
from neoclassic.insight import gallery
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import logits_of, softmax, wilson
from neoclassic.model.features import features_of, headless
from neoclassic.recipes import choose
from neoclassic.train import head
from neoclassic.train.job import Job, prepare
from neoclassic.train.loop import train
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Settings

NETWORK = "lenet:bn"  # for small trainings
SIDE = 28  # pixels, that it sees
EPOCHS = 5
SHOWN = 100  # images in the gallery
LISTED = 10  # in the printed report
UNSURE = 0.8  # accuracy of the held-out predictions, below which many suspects are only difficult images
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, repr=False)
class Suspects(display.Displayed):
    """Images whose labels are probably wrong. The repr is the report for people.

    data           what was examined
    classes        the name of each label
    names          of all N images: their files, or 'train image 17'
    labels         N, as they are given
    probabilities  N×classes, of models that have not seen the image
    order          indices of the suspects, the most suspicious first
    pixels         uint8 of the first suspects, at most 100×H×W×C
    how            what predicted them
    """

    data: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: Array
    probabilities: Array
    order: Array
    pixels: Array
    how: str

    @property
    def accuracy(self) -> float:
        """The share of all images whose label is what the models say."""
        return float((self.probabilities.argmax(1) == self.labels).mean())

    @property
    def likely(self) -> Array:
        """For each suspect, the class that it probably belongs to."""
        found: Array = suggested(self.probabilities, self.labels)[self.order]
        return found

    def rows(self) -> list[dict[str, Any]]:
        """A row for each suspect, the most suspicious first."""
        p, n = self.probabilities, self.labels
        return [
            {
                "image": self.names[i],
                "label": self.classes[n[i]],
                "likely": self.classes[j],
                "probability_of_label": round(float(p[i, n[i]]), 6),
                "probability_of_likely": round(float(p[i, j]), 6),
            }
            for i, j in zip(self.order.tolist(), self.likely.tolist(), strict=True)
        ]

    @property
    def line(self) -> str:
        """How many there are."""
        n, k = len(self.labels), len(self.order)
        return (
            f"about {k:,} of {n:,} labels are probably wrong, {k / n:.2%}"
            if k
            else f"none of {n:,} labels is suspicious"
        )

    def __repr__(self) -> str:
        n = len(self.labels)
        low, high = wilson(round(self.accuracy * n), n)
        lines = [f"{self.data}: {self.line}"]
        lines.append(f"  {self.how}: {self.accuracy:.2%} of {n:,} held-out images right ({low:.2%} to {high:.2%})")
        if self.accuracy < UNSURE:
            better = "give pretrained weights, such as --network resnet18 --weights imagenet"
            lines.append(f"  with so few right, many suspects are merely difficult images: {better}")
        for row in self.rows()[:LISTED]:
            said = f"labelled {row['label']}, probably {row['likely']}"
            lines.append(f"    {printable(row['image'])}: {said} ({row['probability_of_likely']:.1%})")
        if len(self.order) > LISTED:
            lines.append(f"    … and {len(self.order) - LISTED:,} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        n = len(self.labels)
        about = {"data": self.data, "how": self.how, "images": n, "accuracy": self.accuracy}
        return {**about, "suspects": self.rows()}

    def write(self, table: Path) -> Path:
        """Write the table of all suspects as CSV, and beside it a gallery of the first; return the gallery's path."""
        rows = self.rows()
        names = ["image", "label", "likely", "probability_of_label", "probability_of_likely"]
        files.write(table, csv_table(names, (row.values() for row in rows)))
        picture = table.with_suffix(".png")
        shown = rows[: len(self.pixels)]
        captions = [
            (Path(row["image"]).name, row["label"], f"{row['likely']} ({row['probability_of_likely']:.0%})")
            for row in shown
        ]
        if shown:
            title = f"{self.data}: the most suspicious labels, each above what the models say"
            gallery.draw(self.pixels, captions, picture, title)
        return picture


# ── confident learning ───────────────────────────────────────────────────────────────────────────────


def suspicious(probabilities: Array, labels: Array) -> Array:
    """Indices of the images whose labels are probably wrong, the most suspicious first.

    probabilities: N×classes, of models that have not seen the image. labels: N.
    """
    likely = suggested(probabilities, labels)
    each = np.arange(len(labels))
    margin = probabilities[each, likely] - probabilities[each, labels]
    (found,) = np.nonzero((likely != labels) & (margin > 0))
    order: Array = found[np.argsort(-margin[found], kind="stable")]
    return order


def suggested(probabilities: Array, labels: Array) -> Array:
    """The class that each image counts as, N: the most probable of those that reach their threshold, or its label."""
    K = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=K)
    thresholds = np.bincount(labels, own, K) / np.maximum(counts, 1)
    thresholds[counts == 0] = np.inf  # of a class without images, nothing is known
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    found: Array = np.where(reached.max(1) >= 0, reached.argmax(1), labels)
    return found


# ── predictions ──────────────────────────────────────────────────────────────────────────────────────


def examine(
    data: str | Dataset,
    network: str | None = None,
    weights: str | None = None,
    folds: int = 5,
    epochs: int | None = None,
    image_size: int | None = None,
    settings: Settings = Settings(),
    seed: int = 0,
) -> Suspects:
    """Find the images of a data set, or of a folder, whose labels are probably wrong.

    data: a name, a path, or images in memory. network, weights: with weights, the last layer is fitted to the features
    of this network; without, the network, by default a small one, is trained `folds` times.

    UsageError for a wrong call; NeoclassicError for data that cannot be read.
    """
    if folds < 2:
        raise UsageError(f"folds must be at least 2, not {folds}")
    if weights and not network:
        raise UsageError("--weights needs --network, which says whose weights they are")
    recipe = _recipe(data, network, weights, epochs, image_size, seed)
    given = data if isinstance(data, Dataset) else None
    splits = Splits(given, given.subset(np.arange(1))) if given else None
    job = prepare(recipe, settings if weights else _on_cpu(settings), splits, World())
    whole = (given and job.splits.train) or pooled(_parts(job.splits))
    group = groups(whole, near=not (isinstance(data, str) and data in SOURCES))
    fold = divided(whole.labels, group, folds, seed)
    if weights:
        probabilities = _by_features(job, whole, fold, folds, settings)
        how = f"the last layer of {network} with {weights}, fitted in {folds} folds"
    else:
        probabilities = _by_training(recipe, whole, fold, folds, settings)
        how = f"{recipe.network}, trained {folds} times for {recipe.epochs} epochs"
    order = suspicious(probabilities, whole.labels)
    names = whole.paths or (given and tuple(f"image {i}" for i in range(len(given)))) or _numbered(job.splits)
    pixels = np.asarray(whole.images[order[:SHOWN]]) if len(order) else np.empty((0, 1, 1, 1), np.uint8)
    return Suspects(whole.name, whole.classes, names, whole.labels, probabilities, order, pixels, how)


def _recipe(
    data: str | Dataset, network: str | None, weights: str | None, epochs: int | None, size: int | None, seed: int
) -> Recipe:
    """How the models are trained: all images serve, so nothing is held out but the fold."""
    source = None if isinstance(data, Dataset) else data
    layers = "head" if weights else "all"
    chosen = choose(network or NETWORK, None, source, weights, layers)
    changes: dict[str, Any] = {"seed": seed, "validation": 0.0, "augmentation": Augmentation()}
    if source is not None:
        changes["data"] = source
    if not weights:
        photos = source is not None and is_photos(source)
        changes["epochs"] = epochs or (chosen.epochs if photos else EPOCHS)
        changes["warmup_epochs"] = min(chosen.warmup_epochs, 0.5)
        changes["image_size"] = size or chosen.image_size or (None if network else SIDE)
    elif size:
        changes["image_size"] = size
    return chosen.but(**changes, **({"weights": weights} if weights else {}))


def _on_cpu(settings: Settings) -> Settings:
    return Settings("numpy", data_dir=settings.data_dir, max_pixels=settings.max_pixels)


def _parts(splits: Splits) -> list[Dataset]:
    return [part for part in (splits.train, splits.validation, splits.test) if part is not None]


def _numbered(splits: Splits) -> tuple[str, ...]:
    """Names of images that have no files."""
    parts = zip(PARTS, (splits.train, splits.validation, splits.test), strict=True)
    return tuple(f"{name} image {i}" for name, part in parts if part is not None for i in range(len(part)))


def _by_features(job: Job, whole: Dataset, fold: Array, k: int, settings: Settings) -> Array:
    """Probabilities, N×classes, of the last layer fitted to the other folds."""
    recipe = job.recipe
    network = headless(recipe.network, job.tree, job.shape, job.engine.weights())
    features = features_of(network, whole.images, job.preprocessing, settings.engine, settings.device, about=whole.name)
    masks = [fold == i for i in range(k)]
    _, logits = head.out_of_fold(head.Examples(features, whole.labels, len(whole.classes), None), masks)
    found = np.empty((len(whole), len(whole.classes)))
    found[np.concatenate([np.flatnonzero(mask) for mask in masks])] = softmax(logits)
    return found


def _by_training(recipe: Recipe, whole: Dataset, fold: Array, k: int, settings: Settings) -> Array:
    """Probabilities, N×classes, of networks trained on the other folds."""
    found = np.empty((len(whole), len(whole.classes)))
    with files.scratch() as scratch:
        for i in range(k):
            (inside,), (outside,) = np.nonzero(fold == i), np.nonzero(fold != i)
            held = whole.subset(inside)
            splits = Splits(whole.subset(outside), whole.subset(inside[:1]))  # evaluated after every epoch: one image
            out = scratch / str(i)
            train(recipe, settings, out, splits, kept=False)
            model = Model.load(out / "model.safetensors")
            logits = logits_of(model.engine(settings.engine, settings.device), held.images, model.preprocessing)
            found[inside] = softmax(logits)
            say(f"fold {i + 1} of {k}: {(logits.argmax(1) == held.labels).mean():.2%} right")
    return found
