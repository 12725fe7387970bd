"""What is shown while a network trains: a progress line, curves and TensorBoard events, all listening to the loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from neoclassic.base.progress import QUIET, say
from neoclassic.insight.events import Events
from neoclassic.insight.pictures import Pictures
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch, Run, State
from neoclassic.views.table import spark


def watchers(progress: bool = False) -> list[Listener]:
    """Everything that the command line shows of a run: pictures, events where the settings ask for them, progress."""
    return [Pictures(while_training=progress), Events(), *([Progress()] if progress else [])]


class Progress(Listener):
    """A progress bar on standard error, where that is a terminal, and a line for each epoch."""

    bar: Any
    epochs: int

    def noted(self, line: str) -> None:
        say(line)

    def started(self, job: Job, run: Run, state: State) -> None:
        self.epochs, images, batch = job.recipe.epochs, len(job.training), job.recipe.batch_size
        total = min(self.epochs * images, job.last_step * batch)
        self.bar = tqdm(
            total=total,
            initial=min(state.step * batch, total),
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            file=QUIET,
        )

    def stepped(self, epoch: int, images: int) -> None:
        self.bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
        self.bar.update(images)

    def measured(self, loss: float, accuracy: float) -> None:
        self.bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}")

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        say(f"{_line(log[-1], self.epochs, best)}  {spark([_accuracy(row) for row in log])}")

    def stopped(self) -> None:
        self.bar.close()


def _accuracy(row: Epoch) -> float:
    """Of the validation set, or of the test set where there is none."""
    accuracy = row.test_accuracy if row.validation_accuracy is None else row.validation_accuracy
    assert accuracy is not None
    return accuracy


def _line(row: Epoch, epochs: int, best: bool) -> str:
    """The line that is printed after an epoch."""
    part, loss = ("test", row.test_loss) if row.validation_loss is None else ("validation", row.validation_loss)
    columns = [
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}",
        f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}",
        f"{part} loss {loss:.4f} accuracy {_accuracy(row):.4f}",
        f"{row.images_per_second:,.0f} images/s",
        f"{row.seconds:.1f} s",
    ]
    return "  ".join(columns + ["best so far"] * (best and part == "validation"))
