"""How fast this machine is: images per second of each engine, in training and at test; and the fastest safe choice."""

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
from neoclassic.recipes import list_recipes
from neoclassic.train import tuned
from neoclassic.train.loop import train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Settings

STEPS = 3  # at least, after the first


@dataclass(frozen=True)
class Row:
    """Images per second, medians over the steps that fit into the time given; `train` is None where none is done."""

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
    network: str,
    engine: str,
    batch: int = 32,
    seconds: float = 2.0,
    device: str = "auto",
    speed: Speed = Speed("auto", "auto"),
) -> Row:
    """A network of the zoo as published, on random images, one engine. UsageError for what cannot be."""
    row = networks.entry(network)
    tree = row.tree()
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *row.input), np.float32)
    labels = rng.integers(0, row.classes, batch)
    chosen = engines.decide(engine, device, speed, 0) if engine != "onnx" else Speed()
    running = engines.create(engine, tree, row.input, initial(tree, row.input), device, chosen)
    rate = None
    if engine != "onnx":
        running.optimize(Optimizer("sgd", momentum=0.9))
        batch_there = running.put(images), running.put(labels)

        def step() -> None:
            running.step(*batch_there, 1e-6)
            running.metrics()  # waits for the device

        rate = _per_second(step, batch, seconds)
    inference = _per_second(lambda: running.logits(images), batch, seconds)
    return Row(network, engine, running.device, chosen.precision, chosen.compile, batch, rate, inference)


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
    """The engines that can run here."""
    there = {"torch": "torch", "onnx": "onnxruntime"}
    return [name for name in engines.ENGINES if name not in there or importlib.util.find_spec(there[name])]


def choices(device: str) -> list[Speed]:
    """The torch engine's safe ones: bfloat16 where there are units for it, compiling where there is a compiler."""
    from neoclassic.engines.torch import compiles, pick_device, takes_bfloat16

    place = pick_device(device)
    precisions = ["32", "bf16"] if takes_bfloat16(place) else ["32"]
    return [Speed(p, c) for p in precisions for c in (("off", "on") if compiles(place) else ("off",))]


def tune(network: str, batch: int = 32, seconds: float = 2.0, device: str = "auto") -> list[Row]:
    """Measure the choices, remember the one that trains fastest, and return all, the fastest first."""
    rows = [bench(network, "torch", batch, seconds, device, choice) for choice in choices(device)]
    rows.sort(key=lambda row: -(row.train or 0))
    tuned.remember(network, device, Speed(rows[0].precision, rows[0].compile))
    return rows


def recipes(
    patterns: Sequence[str], settings: Settings, progress: bool = False, out: str | None = None, **changes: Any
) -> Iterator[dict[str, Any]]:
    """Train by every recipe that matches, one after the other; the result of each, with what is known of it.

    out: a folder that keeps the runs, each under its recipe's name. UsageError for a pattern that none matches.
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
            result = train(recipe.but(**changes), settings, folder, progress=progress)
        kept = ("recipe", "network", "engine", "device", "precision", "epochs", "images_per_second", "seconds")
        yield {key: result[key] for key in kept} | {
            "test_accuracy": result["test_accuracy"],
            "reaches": recipe.reaches,
        }
