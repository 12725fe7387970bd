"""What is shown while a network trains: a progress bar, curves and TensorBoard events, all listening to the loop."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from neoclassic.base.errors import NeoclassicWarning, Ornament
from neoclassic.base.notebook import in_notebook
from neoclassic.base.progress import progress_bar, say, window
from neoclassic.insight.events import Events
from neoclassic.insight.growing import GrowingCurves
from neoclassic.insight.pictures import Pictures
from neoclassic.insight.trials import PictureOfTrials
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch, Result, Run, State
from neoclassic.views.table import spark


def watchers(progress: bool = False) -> list[Listener]:
    """Everything that the command line shows of a run: pictures, events where the settings ask for them, progress.

    Also, as warnings, what makes its model doubtful, and with progress what the doctor finds.
    """
    return [Pictures(while_training=progress), Events(), *shown(progress), Doubts(), *([Doctor()] if progress else [])]


def of_folds(progress: bool = False) -> list[Listener]:
    """The same for each of several folds, without the doctor."""
    return [each for each in watchers(progress) if not isinstance(each, Doctor)]


def shown(progress: bool | None) -> list[Listener]:
    """What is shown of a run that leaves no files.

    True: a bar, a line for each epoch, and in a notebook curves that grow. None: the same without the lines, and no bar
    is left at the end. False: nothing.
    """
    if progress is False:
        return []
    return [Progress() if progress else Bar(), *([GrowingCurves()] if in_notebook() else [])]


def of_search(progress: bool = False) -> tuple[list[Listener], list[Listener]]:
    """What is shown of the trials of a search, and of the end of the winner's run."""
    drawn: list[Listener] = [Pictures(), PictureOfTrials()]
    return [TrialBar()] if progress else [], [*drawn, Doubts(), *([Doctor()] if progress else [])]


class Doubts(Listener):
    """Warns at the end of a run whose model is no better than chance, or not calibrated."""

    def finished(self, run: Run, result: Result) -> None:
        for line in result.warnings:
            warnings.warn(line, NeoclassicWarning, stacklevel=2)


class Doctor(Listener):
    """Says at the end of a run what else is wrong with it: the gravest finding, and the names of the others."""

    job: Job | None = None

    def started(self, job: Job, run: Run, state: State) -> None:
        self.job = job

    def finished(self, run: Run, result: Result) -> None:
        if self.job is None:  # it was finished before
            return
        from neoclassic.insight.doctor.diagnosis import brief, diagnose  # not before the first step: it is a large room

        with Ornament("the diagnosis"):
            for line in brief(diagnose(run.folder, self.job, quick=True)):
                say(line)


class Bar(Listener):
    """A progress bar, in a terminal and in a notebook; and before it what everyone must know."""

    bar: Any
    epochs: int
    stays = False  # whether the bar is left in the terminal when training is over

    def advised(self, line: str) -> None:
        say(line)

    def started(self, job: Job, run: Run, state: State) -> None:
        self.epochs, images, batch = job.recipe.epochs, len(job.training), job.recipe.batch_size
        total = min(self.epochs * images, job.last_step * batch)
        epochs, steps = divmod(state.step, job.steps_per_epoch)
        self.bar = progress_bar(
            total=total,
            initial=epochs * images + min(steps * batch, images),
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            leave=self.stays,
        )

    def stepped(self, epoch: int, images: int) -> None:
        self.bar.set_description(f"epoch {epoch}/{self.epochs}", refresh=False)
        self.bar.update(images)

    def measured(self, loss: float, accuracy: float) -> None:
        self.bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}")

    def stopped(self) -> None:
        self.bar.close()


class TrialBar(Bar):
    """A progress bar for each trial of a search; what everyone must know is said once, not for each trial."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def advised(self, line: str) -> None:
        say(line, line not in self.said)
        self.said.add(line)


class Progress(Bar):
    """A progress bar, and a line for each epoch and for everything else that there is to tell."""

    stays = True

    def noted(self, line: str) -> None:
        say(line)

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        say(_line(log, self.epochs, best, window()))


def _accuracy(row: Epoch) -> float:
    """Of the validation set, or of the test set where there is none."""
    accuracy = row.test_accuracy if row.validation_accuracy is None else row.validation_accuracy
    assert accuracy is not None
    return accuracy


def _line(log: Sequence[Epoch], epochs: int, best: bool, width: int | None) -> str:
    """The line that is printed after an epoch, in the longest form that fits; any if `width` is None.

    It ends with the accuracies of all epochs as a sparkline, or of as many as fit.
    """
    forms = _forms(log[-1], epochs, best)
    line = forms[0] if width is None else next((form for form in forms if len(form) <= width), forms[-1][:width])
    room = len(log) if width is None else max(0, width - len(line) - 2)
    shown = [_accuracy(row) for row in log[-room:]] if room else []
    return f"{line}  {spark(shown)}" if shown and (width is None or _drawable()) else line


def _drawable() -> bool:
    """Whether the terminal has the characters of a sparkline."""
    try:
        return bool("▁█".encode(sys.stderr.encoding or "utf-8"))
    except UnicodeEncodeError:
        return False


def _forms(row: Epoch, epochs: int, best: bool) -> list[str]:
    """What there is to say of an epoch, from the longest form to the shortest."""
    part, loss = ("test", row.test_loss) if row.validation_loss is None else ("validation", row.validation_loss)
    accuracy, epoch = _accuracy(row), f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}"
    improved = best and part == "validation"
    long = [
        epoch,
        f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}",
        f"{part} loss {loss:.4f} accuracy {accuracy:.4f}",
        f"{row.images_per_second:,.0f} images/s",
        f"{row.seconds:.1f} s",
        *(["best so far"] * improved),
    ]
    brief = "val" if part == "validation" else part
    short = [
        epoch,
        f"train loss {row.train_loss:.4f} acc {row.train_accuracy:.4f}",
        f"{brief} loss {loss:.4f} acc {accuracy:.4f}",
        *(["best"] * improved),
    ]
    accuracies = [epoch, f"train acc {row.train_accuracy:.3f}", f"{brief} acc {accuracy:.3f}"]
    return ["  ".join(columns) for columns in (long, short, accuracies, [epoch, f"{accuracy:.3f}"])]
