"""Weights from and for torchvision: the same numbers under the other library's names.

    >>> weights, notes = from_torchvision("resnet18", read_weights("resnet18-f37072fd.pth"), tree, (3, 224, 224))

Checked against torchvision 0.29. torchvision counts the batches that a batch norm has seen. Nothing here needs that
count, so it is dropped on the way in and set to 0 on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines.contract import Array, Weights
from neoclassic.engines.weights import initial, shapes
from neoclassic.measure import Shape
from neoclassic.model import timm
from neoclassic.model.fitting import Reading, fitted, heads, named, names_by_layer, unprefixed
from neoclassic.model.weight_files import read
from neoclassic.networks import Entry, entry
from neoclassic.tree import Node, walk

COUNTER = "num_batches_tracked"

# ── names: our layer, torchvision's layer ────────────────────────────────────────────────────────────

Pairs = Iterator[tuple[str, str]]


def _alexnet(tree: Node) -> Pairs:
    yield from {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6"}.items()
    yield from {"conv4": "features.8", "conv5": "features.10"}.items()
    yield from {"fc1": "classifier.1", "fc2": "classifier.4", "fc3": "classifier.6"}.items()


def _vgg(tree: Node) -> Pairs:
    layers = [path for path, _ in walk(tree) if re.fullmatch(r"stage\d\.\w+", path)]
    yield from ((path, f"features.{i}") for i, path in enumerate(layers))
    yield from {"fc1": "classifier.0", "fc2": "classifier.3", "fc3": "classifier.6"}.items()


def _googlenet(tree: Node) -> Pairs:
    branches = {
        "branch1x1.{}": "branch1.{}",
        "branch3x3.{}1": "branch2.0.{}",
        "branch3x3.{}2": "branch2.1.{}",
        "branch5x5.{}1": "branch3.0.{}",
        "branch5x5.{}2": "branch3.1.{}",
        "branch_pool.{}": "branch4.1.{}",
    }
    for kind in ("conv", "bn"):
        yield f"stage1.{kind}", f"conv1.{kind}"
        yield f"stage2.{kind}1", f"conv2.{kind}"
        yield f"stage2.{kind}2", f"conv3.{kind}"
        for path, _ in walk(tree):
            if re.fullmatch(r"inception\w\w", path):
                yield from ((f"{path}.{a.format(kind)}", f"{path}.{b.format(kind)}") for a, b in branches.items())
        for i in (1, 2):
            yield f"auxiliary{i}.{kind}", f"aux{i}.conv.{kind}"
    for i in (1, 2):
        yield from ((f"auxiliary{i}.fc{j}", f"aux{i}.fc{j}") for j in (1, 2))
    yield "fc", "fc"


def _resnet(tree: Node) -> Pairs:
    yield from {"stem.conv": "conv1", "stem.bn": "bn1", "fc": "fc"}.items()
    for path, _ in walk(tree):
        if m := re.fullmatch(r"stage(\d)\.block(\d+)\.sum\.path\.((?:conv|bn)\d)", path):
            yield path, f"layer{m[1]}.{int(m[2]) - 1}.{m[3]}"
        elif m := re.fullmatch(r"stage(\d)\.block1\.sum\.shortcut\.(conv|bn)", path):
            yield path, f"layer{m[1]}.0.downsample.{('conv', 'bn').index(m[2])}"


def _densenet(tree: Node) -> Pairs:
    yield from {"stem.conv": "features.conv0", "stem.bn": "features.norm0", "bn": "features.norm5"}.items()
    yield "fc", "classifier"
    for path, _ in walk(tree):
        if m := re.fullmatch(r"block(\d)\.layer(\d+)\.new\.(conv|bn)(\d)", path):
            kind = "norm" if m[3] == "bn" else "conv"
            yield path, f"features.denseblock{m[1]}.denselayer{m[2]}.{kind}{m[4]}"
        elif m := re.fullmatch(r"transition(\d)\.(conv|bn)", path):
            yield path, f"features.transition{m[1]}.{'norm' if m[2] == 'bn' else 'conv'}"


def _parts(tree: Node) -> Iterator[tuple[str, str, int]]:
    """The layers of every block of a MobileNet: path, number of the block, number of the step in its block."""
    order: dict[str, list[str]] = {}
    for path, _ in walk(tree):
        if m := re.fullmatch(r"(block(\d+)(?:\.path)?\.(expand|depthwise|excite|project))(.*)", path):
            seen = order.setdefault(m[2], [])
            if m[3] not in seen:
                seen.append(m[3])
            yield path, m[2], seen.index(m[3])


def _mobilenet_v2(tree: Node) -> Pairs:
    yield from {"stem.conv": "features.0.0", "stem.bn": "features.0.1"}.items()
    for path, block, part in _parts(tree):
        kind = path.rpartition(".")[2]
        if kind in ("conv", "bn"):
            second = kind == "bn"
            inner = f"{part + second}" if ".project." in path else f"{part}.{int(second)}"
            yield path, f"features.{block}.conv.{inner}"
    yield from {"last.conv": "features.18.0", "last.bn": "features.18.1", "fc": "classifier.1"}.items()


def _mobilenet_v3(tree: Node) -> Pairs:
    yield from {"stem.conv": "features.0.0", "stem.bn": "features.0.1"}.items()
    last = 0
    kinds = {"conv": "0", "bn": "1", "conv1": "fc1", "conv2": "fc2"}
    for path, block, part in _parts(tree):
        last = int(block) + 1
        if (kind := path.rpartition(".")[2]) in kinds:
            yield path, f"features.{block}.block.{part}.{kinds[kind]}"
    yield from {"last.conv": f"features.{last}.0", "last.bn": f"features.{last}.1"}.items()
    yield from {"classifier.fc1": "classifier.0", "classifier.fc2": "classifier.3"}.items()


_NAMES = {
    "alexnet:torchvision": _alexnet,
    **{f"vgg{n}{norm}": _vgg for n in (11, 13, 16, 19) for norm in ("", ":bn")},
    "googlenet:torchvision": _googlenet,
    **{f"resnet{n}": _resnet for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": _densenet for n in (121, 161, 169, 201)},
    "mobilenet-v2": _mobilenet_v2,
    **{f"mobilenet-v3-{size}": _mobilenet_v3 for size in ("large", "small")},
}
NETWORKS = tuple(_NAMES)


def names(name: str) -> dict[str, str]:
    """torchvision's name of each of our arrays. UsageError for a network that torchvision does not have."""
    row = entry(name)
    if name not in _NAMES:
        raise UsageError(f"torchvision has no {name!r}; it has {', '.join(NETWORKS)}")
    tree = row.tree()
    return names_by_layer(shapes(tree, row.input), dict(_NAMES[name](tree)))


