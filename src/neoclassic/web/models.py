"""The models that a page may look into: each is opened when it is first asked for."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from neoclassic.base.errors import NeoclassicError, unknown
from neoclassic.data import sources
from neoclassic.data.preprocessing import to_input, to_pixels
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight.sheets import shown
from neoclassic.measure import Measure, Row, measure
from neoclassic.model import pretrained, published
from neoclassic.model.artefact import Model
from neoclassic.model.opening import load_model, open_model
from neoclassic.networks import in_zoo
from neoclassic.views.labels import label, style

KEPT = 256 << 20  # bytes of feature maps that are kept, so that a click need not compute them again
ENGINE = "numpy"
SAMPLES = ("fashion-mnist", "mnist", "cifar-10")  # data sets whose test images may be shown


@dataclass(frozen=True)
class Opened:
    """A model with its engine and its measure."""

    name: str
    model: Model
    engine: Engine
    measure: Measure

    @property
    def has_maps(self) -> bool:
        """Whether its layers can be looked into; those of an .onnx file cannot."""
        return bool(self.model.weights)


@dataclass
class Models:
    """The names that may be asked for, the models that are open, and the feature maps of the last images.

    given  models that are open from the start, by the name that the page shows
    named  further names, for `load_model`
    """

    given: dict[str, Opened] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    _maps: OrderedDict[tuple[str, str], dict[str, Array]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def names(self) -> list[str]:
        """All names; the first is the one to begin with."""
        return [*self.given, *(name for name in self.named if name not in self.given)]

    def open(self, name: str) -> Opened:
        """The model of a name. UsageError for a name that is not offered; NeoclassicError as from `load_model`."""
        if name not in self.names:
            raise unknown("model", name, self.names)
        with self._lock:
            if name not in self.given:
                model = load_model(name)
                self.given[name] = opened(name, model, model.engine(ENGINE))
            return self.given[name]

    def maps(self, one: Opened, pixels: Array) -> dict[str, Array]:
        """The output of every path for an image, uint8 H×W×C, without the batch axis."""
        key = (one.name, hashlib.sha256(pixels.tobytes()).hexdigest())
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key]
        paths = [row.path for row in one.measure.rows if not row.auxiliary]
        found = one.engine.features(to_input(pixels[None], one.model.preprocessing), paths)
        values = {path: array[0] for path, array in found.items()}
        with self._lock:
            self._maps[key] = values
            while len(self._maps) > 1 and sum(map(_bytes, self._maps.values())) > KEPT:
                self._maps.popitem(last=False)
        return values


def _bytes(values: dict[str, Array]) -> int:
    return sum(array.nbytes for array in values.values())


def opened(name: str, model: Model, engine: Engine) -> Opened:
    """A model that is open."""
    return Opened(name, model, engine, measure(model.tree, model.input))


def present() -> tuple[str, ...]:
    """The names of the models on this machine, those of handwritten digits first: a page can draw them."""
    names = [name for name, row in pretrained.known().items() if row.file or _downloaded(row)]
    return tuple(sorted(names, key=lambda name: not name.endswith("@mnist")))


def _downloaded(row: pretrained.Known) -> bool:
    return row.published is not None and published.present(row.published)


def sample(model: Model, index: int) -> tuple[Array, str, int]:
    """A test image of the data set that a model was trained on, its class, and how many there are.

    NeoclassicError if the data set is none of `SAMPLES`, or is not on this machine.
    """
    name = str(model.data.get("name"))
    if not has_samples(model):
        raise NeoclassicError(f"there are no test images of {name} on this machine")
    test = _test_images(name)
    at = index % len(test)
    image = test.images[at]
    pixels = to_pixels(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), model.preprocessing)
    return pixels, str(test.classes[int(test.labels[at])]), len(test)


def has_samples(model: Model) -> bool:
    """Whether there are test images to show."""
    name = model.data.get("name")
    return name in SAMPLES and sources.present(name)


@lru_cache(maxsize=len(SAMPLES))
def _test_images(name: str) -> Any:
    return sources.load(name).test


def about(one: Opened, samples: bool = False) -> dict[str, Any]:
    """What a page needs to know of a model, as plain JSON values. samples: whether it may ask for test images."""
    model, m = one.model, one.measure
    layers = []
    for path in shown(m) if one.has_maps else ():
        row = m[path]
        text, kind = (label(row), style(row)) if row.is_layer else (row.type, "merge")
        layers.append({"path": path, "text": text, "style": kind, "code": _code(row), "output": list(row.output)})
    return {
        "name": one.name,
        "network": model.network,
        "in_zoo": in_zoo(model.network),
        "classes": list(model.classes),
        "input": list(model.input),
        "data": model.data.get("name"),
        "accuracy": _accuracy(model.metrics),
        "parameters": m.parameters,
        "macs": m.macs,
        "engine": one.engine.name,
        "layers": layers,
        "samples": samples and has_samples(model),
    }


def _code(row: Row) -> str:
    return repr(row.node) if row.is_layer else row.type


def _accuracy(metrics: dict[str, Any]) -> float | None:
    for kind in ("test", "published", "validation"):
        of = metrics.get(kind)
        if isinstance(of, dict) and isinstance(of.get("accuracy"), float):
            return float(of["accuracy"])
    return None


def from_argument(name: str) -> Opened:
    """The model that a command line names. Errors as from `open_model`."""
    model, engine = open_model(name, "auto" if Path(name).suffix.lower() == ".onnx" else ENGINE)
    return opened(Path(name).name or name, model, engine)
