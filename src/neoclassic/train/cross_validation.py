"""Cross-validation: a recipe is run once for each of k folds, and the k models are one ensemble.

Each image is tested once, by the model that has not seen it. Every fold is an ordinary run, `fold1` … `foldK`, in one
folder; its `folds.json` says how they are run, and in the end what came of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import stdev
from typing import Any, Self

from neoclassic.base import display, files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.locks import locked
from neoclassic.base.text import json_text
from neoclassic.data.image_files import pixel_limit
from neoclassic.model import folds
from neoclassic.model.ensemble import Ensemble, open_models
from neoclassic.model.evaluate import Evaluation, between, logits_of, wilson
from neoclassic.model.folds import FOLDS, MOST
from neoclassic.model.provenance import path_of
from neoclassic.train import fold, loop, transfer
from neoclassic.train.job import located, opened, resolved
from neoclassic.train.listener import Listener
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Result, Run, Settings
from neoclassic.views.table import RIGHT, Column, Table, duration

COLUMNS = (
    Column("fold", RIGHT),
    Column("images", RIGHT),
    Column("accuracy", RIGHT),
    Column("95 % interval", rank=1),
    Column("loss", RIGHT, rank=2),
    Column("epoch", RIGHT, rank=3),
    Column("time", RIGHT, rank=4),
)


@dataclass(frozen=True, repr=False)
class CrossValidation(display.Displayed):
    """The runs of all folds, and their models as one ensemble. The repr is the table for people.

    folder    holds the runs; it is a model wherever one is named
    results   of the runs, fold by fold
    ensemble  how well the ensemble does on the test set, which took no part; None where there is none
    """

    folder: str
    results: tuple[Result, ...]
    ensemble: Evaluation | None

    @property
    def evaluations(self) -> list[Evaluation]:
        """Of each fold, by the model that was trained on the others."""
        return [Evaluation.from_dict(result.evaluation) for result in self.results]

    @property
    def n(self) -> int:
        """The number of images in all folds."""
        return sum(each.n for each in self.evaluations)

    @property
    def right(self) -> int:
        """How many of them are classified correctly."""
        return sum(int(each.confusion.trace()) for each in self.evaluations)

    @property
    def accuracy(self) -> float:
        """The mean over all images, each by the model that has not seen it."""
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, for the number of images; see `evaluate.wilson`.

        It does not include how much models vary that are trained on other images: no estimate of that from k folds is
        unbiased; Bengio and Grandvalet, JMLR 5, 2004.
        """
        return wilson(self.right, self.n)

    @property
    def deviation(self) -> float:
        """The standard deviation of the accuracies of the folds."""
        return stdev(each.accuracy for each in self.evaluations)

    @property
    def seconds(self) -> float:
        """Of training, over all folds."""
        return sum(result.seconds for result in self.results)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the models doubtful, each line once."""
        return tuple(dict.fromkeys(line for result in self.results for line in result.warnings))

    @property
    def table(self) -> Table:
        """A row for each fold."""
        rows = []
        for i, (result, each) in enumerate(zip(self.results, self.evaluations, strict=True), 1):
            found = (f"{each.accuracy:.4f}", between(int(each.confusion.trace()), each.n), f"{each.loss:.4f}")
            rows.append((str(i), f"{each.n:,}", *found, str(result.best_epoch), duration(result.seconds)))
        return Table(COLUMNS, tuple(rows))

    @property
    def lines(self) -> tuple[str, ...]:
        """What all folds say together."""
        low, high = self.interval
        sure = f"95 % interval {low:.4f} to {high:.4f}, standard deviation of the folds {self.deviation:.4f}"
        line = f"accuracy {self.accuracy:.4f} over {self.n:,} images, each by a model that has not seen it  ({sure})"
        if self.ensemble is None:
            return (line,)
        low, high = self.ensemble.interval
        sure = f"95 % interval {low:.4f} to {high:.4f}, {self.ensemble.n:,} images"
        return line, f"ensemble of the {len(self.results)} models: test accuracy {self.ensemble.accuracy:.4f}  ({sure})"

    def __repr__(self) -> str:
        first = self.results[0]
        return "\n".join([f"{first.network} on {first.data}, {len(self.results)} folds", str(self.table), *self.lines])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [
            {
                "run": Path(result.run).name,
                **each.summary,
                "accuracy_interval": list(each.interval),
                "epoch": result.best_epoch,
                "seconds": result.seconds,
                "checksum": result.checksum,
            }
            for result, each in zip(self.results, self.evaluations, strict=True)
        ]
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.interval),
            "n": self.n,
            "deviation": self.deviation,
            "seconds": self.seconds,
            "folds": rows,
            "ensemble": self.ensemble and self.ensemble.to_dict(),
            "warnings": list(self.warnings),
        }


def train(
    recipe: Recipe,
    k: int,
    settings: Settings = Settings(),
    out: str | Path | None = None,
    listeners: Sequence[Listener] = (),
) -> CrossValidation:
    """Run a recipe over k folds.

    out: the folder of the runs; `runs/<network>-<data>-<k>-folds-<number>` when omitted. UsageError for an impossible
    call, before anything is written; other errors as from `loop.train`.
    """
    if not 2 <= k <= MOST:
        raise UsageError(f"the number of folds must be from 2 to {MOST:,}, not {k}")
    if World.here().size > 1:
        raise UsageError("the folds are trained in one process: start them without torchrun")
    recipe = transfer.resolved(recipe.checked())
    settings = located(recipe, resolved(recipe, settings))
    Run.check(out)
    folder = Path(out) if out is not None else _unused(recipe.network, Path(settings.place or recipe.data).name, k)
    plan = Plan(folder, recipe, k, settings)
    with ExitStack() as held:

        def begin() -> None:
            files.make_folder(folder)
            held.enter_context(plan.held())
            Run.check(folder)
            plan.write(None)

        return plan.run(listeners, begin)


def resume(folder: str | Path, listeners: Sequence[Listener] = ()) -> CrossValidation:
    """Continue what `train` began, to the same result. Of finished folds, return it. Errors as from `Plan.open`."""
    plan, ensemble, finished = Plan.open(folder)
    with plan.held():
        if finished:
            return CrossValidation(str(plan.folder), plan.results(listeners), ensemble)
        return plan.run(listeners)


def _unused(network: str, data: str, k: int) -> Path:
    """A folder that is not there yet."""
    name = f"{network}-{data}-{k}-folds".replace(":", "-").replace("/", "-")
    return next(path for i in count(1) if not (path := Path("runs") / f"{name}-{i}").exists())


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Plan:
    """What is run: a recipe over k folds, as the settings say, in a folder."""

    folder: Path
    recipe: Recipe
    k: int
    settings: Settings

    @classmethod
    def open(cls, folder: str | Path) -> tuple[Self, Evaluation | None, bool]:
        """What `write` wrote: the plan, the test of the ensemble, and whether all of it is finished.

        UsageError where there are no folds; NeoclassicError for a damaged file.
        """
        folder, found = Path(folder), folds.read(folder)
        if found is None:
            raise UsageError(f"{folder} holds no folds: there is no {FOLDS} in it")
        try:
            recipe, settings = Recipe.from_dict(found["recipe"]), Settings.from_dict(found["run"])
            result = found["result"]
            ensemble = Evaluation.from_dict(result["ensemble"]) if result and result["ensemble"] else None
        except (NeoclassicError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise NeoclassicError(f"{folder / FOLDS}: damaged ({error})") from None
        return cls(folder, recipe, found["folds"], settings), ensemble, bool(result)

    def write(self, result: CrossValidation | None) -> None:
        """Write `folds.json`, without a result while not all folds are trained."""
        recipe, settings = self.recipe.to_dict(), self.settings.to_dict()
        content = {"folds": self.k, "recipe": recipe, "run": settings, "result": result and result.to_dict()}
        files.write(self.folder / FOLDS, json_text(content, indent=1) + "\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Exclude other processes. UsageError, which names the other process, if one trains these folds."""
        with locked(self.folder, f"the folder of folds {self.folder}"):
            files.sweep(self.folder)
            yield

    def run(self, listeners: Sequence[Listener], begin: Callable[[], object] = _nothing) -> CrossValidation:
        """Train the folds that are left, test the ensemble, and save the result. begin: as in `loop.train`."""
        results = self.results(listeners, begin)
        done = CrossValidation(str(self.folder), results, self.tested())
        self.write(done)
        return done

    def results(self, listeners: Sequence[Listener], begin: Callable[[], object] = _nothing) -> tuple[Result, ...]:
        """The result of every fold, which is trained if it is not finished."""
        found = []
        for i in range(1, self.k + 1):
            run, recipe = self.folder / f"fold{i}", self.recipe.but(fold=(i, self.k))
            for each in listeners:
                each.noted(f"fold {i} of {self.k}")
            try:
                if (run / "recipe.json").exists():
                    result = loop.resume(run, listeners=listeners)
                else:
                    result = loop.train(recipe, self.settings, run, listeners=listeners, begin=begin)
            except loop.Interrupted:
                again = f"neoclassic train --resume {shlex.quote(str(self.folder))}"
                raise loop.Interrupted(f"stopped in fold {i} of {self.k}; resume with: {again}") from None
            assert result is not None  # this process is the only one
            found.append(result)
            begin = _nothing
        return tuple(found)

    def tested(self) -> Evaluation | None:
        """The ensemble on the test set that took no part; None where there is none.

        NeoclassicError if the images changed while the folds were trained.
        """
        model, ensemble = open_models(folds.members(self.folder), self.settings.engine, self.settings.device)
        assert isinstance(ensemble, Ensemble)
        if len({member.data["fingerprint"] for member, _ in ensemble.members}) > 1:
            changed = f"the images of {self.recipe.data} changed while the folds were trained"
            raise NeoclassicError(f"{changed}: train all of them again, with another --out")
        recipe, p = self.recipe.but(fold=(1, self.k)), model.preprocessing
        with pixel_limit(self.settings.max_pixels):
            dataset = opened(recipe, path_of(recipe.data, self.settings.place), self.settings.data_dir)
            test = fold.own_test(recipe, dataset, p, self.settings.strict)
        if not test:
            return None
        return Evaluation.of(logits_of(ensemble, test.images, p), test.labels, test.classes)