# ── in and out ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Adopted:
    """Weights by path, notes on what could not be used unchanged, and whether the file used our names.

    afresh  the paths that the file lacks, which were initialised
    """

    weights: Weights
    notes: list[str]
    ours: bool
    afresh: frozenset[str] = frozenset()


def adopt(
    name: str | Entry, state: Mapping[str, Any], wanted: Mapping[str, Shape], fresh: Callable[[], Weights]
) -> Adopted:
    """The weights of a network from arrays under our names, torchvision's or timm's; see `model.fitting.fitted`.

    All names together decide whose they are, since the libraries share some: whichever has more of its names in the
    file, then more of its shapes; the first of these if they are equal. wanted: the shape of each path. NeoclassicError
    for weights that fit none, UsageError for weights of another network.
    """
    found = _modern(named(state))
    whose, keys, reading = _read_as(name, found, wanted)
    try:
        taken = fitted(name, keys, reading.arrays, wanted, fresh, whose)
    except NeoclassicError:
        if other := _network_of(found):
            raise UsageError(f"these are {other}: they do not fit {name}") from None
        raise
    ours = whose == _OURS
    notes = [*reading.notes, *taken.notes, *(() if ours else _remarks(name))]
    weights = timm.with_our_eps(str(name), taken.weights) if "timm" in whose else taken.weights
    return Adopted(weights, notes, ours, taken.afresh)


_OURS = "the weights do not fit the network"


def _read_as(
    name: str | Entry, found: Mapping[str, Array], wanted: Mapping[str, Shape]
) -> tuple[str, dict[str, str], Reading]:
    """How to begin an error, which is _OURS for our names; the name of each path in the file; and the arrays."""
    worlds = {_OURS: {key: key for key in wanted}} | _worlds(name, wanted)
    readings = {whose: unprefixed(found, _renamed(keys, wanted)) for whose, keys in worlds.items()}
    whose = max(worlds, key=lambda each: readings[each].score)
    arrays = timm.flat(readings[whose].arrays, _renamed(worlds[whose], wanted))
    return whose, worlds[whose], replace(readings[whose], arrays=arrays)


@dataclass(frozen=True)
class Outline:
    """What weights say of their network: the numbers of classes and channels; and whether the names are ours."""

    classes: int
    channels: int
    ours: bool


