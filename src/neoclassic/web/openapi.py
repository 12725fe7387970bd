"""The server's interface as OpenAPI."""

from __future__ import annotations

from typing import Any

from neoclassic import __version__
from neoclassic.web.intake import Limits
from neoclassic.web.npy import MEDIA_TYPE

_NUMBER, _TEXT, _IMAGE = {"type": "number"}, {"type": "string"}, {"type": "string", "format": "binary"}
_PREDICTION = {
    "type": "object",
    "properties": {
        "path": {**_TEXT, "description": "the file name from the request"},
        "label": {**_TEXT, "description": "the most probable class, 'unknown' below the threshold, or null"},
        "index": {"type": ["integer", "null"]},
        "probability": {"type": ["number", "null"], "description": "calibrated, of the most probable class"},
        "top": {
            "type": "array",
            "items": {"type": "object", "properties": {"label": _TEXT, "probability": _NUMBER}},
        },
        "error": {"type": ["string", "null"], "description": "why the image could not be read"},
    },
}
_PIXELS = {**_IMAGE, "description": "images as numpy.save writes them: uint8 N×H×W×3 or N×H×W"}
_ROWS = {**_IMAGE, "description": "probabilities, float32 N×classes, for a request that accepts this type"}
_ANSWERS = {
    "application/json": {"schema": {"type": "array", "items": _PREDICTION}},
    MEDIA_TYPE: {"schema": _ROWS},
}
_ERROR = {"application/json": {"schema": {"type": "object", "properties": {"error": _TEXT}}}}
_FORM = {"type": "object", "properties": {"image": {"type": "array", "items": _IMAGE}}}
_BODIES = {
    "image/*": {"schema": _IMAGE},
    "multipart/form-data": {"schema": _FORM},
    MEDIA_TYPE: {"schema": _PIXELS},
}
_PARAMETERS = {"top": {"type": "integer", "default": 5}, "threshold": {"type": ["number", "string"], "default": 0}}
_GET = {"/model": "The model that is served", "/healthz": "Whether the server is up", "/metrics": "Prometheus metrics"}


def openapi(limits: Limits) -> dict[str, Any]:
    """The interface as an OpenAPI 3.1 document."""
    errors = {
        "400": "no image, no readable image, or an invalid parameter",
        "403": "the request comes from a page of another site",
        "408": f"the request took longer than {limits.seconds:g} seconds",
        "413": f"the request is larger than {limits.body:,} bytes",
        "415": "the body is compressed",
        "421": "the Host header is not one of the server's names",
        "503": "the server is busy: try again in a second",
    }
    predict = {
        "summary": f"Classify one image, up to {limits.images} in a form, or up to {limits.queue} in an array",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _PARAMETERS.items()],
        "requestBody": {"content": _BODIES},
        "responses": {
            "200": {"description": "one prediction for each image, in order", "content": _ANSWERS},
            **{status: {"description": why, "content": _ERROR} for status, why in errors.items()},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "neoclassic", "version": __version__},
        "paths": {
            "/predict": {"post": predict},
            **{path: {"get": {"summary": s, "responses": {"200": {"description": "OK"}}}} for path, s in _GET.items()},
        },
    }
