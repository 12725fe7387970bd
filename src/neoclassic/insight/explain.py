"""Where a network looked: class-activation maps, occlusion, feature maps, filters, receptive fields. Either engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base import files
from neoclassic.base.errors import UsageError, unknown
from neoclassic.data.preprocessing import Preprocessing, open_image, to_input, to_pixels
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight import maps
from neoclassic.measure import Measure, by, measure
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import logits_of, softmax
from neoclassic.tree import AdaptiveAvgPool2d, Auxiliary, AvgPool2d, Conv2d, Dropout, MaxPool2d, Node, Sequential, join
from neoclassic.views.picture import draw_all

# ── which layer ──────────────────────────────────────────────────────────────────────────────────────


def last_map(m: Measure) -> str:
    """The path whose map a class-activation map is made of: the last that still has places, before pooling and head.

    On the main path of the network: a block counts as a whole. UsageError where nothing has places.
    """
    found = ""

    def visit(node: Node, path: str) -> None:
        nonlocal found
        if isinstance(node, Sequential):
            for name, child in node.children:
                visit(child, join(path, name))
        elif not isinstance(node, MaxPool2d | AvgPool2d | AdaptiveAvgPool2d | Auxiliary | Dropout):
            output = m[path].output
            if len(output) == 3 and min(output[1:]) > 1:
                found = path

    visit(m.rows[0].node, "")
    if not found:
        raise UsageError("no layer of this network has a map: there is nothing to draw on the image")
    return found


def first_filters(m: Measure) -> str:
    """The path of the first convolution. UsageError without any."""
    for row in m.layers:
        if isinstance(row.node, Conv2d):
            return row.path
    raise UsageError("this network has no convolution")


# ── class-activation maps ────────────────────────────────────────────────────────────────────────────


def one_hot(index: int, classes: int, n: int = 1) -> Array:
    """N×classes: each row asks for one class."""
    wanted = np.zeros((n, classes), np.float32)
    wanted[:, index] = 1
    return wanted


def grad_cam(features_KHW: Array, gradient_KHW: Array) -> Array:
    """H×W: ReLU(Σₖ αₖ Aₖ), αₖ the mean of ∂logit/∂Aₖ. Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2."""
    weights_K = gradient_KHW.mean((1, 2))
    return np.maximum(np.tensordot(weights_K, features_KHW, 1), 0)


def grad_cam_plus(features_KHW: Array, gradient_KHW: Array) -> Array:
    """H×W: Grad-CAM++, for the score e^logit, up to its scale.

    αₖᵢⱼ = g² / (2g² + Σ Aₖ · g³), the weight of map k is Σᵢⱼ αₖᵢⱼ · ReLU(g). Chattopadhay et al. 2018,
    arXiv 1710.11063, equations 10 and 19.
    """
    a, g = features_KHW.astype(np.float64), gradient_KHW.astype(np.float64)
    below = 2 * g**2 + a.sum((1, 2), keepdims=True) * g**3
    alpha = np.divide(g**2, below, out=np.zeros_like(g), where=below != 0)
    weights_K = (alpha * np.maximum(g, 0)).sum((1, 2))
    found: Array = np.maximum(np.tensordot(weights_K, a, 1), 0)
    return found


def spread(map_HW: Array, size: tuple[int, int]) -> Array:
    """A map over an image of (height, width), bilinear, scaled so that its largest value is 1."""
    height, width = size
    image = Image.fromarray(map_HW.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    found = np.asarray(image, np.float32)
    return found / found.max() if found.max() > 0 else found


def occlusion(
    engine: Engine, pixels: Array, preprocessing: Preprocessing, index: int, patch: int | None = None
) -> Array:
    """H×W: how much of the class's probability is lost when a square over that pixel is painted grey.

    pixels: uint8 H×W×C. patch: the side of the square, an eighth of the image's when omitted; it moves by half of that,
    and a pixel has the mean over the squares that cover it. Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2.
    """
    height, width, _ = pixels.shape
    patch = patch or max(2, round(min(height, width) / 8))
    step = max(1, patch // 2)
    mean = np.round(255 * np.array(preprocessing.mean)) if any(preprocessing.mean) else pixels.mean((0, 1))
    corners = [(y, x) for y in range(0, height, step) for x in range(0, width, step)]
    covered = np.repeat(pixels[None], len(corners), 0)
    for image, (y, x) in zip(covered, corners, strict=True):
        image[y : y + patch, x : x + patch] = mean.astype(np.uint8)
    before = softmax(logits_of(engine, pixels[None], preprocessing))[0, index]
    lost = before - softmax(logits_of(engine, covered, preprocessing))[:, index]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for loss, (y, x) in zip(lost, corners, strict=True):
        total[y : y + patch, x : x + patch] += loss
        count[y : y + patch, x : x + patch] += 1
    return total / count


# ── everything about one image ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Explanation:
    """What `explain` found for one image.

    pixels          as the network saw it before standardising, uint8 H×W×C
    index           the class that was asked about, with its name and probability
    said            what the network says: a class and its probability
    cam_path        whose map the class-activation maps are made of
    cam, cam_plus   Grad-CAM and Grad-CAM++, h×w, not scaled
    occlusion       H×W, probability lost
    path, features  the path that was asked about and its output, K×h×w or K
    unit, field     a place on that map and what it sees: ((top, bottom), (left, right)), the ends excluded
    """

    pixels: Array
    index: int
    label: str
    probability: float
    said: tuple[str, float]
    cam_path: str
    cam: Array
    cam_plus: Array
    occlusion: Array
    path: str
    features: Array
    unit: tuple[int, int] | None
    field: tuple[tuple[int, int], tuple[int, int]] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of arrays only what fits a line."""
        top = np.unravel_index(int(self.cam.argmax()), self.cam.shape)
        return {
            "class": self.label,
            "index": self.index,
            "probability": self.probability,
            "said": {"label": self.said[0], "probability": self.said[1]},
            "cam": {"path": self.cam_path, "shape": list(self.cam.shape), "strongest": [int(i) for i in top]},
            "occlusion": {"most_lost": float(self.occlusion.max())},
            "path": self.path,
            "features": list(self.features.shape),
            "unit": list(self.unit) if self.unit else None,
            "sees": [list(span) for span in self.field] if self.field else None,
        }


