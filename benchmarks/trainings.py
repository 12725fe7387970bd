"""Train the recipes whose results are committed, one run after another:

    python -m benchmarks.trainings [--only PATTERN] [--list]

It takes hours, at low priority. It can be stopped at any time, with Ctrl-C or a kill: the same command continues where
it was, and skips what is done. A run that diverged or cannot start does not keep the others from running. After each
run it writes results/<recipe>-<engine>.json, as benchmarks/seeds.py does, with the machine's load beside the seconds.
The runs are kept in --runs, each in a folder of its recipe and seed. --list shows all of them with their state.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.seeds import RESULTS, file_name, summarise
from neoclassic import engines
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.locks import held, locked
from neoclassic.insight.watching import watchers
from neoclassic.recipes import recipe
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.loop import resume, train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Run, Settings, State
from neoclassic.views.table import RIGHT, Column, Table, duration

RUNS = Path("runs/trainings")
LOADS = "load.csv"  # in the run folder
COLUMNS = (Column("recipe"), Column("seed", RIGHT), Column("data"), Column("epochs", RIGHT), Column("state"))


@dataclass(frozen=True)
class Training:
    """A recipe that is trained with several seeds, from 0.

    changes  fields that differ from the recipe's, of `Recipe`, `Optimizer` or `Augmentation`
    label    added to the name of a recipe with changes, because its results are not those of the recipe
    """

    recipe: str
    seeds: int = 1
    engine: str = "auto"
    label: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> Recipe:
        """The recipe with its changes and its name."""
        chosen = recipe(self.recipe).but(**self.changes)
        return chosen.but(name=f"{chosen.name}+{self.label}", reaches="") if self.label else chosen

    @property
    def name(self) -> str:
        """The name of its results, and the beginning of those of its run folders."""
        return file_name(self.chosen, self.chosen.epochs, engines.choose(self.engine))

    def runs(self, folder: Path) -> Iterator[tuple[Run, Recipe]]:
        """The runs in the folder, whether they are there yet or not, with their recipes."""
        for seed in range(self.seeds):
            yield Run(folder / f"{self.name}-{seed}"), self.chosen.but(seed=seed)


QUEUE = (
    Training("neoclassic:lenet-long", 3, "numpy"),
    Training("neoclassic:lenet:bn-long", 3, "numpy"),
    Training("neoclassic:mobilenet-v1:taught-long"),
    Training("neoclassic:densenet:taught-long"),
    Training("neoclassic:mobilenet-v3-small"),
    Training("neoclassic:mobilenet-v2"),
    Training("neoclassic:mnist-inception-long"),
    Training("neoclassic:mnist-residual-long"),
    Training("neoclassic:mobilenet-v3-large"),
    Training("neoclassic:resnet18:taught-long"),
    Training("neoclassic:nin:taught-long"),
    Training("neoclassic:vgg11:taught-quarter-long"),
    Training("neoclassic:googlenet:taught-long"),
)


class Load(Listener):
    """Notes the load average of the machine at the end of each epoch: how many processes wanted to run at a time."""

    def started(self, job: Job, run: Run, state: State) -> None:
        self.file = run.folder / LOADS

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{log[-1].epoch},{os.getloadavg()[0]:.2f}\n")


def load(run: Run) -> float | None:
    """The mean load while the run was trained; None if it is not known."""
    try:
        lines = (run.folder / LOADS).read_text("utf-8").split()
    except FileNotFoundError:
        return None
    return round(mean(float(line.partition(",")[2]) for line in lines), 2)


def state(run: Run, wanted: Recipe) -> str:
    """What has become of a run."""
    if not (run.folder / "recipe.json").exists():
        return "waits"
    if different(run, wanted):
        return "is a run of other settings"
    if result := run.result():
        return f"test accuracy {result.test_accuracy:.4f}, {duration(result.seconds)}"
    if run.divergence():
        return "diverged"
    epochs = f"after {len(run.epochs())} epochs"
    return f"is trained now, {epochs}" if held(run.folder) else f"stopped {epochs}"


def different(run: Run, wanted: Recipe) -> bool:
    """Whether a run was begun with other settings than the recipe has now; what it says of itself does not count."""
    begun = run.open(run.folder)[1]
    return begun.but(about=wanted.about, reaches=wanted.reaches) != wanted


def over(run: Run, wanted: Recipe) -> bool:
    """Whether there is nothing left to do: the run is finished, or diverged."""
    ended = run.result_file.exists() or run.divergence() is not None
    return ended and not different(run, wanted)


def table(queue: Sequence[Training], runs: Path) -> Table:
    """Every run of the queue with its state."""
    rows = [
        (wanted.name, str(wanted.seed), wanted.data, str(wanted.epochs), state(run, wanted))
        for each in queue
        for run, wanted in each.runs(runs)
    ]
    return Table(COLUMNS, tuple(rows))


def run_all(queue: Sequence[Training], runs: Path, results: Path, data_dir: str | None) -> list[str]:
    """Run what is left of the queue. Return a line for each run that failed. KeyboardInterrupt after Ctrl-C."""
    failed = []
    for each in queue:
        settings = Settings(engines.choose(each.engine), data_dir=data_dir)
        for run, wanted in each.runs(runs):
            if over(run, wanted):
                continue
            print(f"{wanted.name}, seed {wanted.seed}: {wanted.epochs} epochs on {wanted.data}", flush=True)
            try:
                train_one(run, wanted, settings)
            except NeoclassicError as error:
                failed.append(f"{wanted.name}, seed {wanted.seed}: {error}")
                print(failed[-1], file=sys.stderr, flush=True)
            write(each, runs, results)
    return failed


def train_one(run: Run, wanted: Recipe, settings: Settings) -> None:
    """Train a run, or what is left of it. Errors as from `train.loop.train`, and UsageError for other settings."""
    listeners = [*watchers(progress=True), Load()]
    if not (run.folder / "recipe.json").exists():
        train(wanted, settings, run.folder, listeners=listeners)
        return
    if different(run, wanted):
        raise UsageError(f"{run.folder} was begun with other settings: remove it, or give another --runs")
    resume(run.folder, listeners=listeners)


def write(training: Training, runs: Path, results: Path) -> None:
    """Write the results of the seeds that are finished, if there are any."""
    ended = [(run, wanted.seed) for run, wanted in training.runs(runs) if over(run, wanted)]
    done = [run for run, _ in ended if run.result_file.exists()]
    if not done:
        return
    more: dict[str, Any] = {"load": {"runs": [load(run) for run in done]}}
    if diverged := [seed for run, seed in ended if run not in done]:
        more["diverged"] = diverged
    found = [json.loads(run.result_file.read_text("utf-8")) for run in done]
    summarise(training.chosen, training.chosen.epochs, training.name, found, more, results)


def main(arguments: Sequence[str] | None = None, queue: Sequence[Training] = QUEUE) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="*", help="of the recipes that --list shows: '*lenet*'")
    parser.add_argument("--list", action="store_true", help="show the runs and their state, and do nothing")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder for the runs (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--data-dir", help="a folder that holds mnist/, as files of both MNISTs have the same names")
    given = parser.parse_args(arguments)
    chosen = [each for each in queue if fnmatchcase(each.chosen.name, given.only)]
    if not chosen:
        sys.exit(f"no recipe in the queue is called {given.only!r}: --list shows them")
    try:
        if given.list:
            print(table(chosen, given.runs))
            return
        os.nice(15)
        given.runs.mkdir(parents=True, exist_ok=True)
        with locked(given.runs, f"the queue in {given.runs}"):
            failed = run_all(chosen, given.runs, given.results, given.data_dir)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command continues")
    except NeoclassicError as error:
        sys.exit(str(error))
    if failed:
        sys.exit(f"{len(failed)} runs failed; the same command tries them again:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
