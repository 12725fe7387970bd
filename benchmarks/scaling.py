"""One process against two under torchrun, with the same global batch.

    python benchmarks/scaling.py [--network lenet:bn]

Both run `neoclassic train` for the same steps with one thread per process, alternating. Prints images per second of the
training loop and the largest difference between losses, and writes results/scaling.json. If the machine has fewer free
cores than processes, the ratio shows the overhead, not the speedup.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch

from neoclassic.base.machine import cores

RESULTS = Path(__file__).parents[1] / "results"


def run(network: str, processes: int, steps: int, batch: int, out: str) -> list[dict[str, str]]:
    """Train, and return the rows of log.csv."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] * (processes > 1)
    options = ["--epochs", "1", "--max-steps", str(steps), "--batch-size", str(batch), "--engine", "torch"]
    command = [sys.executable, *launcher, "-m", "neoclassic", "train", network, *options, "--out", out]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return list(csv.DictReader((Path(out) / "log.csv").read_text().splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    losses: dict[int, float] = {}
    for _ in range(options.rounds):
        for processes, found in rates.items():
            with tempfile.TemporaryDirectory() as folder:
                rows = run(options.network, processes, options.steps, options.batch_size, f"{folder}/run")
            found.append(float(rows[-1]["images_per_second"]))
            losses[processes] = float(rows[-1]["train_loss"])
    medians = {processes: statistics.median(found) for processes, found in rates.items()}
    summary = {
        "benchmark": "scaling",
        "date": date.today().isoformat(),
        "network": options.network,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "one_process_images_per_second": medians[1],
        "two_processes_images_per_second": medians[2],
        "ratio": round(medians[2] / medians[1], 2),
        "largest_difference_of_the_losses": abs(losses[1] - losses[2]),
        "cores": cores(),
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scaling.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"1 process {medians[1]:,.0f}, 2 processes {medians[2]:,.0f} images/s: {summary['ratio']}×")


if __name__ == "__main__":
    main()
