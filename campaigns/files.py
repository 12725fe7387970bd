"""Damaged and forged files, of every kind that the library opens.

A valid file of each kind is made once. A trial damages it, byte by byte or where its format has something to decide,
and opens it as users do. It fails if

- a file with a checksum of its own is opened as anything but what it held: weights, classes, preprocessing, answers;
- a right file beyond a stated limit is opened;
- it ends in another way than with contents of the right form, or refused in one line;
- it takes more than 5 s of processor time, or raises the peak of memory by more than 1 GiB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from campaigns.common import Session, minimised
from campaigns.doors import Door, attempt, data, fingerprint, models, runs, weights

MAKERS: tuple[Callable[[Path], Iterator[Door]], ...] = (
    *(models.artefacts, models.onnx_files, models.giants, runs.runs, weights.others, weights.pickles),
    *(data.idx_files, data.cifar_files, data.tables_of_photos),
    *(data.decoded_photos, data.looks_of_photos, data.tuned_settings),
)
FEW = 3  # failures of a kind whose inputs are minimised


def run(session: Session) -> None:
    """Damage and open files while there is time, one of each kind in turn."""
    with _cache(session.work / "cache"):
        doors = [door for make in MAKERS for door in make(session.work)]
        holds = {door.kind: _held(door) for door in doors if door.proves}
        for turn in count():
            for door in doors:
                if not session.goes_on():
                    return
                if turn % door.every == 0:
                    _trial(session, door, holds.get(door.kind, ""))


def _held(door: Door) -> str:
    """What the valid file holds. It must open."""
    _write(door.file, door.content)
    outcome = attempt(lambda: fingerprint(door.open(door.file)))
    assert outcome.value, f"{door.kind}: the valid file does not open: {outcome}"
    return str(outcome.value)


def _trial(session: Session, door: Door, holds: str) -> None:
    edited = bool(door.edits) and session.rng.random() < 0.5
    changes = door.edits if edited else door.damages
    content = changes[session.rng.integers(len(changes))](door.content, session.rng)
    kind, expected = f"{door.kind}, {'edited' if edited else 'damaged'}", "" if edited else holds
    fault, refused = _opened(door, content, expected)
    _write(door.file, door.content)
    if not fault:
        (session.refused if refused else session.answered)(kind)
        return
    if session.counts[kind].failed < FEW and len(content) < 1 << 20:
        content = minimised(content, lambda shorter: bool(_opened(door, shorter, expected)[0]), 3.0)
        _write(door.file, door.content)
    session.failed(kind, fault, content=content)


def _opened(door: Door, content: bytes, expected: str) -> tuple[str, bool]:
    """What is wrong with how a file of this content is opened, if anything, and whether it was refused."""
    _write(door.file, content)
    outcome = attempt(lambda: fingerprint(door.open(door.file)))
    if outcome.fault or outcome.refusal:
        return outcome.fault, bool(outcome.refusal)
    return ("" if expected in ("", outcome.value) else "opened as something else"), False


def _write(path: Path, content: bytes) -> None:
    """Write a new file: the old one may be mapped into memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Use a cache of its own."""
    before = os.environ.get("NEOCLASSIC_CACHE")
    os.environ["NEOCLASSIC_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["NEOCLASSIC_CACHE"]
        if before is not None:
            os.environ["NEOCLASSIC_CACHE"] = before
