"""What the training loop reports, for a progress line, curves or TensorBoard events to listen to."""

from __future__ import annotations

from collections.abc import Sequence

from neoclassic.train.job import Job
from neoclassic.train.run import Epoch, Result, Run, State


class Listener:
    """What a run reports, in the order in which it happens. Each method does nothing unless a subclass overrides it."""

    def noted(self, line: str) -> None:
        """Something to tell before training starts."""

    def advised(self, line: str) -> None:
        """Something to tell then even to those who want to hear little: what a folder was taken for, a slow engine."""
        self.noted(line)

    def started(self, job: Job, run: Run, state: State) -> None:
        """Training starts in this folder, or resumes from this state."""

    def stepped(self, epoch: int, images: int) -> None:
        """A step on this many images is done; epochs count from 1."""

    def measured(self, loss: float, accuracy: float) -> None:
        """Training loss (nats) and accuracy of the epoch so far."""

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        """The last row of `log` is new: whether its model is the best so far, and whether training ends with it."""

    def stopped(self) -> None:
        """Training is over, finished or not; called once for every `started`."""

    def finished(self, run: Run, result: Result) -> None:
        """The result is saved. A run that was finished before reports nothing else."""
