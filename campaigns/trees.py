"""Random valid trees of every node type, through all engines and back; and invalid ones.

A trial draws a tree with weights and images. It fails if

- the tree that `from_dict` makes of `to_dict`, or that an artefact gives back, is not equal to it, or not its weights;
- two engines' logits, or NumPy's and torch's gradients, differ by more than 0.001 of the largest;
- `measure` counts other parameters than torch has;
- an invalid tree is accepted and then fails raw in an engine, is refused in another way than in one line, or is
  beyond the stated limits and accepted.

Where a value falls on a kink, as with ReLU at 0, gradients may differ by chance: they are compared for three batches,
and fail if all three differ.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from campaigns.common import Session
from campaigns.doors import attempt, changed
from campaigns.doors.drawn import CLASSES, drawn, pick
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import create
from neoclassic.engines.weights import initial
from neoclassic.measure import Shape, measure
from neoclassic.model.artefact import Model
from neoclassic.tree import Dropout, Node, from_dict, to_dict, walk

TOLERANCE = 1e-3  # of the largest value
IMAGES = 4  # of a batch
LEVELS, NODES = 64, 10_000  # as the documentation states them
SMALL = 1 << 24  # bytes of activations for one image of an invalid tree that is accepted, and then run
Rng = np.random.Generator


def run(session: Session) -> None:
    """Draw trees while there is time: one in four is invalid."""
    installed = [name for name, packages in _ENGINES.items() if all(map(importlib.util.find_spec, packages))]
    if "torch" in installed:
        import torch

        torch.set_num_threads(1)
    while session.goes_on():
        if session.rng.random() < 0.25:
            _invalid(session)
        else:
            _valid(session, installed)


_ENGINES = {"numpy": (), "torch": ("torch",), "onnx": ("onnx", "onnxruntime")}


# ── valid trees ──────────────────────────────────────────────────────────────────────────────────────


def _valid(session: Session, installed: list[str]) -> None:
    rng = session.rng
    input = tuple(int(side) for side in (rng.integers(1, 5), rng.integers(5, 14), rng.integers(5, 14)))
    tree = drawn(rng, input)
    weights = _weights(tree, input, rng)
    images = rng.standard_normal((3, IMAGES, *input)).astype(np.float32)
    checks: dict[str, Callable[[], str]] = {
        "and back": lambda: _back(tree, input, weights, session),
        "logits": lambda: _logits(tree, input, weights, images[0], installed),
        "gradients": lambda: _gradients(tree, input, weights, images) if "torch" in installed else "",
        "parameters": lambda: _parameters(tree, input, weights) if "torch" in installed else "",
    }
    for kind, check in checks.items():
        outcome = attempt(check)
        if fault := outcome.fault or outcome.refusal or outcome.value:
            content = json.dumps({"input": input, "tree": to_dict(tree)}).encode()
            session.failed(f"valid, {kind}", fault, content=content)
        else:
            session.answered(f"valid, {kind}")


def _back(tree: Node, input: Shape, weights: dict[str, np.ndarray], session: Session) -> str:
    """Whether JSON and an artefact give the tree back."""
    if from_dict(json.loads(json.dumps(to_dict(tree)))) != tree:
        return "another tree comes back from JSON"
    preprocessing = Preprocessing((input[1], input[2]), 3 if input[0] == 3 else 1)
    if input[0] != preprocessing.channels:
        return ""  # no image has so many channels
    path = session.work / "tree.safetensors"
    model = Model("lenet", tree, input, ("a", "b", "c"), preprocessing, weights)
    model.save(path)
    loaded = Model.load(path)
    if loaded.tree != tree or loaded.checksum != model.checksum:
        return "another tree or header comes back from an artefact"
    same = all(np.array_equal(loaded.weights[name], array) for name, array in weights.items())
    return "" if same and len(loaded.weights) == len(weights) else "other weights come back from an artefact"


def _logits(tree: Node, input: Shape, weights: dict[str, np.ndarray], images: np.ndarray, names: list[str]) -> str:
    given = {name: create(name, tree, input, weights, "cpu").logits(images) for name in names}
    for name, logits in given.items():
        if logits.shape != (IMAGES, CLASSES) or logits.dtype != np.float32:
            return f"{name} gives {logits.dtype} {logits.shape}"
        if (off := _off(given["numpy"], logits)) > TOLERANCE:
            return f"numpy and {name} differ by {off:.2g} of the largest"
    return ""


def _gradients(tree: Node, input: Shape, weights: dict[str, np.ndarray], batches: np.ndarray) -> str:
    engines = [create(name, tree, input, weights, "cpu") for name in ("numpy", "torch")]
    labels = np.arange(IMAGES) % CLASSES
    fault = ""
    for images in batches:
        masks = _masks(tree, input)
        ours, torchs = (engine.gradients(images, labels, masks).weights for engine in engines)
        if ours.keys() != torchs.keys():
            return f"gradients of other parameters: {sorted(ours.keys() ^ torchs.keys())}"
        largest = max((float(np.abs(array).max()) for array in ours.values()), default=0.0)
        offs = {key: _off(ours[key], torchs[key], max(largest, 1e-2)) for key in ours}
        worst = max(offs, key=lambda key: offs[key], default="")
        if not worst or offs[worst] <= TOLERANCE:
            return ""
        fault = f"gradients of {worst} differ by {offs[worst]:.2g} of the largest"
    return fault


def _masks(tree: Node, input: Shape) -> dict[str, np.ndarray]:
    """The units that each dropout keeps: every other one."""
    rows = measure(tree, input)
    return {
        path: (np.indices((IMAGES, *rows[path].output)).sum(0) % 2).astype(np.float32)
        for path, node in walk(tree)
        if isinstance(node, Dropout)
    }


def _parameters(tree: Node, input: Shape, weights: dict[str, np.ndarray]) -> str:
    engine: Any = create("torch", tree, input, weights, "cpu")
    torchs = sum(p.numel() for p in engine.module.parameters())
    measured = measure(tree, input)
    ours = measured.parameters + (measured.auxiliary.parameters if measured.auxiliary else 0)
    return "" if torchs == ours else f"torch has {torchs} parameters, measure counts {ours}"


def _off(a: np.ndarray, b: np.ndarray, largest: float = 1.0) -> float:
    """The largest difference, as a part of the largest value or of `largest`."""
    if a.shape != b.shape:
        return float("inf")
    scale = max(largest, float(np.abs(a).max(initial=0)))
    off = float(np.abs(a.astype(np.float64) - b).max(initial=0)) / scale
    return off if np.isfinite(off) else float("inf")


def _weights(tree: Node, input: Shape, rng: Rng) -> dict[str, np.ndarray]:
    """Initial weights with noise: biases and statistics are not 0 or 1."""
    weights = initial(tree, input, seed=int(rng.integers(1 << 31)))
    for name, array in weights.items():
        noise = rng.standard_normal(array.shape).astype(np.float32)
        weights[name] = np.abs(array + 0.3 * noise) + 0.1 if name.endswith("running_var") else array + 0.1 * noise
    return {name: array.astype(np.float32) for name, array in weights.items()}


# ── invalid trees ────────────────────────────────────────────────────────────────────────────────────


def _invalid(session: Session) -> None:
    rng, input = session.rng, (3, 9, 8)
    if rng.random() < 0.1:
        kind, data, never = "beyond the limits", _beyond(rng), True
    else:
        kind, data, never = "invalid", changed(to_dict(drawn(rng, input)), rng), False
    outcome = attempt(lambda: from_dict(data) if never else _used(data, input))
    fault = outcome.fault or ("accepted" if never and not outcome.refusal else "")
    if fault:
        session.failed(kind, fault, content=json.dumps(data)[: 1 << 20].encode())
    elif outcome.refusal:
        session.refused(kind)
    else:
        session.answered(kind)


def _used(data: Any, input: Shape) -> str:
    """Read a tree, and run it if it is small."""
    tree = from_dict(data)
    measured = measure(tree, input)
    if measured.memory(1).inference < SMALL and measured.parameters < SMALL // 4:
        images = np.zeros((1, *input), np.float32)
        logits = create("numpy", tree, input, initial(tree, input, seed=1)).logits(images)
        assert logits.shape == (1, *measured.output), f"logits of the shape {logits.shape}"
    return "accepted"


def _beyond(rng: Rng) -> Any:
    """A tree with too many levels or nodes, given in any of the combinators."""
    kind = pick(rng, "Sequential", "Sum", "Concat", "Product")
    if pick(rng, True, False):
        return {"type": kind, "children": {f"n{i}": {"type": "ReLU"} for i in range(NODES + int(rng.integers(1, 999)))}}
    data: dict[str, Any] = {"type": "ReLU"}
    for _ in range(LEVELS + int(rng.integers(0, 100))):
        data = {"type": kind, "children": {"a": data}}
    return data
