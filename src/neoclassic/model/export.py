"""Export a model to ONNX, and verify that the exported file gives the same answers.

The `metadata_props` of the file contain the artefact's header, one JSON value for each field. A predictor in another
language needs only `classes` and `preprocessing`. `checksum` is the artefact's; `file_sha256` is the file's own, see
`model.seal`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from neoclassic.base import called, files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data.folders import Folder
from neoclassic.data.preprocessing import read_pixels
from neoclassic.engines.contract import Array
from neoclassic.engines.onnx import need, write
from neoclassic.model import seal
from neoclassic.model.artefact import Model
from neoclassic.model.opening import ONNX_FORMAT
from neoclassic.model.predict import probabilities
from neoclassic.model.provenance import data_of

if TYPE_CHECKING:
    from neoclassic.model.int8 import Quantization

SCRIPT = "standalone_predict.py"
AT_ONCE = 256  # paths on one command line


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    path          the file, or the folder
    files         names of the files, and their sizes in bytes
    verification  of the answers, if it was wanted
    quantization  accuracy, size and speed of a file with 8 bits, beside those in float32
    """

    path: Path
    files: dict[str, int]
    verification: Verification | None = None
    quantization: Quantization | None = None


# ── to ONNX ──────────────────────────────────────────────────────────────────────────────────────────


def export(model: Model, path: str | Path) -> None:
    """Write the ONNX file of a model, atomically.

    UsageError if the package onnx is not installed; NeoclassicError if the file cannot be written.
    """
    files.write(Path(path), content_of(model))


def content_of(model: Model) -> bytes:
    """The content of the ONNX file of a model. UsageError if the package onnx is not installed."""
    return seal.sealed(write(model.tree, model.input, model.weights, model.temperature, metadata(model)))


def metadata(model: Model, **others: Any) -> dict[str, str]:
    """The metadata of the ONNX file of a model, not sealed yet. others: further fields, or other values of fields."""
    facts = {"format": ONNX_FORMAT, "checksum": model.checksum, **model.header(), **others, seal.KEY: seal.BLANK}
    return {name: json.dumps(value) for name, value in facts.items()}


# ── verification ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Verification:
    """The same image files predicted in several ways, each from the file to N×classes probabilities.

    agreement   the fraction of the images with the same label in every way
    difference  the largest difference between two probabilities
    strangers   paths of the images whose labels differ
    """

    ways: tuple[str, ...]
    n: int
    agreement: float
    difference: float
    strangers: tuple[str, ...]

    @classmethod
    def of(cls, predicted: Mapping[str, Array], paths: Sequence[str]) -> Verification:
        """Compare each way with the first."""
        first, *others = predicted.values()
        labels = np.stack([p.argmax(1) for p in predicted.values()])
        same = (labels == labels[0]).all(0)
        difference = max((float(np.abs(p - first).max(initial=0)) for p in others), default=0.0)
        strangers = tuple(path for path, agrees in zip(paths, same, strict=True) if not agrees)
        return cls(tuple(predicted), len(paths), float(same.mean()), difference, strangers)

    def require_agreement(self) -> None:
        """NeoclassicError if any label differs."""
        if self.strangers:
            raise NeoclassicError(f"{len(self.strangers)} of {self.n} labels differ, first {self.strangers[0]}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ways": list(self.ways),
            "n": self.n,
            "agreement": self.agreement,
            "difference": self.difference,
            "strangers": list(self.strangers),
        }


def verify(
    model: Model, file: str | Path, n: int, data: str | None = None, data_dir: str | None = None
) -> Verification:
    """Predict n real validation images (test images if those are too few) from their files, in three ways.

    They are the training loader with the torch engine (numpy if PyTorch is not installed), `predict` with the numpy
    engine, and the exported file in the stand-alone predictor, which runs in a separate process. The images of a data
    set without files are written as PNG files first. NeoclassicError for images that cannot be read.
    """
    need("onnxruntime", "--verify")
    source = data_of(model, data, data_dir, **division_of(model, data))
    p = model.preprocessing
    parts = {role: part for role in ("validation", "test") if (part := source.split(role, p)) is not None}
    if not any(map(len, parts.values())):
        raise NeoclassicError(f"{data or 'the data'} has no validation or test images to verify with")
    role, part = max(parts.items(), key=lambda item: min(len(item[1]), n))  # the first that has n images
    chosen = np.unique(np.linspace(0, len(part) - 1, n).round().astype(int))
    with files.scratch(Path(file)) as folder:
        if isinstance(source, Folder):
            paths = [part.paths[i] for i in chosen]
        else:
            images = getattr(source, role).images[chosen]
            paths = [_png(folder / f"{i}.png", image) for i, image in zip(chosen, images, strict=True)]
        trainer = "torch" if importlib.util.find_spec("torch") else "numpy"
        read = np.stack([read_pixels(path, p) for path in paths])
        predicted = {
            f"trainer's loader with {trainer}": probabilities(model, model.engine(trainer, "cpu"), part.images[chosen]),
            "predict with numpy": probabilities(model, model.engine("numpy"), read),
            "stand-alone with onnxruntime": standalone(file, paths),
        }
        return Verification.of(predicted, paths)


def division_of(model: Model, data: str | None) -> dict[str, Any]:
    """How the data of a model are divided: arguments of `data_of`. data: other data, which may have a test set."""
    names = ("test", "split_seed") if data is None else ()
    division = {name: model.recipe.get(name) for name in names}
    return {"validation": model.recipe.get("validation", 0.0), "seed": model.recipe.get("seed", 0), **division}


def _png(path: Path, pixels: Array) -> str:
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return str(path)


def standalone(file: str | Path, paths: Sequence[str]) -> Array:
    """N×classes probabilities from docs/standalone_predict.py, in a process that does not import neoclassic."""
    rows = []
    for start in range(0, len(paths), AT_ONCE):
        command = [sys.executable, "-I", str(script()), "--json", str(file), *paths[start : start + AT_ONCE]]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1][:200]
            raise NeoclassicError(f"the stand-alone predictor failed on {file}: {reason}")
        rows += [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]
    return np.array(rows, np.float64).reshape(len(paths), -1)


def script() -> Path:
    """The stand-alone predictor, which needs no neoclassic."""
    package = Path(__file__).parents[1]
    places = package / SCRIPT, package.parents[1] / "docs" / SCRIPT  # as installed, and in a checkout
    return next(path for path in places if path.exists())


called.make_callable(__name__)  # nc.export
