"""From image files to labels, with the preprocessing that is stored in the artefact."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.data.listing import is_of_system, photos_in
from neoclassic.data.preprocessing import bright_border, read_pixels
from neoclassic.engines import Engine
from neoclassic.model.artefact import Model
from neoclassic.model.calibration import refusal
from neoclassic.model.evaluate import logits_of, softmax

BATCH = 64  # images that the engine computes at once: on a slow engine the first answers come soon
AHEAD = 2 * BATCH  # images that threads decode before the engine asks for them
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
        """From one row of probabilities; an error if they are not finite. top: how many classes; 0 for all."""
        if not np.isfinite(row).all():
            return cls(path, error=f"{path}: the network returned probabilities that are not numbers")
        order = np.argsort(-row, kind="stable")
        named = tuple((classes[i], float(row[i])) for i in order[: top or None])
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

    "-" is standard input. What systems keep next to photos is left out, as a shell's `photos/*` names it too.
    UsageError for a name that does not exist, and if no image is left.
    """
    found: list[Path] = []
    given = list(map(Path, paths))
    wanted = [path for path in given if not is_of_system(path.name)]
    if given and not wanted:
        raise UsageError(f"no images in {given[0]}: it is an operating system file")
    for path in wanted:
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
            raise UsageError(f"no file or folder {str(path)!r}")
    return found


def _matching(pattern: Path) -> list[Path]:
    root = Path(pattern.anchor)
    try:
        matches = root.glob(str(pattern.relative_to(root)))
        return sorted(p for p in matches if p.is_file() and not any(map(is_of_system, {*p.parts} - {*pattern.parts})))
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
            fitted = (
                refusal(model.calibration) or "on its validation images, no probability reaches 95 % correct answers"
            )
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
    """Yield one prediction for each path, in order, as soon as its batch is computed.

    An image that cannot be read gives one with an error. top: how many classes; 0 for all. The memory that this takes
    does not grow with the number of paths.
    """
    model = replace(model, preprocessing=model.preprocessing.inverted(invert))
    decoded = _decoded(paths, model)
    while batch := list(islice(decoded, BATCH)):
        readable = [pixels for _, pixels in batch if not isinstance(pixels, str)]
        rows = iter(probabilities(model, engine, np.stack(readable)) if readable else ())
        for path, pixels in batch:
            if isinstance(pixels, str):
                yield Prediction(path, error=pixels)
            else:
                bright = bright_border(pixels)
                yield Prediction.of(path, next(rows), model.classes, top, threshold, bright)


def _decoded(paths: Iterable[Path], model: Model) -> Iterator[tuple[str, np.ndarray | str]]:
    """Each path with its pixels, or with the message that says why it cannot be read, in order.

    Threads decode up to AHEAD images while the engine computes.
    """
    waiting: deque[tuple[Path, Future[np.ndarray | str] | None]] = deque()
    pool = ThreadPoolExecutor(cores(), "decode")
    try:
        for path in chain(paths, [None] * AHEAD):
            if path is not None:  # Ctrl-C could not end a thread that waits for standard input
                waiting.append((path, None if path == STDIN else pool.submit(_read, path, model)))
            if waiting and (path is None or len(waiting) > AHEAD):
                first, pixels = waiting.popleft()
                yield str(first), pixels.result() if pixels else _read(first, model)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


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
