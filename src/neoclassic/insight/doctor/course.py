"""How training went: divergence, collapse, an early end, overfitting, underfitting."""

from __future__ import annotations

from collections.abc import Iterator

from neoclassic.base.finding import CERTAIN, DOUBTFUL, LIKELY, NOTE, WRONG, Finding
from neoclassic.insight.doctor.case import Case, options
from neoclassic.insight.doctor.stuck import POOR, wrong_rate
from neoclassic.model.evaluate import wilson
from neoclassic.train.run import Epoch

LOST = 0.5  # of what was learnt: a run that loses as much has collapsed
RISES = 1.5  # times its lowest value: a training loss that rises so far is about to diverge
IMPROVES = 0.01  # accuracy that the last epoch still adds to a run that ends too early
GAP = 0.05  # between training and held-out accuracy
WIDE = 0.15  # a gap that is overfitting whatever the loss does
WORSE = 1.1  # times its lowest value: a held-out loss that rises so far shows overfitting
BETTER = 0.75  # times the loss of a trial at the run's own rate


def findings(case: Case) -> Iterator[Finding]:
    """What the log shows."""
    yield from diverged(case)
    if not case.log or case.recipe.head:
        return
    yield from collapsed(case)
    if not case.stuck:
        yield from overfitting(case)
        yield from poor(case)
    yield from early(case)


def diverged(case: Case) -> Iterator[Finding]:
    """A loss that became NaN or infinite."""
    if not (end := case.diverged):
        return
    evidence = [f"diverged.json: the loss was {end.loss} by step {end.step:,}, in epoch {end.epoch}"]
    evidence.append(f"the learning rate was {end.learning_rate:g} then")
    factor, confidence, own = 0.1, LIKELY, case.tried(1.0)
    for smaller in (0.1, 0.01, 0.001):
        other = case.tried(smaller)
        if own and other and other.end < case.entropy and other.end < own.end:
            factor, confidence = smaller, CERTAIN
            evidence.append(f"the first steps repeated at {other.rate:g}: the loss falls to {other.end:.3f}")
            break
    changes = {"learning_rate": float(f"{case.recipe.learning_rate * factor:.3g}")}
    text, advice = "the loss became infinite: the learning rate is too high", f"train again with {options(**changes)}"
    yield Finding("diverged", WRONG, text, tuple(evidence), confidence, advice, case.again(**changes))


def collapsed(case: Case) -> Iterator[Finding]:
    """A run that had learnt something, and lost it again; or whose loss has begun to rise."""
    log, last = case.log, case.log[-1]
    best = max(log, key=lambda row: row.train_accuracy)
    learnt, left = case.learnt, case.knows(last.train_accuracy)
    lowest = min(log, key=lambda row: row.train_loss)
    changes = {"learning_rate": case.recipe.learning_rate / 10}
    advice = f"train again with {options(**changes)}, or clip the gradients with --clip 1"
    if learnt > 0.2 and left < LOST * learnt:
        text = f"training collapsed after epoch {best.epoch}: the learning rate is too high for what follows"
        ends = f"{last.train_accuracy:.1%} in epoch {last.epoch}"
        evidence = f"log.csv: training accuracy {best.train_accuracy:.1%} in epoch {best.epoch}, and {ends}"
        yield Finding("collapsed", WRONG, text, (evidence,), LIKELY, advice, case.again(**changes))
    elif last.train_loss > RISES * lowest.train_loss and last.train_loss - lowest.train_loss > 0.1:
        text = f"the training loss has been rising since epoch {lowest.epoch}: training is about to diverge"
        ends = f"{last.train_loss:.4f} in epoch {last.epoch}"
        evidence = f"log.csv: training loss {lowest.train_loss:.4f} in epoch {lowest.epoch}, and {ends}"
        yield Finding("loss-rises", DOUBTFUL, text, (evidence,), LIKELY, advice, case.again(**changes))


