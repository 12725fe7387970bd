"""The last layer alone: logistic regression on the features of the training images.

The features are computed once, of a few views of every image, and kept in the cache (`model.features`). They are
standardised for the solver, and mean and deviation are folded into the layer afterwards, so the network stays the same.
The penalty is the one with the lowest loss on images that were held out: all views of an image are held out together,
and only its plain view is measured. Few images are held out in turn, in folds; of many, the validation set is. Then the
layer is fitted to all of them. Equal images give the same bytes in any order and under any name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.data.augmentation import Augmentation
from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Weights
from neoclassic.engines.contract import Array
from neoclassic.model.evaluate import Evaluation, between, cross_entropy
from neoclassic.model.features import PLAIN, Headless, View, ends_in_linear, features_of
from neoclassic.train.feed import class_weights
from neoclassic.train.logistic import Problem, Solution
from neoclassic.train.recipe import Recipe
from neoclassic.tree import Node

FEW = 2000  # images up to which they are held out in folds, and seen in cropped views too
FOLDS = 5
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
MIRRORED = (View(mirrored=True),)
CROPPED = (View(keep=0.85, row=0, column=0), View(mirrored=True, keep=0.85, row=1, column=1))
ROUGH, EXACT = 1e-4, 1e-7  # largest derivative at the end, while penalties are compared and in the last fit


@dataclass(frozen=True)
class Head:
    """The last layer, fitted.

    weight, bias   K×D and K, float32
    penalty        the one that was chosen; see `train.logistic`
    folds          in how many parts the images were held out
    held, labels   N×K logits of the images that were held out, by layers that had not seen them; and their labels
    trained        N×K logits of the same images by the layer itself
    """

    weight: Array = field(repr=False)
    bias: Array = field(repr=False)
    penalty: float
    folds: int
    held: Array = field(repr=False)
    labels: Array = field(repr=False)
    trained: Array = field(repr=False)

    def put(self, weights: Weights, path: str) -> Weights:
        """The weights of the whole network with this last layer at `path`."""
        return {**weights, f"{path}.weight": self.weight, f"{path}.bias": self.bias}

    def line(self, classes: tuple[str, ...]) -> str:
        """What there is to tell the user."""
        e = Evaluation.of(self.held, self.labels, classes)
        right = f"{e.accuracy:.4f} of {e.n:,} images ({between(int(np.trace(e.confusion)), e.n)})"
        where = f"{self.folds} folds" if self.folds > 1 else "held-out images"
        return f"the last layer by logistic regression: accuracy {right} in {where}, penalty {self.penalty:g}"


def views(augmentation: Augmentation, n: int) -> tuple[View, ...]:
    """The views of each of n training images: those that the recipe's augmentation allows."""
    mirrored = MIRRORED if augmentation.flip else ()
    cropped = CROPPED if n <= FEW and (augmentation.scale or augmentation.shift or augmentation.pad) else ()
    return PLAIN + mirrored + tuple(view for view in cropped if augmentation.flip or not view.mirrored)


def check(recipe: Recipe, tree: Node, processes: int) -> None:
    """UsageError if the recipe asks for the last layer alone, and that is not possible."""
    if not (recipe.head or recipe.head_first):
        return
    if not ends_in_linear(tree):
        what = f"{recipe.network} does not end in a linear layer"
        raise UsageError(f"{what}, so its last layer cannot be fitted alone: train all layers")
    if recipe.head and processes > 1:
        raise UsageError("--head runs in one process: start it without torchrun")


def lines(recipe: Recipe) -> tuple[str, ...]:
    """What there is to tell before a run that fits the last layer first."""
    if not recipe.head_first:
        return ()
    return ("the last layer is fitted first, then all layers are trained; --no-head-first trains all from the start",)


