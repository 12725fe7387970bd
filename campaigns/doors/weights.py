"""Doors to weights of others: .pth and .safetensors files, and the book's pickles."""

from __future__ import annotations

import importlib.util
import io
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from campaigns.common import mutated
from campaigns.doors import Door
from campaigns.doors.models import changed_arrays, changed_table
from neoclassic.compat.dlfs.pickles import load_arrays
from neoclassic.model.opening import open_weights


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "fc.weight": (5, 16), "fc.bias": (5,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def _opened(path: Path) -> Any:
    found, _ = open_weights(path)
    _check(found.arrays)
    return found.arrays


def _without_torch(path: Path) -> Any:
    hidden = sys.modules.get("torch")
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return _opened(path)
    finally:
        if hidden is None:
            del sys.modules["torch"]
        else:
            sys.modules["torch"] = hidden


def _check(arrays: dict[str, np.ndarray]) -> None:
    assert all(isinstance(name, str) for name in arrays), "names"
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in arrays.values()), "arrays"


def others(work: Path) -> Iterator[Door]:
    """What torch.save and safetensors write. A zip file has a checksum for each of its entries."""
    folder = work / "weights"
    folder.mkdir(parents=True)
    content = safetensors.numpy.save(_arrays())
    yield Door("safetensors", folder / "other.safetensors", content, _opened, edits=(_some_table, _some_tensor))
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    state = {name: torch.from_numpy(array) for name, array in _arrays().items()}
    for kind, new in (("pth", True), ("pth of old", False)):
        saved = io.BytesIO()
        torch.save({"epoch": 3, "model": state}, saved, _use_new_zipfile_serialization=new)
        edits = (_entry,) if new else (mutated,)
        file, content = folder / f"{kind[-3:]}.pth", saved.getvalue()
        yield Door(kind, file, content, _opened, proves=new, edits=edits)
        edits = edits if new else (mutated, _operation)
        yield Door(f"{kind}, without PyTorch", file, content, _without_torch, proves=new, edits=edits)


def _some_table(content: bytes, rng: np.random.Generator) -> bytes:
    return changed_table(content, rng)


def _some_tensor(content: bytes, rng: np.random.Generator) -> bytes:
    return safetensors.numpy.save(changed_arrays(safetensors.numpy.load(content), rng))


def _entry(content: bytes, rng: np.random.Generator) -> bytes:
    """One entry of a zip file damaged, and packed again with the checksum that fits."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w") as new:
        names = old.namelist()
        damaged = (
            next(n for n in names if n.endswith("data.pkl")) if rng.random() < 0.7 else names[rng.integers(len(names))]
        )
        for name in names:
            new.writestr(zipfile.ZipInfo(name), mutated(old.read(name), rng) if name == damaged else old.read(name))
    return changed.getvalue()


FAR = 1 << 27  # a list of that length takes 2 GiB


# ── pickles ──────────────────────────────────────────────────────────────────────────────────────────


def pickles(work: Path) -> Iterator[Door]:
    """Dictionaries of arrays, as the book keeps them, in an old and a new protocol. They have no checksum."""
    folder = work / "pickles"
    folder.mkdir(parents=True)
    for protocol in (2, 4):
        content = pickle.dumps(_arrays(), protocol)
        yield Door(f"pickle {protocol}", folder / f"{protocol}.pkl", content, _loaded, edits=(_memo, _operation))


def _loaded(path: Path) -> Any:
    arrays = load_arrays(path)
    _check(arrays)
    size = path.stat().st_size
    assert sum(array.nbytes for array in arrays.values()) <= 2 * size, "arrays that are larger than the file"
    return arrays


def _memo(content: bytes, rng: np.random.Generator) -> bytes:
    """A value stored far beyond the others: an unpickler makes a list of that length."""
    places = [place for _, _, place in pickletools.genops(content) if place is not None][2:]
    place = places[rng.integers(len(places))]
    index = int([FAR, FAR + 1, 3, 200][rng.integers(4)])
    return content[:place] + b"r" + index.to_bytes(4, "little") + content[place:]


def _operation(content: bytes, rng: np.random.Generator) -> bytes:
    """One operation of the pickle left out, doubled, or moved to another place."""
    starts = [place for _, _, place in pickletools.genops(content) if place is not None]
    pieces = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    at, to = int(rng.integers(len(pieces))), int(rng.integers(len(pieces)))
    match int(rng.integers(3)):
        case 0:
            del pieces[at]
        case 1:
            pieces.insert(to, pieces[at])
        case _:
            pieces.insert(to, pieces.pop(at))
    return b"".join(pieces)
