"""Inference with the NumPy engine against eager PyTorch, on the same cores.

    python benchmarks/numpy_inference.py [--rounds 9] [--threads N] [NETWORK …]

Both compute the logits of one batch from the same weights, and their logits are compared first. The two alternate in
one process, and the ratio of the medians is printed and, for all networks together, written to results/. The readable
form, which does not fuse a convolution with what follows it, takes its turn, too. Wall time is what a user waits for;
CPU time is more reliable on a machine that is in use, and so is a single thread for each, which is measured at the end.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy_engine import alternating, asked, where

from neoclassic.engines.numpy import NumpyEngine
from neoclassic.engines.torch import build, load
from neoclassic.engines.weights import initial
from neoclassic.networks import network

RESULTS = Path(__file__).parent.parent / "results"
# images per batch, input, and the least ratio that is wanted
CASES = {
    "lenet": (256, (1, 28, 28), 1.0),
    "deepconvnet": (100, (1, 28, 28), 1.0),
    "resnet20": (128, (3, 32, 32), 1.0),
    "mobilenet-v1:taught": (64, (1, 96, 96), 0.9),
    "mobilenet-v2": (64, (3, 96, 96), 0.9),
}


def measured(name: str, rounds: int, threads: int) -> dict[str, object]:
    """The ratios of a network, in wall time and in CPU time, and the milliseconds per batch."""
    N, shape, wanted = CASES[name]
    torch.set_num_threads(threads)
    tree = network(name)
    weights = initial(tree, shape)
    images = np.random.default_rng(0).standard_normal((N, *shape), np.float32)
    engine, module, x = NumpyEngine(tree, shape, weights, threads), build(tree, shape), torch.from_numpy(images)
    load(module, weights)
    module.eval()

    def ours() -> np.ndarray:
        return engine.logits(images)

    def readable() -> np.ndarray:
        return engine.features(images, [""])[""]

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return module(x).numpy()

    expected = theirs()
    error = float(np.abs(ours() - expected).max() / np.abs(expected).max())
    assert error < 1e-4, f"{name}: the two disagree by {error:.1e}"
    times = dict(zip(("neoclassic", "torch", "readable"), alternating(rounds, ours, theirs, readable), strict=True))
    medians = {who: {clock: float(np.median(each)) for clock, each in found.items()} for who, found in times.items()}
    ratio = {
        clock: round(medians["torch"][clock] / medians["neoclassic"][clock], 2) for clock in ("wall", "processors")
    }
    before = round(medians["torch"]["wall"] / medians["readable"]["wall"], 2)
    print(
        f"{name:<20} {threads} threads: {medians['neoclassic']['wall']:7.1f} ms, {ratio['wall']:.2f}× PyTorch"
        f" (wanted {wanted}), in CPU time {ratio['processors']:.2f}×; the readable form {before:.2f}×",
        flush=True,
    )
    return {
        "batch": N,
        "threads": threads,
        "input": list(shape),
        "wanted": wanted,
        "ratio": ratio,
        "ratio_of_the_readable_form": before,
        **{f"{who}_ms": each["wall"] for who, each in times.items()},
    }


def main() -> None:
    options = asked(__doc__.splitlines()[0], CASES)  # type: ignore[union-attr]
    names, rounds = options.networks, options.rounds
    load_before = round(os.getloadavg()[0], 1)
    networks = {n: measured(n, rounds, options.threads) for n in names}
    one_thread_each = {n: measured(n, max(3, rounds // 2), 1) for n in names}
    result = {
        "benchmark": "numpy_inference",
        "what": "the NumPy engine's speed in inference relative to eager PyTorch's: above 1, neoclassic is faster",
        **where(),
        "load_before": load_before,
        "networks": networks,
        "one_thread_each": one_thread_each,
        "load_after": round(os.getloadavg()[0], 1),
    }
    if names == list(CASES):  # a part does not replace the whole
        (RESULTS / "numpy_inference.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
