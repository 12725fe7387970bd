"""The artefact: one `.safetensors` file that gives the same answer everywhere.

The tensors are the weights by path, in PyTorch's layouts. The metadata contain one entry, `neoclassic`: a JSON header
with the kind of the file, its format, a checksum over header and tensors, and everything that a prediction needs: the
tree, the classes in order, the preprocessing. There is no pickle, and the plain `safetensors` library opens the file
too. Checkpoints use the same format.

The bytes depend on the content alone, not on dates or durations, so equal runs write equal files.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from neoclassic import engines
from neoclassic.base import display, files
from neoclassic.base.errors import NeoclassicError
from neoclassic.base.text import printable
from neoclassic.data.class_names import repeated
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Engine, Weights
from neoclassic.engines.weights import check
from neoclassic.measure import Shape, by, measure
from neoclassic.model.evaluate import between
from neoclassic.tree import Node, from_dict, to_dict

FORMAT = 1
SEARCH = "search.json"  # in the folder of a search, which becomes the run of its winner; see `train.search`
LARGEST = 1 << 30  # bytes of activations for one image; VGG takes half of it at 1024×1024 pixels
HEADER = 32 << 20  # bytes of a header; 1,600,000 photos fit
BRACKETS = 1_000_000  # lists and objects in a header, which take twenty times their bytes in memory
COMMAS = 2_000_000  # in a header: as many values take a second to parse


def _checksum(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def write(path: Path, kind: str, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write arrays and a JSON header, atomically. `kind`: "model" or "checkpoint"."""
    full = {"kind": kind, "format": FORMAT, **header}
    full["checksum"] = _checksum(arrays, full)
    tensors = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    files.write(path, safetensors.numpy.save(tensors, {"neoclassic": json.dumps(full)}))


