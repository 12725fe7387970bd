"""An independent witness: how far the nearest neighbours of an image, by its pixels, know its label.

It is no good classifier, but it cannot fail to train: if it knows nothing of the labels of many images, they probably
have nothing to do with the pixels; if it does know them, they have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from neoclassic.data.dataset import Dataset
from neoclassic.engines.contract import Array
from neoclassic.model.doubts import Guessing
from neoclassic.model.evaluate import confusion_of

MOST = 2000  # images
FEWEST = 60
SIDE = 16  # pixels to which images are reduced
NEIGHBOURS = 5


@dataclass(frozen=True)
class Witness:
    """What the nearest neighbours of n images know: how many labels are right, and how many would be by chance."""

    guessing: Guessing

    @classmethod
    def of(cls, part: Dataset) -> Self | None:
        """From a sample of a data set; None if it has too few images."""
        if len(part) < FEWEST:
            return None
        chosen = part.evenly(MOST)
        labels = part.labels[chosen]
        answers = _neighbours(_reduced(np.asarray(part.images[chosen])), labels, len(part.classes))
        return cls(Guessing.of(confusion_of(labels, answers, len(part.classes))))

    @property
    def n(self) -> int:
        return self.guessing.n

    @property
    def knows(self) -> bool:
        """Whether it is better than chance."""
        return not self.guessing.likely

    @property
    def line(self) -> str:
        """What it found."""
        g = self.guessing
        of = f"of the labels of {g.n:,} training images"
        know = f"the {NEIGHBOURS} most similar images, by their pixels, predict {g.right / g.n:.1%}"
        return f"{know} {of}; chance is {g.share:.1%}"


def _reduced(pixels: Array) -> Array:
    """N×D float32 of unit length: grey images, reduced to at most 16×16 by averaging blocks."""
    x_NHW = pixels.mean(3, dtype=np.float32)
    for axis in (1, 2):
        side = x_NHW.shape[axis]
        block = max(side // SIDE, 1)
        x_NHW = np.moveaxis(x_NHW, axis, -1)[..., : side // block * block]
        x_NHW = np.moveaxis(x_NHW.reshape(*x_NHW.shape[:-1], -1, block).mean(-1), -1, axis)
    x_ND = x_NHW.reshape(len(x_NHW), -1)
    x_ND = x_ND - x_ND.mean(1, keepdims=True)
    unit: Array = x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-6)
    return unit


def _neighbours(x_ND: Array, labels: Array, classes: int) -> Array:
    """The most frequent label among the nearest others of each image; of several, the lowest."""
    similar = x_ND @ x_ND.T
    np.fill_diagonal(similar, -np.inf)
    nearest = np.argpartition(-similar, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    votes = np.zeros((len(x_ND), classes), np.int64)
    np.add.at(votes, (np.arange(len(x_ND))[:, None], labels[nearest]), 1)
    answers: Array = votes.argmax(1)
    return answers
