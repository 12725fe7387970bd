"""The features of images: the input of a network's last layer, N×D, computed once and kept in the cache.

The features come from the network without its last layer, which is an ordinary tree, so every engine computes them.
The cache key is made of what they depend on: the pixels, the views, the weights, the preprocessing, the engine and its
version. Another last layer, other labels or other names of files therefore cost nothing. An entry has a checksum that
is verified at every use; a damaged one is replaced. If the cache cannot be used, features are computed for one run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic import engines
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.base.progress import progress_bar, say_once
from neoclassic.data import cache
from neoclassic.data.augmentation import Draw, augment
from neoclassic.data.preprocessing import Array, Preprocessing
from neoclassic.engines import Engine, Weights
from neoclassic.engines.weights import shapes
from neoclassic.measure import Shape
from neoclassic.model import artefact
from neoclassic.model.artefact import Model
from neoclassic.tree import RBF, Dropout, Linear, Node, Sequential, to_dict

FORMAT = 1  # increase it when the same images get other features
BATCH = 32


# ── the network without its last layer ───────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Headless:
    """A network without its last layer.

    tree     its output are the features, N×D
    input    (channels, height, width)
    weights  of the tree, by path
    path     of the last layer
    head     the last layer itself
    """

    tree: Node
    input: Shape
    weights: Weights
    path: str
    head: Linear | RBF

    @property
    def checksum(self) -> str:
        """SHA-256 over the tree and the weights."""
        digest = hashlib.sha256(json.dumps([to_dict(self.tree), list(self.input)]).encode())
        for name in sorted(self.weights):
            digest.update(f"{name} {self.weights[name].dtype}".encode())
            digest.update(np.ascontiguousarray(self.weights[name]).data)
        return digest.hexdigest()


def headless(name: str, tree: Node, input: Shape, weights: Mapping[str, Array]) -> Headless:
    """Take the last layer off. name: of the network, for messages.

    UsageError for a network whose classes do not come from a linear layer at its end.
    """
    found = _without_last(tree)
    if found is None:
        raise UsageError(f"{name} has no features: it does not end in a linear layer")
    body, path, head = found
    kept = {key: weights[key] for key in shapes(body, input)}
    return Headless(body, input, kept, path, head)


def ends_in_linear(tree: Node) -> bool:
    """Whether the classes come from a linear layer with a bias, which can be fitted alone."""
    found = _without_last(tree)
    return bool(found and isinstance(found[2], Linear) and found[2].bias)


def _without_last(node: Node) -> tuple[Node, str, Linear | RBF] | None:
    """The node without its last layer, whose path inside it comes next, and that layer; None if there is no such."""
    if not isinstance(node, Sequential):
        return None
    *before, (name, last) = node.children
    if isinstance(last, Dropout):  # a dropout after the last layer, as in deepconvnet
        return _without_last(Sequential.of(dict(before)))
    if isinstance(last, Linear | RBF):
        return (Sequential.of(dict(before)), name, last) if before else None
    if inner := _without_last(last):
        body, path, head = inner
        return Sequential.of({**dict(before), name: body}), f"{name}.{path}", head
    return None


# ── views ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class View:
    """How an image is looked at: mirrored or not, and which part of it, enlarged to the whole size.

    keep         the fraction of height and width that is kept
    row, column  where: 0 is the top or the left, 1 the bottom or the right
    """

    mirrored: bool = False
    keep: float = 1.0
    row: float = 0.5
    column: float = 0.5

    def draw(self, n: int, size: tuple[int, int]) -> Draw:
        """The same change for n images of height and width `size`."""
        h, w = size
        columns = np.broadcast_to(np.arange(w)[::-1], (n, w)) if self.mirrored else None
        if self.keep == 1:
            return Draw(columns=columns)
        corner = [(1 - self.keep) * (h - 1) * self.row, (1 - self.keep) * (w - 1) * self.column]
        affine = np.array([[self.keep, 0, corner[0]], [0, self.keep, corner[1]]], np.float32)
        return Draw(columns=columns, affine=np.broadcast_to(affine, (n, 2, 3)))


PLAIN = (View(),)


# ── computing them ───────────────────────────────────────────────────────────────────────────────────


def compute(
    engine: Engine, pixels: Array, p: Preprocessing, view: View = View(), tick: Callable[[int], object] = lambda n: None
) -> Array:
    """N×D float32 of uint8 images, N×H×W×C, of the preprocessing's size.

    engine: runs `Headless.tree`. tick: called with the number of images after each batch.
    """
    rows = []
    for start in range(0, len(pixels), BATCH):
        part = np.asarray(pixels[start : start + BATCH])
        x_NHWC = augment(engine.put(part), view.draw(len(part), p.size), p, engine.xp, engine.put)
        rows.append(engine.logits(engine.xp.moveaxis(x_NHWC, 3, 1)))
        tick(len(part))
    return np.concatenate(rows)


def features_of(
    network: Headless,
    pixels: Array,
    p: Preprocessing,
    engine: str = "auto",
    device: str = "auto",
    views: Sequence[View] = PLAIN,
    about: str = "images",
    tick: Callable[[int], object] = lambda n: None,
) -> Array:
    """Views×N×D float32 of uint8 images, N×H×W×C: from the cache, or computed and kept there.

    about: describes the images in a few words. UsageError for an engine or a device that is not available.
    """
    engine = engines.choose(engine)
    key = _key(network, pixels, p, engine, device, views)
    entry = cache.path("features", f"{key}.safetensors")
    kept = _load(entry)
    if kept is not None:
        return kept
    running = engines.create(engine, network.tree, network.input, network.weights, device)
    total = len(views) * len(pixels)
    with progress_bar(total=total, desc=f"features of {about}", unit=" images", leave=False) as bar:

        def done(n: int) -> None:
            bar.update(n)
            tick(n)

        found = np.stack([compute(running, pixels, p, view, done) for view in views])
    _save(entry, found)
    return found


def only_answers(file: str | Path | None) -> UsageError:
    """The error for features of an .onnx file."""
    return UsageError(f"{file} has no features, only answers: name the .safetensors file or the run folder instead")


def model_features(
    model: Model, pixels: Array, engine: str = "auto", device: str = "auto", about: str = "images"
) -> Array:
    """N×D float32 of uint8 images, N×H×W×C, as `to_pixels` returns them; see `features_of`.

    UsageError for a model without weights, which comes from an .onnx file.
    """
    if not model.weights:
        raise only_answers(model.source)
    network = headless(model.network, model.tree, model.input, model.weights)
    found: Array = features_of(network, pixels, model.preprocessing, engine, device, about=about)[0]
    return found


# ── in the cache ─────────────────────────────────────────────────────────────────────────────────────


def _key(network: Headless, pixels: Array, p: Preprocessing, engine: str, device: str, views: Sequence[View]) -> str:
    """32 hex digits of everything that the features depend on."""
    package = {"onnx": "onnxruntime"}.get(engine, engine)
    facts: list[Any] = [FORMAT, network.checksum, p.to_dict(), engine, device, version(package), cores()]
    facts += [[vars(view) for view in views], list(pixels.shape)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for start in range(0, len(pixels), BATCH):
        digest.update(np.ascontiguousarray(np.asarray(pixels[start : start + BATCH])).data)
    return digest.hexdigest()[:32]


def _load(entry: Path | None) -> Array | None:
    """The content of an entry; None if it is missing or damaged."""
    if entry is None or not entry.exists():
        return None
    try:
        kept: Array = artefact.read(entry, "features")[0]["features"]
    except (NeoclassicError, KeyError):
        say_once(f"the features at {entry} are damaged: computing them again")
        return None
    return kept


def _save(entry: Path | None, features: Array) -> None:
    """Keep features if the cache can be written."""
    if entry is None:
        return
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        artefact.write(entry, "features", {"features": features}, {})
    except (NeoclassicError, OSError):
        say_once(f"the cache at {entry.parent} cannot be written: every run computes the features again")
