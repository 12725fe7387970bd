"""The log of a run as TensorBoard events, written by tensorboardX: the format's well-kept writer, no framework."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neoclassic.base.errors import Ornament, UsageError, install

Tell = Callable[[Mapping[str, Any]], None]


def need() -> None:
    """UsageError unless the writer is installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UsageError(f"--tensorboard needs tensorboardX: {install('tensorboardX')}, or leave it out")


@contextmanager
def written(folder: Path, log: Sequence[Mapping[str, Any]], wanted: bool = True) -> Iterator[Tell]:
    """What takes one row of the log after each epoch; nothing is done unless wanted.

    The rows of a run that is resumed are written first: there is one file, in `folder/tensorboard`, however often a run
    was stopped. UsageError where the writer is not installed; events that cannot be written are a warning, once.
    """
    if not wanted:
        yield lambda row: None
        return
    need()
    writer: Any = None

    def tell(*rows: Mapping[str, Any]) -> None:
        nonlocal writer
        if writer is None:
            return
        working, writer = writer, None
        with Ornament("the TensorBoard events"):
            for row in rows:
                _add(working, row)
            working.flush()
            writer = working

    with Ornament("the TensorBoard events"):
        writer = _opened(folder / "tensorboard")
    tell(*log)
    try:
        yield tell
    finally:
        if writer is not None:
            with Ornament("the TensorBoard events"):
                writer.close()


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
