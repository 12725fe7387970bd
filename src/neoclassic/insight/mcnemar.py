"""Which of two models is better, by their answers on the same images.

Only images that one of them gets right and the other wrong tell them apart. If both were equally good, each would be
right on about half of these: the exact test of Q. McNemar, "Note on the sampling error of the difference between
correlated proportions or percentages", Psychometrika 12, 1947. Of several comparisons, the p-values are corrected as in
S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neoclassic.engines.contract import Array

LEVEL = 0.05
Answers = tuple[Array, Array]  # N labels and N answers


@dataclass(frozen=True)
class Difference:
    """Two models on the same images.

    better, other  their names
    only_better    images that only the first gets right; `only_other` the second
    images         how many there are
    p              the probability of so large a difference between equally good models, corrected for the number of
                   comparisons
    """

    better: str
    other: str
    only_better: int
    only_other: int
    images: int
    p: float

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, at the level 0.05."""
        return self.p < LEVEL

    @property
    def line(self) -> str:
        """The difference in words."""
        counts = f"{self.only_better:,} images only the former gets right, {self.only_other:,} only the latter"
        what = "is better than" if self.significant else "is not measurably better than"
        return f"{self.better} {what} {self.other}: {counts} (McNemar's test, p = {self.p:.2g})"


def compared(name: str, best: Answers, others: Sequence[tuple[str, Answers]]) -> list[Difference]:
    """The best model beside each of the others, in their order."""
    found = []
    for other, (labels, answers) in others:
        if not np.array_equal(labels, best[0]):
            continue
        first, second = best[1] == labels, answers == labels
        counts = int((first & ~second).sum()), int((second & ~first).sum())
        found.append(Difference(name, other, *counts, len(labels), exact(*counts)))
    return holm(found)


def exact(first: int, second: int) -> float:
    """The two-sided p-value of the binomial test that both counts are equally likely."""
    n, least = first + second, min(first, second)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def holm(found: Sequence[Difference]) -> list[Difference]:
    """The differences with corrected p-values."""
    corrected, highest = list(found), 0.0
    for rank, i in enumerate(sorted(range(len(found)), key=lambda i: found[i].p)):
        highest = min(1.0, max(highest, (len(found) - rank) * found[i].p))
        corrected[i] = replace(found[i], p=highest)
    return corrected
