"""The interface behind the view Look: an image through all layers, one unit's arithmetic, a class's evidence.

POST /lab/look    an image; answers its pixels, the probabilities, and the feature maps of every layer as one sheet each
POST /lab/map     one feature map as float32, and its kernels
POST /lab/unit    how one value comes about
POST /lab/cam     the class-activation map of a class
GET  /lab/model   a model: its classes and its layers
GET  /lab/sample  a test image of the data set that the model was trained on

All but the last two take pixels as their body, H×W×C bytes of the model's input as `look` answered them, with the type
application/octet-stream; `look` takes an image file, too. Binary answers are what `packed` makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.responses import Response
from starlette.routing import Route

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.text import json_text
from neoclassic.data.preprocessing import to_input
from neoclassic.engines.contract import Array
from neoclassic.insight.attribution import grad_cam, one_hot, target_layer, upsample
from neoclassic.insight.sheets import sheets
from neoclassic.insight.unit import arithmetic
from neoclassic.model.evaluate import softmax
from neoclassic.model.predict import probabilities
from neoclassic.tree import Conv2d, join
from neoclassic.web.intake import Intake, pixels_of
from neoclassic.web.models import Models, Opened, about, sample
from neoclassic.web.parameters import whole_number, whole_numbers
from neoclassic.web.responses import JsonResponse
from neoclassic.web.view import Asked, View, Work

PIXELS = "application/octet-stream"
TOP = 5  # classes in an answer
KERNELS = 64  # kernels of a map that are sent


def packed(header: dict[str, Any], *arrays: Array) -> Response:
    """A binary answer: the length of the header (4 bytes, little-endian), the header as JSON, padded with spaces to a
    multiple of 4 bytes, then the arrays."""
    text = json_text(header).encode()
    text += b" " * (-len(text) % 4)
    parts = [len(text).to_bytes(4, "little"), text, *(np.ascontiguousarray(array).tobytes() for array in arrays)]
    return Response(b"".join(parts), media_type=PIXELS)


@dataclass(frozen=True)
class Question(Asked):
    """A request, and the model that it is about."""

    one: Opened

    @property
    def pixels(self) -> Array:
        """The body as uint8 H×W×C of the model's input. UsageError if it has another length."""
        channels, height, width = self.one.model.input
        wanted = f"{height}×{width}×{channels}"
        if len(self.body) != height * width * channels:
            raise UsageError(f"the body has {len(self.body):,} bytes, not the {wanted} of the model's input")
        return np.frombuffer(self.body, np.uint8).reshape(height, width, channels)

    def whole(self, name: str) -> int:
        """A parameter that is a whole number; 0 when omitted."""
        return whole_number(name, self.query.get(name, "0"))


@dataclass(frozen=True)
class Look(View):
    """The interface to some models. samples: whether test images of data sets may be asked for."""

    intake: Intake
    models: Models
    samples: bool = False

    def routes(self) -> list[Route]:
        works = [("GET", "model", self._model), ("POST", "look", self._look), ("POST", "map", self._map)]
        works += [("POST", "unit", self._unit), ("POST", "cam", self._cam)]
        works += [("GET", "sample", self._sample)] if self.samples else []
        return [self.route(method, name, self._about_a_model(work)) for method, name, work in works]

    def _about_a_model(self, work: Callable[[Question], Response]) -> Work:
        def asking(asked: Asked) -> Response:
            return work(Question(**vars(asked), one=self.models.open(asked.query.get("model", ""))))

        return asking

    def _model(self, q: Question) -> Response:
        return JsonResponse(about(q.one, self.samples))

    def _sample(self, q: Question) -> Response:
        pixels, label, n = sample(q.one.model, q.whole("index"))
        return packed({"label": label, "n": n, "height": pixels.shape[0], "width": pixels.shape[1]}, pixels)

    def _look(self, q: Question) -> Response:
        given = pixels_of("image", q.body, q.one.model.preprocessing) if q.kind != PIXELS else None
        return _looked(self.models, q.one, q.pixels if given is None else given)

    def _map(self, q: Question) -> Response:
        _need_maps(q.one)
        return _one_map(q.one, self.models.maps(q.one, q.pixels), q.query.get("path", ""), q.whole("channel"))

    def _unit(self, q: Question) -> Response:
        _need_maps(q.one)
        place = whole_numbers("unit", q.query.get("unit", ""))
        image = to_input(q.pixels[None], q.one.model.preprocessing)[0]
        values = self.models.maps(q.one, q.pixels)
        made = arithmetic(q.one.measure, q.one.model.weights, image, values, q.query.get("path", ""), place)
        return JsonResponse(made.to_dict())

    def _cam(self, q: Question) -> Response:
        _need_maps(q.one)
        return _evidence(q.one, q.pixels, q.whole("class"))


