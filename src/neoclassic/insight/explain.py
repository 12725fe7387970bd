"""Explain the answer for one image: class-activation maps, occlusion, feature maps, filters, a receptive field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base import called, display, files
from neoclassic.base.errors import UsageError, unknown
from neoclassic.data.preprocessing import open_image, to_input, to_pixels
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight import maps
from neoclassic.insight.attribution import grad_cam, grad_cam_plus_plus, occlusion, one_hot, target_layer, upsample
from neoclassic.measure import Field, Measure, by, measure
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import softmax
from neoclassic.networks import in_zoo
from neoclassic.tree import Conv2d
from neoclassic.views.picture import draw_all

Region = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right)), the ends excluded


@dataclass(frozen=True, repr=False)
class Explanation(display.Displayed):
    """The explanation of one image.

    pixels          the network's input before standardising, uint8 H×W×C
    index           the explained class, with its name and probability
    predicted       the predicted class and its probability
    cam_path        the layer of the class-activation maps
    cam_fields      the receptive fields of its units, along height and width
    cam, cam_plus   Grad-CAM and Grad-CAM++, h×w, not scaled
    occlusion       the drop in probability, H×W
    path, features  the requested layer and its output, K×h×w or K
    unit, field     a position (row, column) on that output and its receptive field
    """

    pixels: Array
    index: int
    label: str
    probability: float
    predicted: tuple[str, float]
    cam_path: str
    cam_fields: tuple[Field, ...]
    cam: Array
    cam_plus: Array
    occlusion: Array
    path: str
    features: Array
    unit: tuple[int, int] | None
    field: Region | None

    def __repr__(self) -> str:
        predicted = f"; predicted {self.predicted[0]} {self.predicted[1]:.1%}" * (self.label != self.predicted[0])
        return f"<Explanation of {self.label} {self.probability:.1%}{predicted}; Grad-CAM of {self.cam_path}>"

    @property
    def heat(self) -> list[Array]:
        """Grad-CAM and Grad-CAM++ of the image's size, H×W from 0 to 1."""
        return [upsample(cam, self.pixels.shape[:2], self.cam_fields) for cam in (self.cam, self.cam_plus)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; arrays are summarised."""
        strongest = np.unravel_index(int(self.cam.argmax()), self.cam.shape)
        return {
            "class": self.label,
            "index": self.index,
            "probability": self.probability,
            "said": {"label": self.predicted[0], "probability": self.predicted[1]},
            "cam": {"path": self.cam_path, "shape": list(self.cam.shape), "strongest": [int(i) for i in strongest]},
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
    """Explain the answer for an image, uint8 H×W×C of the model's size.

    path   the layer whose feature maps and receptive field to return; that of the class-activation maps when omitted
    label  the class to explain; the predicted class when omitted
    unit   (row, column) on the output of `path`; its middle when omitted

    UsageError for an unknown path or class, or a unit outside the output.
    """
    m = measure(model.tree, model.input)
    cam_path = target_layer(m)
    path = path or cam_path
    paths = [row.path for row in m.rows if row.path and not row.auxiliary]
    if path not in paths:
        raise unknown(
            "path", path, paths, see=f"'neoclassic show {model.network}' lists them" if in_zoo(model.network) else ""
        )
    if label is not None and label not in model.classes:
        raise unknown("class", label, model.classes)
    images = to_input(pixels[None], model.preprocessing)
    probabilities = softmax(engine.logits(images), model.temperature)[0]
    best = int(probabilities.argmax())
    index = best if label is None else model.classes.index(label)
    features, gradient = engine.sensitivity(images, cam_path, one_hot(index, len(model.classes)))
    unit, field = _receptive_field(m, path, unit)
    return Explanation(
        pixels=pixels,
        index=index,
        label=model.classes[index],
        probability=float(probabilities[index]),
        predicted=(model.classes[best], float(probabilities[best])),
        cam_path=cam_path,
        cam_fields=m[cam_path].fields,
        cam=grad_cam(features[0], gradient[0]),
        cam_plus=grad_cam_plus_plus(features[0], gradient[0]),
        occlusion=occlusion(engine, pixels, model.preprocessing, index),
        path=path,
        features=features[0] if path == cam_path else engine.features(images, [path])[path][0],
        unit=unit,
        field=field,
    )


def _receptive_field(
    m: Measure, path: str, unit: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, Region | None]:
    """The unit, or the middle one, and its receptive field; (None, None) for a flat output."""
    row = m[path]
    if len(row.output) != 3:
        if unit is not None:
            raise UsageError(f"the output of {path} is flat, {row.output[0]} numbers: leave --unit out")
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
    """Explain an image file and write the pictures into a folder. Return `Explanation.to_dict` and the files by name.

    NeoclassicError for an image that cannot be read or a folder that cannot be written.
    """
    pixels = to_pixels(open_image(file), model.preprocessing.inverted(invert))
    e = explain(model, engine, pixels, path, label, unit)
    return {"image": str(file), **e.to_dict(), "files": write(model, e, folder, file.name)}


def write(model: Model, e: Explanation, folder: Path, name: str) -> dict[str, str]:
    """Write the pictures of an explanation; return their paths by name. name: of the image, for the titles.

    NeoclassicError for a folder that cannot be written.
    """
    files.make_folder(folder)
    return draw_all(_pictures(model, e, name), folder)


def _pictures(model: Model, e: Explanation, name: str) -> dict[str, Callable[[Path], None]]:
    """A function for each picture, which draws it into a file."""
    predicted = "" if e.label == e.predicted[0] else f" (predicted {e.predicted[0]} {e.predicted[1]:.1%})"
    label = f"{e.label} {e.probability:.1%}{predicted}"
    m = measure(model.tree, model.input)
    filters = _first_convolution(m)
    weights, filters_title = model.weights[f"{filters}.weight"], f"{model.network}: the filters of {filters}"
    features_title = f"{name}: {e.path}, {by(e.features.shape)}"
    pictures: dict[str, Callable[[Path], None]] = {
        "cam": lambda to: maps.draw_cams(e.pixels, e.heat, e.cam_path, to, f"{name}: evidence for {label}"),
        "occlusion": lambda to: maps.draw_occlusion(e.pixels, e.occlusion, to, f"{name}: occlusion for {label}"),
        "features": lambda to: maps.draw_features(e.features, to, features_title),
        "filters": lambda to: maps.draw_filters(weights, to, filters_title),
    }
    if (field := e.field) and e.unit:
        field_title = f"{e.path}, unit {e.unit}"
        pictures["receptive-field"] = lambda to: maps.draw_field(e.pixels, field, to, field_title)
    return pictures


def _first_convolution(m: Measure) -> str:
    """The path of the first convolution. UsageError if there is none."""
    for row in m.layers:
        if isinstance(row.node, Conv2d):
            return row.path
    raise UsageError("this network has no convolution")


called.make_callable(__name__)  # nc.explain