def fit(
    recipe: Recipe,
    network: Headless,
    p: Preprocessing,
    training: Dataset,
    held_out: Dataset | None,
    where: tuple[str, str],
    tick: Callable[[int], object] = lambda n: None,
) -> Head:
    """Fit the last layer. held_out: the validation set, if the layer may learn from it too. where: engine and device.

    UsageError for an engine that is not available.
    """
    parts = [training] if held_out is None else [training, held_out]
    total = sum(map(len, parts))
    if few := total <= FEW:
        parts = [_pooled(parts)]
    seen = views(recipe.augmentation, total)

    def found(part: Dataset) -> Array:
        return features_of(network, part.images, p, *where, seen, part.name, tick)

    features = np.concatenate([found(part) for part in parts], 1)
    labels = np.concatenate([part.labels for part in parts])
    weights = class_weights(recipe.class_weights, training)
    if few or held_out is None:
        folds = list(stratified_folds(labels, FOLDS, recipe.seed))[: None if few else 1]
    else:
        folds = [np.arange(len(labels)) >= len(training)]
    examples = Examples(features, labels, len(training.classes), weights)
    penalty, held = out_of_fold(examples, folds)
    order = np.concatenate([np.flatnonzero(fold) for fold in folds])
    solution = examples.solution(np.ones(len(labels), bool), penalty)
    weight, bias = (np.ascontiguousarray(array, np.float32) for array in (solution.weight.T, solution.bias))
    trained = solution.logits(features[0, order])
    return Head(weight, bias, penalty, len(folds), held, labels[order], trained)


def _pooled(parts: list[Dataset]) -> Dataset:
    """All images, ordered by their content."""
    images = np.concatenate([np.asarray(part.images) for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    marks = [(label, hashlib.sha256(images[i].tobytes()).digest()) for i, label in enumerate(labels.tolist())]
    order = np.array(sorted(range(len(marks)), key=marks.__getitem__))
    return Dataset(parts[0].name, images[order], labels[order], parts[0].classes)


def stratified_folds(labels: Array, k: int, seed: int) -> Iterator[Array]:
    """Masks, N, of the images in each of at most k parts, over which those of every class are spread evenly."""
    rng = np.random.default_rng([seed, 0xF01D])
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % k
    yield from (fold == i for i in range(min(k, len(labels))))


@dataclass(frozen=True)
class Examples:
    """Features, views×N×D, labels, N, in 0 … classes − 1, and the weight of each class, if there are any."""

    features: Array
    labels: Array
    classes: int
    weights: Array | None

    def problem(self, chosen: Array) -> tuple[Problem, Array, Array]:
        """The regression on all views of the chosen images; and the mean and deviation that standardise them."""
        x_ND = self.features[:, chosen].reshape(-1, self.features.shape[2]).astype(np.float64)
        labels = np.tile(self.labels[chosen], len(self.features))
        mean, std = x_ND.mean(0), x_ND.std(0)
        std = np.where(std > 1e-6 * max(std.max(), 1e-30), std, 1.0)  # of a unit that never changes: it is left out
        weights = None if self.weights is None else self.weights[labels]
        return Problem.of((x_ND - mean) / std, labels, self.classes, weights), mean, std

    def solution(self, chosen: Array, penalty: float) -> Solution:
        """The layer for features as they are, fitted to the chosen images."""
        problem, mean, std = self.problem(chosen)
        return folded(problem.solve(penalty, EXACT), mean, std)


def folded(solution: Solution, mean: Array, std: Array) -> Solution:
    """The layer for features as they are, from one for standardised features."""
    weight = solution.weight / std[:, None]
    return Solution(weight, solution.bias - mean @ weight, solution.value, solution.iterations)


def out_of_fold(examples: Examples, folds: list[Array]) -> tuple[float, Array]:
    """The penalty with the lowest loss on images that were held out, and their logits, fold by fold.

    From the strongest penalty on, until the loss has risen twice.
    """
    problems = [examples.problem(~fold) for fold in folds]
    solutions: list[Solution | None] = [None] * len(folds)
    labels = np.concatenate([examples.labels[fold] for fold in folds])
    shares = np.ones(len(labels)) if examples.weights is None else examples.weights[labels]
    best, chosen, rises = np.inf, (PENALTIES[0], np.empty(0)), 0
    for penalty in PENALTIES:
        rows = []
        for i, (problem, mean, std) in enumerate(problems):
            solution = solutions[i] = problem.solve(penalty, ROUGH, solutions[i])
            rows.append(folded(solution, mean, std).logits(examples.features[0, folds[i]]))
        logits = np.concatenate(rows)
        loss = float((shares * cross_entropy(logits, labels)).sum() / shares.sum())
        if loss < best:
            best, chosen, rises = loss, (penalty, logits), 0
        else:
            rises += 1
        if rises == 2:
            break
    return chosen
