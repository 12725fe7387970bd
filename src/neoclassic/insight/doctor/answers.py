"""What the answers on held-out images tell: how sure the accuracy is, and what goes wrong in some classes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from neoclassic.base.finding import CERTAIN, DOUBTFUL, LIKELY, NOTE, WRONG, Finding
from neoclassic.engines.contract import Array
from neoclassic.insight.doctor.case import Case
from neoclassic.insight.doctor.stuck import labels
from neoclassic.model.doubts import Guessing
from neoclassic.model.evaluate import Evaluation
from neoclassic.train import doubtful

WIDE = 0.1  # of a 95 % interval: of a wider one, hardly any two models can be told apart
SIGMAS = 4.0  # that validation and test must differ by
APART = 0.03  # and the accuracy
ENOUGH = 10  # images of a class, before its recall is worth mentioning
YOUNG = 3.0  # times 1/momentum: so many steps until less than 5 % of the first statistics are left
UNEVEN = 5.0  # the largest class over the smallest
LOW = 0.5  # recall of the rare classes, as a fraction of that of the frequent ones
LEARNT = 0.5  # from here on, a model counts as trained
BETTER = 0.1  # accuracy that the statistics of the batch add to the running ones
BRIGHTER = 1.0  # deviations by which the mean pixel of the test images may differ from that of the training images


def findings(case: Case) -> Iterator[Finding]:
    """What the evaluation shows."""
    e = case.evaluation
    if e is None or case.result is None:
        return
    yield from permuted(case, e)
    yield from statistics(case)
    yield from differing_pixels(case)
    if case.guesses and not case.stuck:  # a stuck run was asked before
        yield from labels(case)
    reached = max((row.train_accuracy for row in case.log), default=case.result.train_accuracy)
    temperature = case.model.temperature if case.model else 1.0
    doubts = doubtful.findings(case.recipe, reached, e, temperature)
    yield from doubts[:1] if case.guesses else doubts  # the probabilities of guesses are no news
    yield from never(case, e)
    yield from uneven(case, e)
    yield from unlike(case, e)
    yield from few(e)


def permuted(case: Case, e: Evaluation) -> Iterator[Finding]:
    """Test labels in another order than those of training: most images of a class get one and the same wrong answer."""
    counts, n = e.confusion, e.n
    swap = matching(counts)
    right, could = int(np.trace(counts)), int(counts[np.arange(len(swap)), swap].sum())
    moved = [
        i for i, j in enumerate(swap) if i != j and counts[i].sum() >= ENOUGH and counts[i, j] > 0.5 * counts[i].sum()
    ]
    if len(moved) < 2 or could < 0.5 * n or could - right < 0.2 * n:
        return
    pairs = ", ".join(f"{e.classes[i]!r} is predicted as {e.classes[swap[i]]!r}" for i in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    yield Finding(
        "labels-permuted",
        WRONG,
        f"the classes of the test images are in a different order from those of the training images: {pairs}{more}",
        (f"{right:,} of {n:,} test images are predicted correctly; {could:,} would be, with the classes reordered",),
        CERTAIN,
        "correct the labels of the test set, or the order of its classes",
    )


def matching(counts: Array) -> list[int]:
    """A column for each row, no column twice, that covers large counts: the largest count left is taken in turn."""
    left, chosen = counts.astype(float), [0] * len(counts)
    for _ in range(len(counts)):
        i, j = np.unravel_index(int(left.argmax()), left.shape)
        chosen[int(i)] = int(j)
        left[i, :] = left[:, j] = -1.0
    return chosen


def statistics(case: Case) -> Iterator[Finding]:
    """Batch norms whose running statistics do not fit: the network is good with those of the batch alone."""
    if case.learnt < 0.2 or case.quick or not case.norms or not case.evaluation or not case.now:
        return
    if case.learnt - case.knows(case.evaluation.accuracy) < 0.2:
        return
    now = case.now
    stored, batch = (float((logits.argmax(1) == now.labels).mean()) for logits in (now.logits, now.trained))
    if batch - stored < BETTER or now.n < 16:
        return
    steps, size = case.result.steps if case.result else 0, case.recipe.batch_size
    young = steps < YOUNG / min(case.norms.values())
    if young:
        why, advice, again = f"{steps} steps are too few for them", "train longer", {"epochs": 2 * case.recipe.epochs}
    else:
        larger = max(32, 2 * size)
        why, advice = f"batches of {size} are too small for them", f"train with --batch-size {larger}"
        again = {"batch_size": larger}
    shares = f"{batch:.0%} are predicted correctly with the statistics of the batch, {stored:.0%} with the running ones"
    yield Finding(
        "batch-norm-statistics",
        DOUBTFUL if young else WRONG,
        f"the running statistics of batch norm do not fit the images: {why}",
        (f"of the same {now.n} training images, {shares}", f"momentum {min(case.norms.values()):g}"),
        CERTAIN,
        advice,
        case.again(**again),
    )


def differing_pixels(case: Case) -> Iterator[Finding]:
    """Test images that are far brighter or darker than the training images, and an accuracy that suffers."""
    if not case.job or not case.evaluation or case.learnt < LEARNT:
        return
    if case.learnt - case.knows(case.evaluation.accuracy) < 0.2:
        return
    means = []
    for part in (case.job.training, case.job.splits.test):
        pixels = np.asarray(part.images[part.evenly(256)])
        means.append((float(pixels.mean()), float(pixels.mean((1, 2, 3)).std())))
    (train, deviation), (test, _) = means
    if abs(test - train) <= BRIGHTER * max(deviation, 8.0):
        return
    opposite = abs(255 - test - train) < abs(test - train) / 2
    yield Finding(
        "test-pixels",
        WRONG,
        f"the test images are {'brighter' if test > train else 'darker'} than the training images"
        + (": black and white seem to be exchanged" if opposite else ""),
        (f"the mean pixel is {train:.0f} in training, and {test:.0f} in the test set",),
        LIKELY,
        "invert one of the two sets" if opposite else "bring both sets to the same brightness",
    )


def never(case: Case, e: Evaluation) -> Iterator[Finding]:
    """Classes that there are images of, and that are never the answer."""
    true, said = e.confusion.sum(1), e.confusion.sum(0)
    missing = [i for i in range(len(e.classes)) if true[i] >= ENOUGH and not said[i]]
    if not missing or Guessing.of(e.confusion).likely:
        return
    names = ", ".join(repr(e.classes[i]) for i in missing[:5])
    taken = [f"{e.classes[i]!r} is taken for {e.classes[int(e.confusion[i].argmax())]!r}" for i in missing[:3]]
    seen = (
        [f"{e.classes[i]!r} has {case.job.training.counts[i]:,} training images" for i in missing[:3]]
        if case.job
        else []
    )
    yield Finding(
        "never-answered",
        DOUBTFUL if e.accuracy >= LEARNT else NOTE,
        f"{names} {'is' if len(missing) == 1 else 'are'} never predicted",
        (
            f"{int(true[missing].sum()):,} of {e.n:,} test images belong to {'it' if len(missing) == 1 else 'them'}",
            *taken,
            *seen,
        ),
        CERTAIN,
        "train longer; if the class has few training images, use --class-weights balanced",
        case.again(epochs=2 * case.recipe.epochs),
    )


def uneven(case: Case, e: Evaluation) -> Iterator[Finding]:
    """Classes of very different sizes, and what that costs the rare ones."""
    if not case.job or case.recipe.class_weights or case.guesses:
        return
    counts, true, right = case.job.training.counts, e.confusion.sum(1), np.diag(e.confusion)
    present = counts > 0
    if counts[present].max() < UNEVEN * counts[present].min():
        return
    rare = present & (counts * UNEVEN <= counts.max()) & (true >= ENOUGH)
    often = present & ~rare & (true >= ENOUGH)
    if not rare.any() or not often.any():
        return
    recalls = [float(right[part].sum() / true[part].sum()) for part in (rare, often)]
    if recalls[0] > LOW * recalls[1]:
        return
    names = ", ".join(repr(e.classes[i]) for i in np.flatnonzero(rare)[:5])
    yield Finding(
        "unbalanced",
        DOUBTFUL,
        f"the classes are imbalanced, and the rare ones suffer: {names}",
        (
            f"training images: from {counts[present].min():,} to {counts.max():,} in a class",
            f"recall of the rare classes {recalls[0]:.0%}, of the others {recalls[1]:.0%}",
        ),
        CERTAIN,
        "train again with --class-weights balanced, or add images of the rare classes",
    )


def unlike(case: Case, e: Evaluation) -> Iterator[Finding]:
    """Validation and test accuracies that differ by more than chance allows."""
    validation = (case.model.metrics if case.model else {}).get("validation")
    if not validation or (case.job and case.job.monitored is case.job.splits.test):
        return
    p, n = float(validation["accuracy"]), int(validation["n"])
    pooled = (p * n + e.accuracy * e.n) / (n + e.n)
    deviation = math.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / e.n))
    apart = p - e.accuracy
    if abs(apart) < max(SIGMAS * deviation, APART):
        return
    yield Finding(
        "test-unlike-validation",
        DOUBTFUL,
        f"test and validation accuracy differ by {abs(apart):.1%}, more than chance allows",
        (
            f"validation: {p:.1%} of {n:,}; test: {e.accuracy:.1%} of {e.n:,}",
            f"chance makes a difference of {deviation:.1%} (one standard deviation)",
        ),
        LIKELY,
        "the two sets come from different sources, or the validation images resemble training images: look for "
        "duplicates with neoclassic check, and split the photos by source",
    )


def few(e: Evaluation) -> Iterator[Finding]:
    """Too few test images to tell two models apart."""
    low, high = e.interval
    if high - low <= WIDE:
        return
    yield Finding(
        "few-test-images",
        NOTE,
        f"{e.n:,} test images are too few to tell two models apart",
        (f"accuracy {e.accuracy:.1%}, 95 % interval from {low:.1%} to {high:.1%}",),
        CERTAIN,
        "hold out more images (--test 0.3), or train with --folds 5; "
        "models with overlapping intervals cannot be told apart",
    )
