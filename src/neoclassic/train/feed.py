"""Batches for training: uint8 images in device memory, normalised and augmented there, with their targets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.data.augmentation import Augmentation, Put, augment, mix, principal_colours
from neoclassic.data.dataset import Dataset
from neoclassic.data.on_demand import OnDemand
from neoclassic.data.preprocessing import Array, Preprocessing
from neoclassic.engines import Engine, towers
from neoclassic.model.inputs import resident
from neoclassic.train.recipe import Recipe


@dataclass
class Feed:
    """A training set, ready to be sampled.

    pixels         uint8 N×H×W×C, see `model.inputs.resident`
    labels         int64 N, on the device
    preprocessing  mean and standard deviation
    targets        K×K float32, the target distribution of each label; None where labels are class indices
    weights        float32 K, the weight of each class in the loss; None where all are 1
    colours        principal colours, if the augmentation shifts colours
    xp, put        numpy or torch, and the function that copies a NumPy array to the device
    device         where the network is
    seconds        that training has waited for batches; on a GPU, which augments while this processor goes on, only for
                   images that are read from host memory
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
    device: str
    seconds: float = 0.0

    def batch(
        self,
        index: Array,
        rng: np.random.Generator,
        share: slice = slice(None),
        following: Array | None = None,
    ) -> tuple[Any, Any]:
        """The images at `index`, float32 N×C×H×W, with their labels, N, or targets, N×K; or a slice of that batch.

        Random numbers are drawn for the whole batch, so that the slices of a batch together equal the batch.
        following: the index of the next batch, whose photos may be decoded while the network trains on this one.
        """
        started = time.monotonic()
        draw = self.augmentation.draw(len(index), self.preprocessing.size, rng, self.colours)
        if share != slice(None) and draw.mixture is None:
            following = None if following is None else following[share]
            draw, index, share = draw.select(share), index[share], slice(None)
        host = isinstance(self.pixels, np.ndarray | OnDemand)
        pixels = self.pixels[index] if host else None
        if isinstance(self.pixels, OnDemand) and following is not None:
            self.pixels.expect(following)
        if not towers.on_cpu(self.device):
            self.seconds += time.monotonic() - started
        place = self.put(index)
        pixels = self.put(pixels) if host else self.pixels[place]
        x_NHWC = augment(pixels, draw, self.preprocessing, self.xp, self.put)
        labels = self.labels[place]
        if self.targets is not None:
            labels = self.targets[labels]
            if draw.mixture is not None:
                x_NHWC, labels = mix(x_NHWC, labels, draw.mixture, self.put)
            if self.weights is not None:
                labels = labels * self.weights
        if towers.on_cpu(self.device):
            self.seconds += time.monotonic() - started
        return self.xp.moveaxis(x_NHWC, 3, 1)[share], labels[share]


def feed(engine: Engine, training: Dataset, p: Preprocessing, recipe: Recipe) -> Feed:
    """Prepare a training set for an engine: whatever fits in device memory is uploaded once."""
    K, images, augmentation = len(training.classes), training.images, recipe.augmentation
    weights = class_weights(recipe.class_weights, training)
    soft = recipe.label_smoothing > 0 or weights is not None or augmentation.mixes
    return Feed(
        pixels=resident(engine, images),
        labels=engine.put(training.labels),
        preprocessing=p,
        augmentation=augmentation,
        targets=engine.put(targets(K, recipe.label_smoothing)) if soft else None,
        weights=None if weights is None else engine.put(weights),
        colours=principal_colours(images) if augmentation.colour else None,
        xp=engine.xp,
        put=engine.put,
        device=engine.device,
    )


def class_weights(wish: tuple[float, ...] | str, training: Dataset) -> Array | None:
    """K float32 weights, mean 1 over the training images; None where none are given. UsageError for another count."""
    if not wish:
        return None
    counts = np.maximum(training.counts, 1)
    weights = 1 / counts if isinstance(wish, str) else np.array(wish)
    if len(weights) != len(counts):
        raise UsageError(f"{len(weights)} class weights for {len(counts)} classes: give one for each, or 'balanced'")
    scaled: Array = weights * counts.sum() / (weights * counts).sum()
    return scaled.astype(np.float32)


def targets(classes: int, smoothing: float) -> Array:
    """K×K targets: 1 − smoothing at the label, plus smoothing/K everywhere."""
    smoothed: Array = np.eye(classes, dtype=np.float32) * (1 - smoothing) + smoothing / classes
    return smoothed.astype(np.float32)
