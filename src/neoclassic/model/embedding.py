"""Embeddings: the features of many photos, and which photos are near each other."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.folders import Folder, Photo, scan
from neoclassic.data.listing import photos_in
from neoclassic.data.preprocessing import Array, read_pixels
from neoclassic.model.artefact import Model
from neoclassic.model.features import model_features, only_answers
from neoclassic.model.opening import load_model


@dataclass(frozen=True)
class Embeddings:
    """The features of photos, in the order of their paths. It converts to an array: `np.asarray(embeddings)`.

    features  N×D float32
    paths     N; empty for images that come from no files
    labels    N names of classes, "" for a photo that belongs to none; empty if the folder has no classes
    model     the checksum of the model's artefact
    skipped   photos that cannot be read, each with the reason
    pixels    uint8 N×H×W×C, what the network saw
    """

    features: Array
    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    model: str = ""
    skipped: tuple[tuple[str, str], ...] = ()
    pixels: Array | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.features)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.features, dtype) if copy or dtype not in (None, np.float32) else self.features

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file, atomically, with the arrays `features`, `paths`, `labels` and `model`.

        `numpy.load` opens it without pickle. `labels` is left out if there are none. NeoclassicError if the file cannot
        be written.
        """
        arrays: dict[str, Any] = {"features": self.features, "paths": np.array(self.paths, str), "model": self.model}
        if self.labels:
            arrays["labels"] = np.array(self.labels, str)
        content = io.BytesIO()
        np.savez(content, **arrays)
        files.write(Path(path), content.getvalue())


def open_model(path: str | Path) -> Model:
    """A model whose features can be computed: an artefact, a run folder, or a name. Errors as in `opening.open_model`.

    UsageError for an .onnx file, which gives answers only.
    """
    if Path(path).suffix.lower() == ".onnx":
        raise only_answers(path)
    return load_model(path)


def embed_folder(model: Model, root: str | Path, engine: str = "auto", device: str = "auto") -> Embeddings:
    """The features of all photos in a folder, or of those in a CSV table, preprocessed as the model says.

    UsageError for a path that is neither, or for a model without features; NeoclassicError if no photo can be read.
    """
    path = files.expanded(root)
    photos, labels = _listed(path)
    listed = Folder(path.name, path, ("",), {"all": tuple(Photo(photo, 0) for photo in photos)})
    found = listed.split("all", model.preprocessing)
    assert found is not None
    if not len(found):
        raise NeoclassicError(f"{path}: no photo can be read, first {found.skipped[0][0]}: {found.skipped[0][1]}")
    features = model_features(model, found.images, engine, device, path.name)
    names = tuple(labels.get(Path(photo), "") for photo in found.paths) if labels else ()
    return Embeddings(features, found.paths, names, model.checksum, found.skipped, found.images)


def _listed(path: Path) -> tuple[list[Path], dict[Path, str]]:
    """The photos, and the class of each that belongs to one."""
    if path.is_dir():
        photos = photos_in(path)
        if not photos:
            raise UsageError(f"no images in {path}")
        try:
            sorted_in = scan(path)
        except NeoclassicError:  # a folder without classes
            return photos, {}
        return photos, {photo.path: sorted_in.classes[photo.label] for photo in sorted_in.photos}
    table = scan(path)
    return [photo.path for photo in table.photos], {p.path: table.classes[p.label] for p in table.photos}


# ── near each other ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Neighbour:
    """A photo that is near another one.

    cosine  of the angle between their features: 1 is the same direction
    index   of the photo in the embeddings
    """

    cosine: float
    path: str
    label: str
    index: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"path": self.path, "label": self.label, "cosine": self.cosine}


@dataclass(frozen=True)
class Similar:
    """A photo, uint8 H×W×C as the network saw it, with the photos that are nearest to it, the nearest first."""

    photo: str
    pixels: Array
    neighbours: tuple[Neighbour, ...]


def similar(
    model: Model, photo: str | Path, among: Embeddings, top: int = 9, engine: str = "auto", device: str = "auto"
) -> Similar:
    """The photos of a folder that are nearest to a photo, by the cosine of their features.

    The photo itself is left out, if it is one of them. NeoclassicError if it cannot be read.
    """
    pixels = read_pixels(photo, model.preprocessing)
    (query,) = model_features(model, pixels[None], engine, device, Path(photo).name)
    cosines = cosine(query, among.features)
    order = [i for i in np.argsort(-cosines, kind="stable").tolist() if not _same(Path(photo), Path(among.paths[i]))]
    labels = among.labels or ("",) * len(among)
    near = tuple(Neighbour(float(cosines[i]), among.paths[i], labels[i], i) for i in order[:top])
    return Similar(str(photo), pixels, near)


def cosine(query_D: Array, features_ND: Array) -> Array:
    """N cosines of the angles between a vector and the rows of a matrix; 0 where one of them is zero."""
    rows, one = features_ND.astype(np.float64), query_D.astype(np.float64)
    sizes = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    cosines: Array = np.where(sizes > 0, rows @ one / np.where(sizes > 0, sizes, 1), 0.0)
    return cosines


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