def read(path: Path, kind: str) -> tuple[Weights, dict[str, Any]]:
    """Read the arrays and the header that `write` wrote.

    NeoclassicError, one line, for a file that is missing, truncated or altered, that neoclassic did not write, or that
    has another kind or a newer format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NeoclassicError(f"cannot read {path}: {error.strerror}") from None
    header = _header(path, data, kind)
    try:
        arrays: Weights = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise NeoclassicError(f"{path}: damaged ({error}); copy it again from its source") from None
    checksum = header.pop("checksum", None)
    if checksum != _checksum(arrays, header):
        raise NeoclassicError(f"{path}: altered or damaged (its checksum does not fit); copy it again from its source")
    return arrays, header


def is_bounded(data: bytes) -> bool:
    """Whether parsing the header of a .safetensors file takes a bounded amount of memory and time."""
    end = 8 + int.from_bytes(data[:8], "little")
    if end > 8 + HEADER or data.count(b",", 8, end) > COMMAS:
        return False
    return data.count(b"[", 8, end) + data.count(b"{", 8, end) <= BRACKETS


def _header(path: Path, data: bytes, kind: str) -> dict[str, Any]:
    """Return the JSON header, or raise the error that says why the file is refused."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or data[8:9] != b"{" or size > HEADER:
        raise NeoclassicError(f"{path}: not a neoclassic {kind} (not a .safetensors file)")
    truncated = NeoclassicError(f"{path}: truncated (it has only {len(data):,} bytes); copy it again from its source")
    if len(data) < 8 + size:
        raise truncated
    if not is_bounded(data):
        raise NeoclassicError(f"{path}: not a neoclassic {kind} (its header has too many entries)")
    try:
        entries = json.loads(data[8 : 8 + size])
        header = json.loads(entries.pop("__metadata__", {}).get("neoclassic", "null"))
        end = max((operator.index(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise NeoclassicError(f"{path}: damaged (its header cannot be read); copy it again from its source") from None
    if not isinstance(header, dict):
        raise NeoclassicError(f"{path}: not a neoclassic {kind} (a .safetensors file without our header)")
    if isinstance(header.get("format"), int) and header["format"] > FORMAT:
        made = f"its format is {header['format']}, this version reads up to {FORMAT}"
        raise NeoclassicError(f"{path}: made by a newer neoclassic ({made}); pip install --upgrade neoclassic")
    if header.get("kind") != kind:
        raise NeoclassicError(f"{path}: a neoclassic {str(header.get('kind'))[:40]}, not a {kind}")
    if len(data) < 8 + size + end:
        raise truncated
    return header


@dataclass(frozen=True, repr=False)
class Model(display.Displayed):
    """A trained network with everything that a prediction needs.

    network        its name in the zoo
    tree           its layers
    input          (channels, height, width)
    classes        their names, in the order of the logits
    preprocessing  how an image becomes the input
    weights        by path, in PyTorch's layouts
    metrics, recipe, data, versions
                   how accurate it is and how it was trained: plain JSON values
    calibration    see `model.calibration`: `temperature` divides the logits before the softmax
    source         the file that it was read from; not stored in the file
    """

    network: str
    tree: Node
    input: Shape
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    weights: Weights
    metrics: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    source: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        where = f", file {printable(str(self.source))}" if self.source else ""
        return f"<{self.title}: {', '.join(f'{name} {value}' for name, value in self.facts)}{where}>"

    @property
    def title(self) -> str:
        """The network, and the data that it was trained on."""
        data = self.data.get("name")
        return f"Model {printable(self.network)}" + (f" on {printable(str(data))}" if data else "")

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and short values: the input, the classes, the parameters, and the test accuracy if it is known."""
        m = measure(self.tree, self.input)
        names = ", ".join(map(printable, self.classes[:3])) + (", …" if len(self.classes) > 3 else "")
        classes = ("classes", f"{len(self.classes):,} ({names})")
        facts = [("input", by(self.input)), classes, ("parameters", f"{m.parameters:,}")]
        test = self.metrics.get("test")
        accuracy = test.get("accuracy") if isinstance(test, dict) else None
        if not isinstance(accuracy, float):
            return facts
        n = int(self.metrics["test"].get("n", 0))
        of = f" of {n:,} images ({between(round(accuracy * n), n)})" if n else ""
        return [*facts, ("test accuracy", f"{accuracy:.2%}{of}")]

    @property
    def temperature(self) -> float:
        """The number that divides the logits before the softmax."""
        return float(self.calibration.get("temperature", 1.0))

    @property
    def checksum(self) -> str:
        """SHA-256 over header and weights, as stored in the file."""
        return _checksum(self.weights, {"kind": "model", "format": FORMAT, **self.header()})

    def engine(self, name: str = "auto", device: str = "auto") -> Engine:
        """Put the network on an engine, ready to run."""
        return engines.create(name, self.tree, self.input, self.weights, device)

    def header(self) -> dict[str, Any]:
        """Everything but the weights, as plain JSON values."""
        return {
            "network": self.network,
            "tree": to_dict(self.tree),
            "input": list(self.input),
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
            "metrics": self.metrics,
            "recipe": self.recipe,
            "data": self.data,
            "versions": self.versions,
            "calibration": self.calibration,
        }

    def save(self, path: str | Path) -> None:
        """Write the artefact, atomically. NeoclassicError when it cannot be written, or without weights."""
        if not self.weights and measure(self.tree, self.input).parameters:
            raise NeoclassicError(f"cannot write {path}: an ensemble or an .onnx file has no weights to write")
        write(Path(path), "model", self.weights, self.header())

    @classmethod
    def of(cls, header: Mapping[str, Any], weights: Weights) -> Self:
        """The model that `header` describes. NeoclassicError, one line, for a header that describes none."""
        try:
            model = cls(
                network=str(header["network"]),
                tree=from_dict(header["tree"]),
                input=tuple(int(side) for side in header["input"]),
                classes=tuple(map(str, header["classes"])),
                preprocessing=Preprocessing.from_dict(header["preprocessing"]),
                weights=weights,
                metrics=dict(header["metrics"]),
                recipe=dict(header["recipe"]),
                data=dict(header["data"]),
                versions=dict(header["versions"]),
                calibration=dict(header.get("calibration", {})),
            )
            if model.input != (model.preprocessing.channels, *model.preprocessing.size):  # whose sides are limited
                raise NeoclassicError("damaged header (the preprocessing does not make the network's input)")
            measured = measure(model.tree, model.input)
            outputs, needs, temperature = measured.output, measured.memory(1).inference, model.temperature
        except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise NeoclassicError(f"damaged header ({error})") from None
        if needs > LARGEST:
            raise NeoclassicError(f"damaged header (a network that needs {needs / 2**30:,.1f} GiB for one image)")
        if outputs != (len(model.classes),):
            raise NeoclassicError(f"damaged header ({len(model.classes)} class names for outputs {outputs})")
        if twice := repeated(model.classes):
            raise NeoclassicError(f"damaged header (two classes are called {twice[0]!r})")
        if not 0 < temperature < float("inf"):
            raise NeoclassicError(f"damaged header (a temperature of {temperature})")
        return model

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an artefact, or the model in a run folder.

        NeoclassicError, one line, for a file that is missing, truncated or altered, that neoclassic did not write,
        that has a newer format, or whose header does not match its weights.
        """
        path = Path(path)
        if path.is_dir():
            if not (path / "model.safetensors").exists():
                rest = f": finish it with neoclassic search --resume {path}" if (path / SEARCH).exists() else ""
                raise NeoclassicError(f"{path}: no model.safetensors in this folder{rest}")
            path = path / "model.safetensors"
        weights, header = read(path, "model")
        try:
            model = cls.of(header, weights)
            check(model.tree, model.input, weights)
        except NeoclassicError as error:
            raise NeoclassicError(f"{path}: {error}") from None
        return replace(model, source=path)
