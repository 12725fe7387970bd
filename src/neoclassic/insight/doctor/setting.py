"""What the data and the recipe themselves tell: known ranges, sizes, batch norm, augmentation, faults of the data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from neoclassic.base.finding import CERTAIN, DOUBTFUL, LIKELY, NOTE, POSSIBLE, WRONG, Finding
from neoclassic.base.records import differing
from neoclassic.data.augmentation import Augmentation
from neoclassic.data.check import layout_findings
from neoclassic.insight.doctor.case import Case
from neoclassic.insight.doctor.course import held_out
from neoclassic.insight.doctor.stuck import ending_rectifier
from neoclassic.measure import ShapeError, measure
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import softmax, wilson

TINY = 8  # images in a batch: of fewer, statistics say little
STRONGER = 0.1  # accuracy that images lose by augmentation, beyond which it may be too strong
UNLEARNT = 0.7  # of the way from guessing to perfection: a run that learns as much stands its augmentation
ENLARGED = 2.0  # times the side of the data's own images
WAITING = 0.3  # share of the time of training that goes by until batches are made
LONG = 5.0  # seconds of it that are worth mentioning
LARGE = 10_000  # parameters for each training image
UNREAD = 0.05  # share of the photos
GRADES = {"error": WRONG, "warning": DOUBTFUL, "note": NOTE}  # of what `neoclassic check` finds


def findings(case: Case) -> Iterator[Finding]:
    """What data and recipe show."""
    yield from faults(case)
    yield from reached(case)
    if case.recipe.head:
        return
    yield from augmentation(case)
    yield from tiny_batches(case)
    yield from rectified(case)
    yield from enlarged(case)
    yield from waiting(case)
    yield from oversized(case)


def faults(case: Case) -> Iterator[Finding]:
    """What `neoclassic check` finds in a folder without decoding its photos; and photos that could not be read."""
    if case.result and case.result.skipped and case.job:
        n = case.result.skipped + sum(len(part) for part in (case.job.training, case.job.splits.test))
        if case.result.skipped > UNREAD * n:
            text = f"{case.result.skipped:,} photos could not be read"
            evidence = (f"{case.run.skipped} lists them; about {n:,} were found",)
            yield Finding("skipped", DOUBTFUL, text, evidence, CERTAIN, "convert them, or remove them")
    if not case.photos:
        return
    command = f"neoclassic check {shlex.quote(case.settings.place or '')}"
    for each in layout_findings(case.photos):
        if each.severity != "note":
            shown = each.shown[:3]
            yield Finding(each.kind, GRADES[each.severity], each.text, shown, CERTAIN, "", command)


def reached(case: Case) -> Iterator[Finding]:
    """An accuracy outside the range that the recipe is known to reach."""
    known, e = case.published, case.evaluation
    if known is None or e is None or case.result is None or case.settings.max_steps:
        return
    numbers = [float(text) for text in re.findall(r"(?<!\d)\.\d{3,4}\b", known.reaches)]
    same = replace(known, seed=case.recipe.seed, split_seed=case.recipe.split_seed)
    if not numbers or case.recipe != same or case.result.epochs < known.epochs:
        return
    low, high = wilson(round(e.accuracy * e.n), e.n)
    if high >= min(numbers):
        return
    yield Finding(
        "below-known-range",
        DOUBTFUL,
        f"the accuracy is below what the recipe is known to reach, {min(numbers):.4f}",
        (f"{known.name}: {known.reaches}", f"this run: {e.accuracy:.4f}, 95 % interval from {low:.4f} to {high:.4f}"),
        LIKELY,
        "look at the other findings; if there are none, train again with another --seed",
        case.again(seed=case.recipe.seed + 1),
    )


def augmentation(case: Case) -> Iterator[Finding]:
    """Augmentation stronger than the network can take: it knows plain training images far better than changed ones."""
    changes = case.recipe.augmentation
    if case.quick or changes == Augmentation() or not case.log or case.learnt >= UNLEARNT or case.stuck:
        return
    last = case.log[-1]
    if held_out(last) - last.train_accuracy < STRONGER or not case.job or not case.now:
        return
    plain, augmented = case.augmented_accuracy()
    if plain - augmented < STRONGER:
        return
    strongest = ", ".join(f"{name} {value:g}" for name, value in differing(changes).items())
    yield Finding(
        "augmentation-too-strong",
        DOUBTFUL,
        f"the augmentation is stronger than the network can take: {strongest}",
        (
            f"of the same training images, {plain:.0%} are predicted correctly, {augmented:.0%} when augmented",
            f"log.csv: training accuracy {last.train_accuracy:.1%}, held out {held_out(last):.1%}",
        ),
        LIKELY,
        "halve it, train longer, or use a larger network",
        case.again(epochs=2 * case.recipe.epochs),
    )


def tiny_batches(case: Case) -> Iterator[Finding]:
    """Batch norm with batches of a few images."""
    if case.recipe.batch_size >= TINY or not case.norms:
        return
    bad = bool(case.log) and not case.stuck and case.learnt < UNLEARNT
    yield Finding(
        "tiny-batches",
        DOUBTFUL if bad else NOTE,
        f"batch norm with batches of {case.recipe.batch_size}: the mean and deviation of a batch are mostly noise",
        (f"{len(case.norms)} batch norms, the first is {next(iter(case.norms))}",),
        LIKELY if bad else POSSIBLE,
        "use --batch-size 32",
        case.again(batch_size=32),
    )


def rectified(case: Case) -> Iterator[Finding]:
    """Logits that a last ReLU keeps from being negative."""
    if not case.job or not (path := ending_rectifier(case.measure)):
        return
    evidence = [f"{path} comes after the last layer with weights"]
    if case.now and not case.quick:
        probabilities = softmax(case.now.logits).max(1)
        zero = float((case.now.logits <= 0).mean())
        sure = f"the mean probability of the answer is {probabilities.mean():.0%}"
        evidence.append(f"{zero:.0%} of the logits of {case.now.n} images are 0; {sure}")
    yield Finding(
        "logits-not-negative",
        NOTE,
        "the network ends with a ReLU: logits cannot be negative, and training stops for good once all are 0",
        tuple(evidence),
        CERTAIN,
        "initialise with --init he-open, or leave the last ReLU out",
        "" if case.recipe.initialisation == "he-open" else case.again(initialisation="he-open"),
    )


def enlarged(case: Case) -> Iterator[Finding]:
    """Images that are enlarged, which costs time and adds no information."""
    if not case.model or case.recipe.weights or not (own := case.own_side):
        return
    side = min(case.model.input[1:])
    if side < ENLARGED * own:
        return
    smaller = fitting(case.model, 2 * own)
    what = "small photos" if case.photos else f"images of {own}×{own} pixels"
    evidence = [f"half of the photos are at most {own} pixels on the side that becomes {side}"] if case.photos else []
    yield Finding(
        "enlarged-images",
        NOTE,
        f"{what} are enlarged to {side}×{side}, which adds work and no information",
        (*evidence, f"{(side / own) ** 2:.0f} times the pixels"),
        CERTAIN,
        f"try a smaller --image-size, such as {2 * own}" + ("" if smaller else ", with a network that takes it"),
        case.again(image_size=smaller) if smaller else "",
    )


def waiting(case: Case) -> Iterator[Finding]:
    """Training that waits for its batches."""
    rows = [row for row in case.log if row.data_seconds is not None]
    waited, total = sum(row.data_seconds or 0.0 for row in rows), sum(row.seconds for row in rows)
    if waited < max(LONG, WAITING * total):
        return
    evidence = f"log.csv: {waited:.0f} of {total:.0f} seconds were spent reading, resizing and augmenting batches"
    smaller = fitting(case.model, min(case.model.input[1:]) // 2) if case.model else None
    advice = ["put the data and the cache (NEOCLASSIC_CACHE) on a fast disk"]
    advice += [f"make the images smaller (--image-size {smaller})"] if smaller else []
    advice += ["augment less"] if case.recipe.augmentation != Augmentation() else []
    yield Finding(
        "waits-for-data",
        NOTE,
        f"training waits for data {waited / total:.0%} of the time",
        (evidence,),
        CERTAIN,
        ", or ".join(advice),
        case.again(image_size=smaller) if smaller else "",
    )


def fitting(model: Model, side: int) -> int | None:
    """The side, if the network of a model takes images of that side."""
    try:
        measure(model.tree, (model.input[0], side, side))
    except ShapeError:
        return None
    return side


def oversized(case: Case) -> Iterator[Finding]:
    """A network with far more parameters than so few images can determine."""
    if not case.job or case.recipe.weights or not case.log or not case.result:
        return
    n, parameters = len(case.job.training), case.measure.parameters
    last = case.log[-1]
    if parameters < LARGE * n or last.train_accuracy - held_out(last) < STRONGER:
        return
    yield Finding(
        "network-too-large",
        NOTE,
        f"{case.recipe.network} has {parameters:,} parameters, and there are {n:,} training images",
        (f"log.csv: training accuracy {last.train_accuracy:.1%}, held out {held_out(last):.1%}",),
        LIKELY,
        "start from pretrained weights (--weights imagenet), or use a smaller network",
    )
