"""The NumPy engine against eager PyTorch on the same cores, and against a plain float64 im2col engine.

    python benchmarks/numpy_engine.py [--rounds 9] [--threads N] [NETWORK …]

Training is one step of SGD with momentum on one batch; inference computes the logits of the batch. The two engines
alternate, and the ratio of the medians is printed and written to results/. Both start from the same weights, and their
logits are compared before the measurement. Wall time is what a user waits for. CPU time, of all threads of this
process, is more reliable on a machine that is in use. Another measurement gives each engine a single thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from dlfs import Plain, clocks
from torch.nn.functional import cross_entropy

from neoclassic.base.machine import cores
from neoclassic.compat import dlfs
from neoclassic.engines import Optimizer
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.engines.torch import build, load
from neoclassic.engines.weights import initial
from neoclassic.networks import entry, network

RESULTS = Path(__file__).parent.parent / "results"
CASES = {"lenet": 256, "deepconvnet": 100, "resnet20": 128, "mobilenet-v1:taught": 64}  # images per batch
WANTED = {
    "lenet": 0.7,
    "deepconvnet": 0.5,
    "resnet20": 0.35,
    "mobilenet-v1:taught": 0.35,
}  # of PyTorch's speed

REST = 0.1  # seconds before each run, until the other engine's threads have stopped spinning
DURATION = 0.4  # of a run, in seconds: a single step would mostly measure how threads wake up


def alternating(rounds: int, *runs: Callable[[], object]) -> list[dict[str, list[float]]]:
    """Milliseconds per step in wall time and CPU time: the mean over consecutive steps in each round, after a step for
    warming up."""
    steps = []
    for run in runs:
        run()
        start = time.perf_counter()
        run()
        steps.append(max(1, round(DURATION / (time.perf_counter() - start))))
    taken: list[list[np.ndarray]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, times, n in zip(runs, taken, steps, strict=True):
            time.sleep(REST)
            run()
            start = clocks()
            for _ in range(n):
                run()
            times.append((clocks() - start) * 1000 / n)
    return [
        {"wall": np.round([t[0] for t in times], 2).tolist(), "processors": np.round([t[1] for t in times], 2).tolist()}
        for times in taken
    ]


def against_torch(name: str, N: int, rounds: int, threads: int) -> dict[str, object]:
    """Training and inference of a network on both engines."""
    tree, shape = network(name), entry(name).input
    weights, rng = initial(tree, shape), np.random.default_rng(0)
    images, labels = rng.standard_normal((N, *shape), np.float32), rng.integers(0, entry(name).classes, N)
    engine = NumpyEngine(tree, shape, weights, threads)
    engine.optimize(Optimizer(momentum=0.9))
    torch.set_num_threads(threads)
    module = build(tree, shape)
    load(module, weights)
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)

    def theirs_step() -> None:
        optimizer.zero_grad()
        cross_entropy(module(x), y).backward()
        optimizer.step()

    def theirs_logits() -> np.ndarray:
        with torch.inference_mode():
            return module(x).numpy()

    module.eval()
    assert np.abs(engine.logits(images) - theirs_logits()).max() < 1e-3, "the two disagree"
    module.train()
    training = alternating(rounds, lambda: engine.step(images, labels, 0.01), theirs_step)
    module.eval()
    inference = alternating(rounds, lambda: engine.logits(images), theirs_logits)
    result: dict[str, object] = {"batch": N, "threads": threads}
    for mode, (ours, theirs) in (("training", training), ("inference", inference)):
        ratio = {clock: round(float(np.median(theirs[clock]) / np.median(ours[clock])), 2) for clock in ours}
        result[mode] = {"ratio": ratio, "neoclassic_ms": ours, "torch_ms": theirs}
        wall, cpu = (np.median(ours[clock]) for clock in ("wall", "processors"))
        print(
            f"{name:<20} {mode:<10} {threads} threads: {wall:8.1f} ms, CPU time {cpu:8.1f} ms;"
            f" {ratio['wall']:.2f}× PyTorch, in CPU time {ratio['processors']:.2f}×",
            flush=True,
        )
    return result


def against_plain(rounds: int, threads: int) -> dict[str, object]:
    """A step of DeepConvNet with Adam on 100 images, against gradient and update of the engine that the book prints,
    and against a whole step of its `Trainer`, which computes the loss once more."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((100, 1, 28, 28), np.float32), rng.integers(0, 10, 100)
    plain, wide = Plain(dlfs.DeepConvNet().params), images.astype(np.float64)
    masks = [rng.random((100, 50)) > 0.5, rng.random((100, 10)) > 0.5]
    tree = network("deepconvnet")
    engine = NumpyEngine(tree, (1, 28, 28), initial(tree, (1, 28, 28)), threads)
    engine.optimize(Optimizer("adam"))

    def trainer() -> None:
        plain.step(wide, labels, masks)
        plain.loss(wide, labels, masks)

    ours, step, printed = alternating(
        rounds, lambda: engine.step(images, labels, 0.001), lambda: plain.step(wide, labels, masks), trainer
    )
    ratio, whole = (
        {clock: round(float(np.median(theirs[clock]) / np.median(ours[clock])), 1) for clock in ours}
        for theirs in (step, printed)
    )
    print(f"deepconvnet, {ratio['wall']}× a plain engine, {whole['wall']}× its book's whole training step", flush=True)
    times = {"neoclassic_ms": ours, "plain_ms": step, "printed_ms": printed}
    return {"ratio": ratio, "ratio_to_the_printed_step": whole, **times}


def asked(about: str, networks: Iterable[str]) -> argparse.Namespace:
    """The networks, rounds and threads of the command line. networks: those there are, and the default."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"any of {', '.join(networks)}; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=cores(), help="threads of each engine; default: one per core")
    options = parser.parse_args()
    options.networks = options.networks or list(networks)
    return options


def where() -> dict[str, object]:
    """When and on what a benchmark was run."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}",
        "versions": {"numpy": np.__version__, "torch": torch.__version__},
    }


def main() -> None:
    options = asked(__doc__.splitlines()[0], CASES)  # type: ignore[union-attr]
    names = options.networks
    result = {
        "benchmark": "numpy_engine",
        "what": "medians of alternating runs; a ratio above 1 means that neoclassic is faster",
        **where(),
        "wanted_of_torch_in_training": WANTED,
        "load_before": round(os.getloadavg()[0], 1),
        "networks": {n: against_torch(n, CASES[n], options.rounds, options.threads) for n in names},
        "one_thread_each": {n: against_torch(n, CASES[n], max(3, options.rounds // 2), 1) for n in names},
        "plain": against_plain(2 * options.rounds, options.threads),
        "load_after": round(os.getloadavg()[0], 1),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "numpy_engine.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
