"""Temperature scaling: one number, fitted on validation images, divides the logits.

C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2. The
predicted classes stay the same; only their probabilities change. A network that makes no mistake on a few images must
not become certain of everything, so the targets are softened as in J. Platt, "Probabilistic outputs for support vector
machines", 1999, section 2.2: as if there were one more image, of every class equally.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.model.doubts import Guessing
from neoclassic.model.evaluate import confusion_of, softmax

COLDEST, HOTTEST = 0.05, 20.0
RIGHT = 0.95  # the accuracy wanted of the predictions above the threshold
FEWEST = 0.05  # the share of predictions that must be above it
MEASURABLE = 20  # images: of fewer, a single mistake is more than the 5 % that may be wrong


def calibrate(logits: Array, labels: Array) -> float:
    """The temperature in [0.05, 20] that minimises the cross-entropy of N×classes logits and N labels.

    It is 1 where there is nothing to fit: no images, or logits that are not finite.
    """
    n = len(labels)
    if not n or not np.isfinite(logits).all():
        return 1.0
    wide = logits.astype(np.float64)
    soft = 1 / (n + 1)
    target = (1 - soft) * wide[np.arange(n), labels].mean() + soft * wide.mean()

    def slope(temperature: float) -> float:
        """Derivative of the cross-entropy with respect to 1/temperature, which increases, as the loss is convex."""
        return float((softmax(wide, temperature) * wide).sum(1).mean() - target)

    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return round(math.exp((low + high) / 2), 6) if np.ptp(wide, axis=1).any() else 1.0


def threshold(probabilities: Array, labels: Array) -> float | None:
    """The lowest probability above which at least 95 % of the predictions are correct.

    probabilities: N×classes; labels: N. It is 0 if all predictions together are that accurate. It is None if the
    predictions are no better than chance, or if fewer than 1 in 20 of them would be above it: then (nearly) every
    answer would be `unknown`.
    """
    answers, n = probabilities.argmax(1), len(labels)
    order = np.argsort(-probabilities.max(1), kind="stable")
    share = np.cumsum((answers == labels)[order]) / np.arange(1, n + 1)
    (enough,) = np.nonzero(share >= RIGHT)
    if not len(enough) or enough[-1] + 1 < FEWEST * n:
        return None
    if Guessing.of(confusion_of(labels, answers, probabilities.shape[1])).likely:
        return None
    return 0.0 if enough[-1] == n - 1 else round(float(probabilities.max(1)[order][enough[-1]]), 6)


def at_bound(temperature: float) -> bool:
    """Whether a temperature is the lowest or the highest that `calibrate` returns."""
    return math.isclose(temperature, COLDEST, rel_tol=1e-4) or math.isclose(temperature, HOTTEST, rel_tol=1e-4)


def refusal(calibration: Mapping[str, Any]) -> str | None:
    """Why a `calibration` has no temperature; None if it has one, or if nothing was held out."""
    n = calibration.get("n")
    if n is None or n >= MEASURABLE or "temperature" in calibration:
        return None
    held_out = "1 image was" if n == 1 else f"{n} images were"
    return f"only {held_out} held out, and at least {MEASURABLE} are needed"


def fit(logits: Array, labels: Array) -> dict[str, Any]:
    """The `calibration` of an artefact: temperature, threshold, and the number of images that they were fitted on.

    Without the threshold where there is none, and without both if there are fewer than MEASURABLE images.
    """
    if len(labels) < MEASURABLE:
        return {"n": len(labels)}
    temperature = calibrate(logits, labels)
    limit = threshold(softmax(logits, temperature), labels)
    return {"temperature": temperature, **({} if limit is None else {"threshold": limit}), "n": len(labels)}
