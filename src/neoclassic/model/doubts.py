"""Whether a model is any better than guessing.

The number of right answers is compared with what the same answers, in a random order, would give: Σ tᵢsᵢ/n, where tᵢ
images belong to class i and sᵢ are predicted as it. So a model that always predicts the most frequent class is no
better than chance, however frequent that class is. Expectation and variance under all orders: W. Hoeffding, "A
combinatorial central limit theorem", 1951; the share of the way from chance to perfection is J. Cohen's kappa, 1960.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from neoclassic.engines.contract import Array

DEVIATIONS = 3.0  # above the expectation: guessing comes so far about once in a thousand times
KAPPA = 0.5  # from here on a model counts as better than chance, even if its images are too few to prove it


@dataclass(frozen=True)
class Guessing:
    """How many of n answers are right, and how many would be in a random order: the expectation and the deviation.

    classes: those that there are images of.
    """

    classes: int
    n: int
    right: int
    expected: float
    deviation: float

    @classmethod
    def of(cls, confusion: Array) -> Self:
        """From classes×classes counts, a row for each true class."""
        n, true, said = max(int(confusion.sum()), 1), confusion.sum(1), confusion.sum(0)
        expected = float(true @ said) / n
        centred = np.eye(len(true)) - said[:, None] / n - true[None, :] / n + expected / n
        variance = (true[:, None] * said[None, :] * centred**2).sum() / max(n - 1, 1)
        return cls(int(np.count_nonzero(true)), n, int(np.trace(confusion)), expected, float(np.sqrt(variance)))

    @property
    def share(self) -> float:
        """The accuracy of guessing."""
        return self.expected / self.n

    @property
    def likely(self) -> bool:
        """Whether the answers are no better than guesses, as far as the images tell.

        False if all images are of one class, as the answers cannot be in another order then.
        """
        better = self.right - self.expected
        certain = better >= KAPPA * (self.n - self.expected) or better > DEVIATIONS * self.deviation
        return self.classes > 1 and not certain


def only_answer(confusion: Array) -> int | None:
    """The class that is predicted for every image, though there are others; None if there is no such class."""
    (said,) = np.nonzero(confusion.sum(0))
    return int(said[0]) if len(said) == 1 and np.count_nonzero(confusion.sum(1)) > 1 else None
