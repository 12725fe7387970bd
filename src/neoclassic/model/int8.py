"""Export a model to ONNX with weights and activations of 8 bits, and compare it with the same model in float32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data.dataset import Dataset, Splits, evenly
from neoclassic.data.folders import Folder
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.engines.onnx import OnnxEngine, described, need, quantize
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation, logits_of
from neoclassic.model.export import content_of, division_of, metadata
from neoclassic.model.provenance import data_of
from neoclassic.model.seal import sealed

CALIBRATION = 512  # training images, evenly spread over the training set
BATCH = 32
MOST_LOST = 0.01  # of the accuracy
WINDOWS, SECONDS = 5, 0.1  # in which the speeds are measured, alternating


@dataclass(frozen=True)
class Side:
    """One of the two models: its accuracy on the test images, the bytes of its file, and its images a second."""

    evaluation: Evaluation
    bytes: int
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        e = self.evaluation
        rest = {"bytes": self.bytes, "images_per_second": self.images_per_second}
        return {**e.summary, "accuracy_interval": list(e.interval), **rest}


@dataclass(frozen=True)
class Quantization:
    """A model of 8 bits beside the same model in float32, both on onnxruntime.

    data        the name of the data that calibrated it and tested it
    calibrated  the number of training images that the ranges of the activations come from
    agreement   the fraction of the test images with the same label in both
    """

    data: str
    calibrated: int
    float32: Side
    int8: Side
    agreement: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        about = {"data": self.data, "calibrated": self.calibrated, "agreement": self.agreement}
        return {**about, "float32": self.float32.to_dict(), "int8": self.int8.to_dict()}


def export_int8(model: Model, path: str | Path, data: str | None = None, data_dir: str | None = None) -> Quantization:
    """Write the ONNX file of a model with weights and activations of 8 bits, if its accuracy holds.

    It is calibrated on training images and tested on the test set, both of `data`, or of the data that the model was
    trained on. The metrics in the file are those of 8 bits.

    UsageError if onnx or onnxruntime is not installed. NeoclassicError if the data are not there, or if more than one
    point of accuracy is lost: then nothing is written.
    """
    for package in ("onnx", "onnxruntime"):
        need(package, "--int8")
    p = model.preprocessing
    source = data_of(model, data, data_dir, **division_of(model, data))
    test = source.test_set(p, model.data.get("photos", {}))
    training = _calibration(source, test, p)
    content = content_of(model)
    float32 = _engine(model, content)
    batches = (to_input(np.asarray(training.images[i : i + BATCH]), p) for i in range(0, len(training), BATCH))
    graph = quantize(content, batches)
    int8 = _engine(model, graph)
    logits = [logits_of(engine, test.images, p) for engine in (float32, int8)]
    evaluations = [Evaluation.of(each, test.labels, model.classes) for each in logits]
    _require_accuracy(evaluations[0], evaluations[1], path)
    facts = {"data": test.name, "calibrated": len(training), "float32_accuracy": evaluations[0].accuracy}
    metrics = {**model.metrics, "test": evaluations[1].summary}
    quantised = sealed(described(graph, metadata(model, metrics=metrics, quantization=facts)))
    files.write(Path(path), quantised)
    speeds = _speeds((float32, int8), to_input(np.asarray(test.images[:BATCH]), p))
    sides = [Side(*each) for each in zip(evaluations, map(len, (content, quantised)), speeds, strict=True)]
    agreement = float((logits[0].argmax(1) == logits[1].argmax(1)).mean())
    return Quantization(test.name, len(training), sides[0], sides[1], agreement)


def _calibration(source: Splits | Folder, test: Dataset, p: Preprocessing) -> Dataset:
    """CALIBRATION images of the training set, or all if it has fewer; of a folder, only these are decoded."""
    if isinstance(source, Folder):
        tested = set(test.paths)
        photos = [photo for photo in source.splits.get("train", ()) if str(photo.path) not in tested]
        if not photos:
            raise NeoclassicError(f"{source.root} has no training images to calibrate with: name others with --data")
        chosen = evenly(len(photos), CALIBRATION)
        found = replace(source, splits={"train": tuple(photos[i] for i in chosen)}).split("all", p)
        assert found is not None
        return found
    training = source.split("train", p)
    assert training is not None
    return training.subset(training.evenly(CALIBRATION))


def _require_accuracy(float32: Evaluation, int8: Evaluation, path: str | Path) -> None:
    """NeoclassicError if more than MOST_LOST is lost."""
    if float32.accuracy - int8.accuracy > MOST_LOST:
        raise NeoclassicError(
            f"8 bits lower the accuracy on {int8.n:,} test images from {float32.accuracy:.2%} to {int8.accuracy:.2%}, "
            f"by more than one point: {path} is not written; export it without --int8"
        )


def _engine(model: Model, content: bytes) -> Engine:
    return cast(Engine, OnnxEngine(model.tree, model.input, content))


def _speeds(engines: Sequence[Engine], images: Array) -> list[float]:
    """Images a second of each engine, the median of windows that alternate."""
    found: list[list[float]] = [[] for _ in engines]
    for _ in range(WINDOWS):
        for engine, rates in zip(engines, found, strict=True):
            engine.logits(images)
            steps, start = 0, time.perf_counter()
            while (taken := time.perf_counter() - start) < SECONDS:
                engine.logits(images)
                steps += 1
            rates.append(steps * len(images) / taken)
    return [round(statistics.median(rates), 1) for rates in found]
