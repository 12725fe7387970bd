"""Logits, accuracy and loss of a network over images: the same code in training, evaluation and prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoclassic.base import display
from neoclassic.base.records import number, whole
from neoclassic.base.text import printable
from neoclassic.data.on_demand import OnDemand
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.model.inputs import inputs, resident
from neoclassic.views.table import LEFT, RIGHT, align

BATCH = 256
MOST_CLASSES = 40  # in a printed table
Z = 1.959964  # of a 95% interval
CLASS_COLUMNS = ("class", "precision", "recall", "F1", "images")


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """N×classes probabilities, float64, of logits / temperature; each row sums to 1."""
    wide = logits.astype(np.float64) / temperature
    shifted = np.exp(wide - wide.max(1, keepdims=True))
    probabilities: Array = shifted / shifted.sum(1, keepdims=True)
    return probabilities


def logits_of(
    engine: Engine,
    pixels: Array,
    preprocessing: Preprocessing,
    tick: Callable[[int], object] = lambda n: None,
    exact: bool = True,
) -> Array:
    """N×classes logits of uint8 images, N×H×W×C, of the preprocessing's size.

    tick: called with the number of images after each batch. exact: see `Engine.logits`.
    """
    logits, images = [], resident(engine, pixels)
    for start in range(0, len(pixels), BATCH):
        batch = images[start : start + BATCH]
        if isinstance(images, OnDemand) and start + BATCH < len(pixels):
            images.expect(np.arange(start + BATCH, min(start + 2 * BATCH, len(pixels))))
        logits.append(engine.logits(inputs(engine, batch, preprocessing), exact))
        tick(len(logits[-1]))
    return np.concatenate(logits) if logits else np.zeros((0, 0), np.float32)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """The cross-entropy of each image in nats, N float64, from N×classes logits and N labels."""
    wide = logits.astype(np.float64)
    top = wide.max(1, keepdims=True)
    log_sum = np.log(np.exp(wide - top).sum(1)) + top[:, 0]
    losses: Array = log_sum - wide[np.arange(len(labels)), labels]
    return losses


def confusion_of(labels: Array, answers: Array, classes: int) -> Array:
    """classes×classes counts from N labels and N answers: a row for each true class, a column for each answer."""
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    return confusion


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95% interval of a fraction of `right` in n trials; (0, 1) if n is 0. Wilson 1927, JASA 22(158).

    (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)
    """
    if not n:
        return 0.0, 1.0
    p = right / n
    middle, half = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def between(right: int, n: int) -> str:
    """The 95% interval of a fraction of `right` in n trials, as text: "89.5% to 90.7%"."""
    low, high = wilson(right, n)
    return f"{low:.1%} to {high:.1%}"


@dataclass(frozen=True, repr=False)
class Evaluation(display.Displayed):
    """Accuracy over a labelled set. `confusion[i][j]` counts the images of class i that were predicted as j."""

    accuracy: float
    loss: float  # mean cross-entropy, nats
    n: int
    classes: tuple[str, ...]
    confusion: Array

    @classmethod
    def of(cls, logits: Array, labels: Array, classes: tuple[str, ...]) -> Evaluation:
        """From N×classes logits and N labels."""
        answers = logits.argmax(1)
        confusion = confusion_of(labels, answers, len(classes))
        n = len(labels)
        loss = float(cross_entropy(logits, labels).mean())
        return cls(float((answers == labels).mean()), loss, n, classes, confusion)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_dict` wrote. ValueError if an entry is missing, or if they do not belong together."""
        try:
            accuracy, loss, n = data["accuracy"], data["loss"], data["n"]
            classes = tuple(row["class"] for row in data["per_class"])
            confusion = np.array(data["confusion"], np.int64)
        except KeyError as error:
            raise ValueError(f"evaluation: {error} is missing") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"evaluation: {error}") from None
        if not (number(accuracy) and number(loss) and all(isinstance(name, str) for name in classes)):
            raise ValueError("evaluation: accuracy or loss is no number, or a class has no name")
        fits = confusion.shape == (len(classes),) * 2 and (confusion >= 0).all()
        if not (fits and whole(n) and n == sum(map(int, confusion.flat)) and n > 0):
            raise ValueError("evaluation: the confusion matrix does not fit the classes and the number of images")
        return cls(float(accuracy), float(loss), n, classes, confusion)

    def __repr__(self) -> str:
        head = f"{self.line}, loss {self.loss:.4f}"
        if len(self.classes) > MOST_CLASSES:
            return f"{head}, {len(self.classes):,} classes"
        return f"{head}\n\n{align([CLASS_COLUMNS, *self.class_cells], LEFT + RIGHT * 4)}"

    @property
    def line(self) -> str:
        """The accuracy with the number of images and its 95 % interval: "90.10% of 10,000 images (89.5% to 90.7%)"."""
        return f"{self.accuracy:.2%} of {self.n:,} images ({between(round(self.accuracy * self.n), self.n)})"

    @property
    def class_cells(self) -> list[tuple[str, ...]]:
        """The rows of the table of classes, as text: precision, recall and F1 of each, and its images."""
        return [
            (printable(c["class"]), f"{c['precision']:.1%}", f"{c['recall']:.1%}", f"{c['f1']:.1%}", f"{c['n']:,}")
            for c in self.per_class
        ]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return wilson(int(np.trace(self.confusion)), self.n)

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """Precision, recall and F1 of each class, 0 where the denominator is 0; and the 95 % interval of the recall."""
        right, said, true = np.diag(self.confusion), self.confusion.sum(0), self.confusion.sum(1)
        precision, recall = right / np.maximum(said, 1), right / np.maximum(true, 1)
        f1 = 2 * right / np.maximum(said + true, 1)
        rows = zip(self.classes, precision, recall, f1, true, right, strict=True)
        return [
            {
                "class": name,
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
                "n": int(n),
                **dict(zip(("recall_low", "recall_high"), wilson(int(k), int(n)), strict=True)),
            }
            for name, p, r, f, n, k in rows
        ]

    @property
    def summary(self) -> dict[str, float]:
        """Accuracy, loss and the number of images."""
        return {"accuracy": self.accuracy, "loss": self.loss, "n": self.n}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self.summary,
            "accuracy_interval": list(self.interval),
            "per_class": self.per_class,
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    engine: Engine,
    pixels: Array,
    labels: Array,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    tick: Callable[[int], object] = lambda n: None,
    exact: bool = True,
) -> Evaluation:
    """Evaluate uint8 images, N×H×W×C, against their labels, N."""
    return Evaluation.of(logits_of(engine, pixels, preprocessing, tick, exact), labels, classes)
