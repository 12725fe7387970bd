"""The log of a run as TensorBoard events, written by tensorboardX, which needs no framework."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoclassic.base.errors import Ornament, UsageError, install
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch, Run, State


def need() -> None:
    """UsageError unless the writer is installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UsageError(f"--tensorboard needs tensorboardX: {install('tensorboardX')}, or leave it out")


class Events(Listener):
    """Writes each row of the log to `tensorboard/` in the run folder, if the settings ask for it.

    The rows of a resumed run are written first, so that there is one file however often the run was stopped. Events
    that cannot be written are a warning, once.
    """

    writer: Any = None

    def started(self, job: Job, run: Run, state: State) -> None:
        if job.settings.tensorboard:
            need()
            with Ornament("the TensorBoard events"):
                self.writer = _opened(run.folder / "tensorboard")
            self._write(state.log)

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        self._write(log[-1:])

    def stopped(self) -> None:
        if self.writer is not None:
            with Ornament("the TensorBoard events"):
                self.writer.close()

    def _write(self, rows: Sequence[Epoch]) -> None:
        writer, self.writer = self.writer, None  # only what succeeds is used again
        if writer is not None:
            with Ornament("the TensorBoard events"):
                for row in rows:
                    _add(writer, vars(row))
                writer.flush()
                self.writer = writer


def _opened(place: Path) -> Any:
    from tensorboardX import SummaryWriter

    for old in place.glob("events.out.tfevents.*"):
        old.unlink()
    return SummaryWriter(str(place))


def _add(writer: Any, row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        if name != "epoch" and value is not None:
            part, _, what = name.partition("_")
            tag = f"{what}/{part}" if what in ("loss", "accuracy") else name
            writer.add_scalar(tag, value, row["epoch"])
