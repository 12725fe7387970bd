"""Measure this machine: images per second of each engine in training and inference, and the fastest safe settings."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic import engines, networks
from neoclassic.base import files
from neoclassic.base.errors import unknown
from neoclassic.engines import Optimizer, Speed
from neoclassic.engines.weights import initial
from neoclassic.insight.watching import watchers
from neoclassic.model.opening import open_model
from neoclassic.networks import Entry
from neoclassic.recipes import choose, list_recipes
from neoclassic.train import tuned
from neoclassic.train.loop import train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Settings

STEPS = 3  # measured at least, after the first, which is not


@dataclass(frozen=True)
class Row:
    """Images per second, the median over the steps that fit into the time given. `train` is None for ONNX."""

    network: str
    engine: str
    device: str
    precision: str
    compile: str
    batch: int
    train: float | None
    inference: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def bench(
    network: str | Entry,
    engine: str,
    batch: int = 32,
    seconds: float = 2.0,
    device: str = "auto",
    speed: Speed = Speed("auto", "auto"),
    size: tuple[int, ...] | None = None,
) -> Row:
    """Measure a network on random images. UsageError for an engine or a size that is impossible.

    size: height and width of the images; the published ones when omitted.
    """
    row = networks.entry(network)
    tree, input = row.tree(), (row.input[0], *(size or row.input[1:]))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *input), np.float32)
    labels = rng.integers(0, row.classes, batch)
    chosen = engines.decide(engine, device, speed, 0) if engine != "onnx" else Speed()
    running = engines.create(engine, tree, input, initial(tree, input), device, chosen)
    rate = None
    if engine != "onnx":
        running.optimize(Optimizer("sgd", momentum=0.9))
        batch_there = running.put(images), running.put(labels)

        def step() -> None:
            running.step(*batch_there, 1e-6)
            running.metrics()  # waits for the device

        rate = _per_second(step, batch, seconds)
    inference = _per_second(lambda: running.logits(images), batch, seconds)
    return Row(row.name, engine, running.device, chosen.precision, chosen.compile, batch, rate, inference)


def bench_file(path: str, batch: int = 32, seconds: float = 2.0) -> Row:
    """Measure an exported .onnx file on random images. Errors as from `open_model`."""
    model, running = open_model(path)
    images = np.random.default_rng(0).standard_normal((batch, *model.input), np.float32)
    inference = _per_second(lambda: running.logits(images), batch, seconds)
    return Row(path, running.name, running.device, "", "", batch, None, inference)


def _per_second(step: Callable[[], object], batch: int, seconds: float) -> float:
    step()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < STEPS or time.perf_counter() < end:
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return round(batch / statistics.median(found), 1)


def installed() -> list[str]:
    """The engines that are installed."""
    there = {"torch": "torch", "onnx": "onnxruntime"}
    return [name for name in engines.ENGINES if name not in there or importlib.util.find_spec(there[name])]


def choices(device: str) -> list[Speed]:
    """The torch engine's safe settings: bfloat16 if the hardware supports it, compiling if it works."""
    from neoclassic.engines.torch import compiles, pick_device, takes_bfloat16

    place = pick_device(device)
    precisions = ["32", "bf16"] if takes_bfloat16(place) else ["32"]
    return [Speed(p, c) for p in precisions for c in (("off", "on") if compiles(place) else ("off",))]


def tune(
    network: str | Entry,
    batch: int | None = None,
    seconds: float = 2.0,
    device: str = "auto",
    image_size: int | None = None,
) -> list[Row]:
    """Measure the choices, remember the one that trains fastest, and return all of them, the fastest first.

    batch and image_size (pixels, square) are those of the network's own recipe when omitted: the choice is used by
    runs with the same batch and image size.
    """
    row, own = networks.entry(network), choose(network, None, None)
    batch, size = batch or own.batch_size, image_size or own.image_size
    pixels = (size, size) if size else row.input[1:]
    rows = [bench(row, "torch", batch, seconds, device, choice, pixels) for choice in choices(device)]
    rows.sort(key=lambda row: -(row.train or 0))
    tuned.remember(row.name, pixels, batch, device, Speed(rows[0].precision, rows[0].compile))
    return rows


def recipes(
    patterns: Sequence[str], settings: Settings, progress: bool = False, out: str | None = None, **changes: Any
) -> Iterator[dict[str, Any]]:
    """Train every recipe that matches, one after the other; yield each result with the accuracy known for it.

    out: a folder that keeps the runs, each under its recipe's name. UsageError for a pattern that matches no recipe.
    """
    chosen: list[Recipe] = []
    for pattern in patterns:
        pattern = pattern if any(c in pattern for c in "*?[") else f"{pattern}*"
        if not (found := list_recipes(pattern)):
            raise unknown("recipe", pattern.rstrip("*"), [r.name for r in list_recipes()])
        chosen += [each for each in found if each not in chosen]
    for recipe in chosen:
        with nullcontext(Path(out)) if out else files.scratch() as place:
            folder = place / recipe.name.replace(":", "-")
            result = train(recipe.but(**changes), settings, folder, listeners=watchers(progress))
        assert result is not None  # this process is the only one
        kept = ["recipe", "network", "engine", "device", "precision", "epochs", "images_per_second", "seconds"]
        kept += ["test_accuracy"]
        interval = {"accuracy_interval": result.evaluation["accuracy_interval"]}
        yield {key: getattr(result, key) for key in kept} | interval | {"reaches": recipe.reaches}
