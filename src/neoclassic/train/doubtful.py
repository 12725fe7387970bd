"""What to tell at the end of a training whose model is not worth using, and what to try then."""

from __future__ import annotations

from neoclassic.base.finding import CERTAIN, DOUBTFUL, LIKELY, Finding
from neoclassic.model import doubts
from neoclassic.model.artefact import Model
from neoclassic.model.calibration import at_bound
from neoclassic.model.evaluate import Evaluation
from neoclassic.train.recipe import Recipe

NAMES = ("chance", "uncalibrated")  # of the findings
CHANCE = "the model is no better than chance"
LEARNT = 0.5  # of the way from guessing to perfection: from here on the training images count as learnt


def findings(recipe: Recipe, train_accuracy: float, test: Evaluation, temperature: float) -> tuple[Finding, ...]:
    """The doubts about a trained model: its answers are guesses, or its calibration found no temperature.

    train_accuracy: the highest that training reached, 0 to 1.
    """
    found, guessing = [], doubts.Guessing.of(test.confusion)
    if guessing.likely:
        text = f"{CHANCE}, as far as these images show: {_answers(test, guessing)}"
        advice = _advice(recipe, (train_accuracy - guessing.share) / (1 - guessing.share))
        found.append(Finding("chance", DOUBTFUL, text, confidence=LIKELY, advice=advice))
    if at_bound(temperature):
        text = (
            f"the calibration stopped at its bound, temperature {temperature:g}: the probabilities are not calibrated, "
            "so rely on the predicted classes alone"
        )
        found.append(Finding("uncalibrated", DOUBTFUL, text, confidence=CERTAIN))
    return tuple(found)


def warnings(recipe: Recipe, train_accuracy: float, test: Evaluation, model: Model) -> tuple[str, ...]:
    """The same as lines, for `result.json`."""
    return tuple(finding.line for finding in findings(recipe, train_accuracy, test, model.temperature))


def _answers(test: Evaluation, guessing: doubts.Guessing) -> str:
    """What was predicted, and what guessing would give."""
    right = f"{guessing.right:,} of {guessing.n:,} held-out images are predicted correctly"
    if (only := doubts.only_answer(test.confusion)) is not None:
        return f"it predicts {test.classes[only]!r} for every image, and {right}"
    return f"{right}, and guessing gets {guessing.expected:,.0f} ± {guessing.deviation:,.0f}"


def _advice(recipe: Recipe, learnt: float) -> str:
    """What to try. learnt: how far training came on its own images, from guessing, 0, to perfection, 1."""
    if learnt >= LEARNT:
        more = "or add images" if recipe.weights else "add images, or start from pretrained weights"
        return f"it did learn the training images, so check that their labels are right, {more}"
    steps = [] if recipe.head else [f"another learning rate (it was {recipe.learning_rate:g})", "more epochs"]
    steps += [] if recipe.weights else ["pretrained weights"]
    if not steps:
        return "check that the labels are right"
    return f"try {', '.join(steps[:-1])} or {steps[-1]}, and check that the labels are right"
