"""Doors to models: artefacts, exported ONNX files, and artefacts beyond the limits."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from campaigns.common import mutated
from campaigns.doors import Change, Door, changed
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.weights import initial
from neoclassic.measure import measure
from neoclassic.model import artefact, seal
from neoclassic.model.artefact import Model
from neoclassic.model.opening import open_model
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Identity,
    Linear,
    MaxPool2d,
    Product,
    ReLU6,
    Select,
    Sequential,
    Sum,
    Tanh,
)

SMALL = 1 << 26  # bytes of activations for one image of a network that a trial runs


def sample() -> Model:
    """A small model with several kinds of nodes."""
    gate = Sequential(AdaptiveAvgPool2d(), Conv2d(4, 1), Hardsigmoid())
    tree = Sequential(
        *(Conv2d(4, 3, padding=1, bias=False), BatchNorm2d(), ReLU6(), Sum(path=Conv2d(4, 1), shortcut=Identity())),
        *(Concat(MaxPool2d(3, 1, 1), Conv2d(2, 1)), Select((0, 2, 5, 1)), Product(Identity(), gate=gate)),
        *(Tanh(1.7159, 2 / 3), Dropout(), Flatten(), Linear(3)),
    )
    return Model(
        network="lenet",
        tree=tree,
        input=(3, 6, 5),
        classes=("ant", "bee", "雀"),
        preprocessing=Preprocessing((6, 5), 3, mean=(0.3, 0.4, 0.5), std=(0.2,)),
        weights=initial(tree, (3, 6, 5), seed=1),
        metrics={"epoch": 1, "validation": {"accuracy": 0.5, "n": 10}},
        recipe={"data": "fashion-mnist", "seed": 0},
        data={"name": "fashion-mnist", "images": 5},
        versions={"numpy": "2"},
        calibration={"temperature": 1.25, "threshold": 0.7, "n": 10},
    )


def held(model: Model, engine: Any) -> Any:
    """All that a model holds, and its answer to one image if it is small."""
    answer = None
    if measure(model.tree, model.input).memory(1).inference < SMALL:
        images = np.random.default_rng(0).random((1, *model.input), np.float32)
        answer = engine.logits(images)
        assert answer.shape == (1, len(model.classes)), f"answers of the shape {answer.shape}"
    return model.header(), model.weights, answer


# ── artefacts ────────────────────────────────────────────────────────────────────────────────────────


def artefacts(work: Path) -> Iterator[Door]:
    """The artefact, opened for the numpy engine."""
    file = work / "artefact" / "model.safetensors"
    file.parent.mkdir(parents=True)
    sample().save(file)

    def opened(path: Path) -> Any:
        return held(*open_model(path, "numpy"))

    damages = (mutated, mutated, changed_table)
    yield Door("artefact", file, file.read_bytes(), opened, damages, True, (changed_header, changed_tensors))


def _split(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The table of a .safetensors file, the header of neoclassic in it, and the bytes of the tensors."""
    size = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + size])
    return table, json.loads(table.get("__metadata__", {}).get("neoclassic", "null")), content[8 + size :]


def _joined(table: Any, tensors: bytes) -> bytes:
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def changed_table(content: bytes, rng: np.random.Generator) -> bytes:
    """The table of the tensors changed: names, types, shapes, offsets."""
    table, _, tensors = _split(content)
    return _joined(changed(table, rng), tensors)


def changed_header(content: bytes, rng: np.random.Generator) -> bytes:
    """The header changed, with the checksum that fits."""
    _, header, _ = _split(content)
    arrays = safetensors.numpy.load(content)
    del header["checksum"]
    header = changed(header, rng)
    return _sealed(arrays, header)


def changed_tensors(content: bytes, rng: np.random.Generator) -> bytes:
    """One tensor changed in type, shape or values, left out or added, with the checksum that fits."""
    _, header, _ = _split(content)
    arrays = safetensors.numpy.load(content)
    del header["checksum"]
    return _sealed(changed_arrays(arrays, rng), header)


def _sealed(arrays: dict[str, np.ndarray], header: Any) -> bytes:
    if isinstance(header, dict):
        header = {**header, "checksum": artefact._checksum(arrays, header)}
    return safetensors.numpy.save(arrays, {"neoclassic": json.dumps(header)})


