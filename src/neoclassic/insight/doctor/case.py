"""What is known of a run, each part measured when a rule first asks for it."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.data import SOURCES, Folder, scan
from neoclassic.data.augmentation import Augmentation, Draw, augment, principal_colours
from neoclassic.data.image_files import pixel_limit
from neoclassic.data.preprocessing import to_input
from neoclassic.data.sources import is_photos, load
from neoclassic.engines import Weights
from neoclassic.engines import weights as arrays
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.insight.doctor.look import Look, look
from neoclassic.insight.doctor.trial import Steps, Trial
from neoclassic.insight.reproduce import OPTIONS, command
from neoclassic.measure import Measure, measure
from neoclassic.model.artefact import Model
from neoclassic.model.doubts import Guessing
from neoclassic.model.evaluate import Evaluation
from neoclassic.recipes import list_recipes
from neoclassic.train.job import Job, prepare
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Divergence, Epoch, Result, Run, Settings
from neoclassic.tree import BatchNorm2d, walk

LOOKED = 2e10  # multiply-accumulates of a look, about; they determine how many images it takes
MOST = 128  # images of a look
TRIED = 4e9  # of a step of a trial, at most
TRIED_QUICKLY = 2e8  # at the end of a training


@dataclass
class Case:
    """A run.

    log       its epochs; empty if the first is not over
    result    None if it is not finished
    quick     whether to measure only what costs little, at the end of a training
    given     its data and network, if they are in memory
    problem   why its data cannot be read, once that is known
    """

    run: Run
    recipe: Recipe
    settings: Settings
    log: list[Epoch]
    result: Result | None
    quick: bool = False
    given: Job | None = None
    problem: str = ""
    trials: dict[float, Trial] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Any, job: Job | None = None, quick: bool = False) -> Case:
        """The run in a folder. UsageError where there is none; NeoclassicError for a damaged one."""
        run, recipe, settings = Run.open(folder)
        return cls(run, recipe, settings, run.epochs(), run.result(), quick, job)

    @property
    def folder(self) -> str:
        """The folder of the run, for a command line."""
        return shlex.quote(str(self.run.folder))

    # ── from the files ───────────────────────────────────────────────────────────────────────────────

    @cached_property
    def diverged(self) -> Divergence | None:
        """Where the loss stopped being finite; None if it did not."""
        return self.run.divergence()

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """Of the test images."""
        return Evaluation.from_dict(self.result.evaluation) if self.result else None

    @cached_property
    def published(self) -> Recipe | None:
        """The recipe of that name as it is published."""
        return next((each for each in list_recipes() if each.name == self.recipe.name), None)

    def again(self, **changes: Any) -> str:
        """The command that trains this again with changes in the recipe; "" if it has no option for one of them."""
        engine = self.result.engine if self.result else self.settings.engine
        place = self.settings.place or self.recipe.data  # so that the command works from any folder
        line, rest = command(self.recipe.but(data=place, **changes), engine)
        return "" if rest else line

    @cached_property
    def norms(self) -> dict[str, float]:
        """The momentum of each batch norm, by its path."""
        tree = self.model.tree if self.model else self.recipe.entry.tree()
        return {path: node.momentum for path, node in walk(tree) if isinstance(node, BatchNorm2d)}

    @property
    def held_out_images(self) -> int | None:
        """How many images were evaluated after every epoch; None if that is not known."""
        metrics = self.model.metrics if self.model else {}
        kept = metrics.get("validation") or metrics.get("test") or {}
        return int(kept["n"]) if "n" in kept else None

    @property
    def classes(self) -> int:
        """How many there are."""
        if self.evaluation:
            return len(self.evaluation.classes)
        return len(self.job.training.classes) if self.job else self.recipe.entry.classes

    # ── how much was learnt ──────────────────────────────────────────────────────────────────────────

    @cached_property
    def share(self) -> float:
        """The accuracy on the training images of a model that always answers with the most frequent class."""
        if self.job:
            return float(self.job.training.counts.max() / len(self.job.training))
        if self.evaluation:
            true = self.evaluation.confusion.sum(1)
            return float(true.max() / true.sum())
        return 1 / self.classes

    @cached_property
    def entropy(self) -> float:
        """The loss on the training images, in nats, of a model that knows only how frequent each class is."""
        if not self.job:
            return math.log(self.classes)
        p = self.job.training.counts / len(self.job.training)
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    def knows(self, accuracy: float) -> float:
        """How far an accuracy is from guessing, 0, to perfection, 1."""
        return (accuracy - self.share) / (1 - self.share) if self.share < 1 else 1.0

    @property
    def learnt(self) -> float:
        """How far training came on its own images; see `knows`."""
        return self.knows(max((row.train_accuracy for row in self.log), default=0.0))

    @property
    def guesses(self) -> bool:
        """Whether the answers on the test images are no better than chance."""
        return self.evaluation is not None and Guessing.of(self.evaluation.confusion).likely

    @property
    def stuck(self) -> bool:
        """Whether training learnt next to nothing of its own images."""
        return bool(self.log) and not self.recipe.head and self.learnt < 0.1

    # ── from the data ────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def job(self) -> Job | None:
        """The run as it was before its first step; None if its data cannot be read, and `problem` says why."""
        if self.given or self.quick:
            return self.given
        settings = replace(self.settings, engine="numpy", device="cpu")
        try:
            with pixel_limit(settings.max_pixels):
                return prepare(self.recipe, settings, None, World(), resumed=True)
        except NeoclassicError as error:
            self.problem = str(error)
            return None

    @cached_property
    def photos(self) -> Folder | None:
        """The folder or table of photos; None if there is none, or if it cannot be read, and in quick cases."""
        place = self.settings.place
        if self.quick or not place or not is_photos(place):
            return None
        try:
            return scan(place)
        except NeoclassicError:
            return None

    @cached_property
    def own_side(self) -> int | None:
        """Pixels on that side of the images that becomes the network's side; the median of photos; None if unknown."""
        if self.recipe.data in SOURCES:
            return SOURCES[self.recipe.data].shape[1]
        place = self.settings.place
        if place and not self.quick and not is_photos(place):
            try:
                return min(load(place).train.shape[:2])
            except NeoclassicError:
                return None
        padded = self.model is not None and self.model.preprocessing.fit == "pad"
        infos = self.photos.infos.values() if self.photos else ()
        sides = [(max if padded else min)(info.width, info.height) for info in infos if not info.error]
        return int(np.median(sides)) if sides else None

    @cached_property
    def measure(self) -> Measure:
        assert self.job
        return measure(self.job.tree, self.job.shape)

    @cached_property
    def initial(self) -> Weights | None:
        """The weights that the run started from; None if they came from elsewhere."""
        if not self.job or self.recipe.weights:
            return None
        return arrays.initial(self.job.tree, self.job.shape, self.recipe.initialisation, self.recipe.seed)

    @cached_property
    def model(self) -> Model | None:
        """The model that was kept; None before the first epoch."""
        return Model.load(self.run.model) if self.run.model.exists() else None

    @cached_property
    def weights(self) -> Weights | None:
        """The weights of the model, or of the checkpoint if there is none; None if there is neither."""
        if self.model:
            return self.model.weights
        saved = self.run.load_checkpoint()
        return saved[0] if saved else None

    @cached_property
    def now(self) -> Look | None:
        """A look into the network as it is now."""
        return self._look(self.weights)

    @cached_property
    def before(self) -> Look | None:
        """A look into the network as it was before its first step."""
        return self._look(self.initial)

    def _look(self, weights: Weights | None) -> Look | None:
        if weights is None or not self.job:
            return None
        part = self.job.training
        n = int(min(max(LOOKED / max(self.measure.macs, 1), 8), MOST, len(part)))
        if n < 2:
            return None
        chosen = part.evenly(n)
        images = to_input(np.asarray(part.images[chosen]), self.job.preprocessing)
        return look(self.job.tree, self.measure, weights, images, part.labels[chosen])

    def augmented_accuracy(self) -> tuple[float, float]:
        """The accuracy on some training images as they are, and augmented as in training; nothing else differs."""
        assert self.job
        assert self.weights
        part, p = self.job.training, self.job.preprocessing
        n = int(min(max(LOOKED / max(self.measure.macs, 1), 64), 512, len(part)))
        chosen = part.evenly(n)
        engine = NumpyEngine(self.job.tree, self.job.shape, self.weights)
        changes = replace(self.recipe.augmentation, mixup=0.0, cutmix=0.0)
        colours = principal_colours(part.images) if changes.colour else None
        draw = changes.draw(len(chosen), p.size, np.random.default_rng(self.recipe.seed), colours)
        pixels, labels = np.asarray(part.images[chosen]), part.labels[chosen]
        found = []
        for one in (Draw(), draw):
            x_NHWC = augment(pixels, one, p, engine.xp, engine.put)
            found.append(float((engine.logits(np.moveaxis(x_NHWC, 3, 1)).argmax(1) == labels).mean()))
        return found[0], found[1]

    @cached_property
    def steps(self) -> Steps | None:
        """The first steps of the run, to be made again; None if they would take too long, or without the data."""
        return self._steps(self.recipe)

    def _steps(self, recipe: Recipe) -> Steps | None:
        if not self.job or self.initial is None or self.recipe.head:
            return None
        job = replace(self.job, recipe=recipe)
        return Steps.of(job, self.initial, self.measure.macs, TRIED_QUICKLY if self.quick else TRIED)

    @cached_property
    def unaugmented(self) -> Trial | None:
        """The first steps at the recipe's own rate on images that are not augmented."""
        steps = self._steps(self.recipe.but(augmentation=Augmentation()))
        return steps.trial(self.recipe.learning_rate) if steps else None

    def tried(self, factor: float) -> Trial | None:
        """The first steps at `factor` times the rate of the recipe; None if they would take too long."""
        rate = self.recipe.learning_rate * factor
        if self.steps is None:
            return None
        if rate not in self.trials:
            self.trials[rate] = self.steps.trial(rate)
        return self.trials[rate]


def options(**changes: Any) -> str:
    """The options of the command line that make changes of a recipe: "--lr 0.01"."""
    return " ".join(_option(name, value) for name, value in changes.items())


def _option(name: str, value: Any) -> str:
    if name == "standardise":
        return "--standardise"
    return f"{OPTIONS[name]} {value:g}" if isinstance(value, float) else f"{OPTIONS[name]} {value}"
