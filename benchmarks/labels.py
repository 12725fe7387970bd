"""How many wrong labels are found: python benchmarks/labels.py [--data mnist] [--images N] [--share 0.03]

Flips a share of the training labels, once at random and once each to the class with the most similar mean image, and
compares what `neoclassic check --labels` flags with what was flipped. Writes results/labels.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from neoclassic import data
from neoclassic.data.dataset import Dataset
from neoclassic.engines.contract import Array
from neoclassic.insight.labels import Suspects, examine
from neoclassic.train.run import Settings, versions

RESULTS = Path(__file__).parents[1] / "results"


def flipped(part: Dataset, share: float, similar: bool, seed: int = 0) -> tuple[Dataset, Array]:
    """The data set with a share of its labels flipped, and which they are, N bool."""
    rng, labels, K = np.random.default_rng(seed), part.labels.copy(), len(part.classes)
    chosen = rng.permutation(len(part))[: round(share * len(part))]
    if similar:
        means = np.stack([part.images[part.labels == k].mean(0).ravel() for k in range(K)])
        apart = np.linalg.norm(means[:, None] - means[None], axis=2) + np.diag(np.full(K, np.inf))
        labels[chosen] = apart.argmin(1)[labels[chosen]]
    else:
        labels[chosen] = (labels[chosen] + rng.integers(1, K, len(chosen))) % K
    return replace(part, labels=labels, origin=""), np.isin(np.arange(len(part)), chosen)


def measured(found: Suspects, wrong: Array) -> dict[str, float]:
    """How many of the flagged images are flipped ones, and how many of the flipped ones are flagged."""
    right = int(wrong[found.order].sum())
    precision, recall = right / max(len(found.order), 1), right / max(int(wrong.sum()), 1)
    return {"flagged": len(found.order), "flipped": int(wrong.sum()), "precision": precision, "recall": recall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--images", type=int, help="the first training images alone")
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--network")
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    part = data.load(arguments.data, arguments.data_dir).train
    if arguments.images:
        part = part.subset(np.arange(arguments.images))
    path = RESULTS / "labels.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    for kind in ("random", "similar"):
        changed, wrong = flipped(part, arguments.share, kind == "similar")
        started, worked = time.monotonic(), time.process_time()
        found = examine(changed, arguments.network, epochs=arguments.epochs, settings=Settings("numpy"))
        seconds, processor = time.monotonic() - started, time.process_time() - worked
        row = measured(found, wrong) | {"seconds": round(seconds), "processor_seconds": round(processor)}
        row["accuracy"] = found.accuracy
        print(kind, row, flush=True)
        name = f"{arguments.data}, {len(part):,} images, {arguments.share:.0%} {kind}"
        kept[name] = row | {"how": found.how, "date": str(date.today()), "numpy": versions("numpy")["numpy"]}
        path.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