def changed_arrays(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A copy in which one array is wrong."""
    arrays = dict(arrays)
    name = sorted(arrays)[rng.integers(len(arrays))]
    array = arrays.pop(name)
    match int(rng.integers(6)):
        case 0:
            arrays[name] = array.astype(["float64", "float16", "int32", "uint8", "bool"][rng.integers(5)])
        case 1:
            arrays[name] = array.reshape(-1)[: rng.integers(array.size + 1)].copy()
        case 2:
            arrays[name] = np.full_like(array, [np.nan, np.inf, -1e38, 0][rng.integers(4)])
        case 3:
            arrays[name] = array
            arrays[["", ".", "weights/", "nowhere/x", "a.b.c", name + ".x", "\n"][rng.integers(7)]] = array
        case 4:
            arrays[name + "x"] = array
        case _:
            pass
    return arrays


# ── exported ONNX files ──────────────────────────────────────────────────────────────────────────────


def onnx_files(work: Path) -> Iterator[Door]:
    """The exported file, opened for onnxruntime; nothing where the packages are missing."""
    if not all(importlib.util.find_spec(package) for package in ("onnx", "onnxruntime")):
        return
    from neoclassic.model.export import export

    file = work / "onnx" / "model.onnx"
    file.parent.mkdir(parents=True)
    export(sample(), file)

    def opened(path: Path) -> Any:
        return held(*open_model(path))

    yield Door("onnx", file, file.read_bytes(), opened, proves=True, edits=(_resealed, _metadata))


def _with_seal(content: bytes) -> bytes:
    """The content with the checksum that fits, if there is a place for one."""
    place = seal._place(content)
    if place is None:
        return content
    return seal.sealed(content[: place.start] + seal.BLANK.encode() + content[place.stop :])


def _resealed(content: bytes, rng: np.random.Generator) -> bytes:
    return _with_seal(mutated(content, rng))


def _metadata(content: bytes, rng: np.random.Generator) -> bytes:
    """A number of the metadata changed in place, with the checksum that fits: offsets stay right."""
    numbers = list(re.finditer(rb'": ([0-9]+)', content))
    found = numbers[rng.integers(len(numbers))]
    start, digits = found.start(1), "".join(str(rng.integers(10)) for _ in found[1])
    return _with_seal(content[:start] + digits.encode() + content[start + len(digits) :])


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────


def giants(work: Path) -> Iterator[Door]:
    """Right artefacts beyond a limit that the documentation states: each must be refused, at little cost."""
    file = work / "giant" / "model.safetensors"
    file.parent.mkdir(parents=True)

    def opened(path: Path) -> Any:
        Model.load(path)
        raise AssertionError("opened, though it is beyond the limits")

    many = {"children": {f"n{i}": {"type": "ReLU"} for i in range(12_000)}}
    few = [
        _giant(file, _wide()),
        *(_with_child(file, {"type": "Sequential", **inner}) for inner in (many, _nested(100))),
    ]
    header = _giant(file, replace(sample(), recipe={"about": "x" * (40 << 20)}))
    contents = [*4 * few, header]  # the long header takes the longest
    file.write_bytes(few[0])
    yield Door("giant", file, few[0], opened, tuple(map(_always, contents)), every=10)


def _always(content: bytes) -> Change:
    return lambda _content, _rng: content


def _giant(file: Path, model: Model) -> bytes:
    model.save(file)
    return file.read_bytes()


def _wide() -> Model:
    """A model that needs 8 GiB for one image."""
    tree, input = Sequential(Conv2d(1024, 1), ReLU6(), AdaptiveAvgPool2d(), Flatten(), Linear(3)), (3, 1024, 1024)
    weights = initial(tree, input, seed=1)
    return replace(sample(), tree=tree, input=input, weights=weights, preprocessing=Preprocessing((1024, 1024), 3))


def _nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"children": {"relu": {"type": "ReLU"}}}
    for _ in range(levels):
        inner = {"children": {"seq": {"type": "Sequential", **inner}}}
    return inner


def _with_child(file: Path, child: dict[str, Any]) -> bytes:
    """The sample with one more child in front."""
    _, header, _ = _split(_giant(file, sample()))
    arrays = sample().weights
    del header["checksum"]
    header["tree"]["children"] = {"first": {"type": "Sequential", **child}, **header["tree"]["children"]}
    return _sealed(arrays, header)
