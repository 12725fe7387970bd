"""The models in the package, on the test set of their data: python benchmarks/pretrained.py [--data-dir FOLDER]

Evaluates each on the NumPy engine and writes results/pretrained.json: the recipe that trained it, its accuracy with the
95 % interval, and its size and checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from datetime import date
from importlib.metadata import version
from pathlib import Path

import neoclassic as nc
from neoclassic.data import load
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation, logits_of
from neoclassic.model.pretrained import known

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir")
    given = parser.parse_args()
    found = {}
    for name, place in known().items():
        if place.file is None:
            continue
        model, content = Model.load(place.file), place.file.read_bytes()
        test = load(model.data["name"], given.data_dir).test
        logits = logits_of(model.engine("numpy", "cpu"), test.images, model.preprocessing)
        evaluation = Evaluation.of(logits, test.labels, test.classes)
        low, high = evaluation.interval
        found[name] = {
            "recipe": model.recipe["name"],
            "epochs": model.recipe["epochs"],
            "accuracy": round(evaluation.accuracy, 4),
            "interval": [round(low, 4), round(high, 4)],
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        print(f"{name:24} {evaluation.accuracy:.4f}  {len(content):9,} bytes", flush=True)
    about = {"versions": {"neoclassic": nc.__version__, "numpy": version("numpy")}, "date": date.today().isoformat()}
    (RESULTS / "pretrained.json").write_text(json.dumps({"models": found, **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
