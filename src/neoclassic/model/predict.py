"""From image files to labels, with the preprocessing that is stored in the artefact."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.listing import photos_in
from neoclassic.data.preprocessing import bright_border, read_pixels
from neoclassic.engines import Engine
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import BATCH, logits_of, softmax

UNKNOWN = "unknown"
STDIN = Path("-")


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, or the error that prevented it.

    top     classes with their probabilities, the most probable first
    label   the most probable class; UNKNOWN if its probability is below the threshold, and then there is no index
    bright  whether the image shows a dark figure on a bright border, which most networks trained on digits or
            Fashion-MNIST have never seen
    """

    path: str
    top: tuple[tuple[str, float], ...] = ()
    label: str | None = None
    index: int | None = None
    error: str | None = None
    bright: bool = False

    @classmethod
    def of(
        cls, path: str, row: np.ndarray, classes: tuple[str, ...], top: int, threshold: float, bright: bool = False
    ) -> Prediction:
        """From one row of probabilities; an error if they are not finite."""
        if not np.isfinite(row).all():
            return cls(path, error=f"{path}: the network returned probabilities that are not numbers")
        order = np.argsort(-row, kind="stable")
        named = tuple((classes[i], float(row[i])) for i in order[:top])
        if row[order[0]] < threshold:
            return cls(path, named, UNKNOWN, bright=bright)
        return cls(path, named, named[0][0], int(order[0]), bright=bright)

    @property
    def probability(self) -> float | None:
        """The probability of the most probable class."""
        return self.top[0][1] if self.top else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "path": self.path,
            "label": self.label,
            "index": self.index,
            "probability": self.probability,
            "top": [{"label": name, "probability": p} for name, p in self.top],
            "error": self.error,
        }


def images_in(paths: Iterable[str]) -> list[Path]:
    """The files that are named or that match a pattern, and the image files in the named folders, sorted.

    "-" is standard input. UsageError for a name that does not exist.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            inside = photos_in(path)
            if not inside:
                raise UsageError(f"no images in {path}")
            found += inside
        elif path == STDIN or path.exists():
            found.append(path)
        elif matched := _matching(path):
            found += matched
        else:
            raise UsageError(f"no file or folder {name!r}")
    return found


def _matching(pattern: Path) -> list[Path]:
    root = Path(pattern.anchor)
    try:
        return sorted(p for p in root.glob(str(pattern.relative_to(root))) if p.is_file())
    except (ValueError, OSError):  # not a pattern
        return []


def probabilities(model: Model, engine: Engine, pixels: np.ndarray) -> np.ndarray:
    """N×classes calibrated probabilities of uint8 images, N×H×W×C, as `to_pixels` returns them."""
    return softmax(logits_of(engine, pixels, model.preprocessing), model.temperature)


def threshold_of(model: Model, wish: str | None) -> float:
    """A number, or "stored" for the threshold fitted on validation images; 0 when omitted. UsageError otherwise."""
    if wish is None:
        return 0.0
    if wish == "stored":
        stored = float(model.calibration.get("threshold", 1.0))
        if stored >= 1:  # older versions stored 1 if there was none, which makes every answer unknown
            fitted = "on its validation images no probability means 95 % right answers"
            reason = fitted if model.calibration else "it was not fitted on validation images"
            raise UsageError(f"the model has no stored threshold: {reason}; give a number")
        return stored
    try:
        value = float(wish)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"a threshold is a probability from 0 to 1, or 'stored', not {wish!r}")
    return value


def predict(
    model: Model,
    engine: Engine,
    paths: Iterable[Path],
    top: int = 5,
    invert: bool = False,
    threshold: float = 0.0,
) -> Iterator[Prediction]:
    """Yield one prediction for each path, in order. An image that cannot be read gives one with an error."""
    model = replace(model, preprocessing=model.preprocessing.inverted(invert))
    todo = list(paths)
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        read = [_read(path, model) for path in batch]
        readable = [pixels for pixels in read if not isinstance(pixels, str)]
        rows = iter(probabilities(model, engine, np.stack(readable)) if readable else ())
        for path, pixels in zip(map(str, batch), read, strict=True):
            if isinstance(pixels, str):
                yield Prediction(path, error=pixels)
            else:
                bright = bright_border(pixels)
                yield Prediction.of(path, next(rows), model.classes, top, threshold, bright)


def _read(path: Path, model: Model) -> np.ndarray | str:
    """The pixels of an image, or the message that says why it cannot be read."""
    try:
        if path == STDIN:
            stream = io.BytesIO(sys.stdin.buffer.read())
            stream.name = "standard input"
            return read_pixels(stream, model.preprocessing)
        return read_pixels(path, model.preprocessing)
    except NeoclassicError as error:
        return str(error)
