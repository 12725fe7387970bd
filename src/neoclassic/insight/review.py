"""A closer look at an evaluation: confused classes, calibration, the worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base import display, files
from neoclassic.base.text import csv_table
from neoclassic.data.dataset import Dataset
from neoclassic.data.folders import Folder
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight import curves, gallery
from neoclassic.insight.curves import Bin
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation, logits_of, softmax
from neoclassic.model.provenance import data_of
from neoclassic.views.picture import draw_all

WORST = 40  # mistakes in the gallery
BINS = 10


@dataclass(frozen=True, repr=False)
class Review(display.Displayed):
    """An evaluation with its probabilities.

    probabilities  N×classes
    labels         N
    names          N names of the images: their files, or 'test image 17'
    """

    evaluation: Evaluation
    probabilities: Array
    labels: Array
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"{self.evaluation!r}\n\nexpected calibration error {self.calibration_error:.1%}"

    @property
    def accuracy(self) -> float:
        """The share of the images that were predicted correctly."""
        return self.evaluation.accuracy

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats."""
        return self.evaluation.loss

    @property
    def predicted(self) -> Array:
        """The most probable class of each image, N."""
        predicted: Array = self.probabilities.argmax(1)
        return predicted

    @property
    def pairs(self) -> list[tuple[str, str, int, float]]:
        """(true class, predicted class, count, share of the true class), the most frequent confusion first."""
        return confusions(self.evaluation.confusion, self.evaluation.classes)

    @property
    def worst(self) -> Array:
        """Indices of the wrong predictions, sorted by the probability of the true class, the lowest first."""
        (wrong,) = np.nonzero(self.predicted != self.labels)
        of_true_class = self.probabilities[wrong, self.labels[wrong]]
        return wrong[np.argsort(of_true_class, kind="stable")]

    @property
    def reliability(self) -> list[Bin]:
        """The predictions in ten bins of confidence, without empty bins. In a calibrated model the mean confidence of
        each bin equals its accuracy. Guo et al. 2017, arXiv 1706.04599."""
        confidence, correct = self.probabilities.max(1), self.predicted == self.labels
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        return [
            Bin(b / BINS, float(confidence[bins == b].mean()), float(correct[bins == b].mean()), int((bins == b).sum()))
            for b in range(BINS)
            if (bins == b).any()
        ]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: the mean of |accuracy − confidence| over the bins, weighted by their size."""
        total = sum(b.n for b in self.reliability)
        return sum(b.n * abs(b.accuracy - b.confidence) for b in self.reliability) / total

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without those of the evaluation."""
        worst = [
            {
                "image": self.names[i],
                "class": self.evaluation.classes[self.labels[i]],
                "said": self.evaluation.classes[self.predicted[i]],
                "probability": float(self.probabilities[i].max()),
            }
            for i in self.worst[:WORST]
        ]
        pairs = [{"class": true, "said": said, "n": n, "share": share} for true, said, n, share in self.pairs[:20]]
        return {
            "calibration_error": self.calibration_error,
            "reliability": [vars(b) for b in self.reliability],
            "most_confused": pairs,
            "worst": worst,
        }


