"""From image files to labels, with the preprocessing that the artefact carries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.artefact import Model
from neoclassic.data.preprocessing import bright_border, open_image, to_pixels
from neoclassic.engines import Engine
from neoclassic.errors import NeoclassicError, UsageError
from neoclassic.train.evaluate import BATCH, logits_of, softmax


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image: classes with their probabilities, the likeliest first; or why it cannot."""

    path: str
    top: tuple[tuple[str, float], ...]
    index: int | None
    error: str | None = None
    bright: bool = False  # a figure on white, where most networks here learnt bright ones on black

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        label, probability = self.top[0] if self.top else (None, None)
        return {
            "path": self.path,
            "label": label,
            "index": self.index,
            "probability": probability,
            "top": [{"label": name, "probability": p} for name, p in self.top],
            "error": self.error,
        }


def images_in(paths: Iterable[str]) -> list[Path]:
    """The files named, and the image files inside the folders named, sorted. UsageError for one that is not there."""
    found: list[Path] = []
    endings = set(Image.registered_extensions())
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in endings and p.is_file())
            if not inside:
                raise UsageError(f"no images in {path}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"no file or folder {str(path)!r}")
    return found


def probabilities(model: Model, engine: Engine, pixels: np.ndarray) -> np.ndarray:
    """N×classes, calibrated, of uint8 images N×H×W×C that `to_pixels` made."""
    return softmax(logits_of(engine, pixels, model.preprocessing), model.temperature)


def predict(
    model: Model, engine: Engine, paths: Iterable[Path], top: int = 5, invert: bool = False
) -> Iterator[Prediction]:
    """One prediction for each path, in order. An image that cannot be read makes one with an error."""
    preprocessing = replace(model.preprocessing, invert=model.preprocessing.invert != invert)
    waiting: list[tuple[str, np.ndarray | str]] = []
    for path in paths:
        try:
            waiting.append((str(path), to_pixels(open_image(path), preprocessing)))
        except NeoclassicError as error:
            waiting.append((str(path), str(error)))
        if len(waiting) == BATCH:
            yield from _batch(model, engine, waiting, top)
            waiting = []
    yield from _batch(model, engine, waiting, top)


def _batch(model: Model, engine: Engine, waiting: list[tuple[str, np.ndarray | str]], top: int) -> Iterator[Prediction]:
    readable = [pixels for _, pixels in waiting if not isinstance(pixels, str)]
    rows = iter(probabilities(model, engine, np.stack(readable)) if readable else ())
    for path, pixels in waiting:
        if isinstance(pixels, str):
            yield Prediction(path, (), None, error=pixels)
            continue
        row = next(rows)
        order = np.argsort(-row, kind="stable")[:top]
        named = tuple((model.classes[i], float(row[i])) for i in order)
        yield Prediction(path, named, int(order[0]), bright=bright_border(pixels))