def outline(name: str, state: Mapping[str, Any]) -> Outline:
    """The outline of weights of a network of the zoo. NeoclassicError if they lack its first or its last layer."""
    row = entry(name)
    wanted = shapes(row.tree(), row.input)
    found = _modern(named(state))
    whose, keys, reading = _read_as(name, found, wanted)
    first = next(key for key, shape in wanted.items() if len(shape) > 1)
    last = [key for key in wanted if key.rpartition(".")[0] in heads(name) and not key.startswith("auxiliary")]
    for key in (first, *last[:1]):
        array = reading.arrays.get(keys[key])
        if array is None or array.ndim != len(wanted[key]):
            if (other := _network_of(found)) and not other.endswith(f" of {name}"):
                raise UsageError(f"these are {other}: they do not fit {name}")
            raise NeoclassicError(f"these are not the weights of a whole {name}: {keys[key]} is missing")
    classes = reading.arrays[keys[last[0]]].shape[0] if last else row.classes
    channels = reading.arrays[keys[first]].shape[1] if len(wanted[first]) == 4 else row.input[0]
    return Outline(classes, channels, whose == _OURS)


def from_torchvision(
    name: str, state: Mapping[str, Any], tree: Node, input: Shape, seed: int = 0
) -> tuple[Weights, list[str]]:
    """Our weights, and notes on what could not be used unchanged; see `model.fitting.fitted`.

    tree: the network, perhaps with other classes. input: (channels, height, width). seed: of the layers that are
    initialised afresh. NeoclassicError lists what is missing, surplus or of another shape.
    """
    wanted, keys = shapes(tree, input), names(name)
    if wanted.keys() != keys.keys():
        raise UsageError(f"torchvision's weights of {name} fit its published structure only, not one with other knobs")
    whose = f"not torchvision's weights of {name}"
    taken = fitted(name, keys, _modern(named(state)), wanted, lambda: initial(tree, input, seed=seed), whose)
    return taken.weights, [*taken.notes, *_remarks(name)]


def to_torchvision(name: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The same arrays under torchvision's names, ready for `load_state_dict` once they are tensors."""
    keys = names(name)
    if surplus := [key for key in weights if key not in keys]:
        raise NeoclassicError(f"not the weights of {name}: surplus {', '.join(surplus[:12])}")
    state = {keys[key]: array for key, array in weights.items()}
    norms = [key.removesuffix("running_var") for key in state if key.endswith("running_var")]
    return state | {f"{norm}{COUNTER}": np.zeros((), np.int64) for norm in norms}


def read_weights(path: str | Path) -> dict[str, Array]:
    """The arrays of a `.safetensors` or a `.pth` file by name; see `model.weight_files.read`."""
    return read(path).arrays


def _modern(found: dict[str, Array]) -> dict[str, Array]:
    """Rename `norm.1.weight`, as the published DenseNet files still have it, to torchvision's `norm1.weight`."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): w for key, w in found.items()}


def _renamed(keys: Mapping[str, str], wanted: Mapping[str, Shape]) -> dict[str, Shape]:
    return {theirs: wanted[key] for key, theirs in keys.items()}


def _remarks(name: str | Entry) -> list[str]:
    if str(name) == "googlenet:torchvision":
        return ["torchvision's published googlenet expects pixels from -1 to 1: mean and deviation 0.5"]
    return []


def _worlds(name: str | Entry, wanted: Container[str]) -> dict[str, dict[str, str]]:
    """The names that other libraries give to the arrays of a network, by what to say of weights that do not fit."""
    name = str(name)
    tables = {"torchvision": (NETWORKS, names), "timm": (timm.NETWORKS, timm.names)}
    worlds = {f"not {who}'s weights of {name}": table(name) for who, (known, table) in tables.items() if name in known}
    return {whose: keys for whose, keys in worlds.items() if all(key in wanted for key in keys)}


def _network_of(found: Mapping[str, Array]) -> str | None:
    """Whose weights of which network these are, in words; None if they are of none that another library has."""
    for name in NETWORKS:
        row = entry(name)
        wanted = shapes(row.tree(), row.input)
        nothing = dict.fromkeys(wanted, np.empty(0))
        for whose, keys in _worlds(name, wanted).items():
            there = _renamed(keys, wanted)
            try:
                fitted(name, keys, timm.flat(unprefixed(found, there).arrays, there), wanted, nothing.copy, "")
            except NeoclassicError:
                continue
            return whose.removeprefix("not ")
    return None