def explain(
    model: Model,
    engine: Engine,
    pixels: Array,
    path: str | None = None,
    label: str | None = None,
    unit: tuple[int, int] | None = None,
) -> Explanation:
    """Of one image, uint8 H×W×C of the model's size.

    path: whose feature maps to show, and whose unit (row, column) to follow back; the layer of the class-activation map
    and its middle when omitted. label: the class to ask about; what the network says when omitted. UsageError for a
    path, class or unit that is not there.
    """
    m = measure(model.tree, model.input)
    cam_path = last_map(m)
    wanted = path or cam_path
    paths = [row.path for row in m.rows if row.path and not row.auxiliary]
    if wanted not in paths:
        raise unknown("path", wanted, paths, see=f"'neoclassic show {model.network}' lists them")
    if label is not None and label not in model.classes:
        raise unknown("class", label, model.classes)
    images = to_input(pixels[None], model.preprocessing)
    probabilities = softmax(engine.logits(images), model.temperature)[0]
    best = int(probabilities.argmax())
    index = best if label is None else model.classes.index(label)
    features, gradient = engine.sensitivity(images, cam_path, one_hot(index, len(model.classes)))
    shown = features[0] if wanted == cam_path else engine.features(images, [wanted])[wanted][0]
    place, field = _followed(m, wanted, unit)
    return Explanation(
        pixels=pixels,
        index=index,
        label=model.classes[index],
        probability=float(probabilities[index]),
        said=(model.classes[best], float(probabilities[best])),
        cam_path=cam_path,
        cam=grad_cam(features[0], gradient[0]),
        cam_plus=grad_cam_plus(features[0], gradient[0]),
        occlusion=occlusion(engine, pixels, model.preprocessing, index),
        path=wanted,
        features=shown,
        unit=place,
        field=field,
    )


def _followed(
    m: Measure, path: str, unit: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, tuple[tuple[int, int], tuple[int, int]] | None]:
    row = m[path]
    if len(row.output) != 3:
        if unit is not None:
            raise UsageError(f"{path} has no places, only {row.output[0]} numbers: leave --unit out")
        return None, None
    sides = row.output[1:]
    y, x = unit or (sides[0] // 2, sides[1] // 2)
    if not (0 <= y < sides[0] and 0 <= x < sides[1]):
        raise UsageError(f"no unit {y},{x} in {path}: its map is {by(sides)}, counted from 0,0")
    rows, columns = (f.pixels(i, side) for f, i, side in zip(row.fields, (y, x), m.input[1:], strict=True))
    return (y, x), (rows, columns)


def explain_file(
    model: Model,
    engine: Engine,
    file: Path,
    folder: Path,
    path: str | None = None,
    label: str | None = None,
    unit: tuple[int, int] | None = None,
    invert: bool = False,
) -> dict[str, Any]:
    """Explain an image file, and write the pictures into a folder; what was found, with the files by name.

    NeoclassicError for an image that cannot be read or a folder that cannot be written.
    """
    preprocessing = replace(model.preprocessing, invert=model.preprocessing.invert != invert)
    found = explain(model, engine, to_pixels(open_image(file), preprocessing), path, label, unit)
    files.make_folder(folder)
    title = f"{file.name}: {found.said[0]} {found.said[1]:.1%}"
    heat = [spread(each, found.pixels.shape[:2]) for each in (found.cam, found.cam_plus)]
    asked = f"{found.label} {found.probability:.1%}"
    first = first_filters(measure(model.tree, model.input))
    name, shape, asked_of = file.name, by(found.features.shape), f"{title}; what {asked} loses if hidden"
    pictures: dict[str, Callable[[Path], None]] = {
        "cam": lambda to: maps.draw_cams(found.pixels, heat, found.cam_path, to, f"{title}; what speaks for {asked}"),
        "occlusion": lambda to: maps.draw_occlusion(found.pixels, found.occlusion, to, asked_of),
        "features": lambda to: maps.draw_features(found.features, to, f"{name}: {found.path}, {shape}"),
        "filters": lambda to: maps.draw_filters(
            model.weights[f"{first}.weight"], to, f"{model.network}: the filters of {first}"
        ),
    }
    if (field := found.field) and found.unit:
        pictures["receptive-field"] = lambda to: maps.draw_field(
            found.pixels, field, to, f"{found.path}, unit {found.unit}"
        )
    return {"image": str(file), **found.to_dict(), "files": draw_all(pictures, folder)}
