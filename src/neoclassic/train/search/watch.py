"""What the loop reports of a trial to Optuna, and what ends the trial: Optuna, or the end of the time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neoclassic.model.artefact import Model
from neoclassic.train.control import Control
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch, Run, State
from neoclassic.train.search import studies
from neoclassic.train.search.studies import FULL

if TYPE_CHECKING:
    import optuna

PILOT = 3.0  # seconds of steps from which the length of a trial is estimated


class Stopped(Exception):
    """Optuna prunes the trial."""


class TooLong(Exception):
    """The trial would take too long: it starts again with `epochs`."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs


class Watch(Listener, Control):
    """Reports the epochs of a trial to Optuna, and ends it when Optuna prunes it or the time is over.

    trial     Optuna's
    began     time.monotonic() when it began
    deadline  time.monotonic() after which no epoch begins
    longest   seconds that the trial may take; None: its length is settled
    reported  the last of Optuna's steps that a killed process reported of it; -1 of a new trial
    """

    def __init__(
        self, trial: optuna.Trial, began: float, deadline: float, longest: float | None, reported: int
    ) -> None:
        self.trial, self.began, self.deadline = trial, began, deadline
        self.longest, self.reported = longest, reported
        self.late = self.pruned = False
        self.first: float | None = None  # time.monotonic() after the first step, which also prepares things
        self.seen = 0  # images in the steps since then

    @property
    def ending(self) -> bool:
        return self.late

    def started(self, job: Job, run: Run, state: State) -> None:
        self.job, self.run = job, run
        for epoch in range(1, len(state.log) + 1):  # of a run that is resumed
            self.pruned |= self.report(state.log[:epoch], epoch == len(state.log) and state.step >= job.last_step)

    def stepped(self, epoch: int, images: int) -> None:
        if self.pruned:  # a killed process could not end it
            raise Stopped
        now = time.monotonic()
        if self.first is None:
            self.first = now
            return
        self.seen += images
        if self.longest is not None and now - self.first >= PILOT:
            self.settle((now - self.first) / self.seen * len(self.job.training))

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        if self.longest is not None and not last:
            self.settle(log[-1].seconds)
        if self.report(log, last):
            raise Stopped
        self.late = not last and time.monotonic() > self.deadline

    def settle(self, seconds: float) -> None:
        """Decide on the length of the trial, of which an epoch takes so many seconds. `TooLong` to shorten it."""
        assert self.longest is not None
        longest, self.longest = self.longest, None
        if seconds * self.job.recipe.epochs > longest:
            epochs = max(1, int(longest / seconds))
            if epochs < self.job.recipe.epochs:
                raise TooLong(epochs)

    def report(self, log: Sequence[Epoch], last: bool) -> bool:
        """Report an epoch; return whether Optuna prunes the trial."""
        best = log[0]
        for row in log:
            best = row if row.better_than(best) else best
        assert best.validation_accuracy is not None
        assert best.validation_loss is not None
        n = Model.load(self.run.model).metrics["validation"]["n"] if self.job.recipe.head else len(self.job.monitored)
        found = {
            "epochs": len(log),
            "right": round(best.validation_accuracy * n),
            "n": n,
            "loss": best.validation_loss,
            "pace": log[-1].seconds,
            "length": self.job.recipe.epochs,
        }
        studies.keep(self.trial, time.monotonic() - self.began, **found)
        step = FULL if last else len(log) * FULL // self.job.recipe.epochs
        if step <= self.reported:
            return False
        self.trial.report(best.validation_accuracy, step)
        return not last and self.trial.should_prune()
