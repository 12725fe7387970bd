"""A run folder: `recipe.json`, `log.csv`, `checkpoint.safetensors`, `model.safetensors`, `result.json` and pictures."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.records import record
from neoclassic.base.text import csv_table
from neoclassic.engines import Weights
from neoclassic.model import artefact
from neoclassic.model.artefact import Model
from neoclassic.train.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """Where a run happens, besides what the recipe says: engine, device, places of the data, an early end, events."""

    engine: str = "auto"
    device: str = "auto"
    data_dir: str | None = None  # where data sets are looked for first
    max_steps: int | None = None
    precision: str = "auto"  # "32", "bf16"; see engines.decide
    compile: str = "auto"  # "on", "off"
    strict: bool = False  # a photo that cannot be read ends the run
    tensorboard: bool = False  # write the log as TensorBoard events too
    place: str | None = None  # absolute path of the data, where the recipe names a path: it may do so from elsewhere


@dataclass(frozen=True)
class Epoch:
    """One row of `log.csv`. Accuracies are fractions, losses nats; None where nothing was measured."""

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


@dataclass(frozen=True)
class Result:
    """What `result.json` holds: where, how, and how well. Accuracies are of the model that was kept."""

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


@dataclass
class State:
    """Everything that a run needs to go on, besides its recipe."""

    step: int = 0
    loss_sum: float = 0.0  # of the epoch so far, with the two below
    correct: int = 0
    n: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    log: list[Epoch] = field(default_factory=list)
    best: int | None = None  # the epoch, from 1, whose model is kept


@dataclass(frozen=True)
class Run:
    """The files of a run, by what they hold."""

    folder: Path

    @property
    def model(self) -> Path:
        """The artefact: the best model by validation accuracy."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """What a resumed run starts from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def skipped(self) -> Path:
        """The photos that could not be read, with the reasons; only where there are any."""
        return self.folder / "skipped.csv"

    @property
    def result_file(self) -> Path:
        """What came of it; its presence says that the run is finished."""
        return self.folder / "result.json"

    @classmethod
    def check(cls, out: str | Path | None) -> None:
        """Raise before the work what `create` would raise after it; nothing is written."""
        if out is not None and (Path(out) / "recipe.json").exists():
            raise UsageError(f"{out} holds a run already: go on with --resume {out}, or choose another --out")
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
        files.write(folder / "recipe.json", _json({**recipe.to_dict(), "run": asdict(settings)}))
        return run

    @classmethod
    def open(cls, folder: str | Path) -> tuple[Self, Recipe, Settings]:
        """An existing run with its recipe and settings. UsageError where there is none."""
        run = cls(Path(folder))
        try:
            data = json.loads((run.folder / "recipe.json").read_text("utf-8"))
            settings = record(Settings, data.pop("run"))
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{folder} holds no run: there is no recipe.json in it") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise NeoclassicError(f"{run.folder / 'recipe.json'}: damaged ({error})") from None
        place, data_dir = (path and files.on_disk(path) for path in (settings.place, settings.data_dir))
        return run, Recipe.from_dict(data), replace(settings, place=place, data_dir=data_dir)

    def save_checkpoint(
        self, weights: Weights, optimizer: Weights, state: State, fingerprint: str, engine: str
    ) -> None:
        """Write all of the state, atomically."""
        arrays = {f"weights/{k}": v for k, v in weights.items()} | {f"optimizer/{k}": v for k, v in optimizer.items()}
        header = {"state": asdict(state), "data": fingerprint, "engine": engine}
        artefact.write(self.checkpoint, "checkpoint", arrays, header)

    def load_checkpoint(self) -> tuple[Weights, Weights, State, dict[str, Any]] | None:
        """Weights, optimizer state, state and header of the checkpoint; None before the first."""
        if not self.checkpoint.exists():
            return None
        arrays, header = artefact.read(self.checkpoint, "checkpoint")
        parts: dict[str, Weights] = {"weights": {}, "optimizer": {}}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            parts[part][name] = array
        saved = header.pop("state")
        state = State(**{**saved, "log": [Epoch(**row) for row in saved["log"]]})
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

    def save_result(self, result: Result) -> None:
        """Write `result.json`."""
        files.write(self.result_file, _json(asdict(result)))

    def result(self) -> dict[str, Any] | None:
        """What `save_result` wrote; None while the run is not finished. NeoclassicError for a file that is damaged."""
        if not self.result_file.exists():
            return None
        try:
            return asdict(record(Result, json.loads(self.result_file.read_text("utf-8"))))
        except (OSError, ValueError) as error:
            again = f"remove it, and train --resume {self.folder} makes it again"
            raise NeoclassicError(f"{self.result_file}: damaged ({error}); {again}") from None

    def log(self) -> list[Epoch]:
        """What `save_log` wrote. UsageError for a run without an epoch, NeoclassicError for a file that is damaged."""
        path = self.folder / "log.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]
            log = [record(Epoch, {**row, "epoch": int(row["epoch"] or 0)}) for row in rows]
        except FileNotFoundError:
            log = []
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise NeoclassicError(f"{path}: damaged ({error})") from None
        if not log:
            raise UsageError(f"{self.folder} has not finished an epoch yet: there is no log.csv in it")
        return log


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
