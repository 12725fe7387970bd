"""What there is to see in a network while it trains: kernels, feature maps, how values spread, the worst mistakes.

A probe has an engine of its own, to which it copies the weights, so the training engine is not touched: a run that is
looked at ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines import Weights
from neoclassic.engines import weights as arrays
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.insight.sheets import Sheet, sheet, shown
from neoclassic.measure import Measure, measure
from neoclassic.model.evaluate import cross_entropy, softmax
from neoclassic.train.job import Job
from neoclassic.tree import Conv2d, join

BINS = 31
WIDEST = 0.995  # of the values lie within the bins; the others are counted in the outermost ones
VALUES = 20_000  # of a layer, at most, that a histogram counts
WORST = 12  # mistakes
MACS = 2 * 10**8  # multiply-accumulates of a look, about; they determine how many images it takes


@dataclass(frozen=True)
class Spread:
    """How values spread: counts of `BINS` equal intervals from −most to most, and over all values the rest."""

    path: str
    counts: tuple[int, ...]
    most: float
    mean: float
    deviation: float
    zeros: float  # the fraction of values that are 0

    @classmethod
    def of(cls, path: str, values: Array) -> Spread:
        """From any array. Values that are not finite are left out."""
        flat = values.ravel()
        flat = flat[:: max(1, len(flat) // VALUES)].astype(np.float64)
        flat = flat[np.isfinite(flat)]
        if not len(flat):
            return cls(path, (0,) * BINS, 0.0, 0.0, 0.0, 0.0)
        most = float(np.quantile(np.abs(flat), WIDEST)) or float(np.abs(flat).max())
        places = np.clip((flat / (most or 1) + 1) / 2 * BINS, 0, BINS - 1).astype(int)
        counts = tuple(map(int, np.bincount(places, minlength=BINS)))
        return cls(path, counts, most, float(flat.mean()), float(flat.std()), float((flat == 0).mean()))


@dataclass(frozen=True)
class Mistake:
    """A held-out image that the network gets wrong: its place in the set, its class, the answer and its probability."""

    index: int
    label: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Glance:
    """What a probe saw.

    kernels      of the first convolution, n×k×k or, for colour images, n·3×k×k, a kernel's planes below each other
    values       the output of every layer for one image, by path and without the batch axis
    index        of that image among those held out; `label` is its class, and `pixels` are uint8 H×W×C
    activations  of each layer over some held-out images
    gradients    of each weight over some training images, by the path of the layer
    mistakes     the worst first; `mistaken` are their pixels, uint8 n×H×W×C
    """

    kernels: Sheet | None
    values: Mapping[str, Array]
    index: int
    label: str
    pixels: Array
    activations: tuple[Spread, ...]
    gradients: tuple[Spread, ...]
    mistakes: tuple[Mistake, ...]
    mistaken: Array


@dataclass
class Probe:
    """Looks into a network of a run. index: the image whose feature maps are shown, among those held out."""

    measure: Measure
    engine: NumpyEngine
    preprocessing: Preprocessing
    training: Dataset
    held_out: Dataset
    index: int = 0
    paths: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.paths = shown(self.measure)
        macs = max(self.measure.macs, 1)
        self.several = int(np.clip(MACS // macs, 2, min(256, max(2, len(self.held_out)))))
        self.few = min(self.several, 16)

    @classmethod
    def of(cls, job: Job) -> Probe:
        """For the network and the data of a run."""
        blank = arrays.initial(job.tree, job.shape)
        engine = NumpyEngine(job.tree, job.shape, blank)
        return cls(measure(job.tree, job.shape), engine, job.preprocessing, job.training, job.monitored)

    @property
    def first(self) -> str | None:
        """The path of the first convolution; None if there is none."""
        rows = self.measure.layers
        return next((row.path for row in rows if isinstance(row.node, Conv2d) and not row.auxiliary), None)

    def look(self, weights: Weights) -> Glance:
        """What there is to see with these weights. NeoclassicError if they do not fit the network."""
        self.engine.load(weights)
        at = self.index % len(self.held_out)
        mistakes, mistaken = self._mistakes()
        places = [at, *(i for i in range(min(self.few, len(self.held_out))) if i != at)]
        outputs = self.engine.features(self._images(self.held_out, places), self.paths)
        return Glance(
            kernels=self._kernels(weights),
            values={path: array[0] for path, array in outputs.items()},
            index=at,
            label=self.held_out.classes[int(self.held_out.labels[at])],
            pixels=np.asarray(self.held_out.images[[at]])[0],
            activations=tuple(Spread.of(path, array) for path, array in outputs.items()),
            gradients=self._gradients(),
            mistakes=mistakes,
            mistaken=mistaken,
        )

    def _images(self, part: Dataset, places: list[int]) -> Array:
        return to_input(np.asarray(part.images[places]), self.preprocessing)

    def _kernels(self, weights: Weights) -> Sheet | None:
        if self.first is None:
            return None
        w_OIHW = weights[join(self.first, "weight")]
        return sheet(self.first, w_OIHW.reshape(-1, *w_OIHW.shape[2:]), maps=64 * w_OIHW.shape[1])

    def _gradients(self) -> tuple[Spread, ...]:
        """The running statistics that this changes are replaced by the next look."""
        places = list(range(min(max(self.few, 2), len(self.training))))
        if len(places) < 2:  # a batch norm may need two
            return ()
        found = self.engine.gradients(self._images(self.training, places), self.training.labels[places]).weights
        return tuple(Spread.of(key.removesuffix(".weight"), g) for key, g in found.items() if key.endswith(".weight"))

    def _mistakes(self) -> tuple[tuple[Mistake, ...], Array]:
        """The wrong answers with the largest loss among the first held-out images."""
        part, places = self.held_out, list(range(min(self.several, len(self.held_out))))
        logits, labels = self.engine.logits(self._images(part, places)), part.labels[places]
        losses, answers = cross_entropy(logits, labels), logits.argmax(1)
        wrong = [int(i) for i in np.argsort(-losses, kind="stable") if answers[i] != labels[i]][:WORST]
        rows = np.nan_to_num(softmax(logits))
        found = tuple(
            Mistake(i, part.classes[int(labels[i])], part.classes[int(answers[i])], float(rows[i, answers[i]]))
            for i in wrong
        )
        return found, np.asarray(part.images[wrong or [0]])[: len(wrong)]


def to_dict(glance: Glance) -> dict[str, Any]:
    """All but the arrays of pixels and values, as plain JSON values."""

    def spread(one: Spread) -> dict[str, Any]:
        return {**vars(one), "counts": list(one.counts)}

    return {
        "index": glance.index,
        "label": glance.label,
        "activations": list(map(spread, glance.activations)),
        "gradients": list(map(spread, glance.gradients)),
        "mistakes": [vars(one) for one in glance.mistakes],
    }
