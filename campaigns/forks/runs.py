"""Small data and small trainings for trials, and what of a run's files must be the same however it was disturbed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from campaigns.common import idx_file
from neoclassic.base.errors import NeoclassicError
from neoclassic.model import artefact
from neoclassic.model.artefact import Model
from neoclassic.train.run import Run

TRAINING = ("train", "lenet", "--engine", "numpy", "--batch-size", "64")
TIMES = ("seconds", "data_seconds", "images_per_second", "finished")  # differ from run to run, as the next do
PLACES = ("run", "model")
NETWORKS = {  # options of a training, by what is special about it
    "IDX": ("--data", "idx", "--epochs", "2", "--average", "0.9", "--clip", "1"),
    "IDX without validation": ("--data", "idx", "--epochs", "2", "--validation", "0", "--shift", "0.1"),
    "IDX with patience": ("--data", "idx", "--epochs", "4", "--patience", "1", "--lr", "0.5"),
    "photos": ("--data", "photos", "--epochs", "2", "--image-size", "28", "--flip"),
}
LONGER = {  # of a campaign that has time
    "photos on all cores": ("--data", "photos", "--epochs", "2", "--image-size", "28", "--pad", "2"),
    "torch": ("--engine", "torch", "--data", "idx", "--epochs", "2", "--average", "0.9", "--device", "cpu"),
}


def make_data(work: Path, rng: np.random.Generator) -> None:
    """`idx`, the four files of a data set like MNIST, and `photos`, folders of PNG files and one that is damaged."""
    (work / "idx").mkdir()
    for name, n in (("train", 240), ("t10k", 60)):
        labels = np.arange(n) % 5
        pixels = rng.integers(0, 128, (n, 28, 28)) + 25 * labels[:, None, None]
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            (work / "idx" / f"{name}-{kind}-ubyte").write_bytes(idx_file(values))
    for i, name in enumerate(("cat", "dog", "eel")):
        folder = work / "photos" / name
        folder.mkdir(parents=True)
        for k in range(24):
            pixels = rng.integers(0, 128, (30, 30 + k, 3)) + 60 * i
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
    (work / "photos" / "cat" / "none.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")


def contents(folder: Path) -> dict[str, Any]:
    """What a finished run holds, without times and its own place."""
    result = json.loads((folder / "result.json").read_text("utf-8"))
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    return {
        "model.safetensors": (folder / "model.safetensors").read_bytes(),
        "log.csv": rows,
        "result.json": {name: value for name, value in result.items() if name not in TIMES + PLACES},
    }


def difference(folder: Path, expected: dict[str, Any]) -> str:
    """The files of a finished run that are not as they should be, and temporary files; "" if there are none."""
    try:
        found = contents(folder)
    except (OSError, ValueError) as error:
        return f"not finished: {error}"
    wrong = [name for name in expected if found[name] != expected[name]]
    return ", ".join([f"{name} differs" for name in wrong] + [f"{path} is left" for path in leftovers(folder)])


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks in a folder, and what is in folders of the cache that were being filled.

    Such a folder with nothing in it but its lock costs nothing; it is removed after a week.
    """
    patterns = (".neoclassic-*", ".lock", ".making-*/[!l]*")
    return sorted(str(path.relative_to(folder)) for pattern in patterns for path in folder.rglob(pattern))


def unreadable(folder: Path) -> str:
    """The first file of a run, at any moment of its life, that is not whole; "" if all are."""
    return next(_faults(Run(folder)), "")


def _faults(run: Run) -> Iterator[str]:
    readers = (
        (run.folder / "recipe.json", lambda: Run.open(run.folder)),
        (run.model, lambda: Model.load(run.model)),
        (run.checkpoint, lambda: artefact.read(run.checkpoint, "checkpoint")),
        (run.folder / "log.csv", run.log),
        (run.result_file, run.finished),
    )
    for path, read in readers:
        try:
            if path.exists():
                read()
        except (NeoclassicError, OSError, ValueError) as error:
            yield f"{path.name}: {error}"