def early(case: Case) -> Iterator[Finding]:
    """A run that ended while it was still improving."""
    planned, log = case.recipe.epochs, case.log
    most = case.settings.max_steps
    if case.result is None:
        line = f"neoclassic train --resume {case.folder}"
        text = f"the run is not finished: {len(log)} of {planned} epochs are done"
        yield Finding("unfinished", NOTE, text, (), CERTAIN, "resume it", line)
        return
    more = {"epochs": 2 * planned}
    if most and case.result.steps == most and len(log) <= planned:
        text = "the run ended before its last step"
        evidence = f"--max-steps {most:,} ended it in epoch {len(log)} of {planned}"
        yield Finding("stopped-early", NOTE, text, (evidence,), CERTAIN, "leave --max-steps out", case.again())
        return
    if case.recipe.patience and len(log) < planned:
        return
    if improving(case):
        evidence = f"log.csv: epoch {log[-1].epoch} added {gained(case):.1%} to the held-out accuracy"
        text = "training ended while it was still improving"
        advice = f"train longer, with {options(**more)}"
        yield Finding("stopped-early", NOTE, text, (evidence,), LIKELY, advice, case.again(**more))


def gained(case: Case) -> float:
    """The held-out accuracy that the last epoch added to the best before it, or to guessing."""
    return held_out(case.log[-1]) - max((held_out(row) for row in case.log[:-1]), default=case.share)


def improving(case: Case) -> bool:
    """Whether the last epoch still added to the held-out accuracy."""
    return gained(case) > IMPROVES and (len(case.log) > 1 or case.learnt < POOR)


def held_out(row: Epoch) -> float:
    """Validation accuracy, or test accuracy where there is no validation set."""
    value = row.test_accuracy if row.validation_accuracy is None else row.validation_accuracy
    return value or 0.0


def _held_out_loss(row: Epoch) -> float:
    value = row.test_loss if row.validation_loss is None else row.validation_loss
    return value or 0.0


def overfitting(case: Case) -> Iterator[Finding]:
    """Training accuracy above held-out accuracy by more than chance, and a held-out loss that rises or stays high."""
    last, e, n = case.log[-1], case.evaluation, case.held_out_images
    gap = last.train_accuracy - held_out(last)
    best = min(case.log, key=_held_out_loss)
    rises = _held_out_loss(last) > WORSE * _held_out_loss(best)
    known = [(held_out(last), n)] + ([(e.accuracy, e.n)] if e else [])
    accuracy, n = max(known, key=lambda pair: pair[1] or 0)  # of the largest set that was held out
    wide = last.train_accuracy - accuracy > WIDE
    if gap <= GAP or not (rises or wide) or (n and last.train_accuracy < wilson(round(accuracy * n), n)[1]):
        return
    shares = f"{last.train_accuracy:.1%} of the training images, {held_out(last):.1%} of those held out"
    evidence = [f"log.csv, epoch {last.epoch}: the model predicts {shares} correctly"]
    if e and accuracy == e.accuracy:
        evidence.append(f"result.json: {e.accuracy:.1%} of {e.n:,} test images are predicted correctly")
    if rises:
        lowest, ends = _held_out_loss(best), _held_out_loss(last)
        evidence.append(f"the held-out loss is lowest in epoch {best.epoch}, {lowest:.4f}, and ends at {ends:.4f}")
    since = f", from epoch {best.epoch + 1} on" if rises and best.epoch < last.epoch else ""
    advice = "augment (--shift 0.1 --rotate 10, or --flip), stop earlier (--patience 5), or add images"
    advice += "" if case.recipe.weights else ", or start from pretrained weights (--weights imagenet)"
    text = f"the model overfits by {last.train_accuracy - accuracy:.1%}{since}"
    yield Finding("overfitting", NOTE, text, tuple(evidence), CERTAIN if rises else LIKELY, advice)


def poor(case: Case) -> Iterator[Finding]:
    """Training images that are not learnt, though training has ended: another rate, a larger network, more epochs."""
    last = case.log[-1]
    if case.learnt >= POOR or last.train_accuracy - held_out(last) > GAP or case.recipe.augmentation.mixes:
        return
    own, higher = case.tried(1.0), None if case.quick else case.tried(10.0)
    if own and higher and higher.end < BETTER * own.end:
        yield wrong_rate(case, own, higher, lower=False)
        return
    if improving(case):  # it needs more epochs, which `early` says
        return
    yield Finding(
        "underfitting",
        NOTE,
        "the model underfits: it does not even fit its training images",
        (f"log.csv: the highest training accuracy is {max(row.train_accuracy for row in case.log):.1%}",),
        LIKELY,
        f"try a larger network, or another learning rate: neoclassic doctor {case.folder} --rate shows the range",
        case.again(epochs=2 * case.recipe.epochs),
    )