def _need_maps(one: Opened) -> None:
    if not one.has_maps:
        raise UsageError(f"{one.name} only predicts: to look into its layers, open its .safetensors file")


def _looked(models: Models, one: Opened, pixels: Array) -> Response:
    if one.has_maps:
        values = models.maps(one, pixels)
        row = softmax(values[""][None], one.model.temperature)[0]
        made = sheets(one.measure, values)
    else:
        row, made = probabilities(one.model, one.engine, pixels[None])[0], []
    if not np.isfinite(row).all():
        raise NeoclassicError("the network returned probabilities that are not numbers")
    order = np.argsort(-row, kind="stable")[:TOP]
    header = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "channels": pixels.shape[2],
        "top": [{"index": int(i), "label": one.model.classes[i], "probability": float(row[i])} for i in order],
        "sheets": [sheet.to_dict() for sheet in made],
    }
    return packed(header, pixels, *(sheet.maps for sheet in made))


def _one_map(one: Opened, values: dict[str, Array], path: str, channel: int) -> Response:
    """A map as float32, then its kernels if the layer is a convolution: the first `KERNELS`, k×k each."""
    if path not in values:
        raise UsageError(f"no layer {path[:100]!r}")
    output = values[path]
    if output.ndim == 1:
        output, channel = output[None, None], 0
    if channel >= len(output):
        raise UsageError(f"{path} has {len(output)} maps, counted from 0; there is no map {channel}")
    plane = output[channel].astype("<f4")
    kernels = np.zeros((0, 1, 1), "<f4")
    if isinstance(one.measure[path].node, Conv2d):
        kernels = one.model.weights[join(path, "weight")][channel].astype("<f4")
    whole, kernels = len(kernels), kernels[:KERNELS]
    strongest = float(np.abs(kernels).max(initial=0))
    header = {
        "height": plane.shape[0],
        "width": plane.shape[1],
        "most": float(np.abs(output).max()),
        "kernels": {"n": len(kernels), "of": whole, "side": kernels.shape[1], "most": strongest},
    }
    return packed(header, plane, kernels)


def _evidence(one: Opened, pixels: Array, index: int) -> Response:
    """Grad-CAM of a class over the image: H×W bytes, 255 where the evidence is strongest."""
    if index >= len(one.model.classes):
        raise UsageError(f"no class {index}: the model has {len(one.model.classes)}, counted from 0")
    path = target_layer(one.measure)
    images = to_input(pixels[None], one.model.preprocessing)
    features, gradient = one.engine.sensitivity(images, path, one_hot(index, len(one.model.classes)))
    heat = upsample(grad_cam(features[0], gradient[0]), pixels.shape[:2], one.measure[path].fields)
    header = {"height": pixels.shape[0], "width": pixels.shape[1], "path": path}
    return packed(header, np.round(255 * heat).astype(np.uint8))


def unpacked(answer: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of a binary answer."""
    end = 4 + int.from_bytes(answer[:4], "little")
    return json.loads(answer[4:end]), answer[end:]
