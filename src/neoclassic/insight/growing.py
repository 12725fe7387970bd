"""Curves in a notebook's cell that grow while a network trains."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from neoclassic.base.errors import Ornament
from neoclassic.base.text import csv_table
from neoclassic.insight import curves
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch, Run, State
from neoclassic.views.picture import svg

PAUSE = 20  # after the curves are drawn, they are drawn again after at least this many times what that took


class GrowingCurves(Listener):
    """Shows loss and accuracy after an epoch, one picture for a training.

    Drawing takes at most a twentieth of the time, and the picture is complete when training ends, in whatever way.
    """

    def __init__(self) -> None:
        self.handle: Any = None
        self.log: tuple[Epoch, ...] = ()
        self.drawn = 0  # epochs in the picture
        self.next = 0.0  # time.monotonic() from which it is drawn again

    def started(self, job: Job, run: Run, state: State) -> None:
        self.network, self.epochs, self.log = job.recipe.network, job.recipe.epochs, tuple(state.log)

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        self.log = tuple(log)
        if time.monotonic() >= self.next:
            self.draw()

    def stopped(self) -> None:
        if self.drawn < len(self.log):
            self.draw()

    def draw(self) -> None:
        """Show the log in the cell, in the place of what was shown before."""
        from IPython.display import display

        started, rows = time.monotonic(), [vars(row) for row in self.log]
        title = f"{self.network}, epoch {len(rows)} of {self.epochs}"
        with Ornament("the curves"):
            table = csv_table(list(rows[0]), (row.values() for row in rows))
            plain = f"{title}: accuracy {curves.validation(rows[-1], 'accuracy'):.4f}"
            shown = {"image/svg+xml": svg(curves.log_figure(rows, title), table), "text/plain": plain}
            if self.handle is None:
                self.handle = display(shown, raw=True, display_id=True)
            else:
                self.handle.update(shown, raw=True)
        self.drawn = len(rows)
        ended = time.monotonic()
        self.next = ended + PAUSE * (ended - started)
