"""What a search gains: python benchmarks/search.py NETWORK… --data NAME|FOLDER [--images N] [--minutes 6]

Searches for some minutes, trains the default recipe of the first network to its full length beside it, and compares the
test accuracies of the two. Adds to results/search.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import struct
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import neoclassic as nc
from neoclassic import data
from neoclassic.base.machine import cores
from neoclassic.model.evaluate import Evaluation
from neoclassic.train.run import Result, versions

RESULTS = Path(__file__).parents[1] / "results"


def limited(name: str, images: int, folder: Path) -> Path:
    """A data set with its first training images alone, and all of its test images, as a folder of IDX files."""
    splits = data.load(name)
    folder.mkdir()
    for role, part in (("train", splits.train.subset(np.arange(images))), ("t10k", splits.test)):
        for what, array in (("images-idx3", part.images[..., 0]), ("labels-idx1", part.labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            path = folder / f"{role}-{what}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))
    return folder


def facts(result: Result) -> dict[str, Any]:
    """How good a run is."""
    return {
        "test_accuracy": result.test_accuracy,
        "test_interval": Evaluation.from_dict(result.evaluation).interval,
        "test_images": result.evaluation["n"],
        "validation_accuracy": result.validation_accuracy,
        "epochs": result.epochs,
        "seconds": result.seconds,
    }


def compared(networks: list[str], where: str, minutes: float, engine: str, out: Path, changes: dict[str, Any]) -> Any:
    """The winner of a search beside the default recipe in its full length."""
    load, began = os.getloadavg()[0], time.monotonic()
    found = nc.search(networks, where, minutes=minutes, engine=engine, out=out / "search", **changes)
    seconds = time.monotonic() - began
    default = nc.train(networks[0], where, engine=engine, out=out / "default", **changes)
    print(found, f"the default recipe in its full length: test accuracy {default.test_accuracy:.4f}", sep="\n")
    complete = [each for each in found.trials if each.outcome == "complete"]
    return {
        "minutes": minutes,
        "seconds": round(seconds, 1),
        "trials": len(found.trials),
        "complete": len(complete),
        "default": facts(default),
        "first_trial": {"validation_accuracy": found.default.accuracy, "epochs": found.default.length},
        "winner": {**facts(found.result), "trial": found.winner, "what": found.best.what},
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "cores": cores(),
        "versions": versions(engine) | {"optuna": version("optuna")},
        "date": str(date.today()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--images", type=int, help="the first training images alone, of a data set with a name")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--engine", default="numpy")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--validation", type=float)
    given = parser.parse_args()
    options = {"image_size": given.image_size, "validation": given.validation}
    changes = {name: value for name, value in options.items() if value is not None}
    with tempfile.TemporaryDirectory() as scratch:
        where = str(limited(given.data, given.images, Path(scratch) / "data") if given.images else given.data)
        row = compared(given.networks, where, given.minutes, given.engine, Path(scratch), changes)
    name = f"{', '.join(given.networks)} on {Path(given.data).name}"
    name += f", {given.images:,} images" if given.images else ""
    path = RESULTS / "search.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(kept | {name: row | changes}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
