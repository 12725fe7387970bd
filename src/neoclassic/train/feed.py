"""Batches for training: uint8 images where the engine computes, normalised and augmented there, with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.data.augmentation import Augmentation, Put, augment, mix, principal_colours
from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import Array, Preprocessing
from neoclassic.data.resizing import Resized
from neoclassic.engines import Engine
from neoclassic.model.inputs import held
from neoclassic.train.recipe import Recipe


@dataclass(frozen=True)
class Feed:
    """A training set, ready to be drawn from.

    pixels        uint8 N×H×W×C, see `held`
    labels        int64 N, where the engine computes
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
            draw, index, part = draw.select(part), index[part], slice(None)
        place = self.put(index)
        pixels = self.put(self.pixels[index]) if isinstance(self.pixels, np.ndarray | Resized) else self.pixels[place]
        x_NHWC = augment(pixels, draw, self.preprocessing, self.xp, self.put)
        labels = self.labels[place]
        if self.targets is not None:
            labels = self.targets[labels]
            if draw.mixture is not None:
                x_NHWC, labels = mix(x_NHWC, labels, draw.mixture, self.put)
            if self.weights is not None:
                labels = labels * self.weights
        return self.xp.moveaxis(x_NHWC, 3, 1)[part], labels[part]


def feed(engine: Engine, training: Dataset, p: Preprocessing, recipe: Recipe) -> Feed:
    """For an engine: what it has room for is put there once."""
    K, images, augmentation = len(training.classes), training.images, recipe.augmentation
    weights = class_weights(recipe.class_weights, training)
    soft = recipe.label_smoothing > 0 or weights is not None or augmentation.mixes
    return Feed(
        pixels=held(engine, images),
        labels=engine.put(training.labels),
        preprocessing=p,
        augmentation=augmentation,
        targets=engine.put(targets(K, recipe.label_smoothing)) if soft else None,
        weights=None if weights is None else engine.put(weights),
        colours=principal_colours(images) if augmentation.colour else None,
        xp=engine.xp,
        put=engine.put,
    )


def class_weights(wish: tuple[float, ...] | str, training: Dataset) -> Array | None:
    """K float32, mean 1 over the training images; None where none are wished for. UsageError for another number."""
    if not wish:
        return None
    counts = np.maximum(training.counts, 1)
    weights = 1 / counts if isinstance(wish, str) else np.array(wish)
    if len(weights) != len(counts):
        raise UsageError(f"{len(weights)} class weights for {len(counts)} classes: give one for each, or 'balanced'")
    found: Array = weights * counts.sum() / (weights * counts).sum()
    return found.astype(np.float32)


def targets(classes: int, smoothing: float) -> Array:
    """K×K: 1 − smoothing at the label, and smoothing/K everywhere."""
    found: Array = np.eye(classes, dtype=np.float32) * (1 - smoothing) + smoothing / classes
    return found.astype(np.float32)
