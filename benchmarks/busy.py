"""Training on a machine that has something else to do: python benchmarks/busy.py [--seconds 3] [--rounds 5]

Another process computes on one core, without a pause, in every second window of time; an engine trains through all of
them. Prints images a second in the windows that are idle and busy, their medians and ratio, and writes
results/busy.json. Each engine runs in a process of its own; torch also with threads that spin while they wait, which is
what it does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from neoclassic import engines, networks
from neoclassic.engines.weights import initial

RESULTS = Path(__file__).parents[1] / "results"
NETWORKS = {"lenet": (256, (1, 28, 28)), "resnet18": (32, (3, 96, 96))}
ENGINES = {"numpy": ("numpy", {}), "torch": ("torch", {}), "torch, spinning": ("torch", {"OMP_WAIT_POLICY": "ACTIVE"})}


def rates(network: str, engine: str, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Images a second of training in alternating windows of time."""
    batch, shape = NETWORKS[network]
    tree, rng = networks.network(network, 10), np.random.default_rng(0)
    running = engines.create(engine, tree, shape, initial(tree, shape), "cpu")
    running.optimize(engines.Optimizer("sgd", momentum=0.9))
    images, labels = rng.standard_normal((batch, *shape), np.float32), rng.integers(0, 10, batch)

    def window() -> float:
        n, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            running.step(images, labels, 0.01)
            n += batch
        return n / spent

    window()
    found: dict[str, list[float]] = {"idle": [], "busy": []}
    for _ in range(rounds):
        found["idle"].append(window())
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            found["busy"].append(window())
        finally:
            other.kill()
            other.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="of a window")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(rates(*given.child, given.seconds, given.rounds)))
        return
    found: dict[str, dict[str, float]] = {}
    for network in NETWORKS:
        for name, (engine, environment) in ENGINES.items():
            command = [sys.executable, *sys.argv, "--child", network, engine]
            done = subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE)
            idle, busy = (round(median(rates), 1) for rates in json.loads(done.stdout).values())
            found[f"{network}, {name}"] = {"idle": idle, "busy": busy, "ratio": round(busy / idle, 3)}
            print(f"{network:10} {name:16} idle {idle:8,.0f}  busy {busy:8,.0f}  ratio {busy / idle:.2f}", flush=True)
    report = {
        "images a second": found,
        "how": f"medians of {given.rounds} windows of {given.seconds:g} s; another process on one core in every second",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "versions": {name: version(name) for name in ("neoclassic", "numpy", "torch")},
        "date": date.today().isoformat(),
    }
    (RESULTS / "busy.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
