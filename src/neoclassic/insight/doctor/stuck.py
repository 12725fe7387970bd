"""Why training does not learn: no gradient, a learning rate that is too high or too low, labels, pixels."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from neoclassic.base.finding import CERTAIN, DOUBTFUL, LIKELY, NOTE, POSSIBLE, WRONG, Finding
from neoclassic.base.records import differing
from neoclassic.data.augmentation import Augmentation
from neoclassic.insight.doctor.case import Case, options
from neoclassic.insight.doctor.look import Layer
from neoclassic.insight.doctor.trial import STEPS, Trial
from neoclassic.insight.doctor.witness import Witness
from neoclassic.measure import Measure
from neoclassic.networks import in_zoo
from neoclassic.tree import RBF, Conv2d, Linear

ALL = 0.99  # share of a layer's units that counts as all of them
HALF = 0.5  # share of the units of a last ReLU, each of which is a logit
MOST = 0.9  # share of a layer's outputs that counts as most of them
LEARNS = 0.9  # of the loss of knowing nothing: below it, a trial has learnt something
NARROW, WIDE = 0.02, 20.0  # deviations of the pixels, as the network gets them, that are no usual scale
POOR = 0.6  # of the way from guessing to perfection on the training images: below it, a run underfits
FAINT = 1e-4  # deviation of the logits over the images: below it, all images look alike; LeNet starts at 1e-3
RATES = (
    (0.1, 0.01, 0.001),
    (10.0, 100.0, 1e3, 1e4),
)  # factors of the learning rate that are tried: lower and higher ones
ENOUGH = 1000  # images from which nearest neighbours that know nothing are strong evidence


def findings(case: Case) -> Iterator[Finding]:
    """Why a run is stuck; nothing for a run that learns. The most direct cause comes first."""
    if case.diverged or not case.log or case.recipe.head:
        return
    if not case.stuck:
        if case.learnt < POOR and not case.quick:  # it learns, but what would stop it may be what slows it down
            yield from (replace(cause, grade=DOUBTFUL) for cause in (*pixels(case), *saturated(case)))
        return
    causes = [*pixels(case), *dead(case), *saturated(case), *rate(case), *augmented(case)] or [*faint(case)]
    yield from causes or labels(case)


def pixels(case: Case) -> Iterator[Finding]:
    """Pixels on a scale that no initialisation is made for."""
    if not case.now:
        return
    mean, deviation, largest = case.now.pixels
    if NARROW <= deviation <= WIDE:
        return
    p = case.job.preprocessing if case.job else None
    given = f"; the preprocessing subtracts {_numbers(p.mean)} and divides by {_numbers(p.std)}" if p else ""
    found = f"mean {mean:.4g}, deviation {deviation:.4g}, largest {largest:.4g}"
    alike = deviation < 1e-6
    yield Finding(
        "input-scale",
        WRONG,
        "all pixels are alike" if alike else "the pixels that the network gets are on an unusual scale",
        (f"over {case.now.n} training images: {found}{given}",),
        CERTAIN if alike else LIKELY,
        "look at the images" if alike else "standardise the pixels: --standardise, without --mean and --std",
        "" if alike else case.again(mean=(), std=(), standardise=True),
    )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


# ── no gradient ──────────────────────────────────────────────────────────────────────────────────────


def dead(case: Case) -> Iterator[Finding]:
    """A layer of ReLUs that are 0 for every image."""
    now = case.now
    if not now:
        return
    end = ending_rectifier(case.measure)
    dark = [each for each in now.rectifiers if each.dead >= ALL]
    dark += [each for each in now.rectifiers if each.path == end and (each.dead >= HALF or each.zero >= ALL)]
    if not dark:
        return
    layer = dark[0]
    last, whole = layer.path == end, layer.dead >= ALL or layer.zero >= ALL
    name = f"the last ReLU, {layer.path}," if last else f"the ReLU {layer.path}"
    what = "gives 0 for every image" if whole else f"gives 0 for every image in {layer.dead:.0%} of its units"
    what += ", so all logits are 0" if last and whole else ""
    evidence = [f"{layer.zero:.1%} of its outputs are 0, over {now.n} training images", loss(case)]
    was = _same(case, layer)
    if was:
        evidence.append(f"before the first step, {was.zero:.1%} of them were")
    order = [row.path for row in case.measure.layers]
    before = [value for path, value in now.gradients.items() if order.index(path) < order.index(layer.path)]
    if before:
        evidence.append(f"the gradients of the weights before it are {max(before):.1g} at most (root mean square)")
    changes = _mend(case, last, was is None or was.zero < MOST)
    advice = f"train again with {options(**changes)}"
    if last:
        advice += ", so that it starts active"
        if in_zoo(linear := f"{case.recipe.network}-linear"):
            advice += f", or train {linear}, which has no ReLU at its end"
    text = f"{name} {what}, and no gradient passes through {'it' if whole else 'them'}"
    confidence = CERTAIN if whole else LIKELY
    yield Finding("dead-relu", WRONG, text, tuple(evidence), confidence, advice, case.again(**changes))


def _mend(case: Case, last: bool, alive: bool) -> dict[str, object]:
    """What to change. last: whether it is the last ReLU; alive: whether it was alive before the first step."""
    if last and case.recipe.initialisation != "he-open":
        return {"initialisation": "he-open"}
    if not alive and case.recipe.initialisation != "he":
        return {"initialisation": "he"}
    return {"learning_rate": case.recipe.learning_rate / 10}


def ending_rectifier(m: Measure) -> str | None:
    """The path of a ReLU after the last layer with weights, so that no logit is negative; None without one."""
    for row in reversed(m.layers):
        if row.auxiliary:
            continue
        if isinstance(row.node, Conv2d | Linear | RBF):
            return None
        if row.type in ("ReLU", "ReLU6"):
            return row.path
    return None


def saturated(case: Case) -> Iterator[Finding]:
    """A layer of sigmoids or tanhs at the ends of their range."""
    now = case.now
    layer = next((each for each in now.layers if each.saturated >= MOST), None) if now else None
    if not now or not layer:
        return
    was = _same(case, layer)
    early = was is not None and was.saturated >= MOST
    evidence = [f"{layer.saturated:.0%} of its outputs are within 2 % of an end, over {now.n} training images"]
    if was:
        evidence.append(f"before the first step, {was.saturated:.0%} were")
    if early:
        changes: dict[str, object] = {"initialisation": "xavier", "standardise": True}
    else:
        changes = {"learning_rate": case.recipe.learning_rate / 10}
    why = "its inputs or its initial weights are too large" if early else "the steps were too large"
    yield Finding(
        "saturated",
        WRONG,
        f"the {layer.kind.lower()} {layer.path} is saturated, so it passes almost no gradient: {why}",
        (*evidence, loss(case)),
        LIKELY,
        f"train again with {options(**changes)}",
        case.again(**changes),
    )


def faint(case: Case) -> Iterator[Finding]:
    """A network whose initial weights let nothing of the image through."""
    before = case.before
    if not before or before.varies >= FAINT:
        return
    layer = next((each for each in before.layers if each.varies < 0.02), None)
    where = (
        f"from {layer.path} on, the outputs differ by less than 2 % of their size" if layer else "no layer stands out"
    )
    better = "he" if any(each.kind.startswith("ReLU") for each in before.layers) else "xavier"
    changes = {"initialisation": better} if case.recipe.initialisation != better else {"standardise": True}
    yield Finding(
        "signal-lost",
        WRONG if case.recipe.initialisation != better else DOUBTFUL,
        "the initial weights let almost nothing of an image through: the logits are the same for all images",
        (f"before the first step, the logits of {before.n} images differ by {before.varies:.1g} on average", where),
        LIKELY,
        f"train again with {options(**changes)}, or a network with batch norm",
        case.again(**changes),
    )


def _same(case: Case, layer: Layer) -> Layer | None:
    """The layer as it was before the first step."""
    layers = case.before.layers if case.before else ()
    return next((each for each in layers if each.path == layer.path), None)


def loss(case: Case) -> str:
    """The training loss, beside that of knowing nothing."""
    last = case.log[-1]
    nothing = f"knowing only the class frequencies would give {case.entropy:.4f}"
    return f"log.csv, epoch {last.epoch}: training loss {last.train_loss:.4f}; {nothing}"


# ── the learning rate ────────────────────────────────────────────────────────────────────────────────


def rate(case: Case) -> Iterator[Finding]:
    """A learning rate at which the first steps learn nothing, though they do at another."""
    own = case.tried(1.0)
    if own is None or learns(case, own):
        return
    for lower, factors in zip((True, False), RATES, strict=True):
        for factor in factors:
            other = case.tried(factor)
            if other and learns(case, other):
                yield wrong_rate(case, own, other, lower)
                return


def learns(case: Case, trial: Trial) -> bool:
    """Whether the loss at the end of a trial is clearly below that of knowing nothing."""
    return trial.end < LEARNS * case.entropy


def wrong_rate(case: Case, own: Trial, other: Trial, lower: bool) -> Finding:
    """The finding that a trial at another rate gets on better."""
    name = "rate-too-high" if lower else "rate-too-low"
    rate = float(f"{other.rate:.3g}")
    text = f"the learning rate {own.rate:g} is too {'high' if lower else 'low'}: at {rate:g} the first steps learn"
    evidence = (
        f"the first {STEPS} steps repeated: the loss ends at {other.end:.3f} with {rate:g}, "
        f"and at {own.end:.3f} with {own.rate:g}",
        loss(case),
    )
    changes = {"learning_rate": rate}
    advice = f"train again with {options(**changes)}; neoclassic doctor {case.folder} --rate shows the range"
    grade = WRONG if case.stuck else NOTE  # a run that learns could only learn faster
    return Finding(name, grade, text, evidence, CERTAIN, advice, case.again(**changes))


def augmented(case: Case) -> Iterator[Finding]:
    """Augmentation that leaves nothing to learn: without it, the first steps do learn."""
    own, plain = case.tried(1.0), case.unaugmented if case.recipe.augmentation != Augmentation() else None
    if not own or not plain or learns(case, own) or not learns(case, plain):
        return
    strongest = ", ".join(f"{name} {value:g}" for name, value in differing(case.recipe.augmentation).items())
    evidence = (
        f"the first {STEPS} steps repeated: the loss ends at {plain.end:.3f} without, and at {own.end:.3f} with it",
        loss(case),
    )
    text = f"the augmentation is stronger than the network can take: {strongest}"
    yield Finding("augmentation-too-strong", WRONG, text, evidence, CERTAIN, "leave it out, or make it weaker")


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────


def labels(case: Case) -> Iterator[Finding]:
    """Labels that have nothing to do with the images, as far as nearest neighbours can tell."""
    if not case.job or not (witness := Witness.of(case.job.training)):
        return
    if witness.knows:
        return
    sure = witness.n >= ENOUGH
    yield Finding(
        "labels-unrelated",
        WRONG if sure else DOUBTFUL,
        "the labels seem to have nothing to do with the images",
        (witness.line, f"training reached {max(row.train_accuracy for row in case.log):.1%} on its own images"),
        LIKELY if sure else POSSIBLE,
        "look at some images with their labels: a shifted table or shuffled files are usual causes",
        f"neoclassic check {shlex.quote(case.settings.place)}" if case.settings.place else "",
    )
