"""A second look at an evaluation: confused classes, how far probabilities can be trusted, the worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base import files
from neoclassic.base.text import csv_table
from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight import curves, gallery
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation, logits_of, softmax
from neoclassic.model.provenance import data_of
from neoclassic.views.picture import draw_all

WORST = 40  # mistakes in the gallery
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers whose probability lies between two tenths: how sure, how often right, how many."""

    low: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Review:
    """An evaluation with the probabilities behind it.

    probabilities  N×classes
    labels         N
    names          of the images: their files, or 'test image 17'
    """

    evaluation: Evaluation
    probabilities: Array
    labels: Array
    names: tuple[str, ...]

    @property
    def answers(self) -> Array:
        """N: the class with the highest probability."""
        answers: Array = self.probabilities.argmax(1)
        return answers

    @property
    def pairs(self) -> list[tuple[str, str, int, float]]:
        """(class, what it was called, how often, which share of its images), the most frequent confusion first."""
        counts, classes = self.evaluation.confusion, self.evaluation.classes
        wrong = counts * (1 - np.eye(len(classes), dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[: int((wrong > 0).sum())]
        places = [divmod(int(at), len(classes)) for at in order]
        return [(classes[i], classes[j], int(wrong[i, j]), float(wrong[i, j] / counts[i].sum())) for i, j in places]

    @property
    def worst(self) -> Array:
        """Indices of the wrong answers, by the probability that the true class was given, the lowest first."""
        (wrong,) = np.nonzero(self.answers != self.labels)
        given = self.probabilities[wrong, self.labels[wrong]]
        return wrong[np.argsort(given, kind="stable")]

    @property
    def reliability(self) -> list[Bin]:
        """Answers by their probability, in ten bins: a calibrated network is right as often as it is sure.

        Guo et al. 2017, arXiv 1706.04599."""
        sure, right = self.probabilities.max(1), self.answers == self.labels
        at = np.minimum((sure * BINS).astype(int), BINS - 1)
        return [
            Bin(b / BINS, float(sure[at == b].mean()), float(right[at == b].mean()), int((at == b).sum()))
            for b in range(BINS)
            if (at == b).any()
        ]

    @property
    def calibration_error(self) -> float:
        """Mean distance of confidence and accuracy over the answers: ECE."""
        total = sum(b.n for b in self.reliability)
        return sum(b.n * abs(b.accuracy - b.confidence) for b in self.reliability) / total

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, beside those of the evaluation."""
        worst = [
            {
                "image": self.names[i],
                "class": self.evaluation.classes[self.labels[i]],
                "said": self.evaluation.classes[self.answers[i]],
                "probability": float(self.probabilities[i].max()),
            }
            for i in self.worst[:WORST]
        ]
        pairs = [{"class": a, "said": b, "n": n, "share": share} for a, b, n, share in self.pairs[:20]]
        bins = [vars(b) for b in self.reliability]
        return {
            "calibration_error": self.calibration_error,
            "reliability": bins,
            "most_confused": pairs,
            "worst": worst,
        }


def review(
    engine: Engine,
    pixels: Array,
    labels: Array,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    names: Sequence[str] = (),
    temperature: float = 1.0,
) -> Review:
    """Over uint8 images N×H×W×C and their labels; logits are divided by the temperature."""
    logits = logits_of(engine, pixels, preprocessing)
    named = tuple(names) or tuple(f"test image {i}" for i in range(len(labels)))
    return Review(Evaluation.of(logits / temperature, labels, classes), softmax(logits / temperature), labels, named)


def of_model(
    model: Model, engine: Engine, data: str | None = None, data_dir: str | None = None
) -> tuple[Review, Dataset]:
    """A model on a test set, the one of its training when none is named; and that test set, at the model's size.

    Of a folder of photos without a test set: all that the model was not trained on.
    """
    source = data_of(model, data, data_dir)
    p = model.preprocessing
    test = source.test_set(p, model.data.get("photos", {}))
    return review(engine, test.images, test.labels, test.classes, p, test.paths, model.temperature), test


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def write(found: Review, pixels: Array, folder: Path, title: str) -> dict[str, str]:
    """The pictures and tables of an evaluation; the paths by name of those that are written.

    NeoclassicError where the tables cannot be written; a warning for a picture that cannot be drawn."""
    files.make_folder(folder)
    e, worst = found.evaluation, found.worst[:WORST]
    said = found.probabilities.max(1)
    predictions = (
        [name, e.classes[t], e.classes[a], f"{p:.6f}", f"{row[t]:.6f}"]
        for name, t, a, p, row in zip(found.names, found.labels, found.answers, said, found.probabilities, strict=True)
    )
    tables: dict[str, tuple[Sequence[str], Iterable[Iterable[Any]]]] = {
        "predictions": (["image", "class", "said", "probability", "probability_of_class"], predictions),
        "per-class": (list(e.per_class[0]), (row.values() for row in e.per_class)),
        "confusion": (["class", *e.classes], ([c, *row] for c, row in zip(e.classes, e.confusion, strict=True))),
        "confused-pairs": (["class", "said", "n", "share"], found.pairs),
    }
    for name, (head, rows) in tables.items():
        files.write(folder / f"{name}.csv", csv_table(head, rows))
    pictures: dict[str, Callable[[Path], None]] = {
        "confusion": lambda path: curves.draw_confusion(e.confusion, e.classes, path, title),
        "confusion-share": lambda path: curves.draw_confusion(e.confusion, e.classes, path, title, counts=False),
        "reliability": lambda path: curves.draw_reliability(found.reliability, found.calibration_error, path, title),
    }
    if len(worst):
        pictures["worst"] = lambda path: gallery.draw(
            pixels[worst], captions(found, worst), path, f"{title}; the worst mistakes"
        )
    return draw_all(pictures, folder) | {f"{name}.csv": str(folder / f"{name}.csv") for name in tables}


def captions(found: Review, indices: Array) -> list[tuple[str, str, str]]:
    """For each image its name, what it is, and what it was called."""
    e, answers = found.evaluation, found.answers
    return [
        (
            Path(found.names[i]).name,
            e.classes[found.labels[i]],
            f"{e.classes[answers[i]]} {found.probabilities[i, answers[i]]:.0%}",
        )
        for i in indices
    ]
