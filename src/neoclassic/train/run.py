"""A run folder: `recipe.json`, `log.csv`, `checkpoint.safetensors`, `model.safetensors` and `result.json`."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np

from neoclassic.base import display, files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.locks import locked
from neoclassic.base.machine import cores
from neoclassic.base.records import csv_rows, number, record
from neoclassic.base.text import csv_table
from neoclassic.data.image_files import MAX_PIXELS
from neoclassic.engines import Engine, Speed, Weights, towers
from neoclassic.engines.contract import Array
from neoclassic.model import artefact, folds
from neoclassic.model.artefact import SEARCH, Model
from neoclassic.model.evaluate import Evaluation
from neoclassic.model.folds import FOLDS
from neoclassic.train.recipe import Recipe
from neoclassic.views.table import LEFT, align, duration

DIVERGED = "diverged.json"  # in the run folder


@dataclass(frozen=True)
class Settings:
    """How and where a recipe is run. None of these belongs to the recipe.

    speed        precision and compiling; see `engines.decide`
    data_dir     the folder in which data sets are looked for first
    max_steps    stop after this many steps
    strict       end the run at a photo that cannot be read, instead of leaving it out
    tensorboard  whether TensorBoard events are wanted; see `insight.watching`
    place        absolute path of the data, where the recipe names a path relative to another folder
    max_pixels   that a photo may have
    """

    engine: str = "auto"
    device: str = "auto"
    speed: Speed = Speed("auto", "auto")
    data_dir: str | None = None
    max_steps: int | None = None
    strict: bool = False
    tensorboard: bool = False
    place: str | None = None
    max_pixels: int = MAX_PIXELS

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with precision and compile beside the others."""
        given = asdict(self)
        return {**given, **given.pop("speed")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The settings that `to_dict` wrote, with paths as this disk spells them.

        ValueError, naming the entry, for anything else.
        """
        speed = {name: data[name] for name in ("precision", "compile") if name in data}
        given = record(cls, {name: value for name, value in data.items() if name not in speed} | {"speed": speed})
        place, data_dir = (path and files.on_disk(path) for path in (given.place, given.data_dir))
        return replace(given, place=place, data_dir=data_dir)


@dataclass(frozen=True)
class Epoch:
    """One row of `log.csv`. Accuracies are fractions, losses nats; None where nothing was measured.

    seconds       of training and evaluation together
    data_seconds  of them, those in which training waited for batches; see `train.feed.Feed.seconds`
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    images_per_second: float
    data_seconds: float | None = None

    @classmethod
    def of(
        cls,
        epoch: int,
        rate: float,
        sums: Sequence[float],
        evaluation: Evaluation,
        on_test: bool,
        seconds: float,
        training_seconds: float,
    ) -> Self:
        """From the epoch's sums of loss, right answers and images, and an evaluation of the validation or test set.

        seconds: of training and evaluation together.
        """
        loss_sum, correct, n = sums[0], round(sums[1]), round(sums[2])
        loss, accuracy = round(evaluation.loss, 6), round(evaluation.accuracy, 6)
        return cls(
            epoch=epoch,
            learning_rate=rate,
            train_loss=round(loss_sum / n, 6),
            train_accuracy=round(correct / n, 6),
            validation_loss=None if on_test else loss,
            validation_accuracy=None if on_test else accuracy,
            test_loss=loss if on_test else None,
            test_accuracy=accuracy if on_test else None,
            seconds=round(seconds, 3),
            images_per_second=round(n / max(training_seconds, 1e-9), 1),
        )

    def better_than(self, other: Epoch) -> bool:
        """Whether the validation accuracy is higher, or equal with a lower loss."""
        assert self.validation_accuracy is not None
        assert other.validation_accuracy is not None
        if self.validation_accuracy != other.validation_accuracy:
            return self.validation_accuracy > other.validation_accuracy
        return (self.validation_loss or 0.0) < (other.validation_loss or 0.0)


@dataclass(frozen=True, repr=False)
class Result(display.Displayed):
    """What `result.json` holds: what was trained, on what, and how well. Accuracies are of the model that was kept."""

    run: str
    model: str
    network: str
    recipe: str
    data: str
    engine: str
    device: str
    precision: str
    compile: str
    seed: int
    epochs: int
    best_epoch: int  # from 1
    train_accuracy: float
    validation_accuracy: float | None
    test_accuracy: float
    test_loss: float  # nats
    seconds: float  # training and the evaluation after every epoch
    images_per_second: float
    steps: int
    skipped: int  # photos
    finished: str  # date and time, ISO 8601
    versions: dict[str, str]
    machine: dict[str, Any]
    evaluation: dict[str, Any]  # of the test set, see `Evaluation.to_dict`
    checksum: str = ""  # of the model; "" in results of older versions
    warnings: tuple[str, ...] = ()  # what makes the model doubtful, see `train.doubtful`
    test_fingerprint: str = ""  # of the test set; "" in results of older versions

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The result that `to_dict` wrote. ValueError if an entry is missing or impossible."""
        result = record(cls, data)
        for name, value in vars(result).items():
            if isinstance(value, int | float) and not number(value):
                raise ValueError(f"{name} cannot be {value!r:.60}")
        return replace(result, evaluation=Evaluation.from_dict(result.evaluation).to_dict())

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What matters most: names and values, for a table."""
        held_out = self.validation_accuracy
        return [
            ("test accuracy", f"{Evaluation.from_dict(self.evaluation).line}, loss {self.test_loss:.4f}"),
            *([("validation accuracy", f"{held_out:.2%}")] if held_out is not None else []),
            ("training accuracy", f"{self.train_accuracy:.2%}"),
            ("epochs", f"{self.epochs}; the model is from epoch {self.best_epoch}"),
            ("time", f"{duration(self.seconds)}, {self.images_per_second:,.0f} images a second"),
            ("on", f"{self.engine}, {self.device}"),
            ("run", self.run),
            *(("warning", line) for line in self.warnings),
        ]

    def __repr__(self) -> str:
        return f"{self.network} on {self.data}\n{align(self.facts, LEFT + LEFT)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "warnings": list(self.warnings)}


@dataclass
class State:
    """Everything that a checkpoint needs to hold, besides the weights and the optimizer's state."""

    step: int = 0
    loss_sum: float = 0.0  # of the epoch so far, with the two below
    correct: int = 0
    n: int = 0
    epoch_seconds: float = 0.0
    data_seconds: float = 0.0
    seconds: float = 0.0
    log: list[Epoch] = field(default_factory=list)
    best: int | None = None  # the epoch, from 1, whose model is kept


@dataclass(frozen=True)
class Divergence:
    """Where a run ended because its loss was no longer finite: `loss` is "nan" or "inf"."""

    step: int  # how many were done
    epoch: int  # from 1
    learning_rate: float
    loss: str


@dataclass(frozen=True, repr=False)
class Run(display.Displayed):
    """The files of a run, by what they hold."""

    folder: Path

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def model(self) -> Path:
        """The artefact: the best model by validation accuracy."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The state that a resumed run starts from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def skipped(self) -> Path:
        """The photos that could not be read, with the reasons. The file is there only if there are any."""
        return self.folder / "skipped.csv"

    @property
    def answers_file(self) -> Path:
        """The label of every test image, and the answer of the model."""
        return self.folder / "answers.csv"

    @property
    def result_file(self) -> Path:
        """The result. A run is finished if this file is there."""
        return self.folder / "result.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Exclude other processes from writing this run. UsageError, which names the other process, if one does.

        What a killed process left half-written in the folder is removed.
        """
        with locked(self.folder, f"the run in {self.folder}"):
            files.sweep(self.folder)
            yield

    @classmethod
    def check(cls, out: str | Path | None) -> None:
        """Raise what `create` would raise, before any work is done. Nothing is written."""
        if out is not None and any((Path(out) / name).exists() for name in ("recipe.json", FOLDS, SEARCH)):
            raise UsageError(f"{out} holds a run already: use --resume {out}, or choose another --out")
        files.check_folder(Path(out or "runs"))

    @classmethod
    def create(cls, out: str | Path | None, name: str, recipe: Recipe, settings: Settings) -> Self:
        """A new run folder; `runs/<name>-<number>` when none is given. UsageError when it holds a run already."""
        if out is None:
            number = 1
            while not files.make_folder(folder := Path("runs") / f"{name}-{number}", new=True):
                number += 1
        else:
            cls.check(out)
            folder = Path(out)
            files.make_folder(folder)
        run = cls(folder)
        run.save_recipe(recipe, settings)
        return run

    def save_recipe(self, recipe: Recipe, settings: Settings) -> None:
        """Write `recipe.json`."""
        files.write(self.folder / "recipe.json", _json({**recipe.to_dict(), "run": settings.to_dict()}))

    @classmethod
    def open(cls, folder: str | Path) -> tuple[Self, Recipe, Settings]:
        """An existing run with its recipe and settings. UsageError where there is none."""
        run = cls(Path(folder))
        try:
            data = json.loads((run.folder / "recipe.json").read_text("utf-8"))
            settings = Settings.from_dict(data.pop("run"))
        except (FileNotFoundError, NotADirectoryError):
            if members := folds.members(folder):
                several = f"{folder} holds {len(members)} runs, one for each fold"
                raise UsageError(f"{several}: name one of them, such as {members[0]}") from None
            raise UsageError(f"{folder} holds no run: there is no recipe.json in it") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise NeoclassicError(f"{run.folder / 'recipe.json'}: damaged ({error})") from None
        return run, Recipe.from_dict(data), settings

    def save_checkpoint(self, weights: Weights, optimizer: Weights, state: State, about: Mapping[str, Any]) -> None:
        """Write all of the state, atomically. about: the fingerprint of its data, and more."""
        arrays = {f"weights/{k}": v for k, v in weights.items()} | {f"optimizer/{k}": v for k, v in optimizer.items()}
        header = {"state": asdict(state), **about}
        artefact.write(self.checkpoint, "checkpoint", arrays, header)

    def load_checkpoint(self) -> tuple[Weights, Weights, State, dict[str, Any]] | None:
        """Weights, optimizer state, state and header of the checkpoint; None before the first."""
        if not self.checkpoint.exists():
            return None
        arrays, header = artefact.read(self.checkpoint, "checkpoint")
        parts: dict[str, Weights] = {"weights": {}, "optimizer": {}}
        try:
            for key, array in arrays.items():
                part, _, name = key.partition("/")
                parts[part][name] = array
            saved = dict(header.pop("state"))
            log = [record(Epoch, row) for row in saved.pop("log")]
            state = replace(record(State, saved), log=log)
            header["data"]  # must be there
        except (KeyError, TypeError, ValueError) as error:
            again = f"remove it, and train --resume {self.folder} starts again"
            raise NeoclassicError(f"{self.checkpoint}: damaged ({error}); {again}") from None
        return parts["weights"], parts["optimizer"], state, header

    def save_log(self, log: list[Epoch]) -> None:
        """Write `log.csv`: one row an epoch."""
        names = [f.name for f in fields(Epoch)]
        files.write(self.folder / "log.csv", csv_table(names, (asdict(row).values() for row in log)))

    def save_skipped(self, skipped: tuple[tuple[str, str], ...]) -> None:
        """Write `skipped.csv`: path and reason of each photo that could not be read."""
        files.write(self.skipped, csv_table(["path", "reason"], skipped))

    def save_model(self, model: Model) -> None:
        """Write the artefact."""
        model.save(self.model)

    def save_divergence(self, divergence: Divergence) -> None:
        """Write `diverged.json`."""
        files.write(self.folder / DIVERGED, _json(asdict(divergence)))

    def divergence(self) -> Divergence | None:
        """What `save_divergence` wrote; None if the run did not diverge. NeoclassicError for a damaged file."""
        path = self.folder / DIVERGED
        try:
            return record(Divergence, json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise NeoclassicError(f"{path}: damaged ({error}); remove it") from None

    def save_answers(self, labels: Array, answers: Array) -> None:
        """Write `answers.csv`: label and answer of every test image, as numbers of classes."""
        rows = zip(labels.tolist(), answers.tolist(), strict=True)
        files.write(self.answers_file, csv_table(["label", "answer"], rows))

    def answers(self) -> tuple[Array, Array] | None:
        """What `save_answers` wrote; None for a run without the file. NeoclassicError for a damaged one."""
        rows = csv_rows(self.answers_file, lambda row: (int(row["label"]), int(row["answer"])), "; remove it")
        if rows is None:
            return None
        both = np.array(rows, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def save_result(self, result: Result) -> None:
        """Write `result.json`. A run that is finished did not diverge."""
        files.write(self.result_file, _json(result.to_dict()))
        (self.folder / DIVERGED).unlink(missing_ok=True)

    def result(self) -> Result | None:
        """What `save_result` wrote; None while the run is not finished. NeoclassicError for a damaged file."""
        if not self.result_file.exists():
            return None
        try:
            return Result.from_dict(json.loads(self.result_file.read_text("utf-8")))
        except (OSError, ValueError) as error:
            again = f"remove it, and train --resume {self.folder} makes it again"
            raise NeoclassicError(f"{self.result_file}: damaged ({error}); {again}") from None

    def finished(self) -> Result | None:
        """The result of a finished run, after a check that the model is the one that the result describes.

        NeoclassicError where result and model are of different epochs, or one of them is damaged.
        """
        result = self.result()
        if result is not None:
            model = Model.load(self.model)
            other = result.checksum and result.checksum != model.checksum
            if other or model.metrics.get("epoch") != result.best_epoch:
                again = f"remove result.json, and train --resume {self.folder} makes both again"
                raise NeoclassicError(f"{self.folder}: result.json does not belong to model.safetensors; {again}")
        return result

    def log(self) -> list[Epoch]:
        """What `save_log` wrote. UsageError for a run without an epoch, NeoclassicError for a file that is damaged."""
        if not (log := self.epochs()):
            raise UsageError(f"{self.folder} has not finished an epoch yet: there is no log.csv in it")
        return log

    def epochs(self) -> list[Epoch]:
        """The same; an empty list for a run without an epoch."""
        path = self.folder / "log.csv"
        log = csv_rows(path, _epoch)
        if log == []:
            raise NeoclassicError(f"{path}: damaged (it has no epoch)")
        return log or []


def _epoch(row: dict[str, str]) -> Epoch:
    values = {name: float(text) if text else None for name, text in row.items()}
    return record(Epoch, {**values, "epoch": int(values["epoch"] or 0)})


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def versions(engine: str) -> dict[str, str]:
    """The versions of what computes the weights."""
    names = ["neoclassic", "numpy"] + (["torch"] if engine == "torch" else [])
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def machine(engine: Engine) -> dict[str, Any]:
    """The machine that a run happens on."""
    facts = {"processor": platform.machine(), "cores": cores(), "system": platform.platform()}
    if engine.name == "torch" and not towers.on_cpu(engine.device):
        from neoclassic.engines.torch import device_name

        facts["accelerator"] = device_name(engine.device)
    return facts
