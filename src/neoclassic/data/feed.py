"""Batches for training: uint8 images where the engine computes, normalised and augmented there, with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neoclassic.data.augmentation import Augmentation, Put, augment, mix
from neoclassic.data.preprocessing import Array, Preprocessing


@dataclass(frozen=True)
class Feed:
    """A training set, ready to be drawn from.

    pixels        uint8 N×H×W×C, and `labels`, int64 N, where `put` puts them
    preprocessing mean and deviation
    targets       K×K float32, the target of each label; None where labels themselves are given
    weights       float32 K, of the classes in the loss; None where all are 1
    colours       what `principal_colours` found, where colours are shifted
    xp, put       numpy or torch, and from a NumPy array to one where the engine computes
    """

    pixels: Any
    labels: Any
    preprocessing: Preprocessing
    augmentation: Augmentation
    targets: Any
    weights: Any
    colours: Array | None
    xp: Any
    put: Put

    def batch(self, index: Array, rng: np.random.Generator, part: slice = slice(None)) -> tuple[Any, Any]:
        """float32 images N×C×H×W and their labels, or targets N×K, of the images at `index`; or a part of that batch.

        The parts of a batch make up the batch: what is drawn is drawn for all of it.
        """
        draw = self.augmentation.draw(len(index), self.preprocessing.size, rng, self.colours)
        if part != slice(None) and draw.mixture is None:
            draw, index, part = draw.part(part), index[part], slice(None)
        place = self.put(index)
        x_NHWC = augment(self.pixels[place], draw, self.preprocessing, self.xp, self.put)
        labels = self.labels[place]
        if self.targets is not None:
            labels = self.targets[labels]
            if draw.mixture is not None:
                x_NHWC, labels = mix(x_NHWC, labels, draw.mixture, self.put)
            if self.weights is not None:
                labels = labels * self.weights
        return self.xp.moveaxis(x_NHWC, 3, 1)[part], labels[part]


def targets(classes: int, smoothing: float) -> Array:
    """K×K: 1 − smoothing at the label, and smoothing/K everywhere."""
    found: Array = np.eye(classes, dtype=np.float32) * (1 - smoothing) + smoothing / classes
    return found.astype(np.float32)
