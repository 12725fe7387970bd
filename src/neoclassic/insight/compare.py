"""Runs side by side: their accuracies and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from neoclassic.base import called, display, files
from neoclassic.base.errors import UsageError
from neoclassic.base.text import csv_table
from neoclassic.engines.contract import Array
from neoclassic.insight import curves
from neoclassic.insight.mcnemar import Difference, compared
from neoclassic.measure import measure
from neoclassic.model.artefact import Model
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run
from neoclassic.views.picture import draw_all
from neoclassic.views.table import RIGHT, SHORTEN, Column, Table, between, spark

COLUMNS = (
    Column("run", narrow=SHORTEN, least=16),
    Column("network", rank=1),
    Column("data", rank=3),
    Column("accuracy", RIGHT),
    Column("95 % interval", RIGHT, rank=1),
    Column("parameters", RIGHT, rank=2),
    Column("MACs", RIGHT, rank=5),
    Column("epochs", RIGHT, rank=4),
    Column("seconds", RIGHT),
    Column("on", rank=6),
    Column("accuracy by epoch", narrow=SHORTEN, least=17),
)


@dataclass(frozen=True)
class RunSummary:
    """One run.

    accuracy    test accuracy; the validation accuracy of the best epoch if the run is not finished
    interval    the 95 % interval of the test accuracy; None if the run is not finished
    tested      the fingerprint of the test set; "" if it is not known
    answers     label and answer of every test image; None if they are not known
    seconds     of training and evaluation
    """

    name: str
    folder: Path
    recipe: Recipe
    data: str
    log: list[dict[str, Any]]
    accuracy: float
    interval: tuple[float, float] | None
    finished: bool
    parameters: int
    macs: int
    seconds: float
    engine: str
    device: str
    tested: str = ""
    answers: tuple[Array, Array] | None = None

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.log)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": str(self.folder),
            "name": self.name,
            "network": self.recipe.network,
            "recipe": self.recipe.name,
            "data": self.data,
            "accuracy": self.accuracy,
            "accuracy_low": self.interval and self.interval[0],
            "accuracy_high": self.interval and self.interval[1],
            "finished": self.finished,
            "parameters": self.parameters,
            "macs": self.macs,
            "seconds": self.seconds,
            "epochs": self.epochs,
            "engine": self.engine,
            "device": self.device,
            "seed": self.recipe.seed,
        }


@dataclass(frozen=True, repr=False)
class Comparison(display.Displayed):
    """Runs side by side. The repr is a table of them, the best first."""

    runs: tuple[RunSummary, ...]

    @classmethod
    def of(cls, folders: Sequence[str]) -> Comparison:
        """The comparison of runs, by their folders; see `open_runs`."""
        return cls(tuple(open_runs(folders)))

    def __repr__(self) -> str:
        return "\n".join([str(table(self.runs)), *([""] if self.lines else []), *self.lines])

    @property
    def differences(self) -> list[Difference]:
        """The best run beside each of the others that were tested on the same images; see `differences`."""
        return differences(self.runs)

    @property
    def lines(self) -> list[str]:
        """The differences in words."""
        return [difference.line for difference in self.differences]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"runs": [run.to_dict() for run in self.runs], "differences": [vars(each) for each in self.differences]}

    def write(self, folder: str | Path) -> dict[str, str]:
        """Write the pictures and the table into a folder; return their paths by name."""
        return write(self.runs, Path(folder))


def open_run(folder: str | Path, name: str = "") -> RunSummary:
    """Summarise a run folder, finished or not, under this name or the folder's.

    UsageError for a folder without a run, NeoclassicError for a damaged one.
    """
    run, recipe, settings = Run.open(folder)
    log, result, model = [vars(row) for row in run.log()], run.result(), Model.load(run.folder)
    m = measure(model.tree, model.input)
    best = min(int(model.metrics.get("epoch") or len(log)), len(log))
    return RunSummary(
        name=name or run.folder.resolve().name,
        folder=run.folder,
        recipe=recipe,
        data=str(model.data.get("name", recipe.data)),
        log=log,
        interval=tuple(result.evaluation["accuracy_interval"]) if result else None,
        accuracy=result.test_accuracy if result else curves.validation(log[best - 1], "accuracy"),
        finished=result is not None,
        parameters=m.parameters,
        macs=m.macs,
        seconds=result.seconds if result else sum(row["seconds"] for row in log),
        engine=result.engine if result else settings.engine,
        device=result.device if result else settings.device,
        tested=result.test_fingerprint if result else "",
        answers=run.answers() if result else None,
    )


def open_runs(folders: Sequence[str]) -> list[RunSummary]:
    """Open several runs. Each is named by the last parts of its path, as many as make the names unique."""
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise UsageError("a run is given twice: give each run once")
    depth = next(n for n in count(1) if len({path.parts[-n:] for path in paths}) == len(paths))
    return [open_run(folder, "/".join(path.parts[-depth:])) for folder, path in zip(folders, paths, strict=True)]


def differences(runs: Sequence[RunSummary]) -> list[Difference]:
    """The best run beside each of the others, the better ones first, if both were tested on the same images."""
    ordered = sorted(runs, key=lambda run: -run.accuracy)
    known = [(run.name, run.answers) for run in ordered if run.answers and run.tested == ordered[0].tested != ""]
    return compared(*known[0], known[1:]) if known else []


def table(runs: Sequence[RunSummary]) -> Table:
    """One row per run, the best first."""
    return Table(COLUMNS, tuple(cells(runs)))


def cells(runs: Sequence[RunSummary]) -> list[tuple[str, ...]]:
    """The rows of `table`."""
    return [
        (
            run.name,
            run.recipe.network,
            run.data,
            f"{run.accuracy:.4f}{'' if run.finished else ' so far'}",
            between(*run.interval) if run.interval else "",
            f"{run.parameters:,}",
            f"{run.macs:,}",
            str(run.epochs),
            f"{run.seconds:,.0f}",
            f"{run.engine}, {run.device}",
            spark([curves.validation(row, "accuracy") for row in run.log]),
        )
        for run in sorted(runs, key=lambda run: -run.accuracy)
    ]


def write(runs: Sequence[RunSummary], folder: Path) -> dict[str, str]:
    """Write the pictures, and the table as CSV; return their paths by name."""
    files.make_folder(folder)
    data = sorted({run.data for run in runs})
    title = f"{len(runs)} runs on {', '.join(data)}"
    lines = [curves.Curve(run.name, run.log, run.accuracy, run.seconds) for run in runs]
    costs = {
        "parameters": [float(run.parameters) for run in runs],
        "multiply-accumulates per image": [float(run.macs) for run in runs],
        "seconds": [max(run.seconds, 1e-3) for run in runs],
    }
    rows = [run.to_dict() for run in runs]
    files.write(folder / "runs.csv", csv_table(list(rows[0]), (row.values() for row in rows)))
    names, accuracies = [run.name for run in runs], [run.accuracy for run in runs]
    pictures: dict[str, Callable[[Path], None]] = {
        "curves": lambda path: curves.draw_runs(lines, path, title),
        "costs": lambda path: curves.draw_costs(names, accuracies, costs, path, title),
    }
    drawn = {f"{name}.png": path for name, path in draw_all(pictures, folder).items()}
    return drawn | {"runs.csv": str(folder / "runs.csv")}


called.make_callable(__name__)  # nc.compare