def confusions(confusion: Any, classes: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """(true class, predicted class, count, share of the true class), the most frequent confusion first.

    confusion: classes×classes counts, a row for each true class.
    """
    counts = np.asarray(confusion)
    wrong = counts * (1 - np.eye(len(classes), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[: int((wrong > 0).sum())]
    cells = [divmod(int(cell), len(classes)) for cell in order]
    return [(classes[i], classes[j], int(wrong[i, j]), float(wrong[i, j] / counts[i].sum())) for i, j in cells]


def review(
    engine: Engine,
    pixels: Array,
    labels: Array,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    names: Sequence[str] = (),
    temperature: float = 1.0,
) -> Review:
    """Evaluate uint8 images N×H×W×C with their labels; the logits are divided by the temperature."""
    logits = logits_of(engine, pixels, preprocessing)
    names = tuple(names) or tuple(f"test image {i}" for i in range(len(labels)))
    return Review(Evaluation.of(logits / temperature, labels, classes), softmax(logits / temperature), labels, names)


def of_model(
    model: Model,
    engine: Engine,
    data: str | None = None,
    data_dir: str | None = None,
    note: Callable[[str], None] | None = None,
) -> tuple[Review, Dataset]:
    """Review a model on a test set. Return the review and the test set, resized to the model's input.

    data: a data set; that of the model's training when omitted. A folder of photos without a test set contributes all
    images that the model was not trained on. note: called with each line on how the folder is read, if that is not
    obvious.
    """
    source = data_of(model, data, data_dir)
    if note and isinstance(source, Folder):
        for line in (*source.layout, *source.warnings):
            note(line)
    p = model.preprocessing
    photos = model.data.get("photos", {})
    test = source.test_set(p, photos)
    trained_on = {digest for split in ("train", "validation") for digest in photos.get(split, ())}
    if note and data is None and (twice := trained_on.intersection(photos.get("test", ()))):
        note(f"images that are also in the training set are left out of the test: {len(twice):,}")
    return review(engine, test.images, test.labels, test.classes, p, test.paths, model.temperature), test


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def write(
    reviewed: Review, pixels: Array, folder: Path, title: str, skipped: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Write the pictures and tables of a review; return the paths of those written, by name.

    skipped: images that could not be read, each with the reason; a table of them is written if there are any.
    NeoclassicError if a table cannot be written; a warning for a picture that cannot be drawn.
    """
    files.make_folder(folder)
    tables = _tables(reviewed)
    if skipped:
        tables["skipped"] = (["path", "reason"], skipped)
    for name, (head, rows) in tables.items():
        files.write(folder / f"{name}.csv", csv_table(head, rows))
    e, worst = reviewed.evaluation, reviewed.worst[:WORST]
    bins, error = reviewed.reliability, reviewed.calibration_error
    pictures: dict[str, Callable[[Path], None]] = {
        "confusion": lambda path: curves.draw_confusion(e.confusion, e.classes, path, title),
        "confusion-share": lambda path: curves.draw_confusion(e.confusion, e.classes, path, title, counts=False),
        "reliability": lambda path: curves.draw_reliability(bins, error, path, title),
    }
    if len(worst):
        worst_title = f"{title}; the worst mistakes, true class above predicted class"
        pictures["worst"] = lambda path: gallery.draw(pixels[worst], captions(reviewed, worst), path, worst_title)
    return draw_all(pictures, folder) | {f"{name}.csv": str(folder / f"{name}.csv") for name in tables}


def _tables(reviewed: Review) -> dict[str, tuple[Sequence[str], Iterable[Iterable[Any]]]]:
    """Column names and rows of each table."""
    e = reviewed.evaluation
    predictions = (
        [name, e.classes[true], e.classes[predicted], f"{row[predicted]:.6f}", f"{row[true]:.6f}"]
        for name, true, predicted, row in zip(
            reviewed.names, reviewed.labels, reviewed.predicted, reviewed.probabilities, strict=True
        )
    )
    return {
        "predictions": (["image", "class", "said", "probability", "probability_of_class"], predictions),
        "per-class": (list(e.per_class[0]), (row.values() for row in e.per_class)),
        "confusion": (["class", *e.classes], ([c, *row] for c, row in zip(e.classes, e.confusion, strict=True))),
        "confused-pairs": (["class", "said", "n", "share"], reviewed.pairs),
    }


def captions(reviewed: Review, indices: Array) -> list[tuple[str, str, str]]:
    """For each image its name, its true class, and its predicted class with the probability."""
    e, predicted = reviewed.evaluation, reviewed.predicted
    return [
        (
            Path(reviewed.names[i]).name,
            e.classes[reviewed.labels[i]],
            f"{e.classes[predicted[i]]} {reviewed.probabilities[i, predicted[i]]:.0%}",
        )
        for i in indices
    ]
