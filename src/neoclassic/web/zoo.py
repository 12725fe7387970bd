"""The interface behind the view Zoo: the networks, one network layer by layer, and how two differ.

GET /lab/zoo      every network: year, cost, accuracy, and how it differs from its paper
GET /lab/network  ?name=&classes=&input=3x224x224  the drawing, and every layer with its figures and formulas
GET /lab/diff     ?first=&second=                  how two networks differ, layer by layer, and why
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route

from neoclassic import networks
from neoclassic.base.errors import UsageError
from neoclassic.measure import Measure, Row, measure
from neoclassic.model.published import PUBLISHED
from neoclassic.networks import Entry
from neoclassic.views import arithmetic, diff, drawing
from neoclassic.views.labels import label, style
from neoclassic.web.intake import Intake
from neoclassic.web.parameters import whole_number, whole_numbers
from neoclassic.web.responses import JsonResponse
from neoclassic.web.view import Asked, View

LARGEST = (4, 1024, 1024)  # an input that may be asked for
CLASSES = 100_000


@dataclass(frozen=True)
class Zoo(View):
    """The interface to the networks. own: networks that the command line named, beside those of the zoo."""

    intake: Intake
    own: dict[str, Entry] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        works = {"zoo": self._all, "network": self._network, "diff": self._diff}
        return [self.route("GET", name, partial(_answered, work)) for name, work in works.items()]

    def _entry(self, name: str) -> Entry:
        return self.own.get(name) or networks.entry(name)

    def _all(self, _query: QueryParams) -> list[dict[str, Any]]:
        return [_summary(self._entry(name)) for name in (*self.own, *networks.list_networks())]

    def _network(self, query: QueryParams) -> dict[str, Any]:
        entry = self._entry(query.get("name", ""))
        classes = whole_number("classes", query["classes"], 1, CLASSES) if "classes" in query else None
        shape = _shape(query["input"]) if "input" in query else entry.input
        m = measure(entry.tree(classes), shape)
        return {
            **_head(entry),
            **_totals(m),
            "svg": drawing.tree(entry.name, m),
            "layers": list(map(_layer(m), m.rows)),
        }

    def _diff(self, query: QueryParams) -> dict[str, Any]:
        first, second = (self._entry(query.get(name, "")) for name in ("first", "second"))
        found = diff.Diff.of(first, second)
        return {"names": list(found.names), "rows": found.rows, "notes": found.notes}


def _answered(work: Callable[[QueryParams], Any], asked: Asked) -> Response:
    return JsonResponse(work(asked.query))


@cache
def _summary(entry: Entry) -> dict[str, Any]:
    return {**_head(entry), **_totals(measure(entry.tree(), entry.input))}


def _head(entry: Entry) -> dict[str, Any]:
    """What the paper says, and the accuracy on ImageNet's validation images as torchvision states it."""
    accuracy = max((row.top1 for row in PUBLISHED if row.network == entry.name), default=None)
    return {
        "name": entry.name,
        "family": entry.family,
        "year": entry.year,
        "about": entry.about,
        "differences": networks.differences(entry.name),
        "published": {"input": list(entry.input), "classes": entry.classes},
        "accuracy": accuracy and accuracy / 100,
    }


def _totals(m: Measure) -> dict[str, Any]:
    memory = m.memory(1)
    return {
        "input": list(m.input),
        "classes": m.output[0],
        "parameters": m.parameters,
        "macs": m.macs,
        "memory": {"weights": memory.weights, "training": memory.training, "inference": memory.inference},
        "depth": len(m.layers),
    }


def _layer(m: Measure) -> Callable[[Row], dict[str, Any]]:
    def layer(row: Row) -> dict[str, Any]:
        shown = (label(row), style(row)) if row.is_layer else (row.type, "merge")
        return {
            "path": row.path,
            "type": row.type,
            "text": shown[0],
            "style": shown[1],
            "leaf": row.is_layer,
            "code": repr(row.node) if row.is_layer else row.type,
            "input": list(row.input),
            "output": list(row.output),
            "parameters": row.parameters,
            "macs": row.macs,
            "bytes": row.bytes,
            "sees": [{"size": f.size, "step": f.stride} for f in row.fields],
            "auxiliary": row.auxiliary,
            "formulas": arithmetic.figures(m, row.path),
        }

    return layer


def _shape(text: str) -> tuple[int, ...]:
    """Channels, height and width in a text such as 3x224x224. UsageError for anything else, and if it is too large."""
    parts = whole_numbers("input", text, "x", 3)
    if any(n < 1 or n > most for n, most in zip(parts, LARGEST, strict=True)):
        largest = "x".join(map(str, LARGEST))
        raise UsageError(f"input must be channels x height x width up to {largest}, not {text[:20]!r}")
    return parts
