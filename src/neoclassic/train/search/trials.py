"""The trials of a search: what Optuna keeps of each, and what the loop reports to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from neoclassic.base import display
from neoclassic.base.records import record
from neoclassic.model.evaluate import between, wilson
from neoclassic.train.run import Result
from neoclassic.views.table import RIGHT, Column, Table, duration

if TYPE_CHECKING:
    pass

COMPLETE, PRUNED, DIVERGED, LATE = "complete", "pruned", "diverged", "out of time"
FULL = 999  # the whole length of a trial, as Optuna's steps: trials of different networks have different epochs
REDUCTION = 3  # a third of the trials goes on at a ninth and at a third of their length
PILOT = 3.0  # seconds of steps from which the length of a trial is estimated
COLUMNS = (
    Column("trial", RIGHT),
    Column("network"),
    Column("rate", RIGHT),
    Column("augmentation"),
    Column("epochs", RIGHT, rank=3),
    Column("validation accuracy", RIGHT),
    Column("95 % interval", rank=2),
    Column("seconds", RIGHT, rank=4),
    Column("", rank=1),
)


@dataclass(frozen=True)
class Trial:
    """One trial: what was trained, and how well its best model does on the validation images.

    number         from 1
    learning_rate  the highest of its schedule; None for the last layer alone, which has none
    augmentation   its name, see `space.AUGMENTATIONS`
    epochs         that were trained, of `length`
    right, n       validation images that are classified correctly, and all; 0 of a trial without an epoch
    loss           nats
    seconds        of all of the trial; `pace` of its last epoch
    outcome        "complete", "pruned", "diverged" or "out of time"
    ours           whether this process trained it, not another one that shares its storage
    """

    number: int
    network: str
    learning_rate: float | None
    augmentation: str
    length: int
    epochs: int = 0
    right: int = 0
    n: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    pace: float = 0.0
    outcome: str = ""
    ours: bool = True

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The trial that `to_dict` wrote. ValueError for anything else."""
        return record(cls, data)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def accuracy(self) -> float:
        """Of the validation images."""
        return self.right / max(self.n, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy; see `evaluate.wilson`."""
        return wilson(self.right, self.n)

    @property
    def rank(self) -> tuple[bool, float, float, int]:
        """The best trial has the highest: a complete one by accuracy, and among equal ones by loss, the first."""
        return self.outcome == COMPLETE, self.accuracy, -self.loss, -self.number

    @property
    def what(self) -> str:
        """What is trained."""
        if self.learning_rate is None:
            return f"{self.network}, last layer"
        return f"{self.network}, learning rate {self.learning_rate:g}, augmentation {self.augmentation}"

    @property
    def line(self) -> str:
        """What there is to tell when it has ended."""
        found = f"validation accuracy {self.accuracy:.4f} after {self.epochs} of {self.length} epochs, " * bool(self.n)
        return f"trial {self.number}: {self.what}: {found}{self.outcome}, {duration(self.seconds)}"

    def row(self, mark: str) -> tuple[str, ...]:
        """Its cells in the table. mark: of the winner."""
        rate = "" if self.learning_rate is None else f"{self.learning_rate:g}"
        found = (f"{self.accuracy:.4f}", between(self.right, self.n)) if self.n else ("", "")
        epochs = f"{self.epochs} of {self.length}"
        about = (str(self.number), self.network, rate, self.augmentation, epochs)
        return (*about, *found, f"{self.seconds:.0f}", mark or self.outcome)


@dataclass(frozen=True, repr=False)
class Search(display.Displayed):
    """What a search found. The repr is the table for people.

    folder   holds the run of the winner, with its recipe
    trials   in the order in which they began
    winner   the number of the best one
    result   of its run: the only one that was tested on the test set
    """

    folder: str
    trials: tuple[Trial, ...]
    winner: int
    result: Result

    @property
    def best(self) -> Trial:
        """The winner."""
        return next(each for each in self.trials if each.number == self.winner and each.ours)

    @property
    def default(self) -> Trial:
        """The first trial: the default recipe of the first network."""
        return self.trials[0]

    @property
    def seconds(self) -> float:
        """Of all trials that this process trained."""
        return sum(each.seconds for each in self.trials if each.ours)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the winner's model doubtful."""
        return self.result.warnings

    @property
    def table(self) -> Table:
        """A row for each trial."""
        return Table(COLUMNS, tuple(each.row("winner" * (each is self.best)) for each in self.trials))

    @property
    def lines(self) -> tuple[str, ...]:
        """The winner beside the default recipe, and its accuracy on the test set."""
        best, first = self.best, self.default
        low, high = best.interval
        sure = f"95 % interval {low:.4f} to {high:.4f}, {best.n:,} images"
        lines = [f"the winner is trial {best.number}, {best.what}: validation accuracy {best.accuracy:.4f}  ({sure})"]
        if best == first:
            lines.append("no trial does better on the validation images than the default recipe")
        elif first.n:
            doubt = "; this is within the winner's interval, so they may be equally good" * (first.accuracy >= low)
            lines.append(f"the default recipe, trial 1, has {first.accuracy:.4f}{doubt}")
        if better := [each for each in self.trials if not each.ours and each.rank > best.rank]:
            lines.append(f"another process has a better one: trial {max(better, key=lambda each: each.rank).number}")
        low, high = self.result.evaluation["accuracy_interval"]
        sure = f"95 % interval {low:.4f} to {high:.4f}, {self.result.evaluation['n']:,} images"
        return *lines, f"test accuracy of the winner {self.result.test_accuracy:.4f}  ({sure})"

    def __repr__(self) -> str:
        networks = ", ".join(dict.fromkeys(each.network for each in self.trials))
        return "\n".join([f"search of {networks} on {self.result.data}", str(self.table), *self.lines])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        trials = [
            {**each.to_dict(), "accuracy": each.accuracy, "accuracy_interval": list(each.interval)}
            for each in self.trials
        ]
        return {"winner": self.winner, "trials": trials, "result": self.result.to_dict()}
