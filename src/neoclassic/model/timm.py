"""Weights from timm (PyTorch Image Models), in which the same networks have other names.

timm's ResNets and DenseNets have torchvision's names. The others differ in names; in VGG's and MobileNet V3's last
layers, which timm writes as convolutions; and in the eps of MobileNet V3's batch norms. Checked against timm 1.0.31.
Its `tf_` variants pad in another way and are not read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.class_names import told_apart
from neoclassic.data.preprocessing import FILTERS, Preprocessing
from neoclassic.engines.contract import Array, Weights
from neoclassic.engines.weights import shapes
from neoclassic.measure import Shape
from neoclassic.model import published
from neoclassic.model.fitting import names_by_layer
from neoclassic.networks import entry
from neoclassic.tree import BatchNorm2d, Node, join, walk

EPS = 1e-5  # of timm's batch norms
FITS = {"center": "crop", "squash": "stretch", "border": "pad"}  # its crop_mode

# ── names: our layer, timm's layer ───────────────────────────────────────────────────────────────────

Pairs = Iterator[tuple[str, str]]
STAGES = {  # the blocks of each stage
    "mobilenet-v2": (1, 2, 3, 4, 3, 3, 1),
    "mobilenet-v3-large": (1, 2, 3, 4, 2, 3),
    "mobilenet-v3-small": (1, 2, 3, 2, 3),
}


def _vgg(name: str, tree: Node) -> Pairs:
    layers = [path for path, _ in walk(tree) if re.fullmatch(r"stage\d\.\w+", path)]
    yield from ((path, f"features.{i}") for i, path in enumerate(layers))
    yield from {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "fc3": "head.fc"}.items()


def _mobilenet(name: str, tree: Node) -> Pairs:
    places = [f"blocks.{stage}.{i}" for stage, n in enumerate(STAGES[name]) for i in range(n)]
    paths = [path for path, _ in walk(tree)]
    yield from {"stem.conv": "conv_stem", "stem.bn": "bn1"}.items()
    for path in paths:
        if m := re.fullmatch(r"(block(\d+)(?:\.path)?)\.(\w+)\.(?:gate\.)?(conv|bn)(\d?)", path):
            place = places[int(m[2]) - 1]
            if m[3] == "excite":
                yield path, f"{place}.se.conv_{'reduce' if m[5] == '1' else 'expand'}"
                continue
            wide = f"{m[1]}.expand.conv" in paths
            steps = (
                {"expand": "pw", "depthwise": "dw", "project": "pwl"} if wide else {"depthwise": "dw", "project": "pw"}
            )
            number = list(steps).index(m[3]) + 1
            yield path, f"{place}.conv_{steps[m[3]]}" if m[4] == "conv" else f"{place}.bn{number}"
    if name == "mobilenet-v2":
        yield from {"last.conv": "conv_head", "last.bn": "bn2", "fc": "classifier"}.items()
    else:
        last = f"blocks.{len(STAGES[name])}.0"
        yield from {"last.conv": f"{last}.conv", "last.bn": f"{last}.bn1"}.items()
        yield from {"classifier.fc1": "conv_head", "classifier.fc2": "classifier"}.items()


_NAMES = {
    **{f"vgg{n}{norm}": _vgg for n in (11, 13, 16, 19) for norm in ("", ":bn")},
    **dict.fromkeys(STAGES, _mobilenet),
}
NETWORKS = tuple(_NAMES)
ARCHITECTURES = {  # timm's names of the networks that we have
    **{f"resnet{n}": f"resnet{n}" for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": f"densenet{n}" for n in (121, 161, 169, 201)},
    **{f"vgg{n}{norm.replace(':', '_')}": f"vgg{n}{norm}" for n in (11, 13, 16, 19) for norm in ("", ":bn")},
    "mobilenetv2_100": "mobilenet-v2",
    "mobilenetv3_large_100": "mobilenet-v3-large",
    "mobilenetv3_small_100": "mobilenet-v3-small",
}


def names(name: str) -> dict[str, str]:
    """timm's name of each of our arrays, for the networks in NETWORKS."""
    row = entry(name)
    tree = row.tree()
    return names_by_layer(shapes(tree, row.input), dict(_NAMES[name](name, tree)))


def flat(found: Mapping[str, Array], wanted: Mapping[str, Shape]) -> dict[str, Array]:
    """Weights of last layers that timm writes as convolutions, as those of linear layers. wanted: by timm's names."""
    reshaped = {}
    for key, array in found.items():
        linear = array.ndim == 4 and len(wanted.get(key, ())) == 2
        reshaped[key] = array.reshape(len(array), -1) if linear else array
    return reshaped


def with_our_eps(name: str, weights: Weights) -> Weights:
    """The same weights with the scales of batch norms adapted where our eps differs from timm's.

    weight ← weight · √((var + eps) / (var + timm's eps)): the answers stay the same.
    """
    adapted = dict(weights)
    for path, node in walk(entry(name).tree()):
        if isinstance(node, BatchNorm2d) and node.eps != EPS:
            var = weights[join(path, "running_var")].astype(np.float64)
            scale = np.sqrt((var + node.eps) / (var + EPS))
            adapted[join(path, "weight")] = (weights[join(path, "weight")] * scale).astype(np.float32)
    return adapted


# ── config.json, as timm writes it beside model.safetensors ──────────────────────────────────────────


@dataclass(frozen=True)
class Config:
    """What a `config.json` of timm's says.

    network        of the zoo; None if it has none of that architecture
    architecture   timm's name of it
    classes        their names; ImageNet's for weights that are tagged so; numbers if there are no names
    """

    network: str | None
    architecture: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def config(path: Path) -> Config | None:
    """Read a `config.json`; None if there is none, or if it is not one of timm's.

    NeoclassicError, one line, if it is damaged.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise NeoclassicError(f"{path}: damaged ({error})") from None
    if not isinstance(said, dict) or not isinstance(said.get("architecture"), str):
        return None
    pixels = said.get("pretrained_cfg", said)
    try:
        return Config(
            ARCHITECTURES.get(said["architecture"]),
            said["architecture"],
            _preprocessing(pixels),
            _classes(said, pixels),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, NeoclassicError) as error:
        raise NeoclassicError(f"{path}: damaged ({type(error).__name__}: {str(error)[:100]})") from None


def _preprocessing(said: Mapping[str, Any]) -> Preprocessing:
    """timm's evaluation: resize to ⌊size / crop_pct⌋, crop the centre, normalise."""
    channels, height, width = said["input_size"]
    keep = height / math.floor(height / said.get("crop_pct", 0.875))
    resize = said.get("interpolation", "bilinear")
    return Preprocessing(
        (height, width),
        channels,
        FITS.get(said.get("crop_mode", "center"), "crop"),
        resize if resize in FILTERS else "bilinear",
        tuple(map(float, said["mean"])),
        tuple(map(float, said["std"])),
        keep=min(keep, 1.0),
    )


def _classes(said: Mapping[str, Any], pixels: Mapping[str, Any]) -> tuple[str, ...]:
    n = int(said.get("num_classes", pixels.get("num_classes", 0)))
    labels = said.get("label_names") or pixels.get("label_names")
    if isinstance(labels, list) and len(labels) == n:
        return told_apart([str(label) for label in labels])
    if n == len(published.classes()) and str(pixels.get("tag", "")).endswith("in1k"):
        return published.classes()
    return tuple(map(str, range(min(n, 1 << 20))))
