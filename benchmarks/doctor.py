"""What the doctor finds: python benchmarks/doctor.py [--healthy] [--sick] [--only NAME …]

Plants every disease in a small real training and says at which place of the list the doctor names it; and trains
healthy runs of all families, shortened, in which it must find nothing of the grade "wrong". Writes
results/doctor.json. `tests/insight/test_doctor.py` makes the same trainings with diseases, each on its own.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import neoclassic as nc
from neoclassic import data
from neoclassic.data.augmentation import Augmentation
from neoclassic.engines.contract import Array
from neoclassic.insight.doctor.diagnosis import Diagnosis
from neoclassic.train.run import versions

RESULTS = Path(__file__).parents[1] / "results"
Change = Callable[[Array, Array, bool], tuple[Array, Array]]

# ── data ─────────────────────────────────────────────────────────────────────────────────────────────


def shuffled(x: Array, y: Array, _training: bool) -> tuple[Array, Array]:
    """Labels that have nothing to do with the images."""
    return x, np.random.default_rng(0).permutation(y)


def shifted(x: Array, y: Array, training: bool) -> tuple[Array, Array]:
    """Test classes in another order than the training classes."""
    return x, y if training else (y + 1) % 10


def inverted(x: Array, y: Array, training: bool) -> tuple[Array, Array]:
    """Test images with black and white exchanged."""
    return (x if training else 255 - x), y


def rare(x: Array, y: Array, training: bool) -> tuple[Array, Array]:
    """A handful of training images of one class."""
    keep = (y != 6) | (np.cumsum(y == 6) <= 6) if training else np.ones(len(y), bool)
    return x[keep], y[keep]


def noisy(x: Array, y: Array, training: bool) -> tuple[Array, Array]:
    """Test images that are harder than the validation images."""
    noise = np.random.default_rng(0).normal(0, 200, x.shape)
    return (x if training else (x + noise).clip(0, 255).astype(np.uint8)), y


def black(x: Array, y: Array, _training: bool) -> tuple[Array, Array]:
    """Images without anything in them."""
    return np.zeros_like(x), y


def folder(root: Path, change: Change | None = None, n: int = 1000, tested: int = 400) -> Path:
    """A folder of IDX files with the first images of Fashion-MNIST, changed."""
    root.mkdir(parents=True)
    whole = data.load("fashion-mnist")
    for role, part, most in (("train", whole.train, n), ("t10k", whole.test, tested)):
        x, y = part.images[:most, :, :, 0].copy(), part.labels[:most].copy()
        if change:
            x, y = change(x, y, role == "train")
        for name, array in (("images-idx3", x), ("labels-idx1", y)):
            header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            (root / f"{role}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), 1))
    return root


# ── networks ─────────────────────────────────────────────────────────────────────────────────────────

MLP = nc.Sequential(nc.Flatten(), nc.Linear(64), nc.ReLU(), nc.Linear(64), nc.ReLU(), nc.Linear(10))
SIGMOIDS = nc.Sequential(nc.Flatten(), nc.Linear(64), nc.Sigmoid(), nc.Linear(64), nc.Sigmoid(), nc.Linear(10))
SMALL = nc.Sequential(nc.Conv2d(2, 5, stride=4), nc.ReLU(), nc.AdaptiveAvgPool2d(), nc.Flatten(), nc.Linear(10))
RECTIFIED = nc.Sequential(
    *(nc.Conv2d(8, 5, stride=2), nc.ReLU(), nc.Conv2d(10, 3, stride=2), nc.ReLU(), nc.AdaptiveAvgPool2d(), nc.Flatten())
)
WIDE = nc.Sequential(nc.Flatten(), nc.Linear(2000), nc.ReLU(), nc.Linear(1000), nc.ReLU(), nc.Linear(10))
NARROW = nc.Sequential(nc.AvgPool2d(4), nc.Flatten(), nc.Linear(10))
DEEP = nc.Sequential(nc.Flatten(), *(layer for _ in range(12) for layer in (nc.Linear(48), nc.ReLU())), nc.Linear(10))


def normed(momentum: float = 0.1) -> nc.Node:
    """A small network with batch norm."""
    norms = nc.BatchNorm2d(momentum=momentum), nc.BatchNorm2d(momentum=momentum)
    stages = (nc.Conv2d(8, 3, stride=2), norms[0], nc.ReLU(), nc.Conv2d(16, 3, stride=2), norms[1], nc.ReLU())
    return nc.Sequential(*stages, nc.Flatten(), nc.Linear(10))


# ── diseases ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Plant:
    """A training with a disease: the name of the finding, the network, and what differs from a sound training."""

    finding: str
    network: Any
    changes: dict[str, Any] = field(default_factory=dict)
    change: Change | None = None
    n: int = 1000
    tested: int = 400


SOUND = {"engine": "numpy", "epochs": 3, "batch_size": 50, "validation": 0.2, "learning_rate": 0.02, "verbose": False}
PLAIN = {"momentum": 0.0, "nesterov": False, "clip": 0.0, "schedule": "constant", "warmup_epochs": 0.0}
WAITING = {"image_size": 52, "rotate": 5.0, "scale": 0.05, "epochs": 50}
PLANTS = {
    "a rate that kills the ReLUs": Plant("dead-relu", MLP, {**PLAIN, "learning_rate": 3.0}),
    "a last ReLU that dies": Plant("dead-relu", RECTIFIED, {"learning_rate": 0.5}),
    "a rate that diverges": Plant("diverged", MLP, {**PLAIN, "learning_rate": 1e4}),
    "a rate that is far too high": Plant("rate-too-high", MLP, {**PLAIN, "momentum": 0.9, "learning_rate": 0.3}),
    "a rate that is far too low": Plant("rate-too-low", MLP, {"learning_rate": 1e-6}),
    "saturated sigmoids": Plant("saturated", SIGMOIDS, {"mean": (0.0,), "std": (2e-4,), "standardise": False}),
    "pixels that are not scaled": Plant("input-scale", MLP, {"mean": (0.0,), "std": (100.0,), "standardise": False}),
    "black images": Plant("input-scale", MLP, {"standardise": False}, black),
    "weights that let nothing through": Plant("signal-lost", DEEP, {"initialisation": "torch"}),
    "shuffled labels": Plant("labels-unrelated", MLP, {"epochs": 2}, shuffled, n=1500),
    "memorised random labels": Plant("labels-unrelated", MLP, {"epochs": 40, "learning_rate": 0.05}, shuffled, n=1400),
    "test classes in another order": Plant("labels-permuted", MLP, change=shifted),
    "inverted test images": Plant("test-pixels", MLP, change=inverted),
    "test images from elsewhere": Plant("test-unlike-validation", MLP, change=noisy),
    "a class of six images": Plant("never-answered", MLP, change=rare),
    "classes out of balance": Plant("unbalanced", MLP, change=rare),
    "statistics that do not fit": Plant("batch-norm-statistics", normed(0.002), {"learning_rate": 0.05}, n=1500),
    "batches of two": Plant("tiny-batches", normed(), {"batch_size": 2, "epochs": 1}),
    "augmentation without end": Plant("augmentation-too-strong", MLP, {"rotate": 180.0, "shift": 0.5, "scale": 0.8}),
    "too few images": Plant("overfitting", MLP, {"epochs": 30, "batch_size": 20}, n=150),
    "a network that is too small": Plant("underfitting", SMALL, {"epochs": 12, "learning_rate": 0.05}),
    "one epoch": Plant("stopped-early", normed(), {"epochs": 1, "learning_rate": 0.005}),
    "a tiny test set": Plant("few-test-images", MLP, tested=60),
    "a last ReLU that lives": Plant("logits-not-negative", RECTIFIED, {"epochs": 8, "initialisation": "he-open"}),
    "images that are enlarged": Plant("enlarged-images", NARROW, {"image_size": 112}),
    "a network that is far too large": Plant("network-too-large", WIDE, {"epochs": 10}, n=120),
    "batches that come too late": Plant("waits-for-data", NARROW, WAITING),
}


def sicken(plant: Plant, root: Path, where: Path | None = None) -> Diagnosis:
    """Train with a disease, and let the doctor examine the run. where: the data, if they are there already."""
    source = where or folder(root / "data", plant.change, plant.n, plant.tested)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(nc.NeoclassicError):  # it diverged
            nc.train(plant.network, source, out=root / "run", **{**SOUND, **plant.changes})
    return nc.diagnose(root / "run")


# ── healthy runs ─────────────────────────────────────────────────────────────────────────────────────

# Families of the zoo and recipes of results/, each shortened; of MNIST's recipes, on Fashion-MNIST.
HEALTHY: dict[str, tuple[Any, dict[str, Any]]] = {
    "lenet": ("lenet", {"epochs": 10}),
    "lenet:bn": ("lenet:bn", {"epochs": 4}),
    "lenet:1998": ("lenet:1998", {"image_size": 32}),
    "d2l-zh:lenet-bn": ("d2l-zh:lenet-bn", {"batch_size": 64}),
    "d2l-zh:lenet": ("d2l-zh:lenet", {"batch_size": 32, "epochs": 4}),
    "d2l-en:lenet-bn": ("d2l-en:lenet-bn", {"batch_size": 32}),
    "deepconvnet": ("neoclassic:deepconvnet", {}),
    "dlfs:deepconvnet": ("deepconvnet", {"augmentation": Augmentation()}),
    "mnist-inception": ("neoclassic:mnist-inception", {}),
    "mnist-residual": ("neoclassic:mnist-residual", {}),
    "mnist-record": ("neoclassic:mnist-record", {}),
    "fashion-record": ("neoclassic:fashion-record", {}),
    "alexnet:taught": ("neoclassic:alexnet:taught", {}),
    "vgg11:taught-quarter": ("neoclassic:vgg11:taught-quarter", {"image_size": 32, "learning_rate": 0.02}),
    "nin:taught": ("neoclassic:nin:taught", {"learning_rate": 1e-4}),
    "nin:taught-linear": ("neoclassic:nin:taught-linear", {"learning_rate": 1e-4}),
    "googlenet:taught": ("neoclassic:googlenet:taught", {}),
    "resnet18:taught": ("neoclassic:resnet18:taught", {}),
    "densenet:taught": ("neoclassic:densenet:taught", {}),
    "mobilenet-v1:taught": ("neoclassic:mobilenet-v1:taught", {}),
    "mobilenet-v3-small": ("mobilenet-v3-small", {"image_size": 32, "channels": 1}),
    "own, batch norm": (normed(), {}),
    "own, without": (MLP, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--healthy", action="store_true", help="only healthy runs")
    parser.add_argument("--sick", action="store_true", help="only diseases")
    parser.add_argument("--only", nargs="*", help="names of runs")
    parser.add_argument("--engine", default="torch", help="of the healthy runs")
    parser.add_argument("--images", type=int, default=2000, help="training images of the healthy runs")
    arguments = parser.parse_args()
    path = RESULTS / "doctor.json"
    found = json.loads(path.read_text()) if path.exists() else {"sick": {}, "healthy": {}}
    found |= {"date": str(date.today()), "versions": versions(arguments.engine)}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name, plant in {} if arguments.healthy else PLANTS.items():
            if arguments.only and name not in arguments.only:
                continue
            started = time.monotonic()
            names = sicken(plant, root / name.replace(" ", "-")).names
            place = names.index(plant.finding) + 1 if plant.finding in names else None
            found["sick"][name] = {"finding": plant.finding, "place": place, "found": names}
            print(
                f"{name}: {plant.finding} at place {place} of {names}, {time.monotonic() - started:.0f} s", flush=True
            )
        source = None if arguments.sick else folder(root / "healthy", n=arguments.images, tested=500)
        for name, (network, changes) in {} if arguments.sick else HEALTHY.items():
            if arguments.only and name not in arguments.only:
                continue
            out = root / f"healthy-{name.replace(':', '-').replace(' ', '-')}"
            where = {"engine": arguments.engine, "verbose": False, "out": out}
            started = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = nc.train(network, source, **{"epochs": 3, "batch_size": 64, **where, **changes})
            diagnosis = nc.diagnose(out)
            graded = {finding.name: finding.grade for finding in diagnosis.findings}
            found["healthy"][name] = {"accuracy": result.test_accuracy, "found": graded, "images": arguments.images}
            print(f"{name}: {result.test_accuracy:.4f}, {graded}, {time.monotonic() - started:.0f} s", flush=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
