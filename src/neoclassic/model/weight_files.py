"""Read files of weights: `.pth`, `.pt`, `.ckpt` and `.safetensors`, recognised by their content.

Only the tensors of a pickle are read: PyTorch's weights-only reader executes nothing, and classes that it does not know
are replaced by inert ones. Without PyTorch, `torch_files` reads plain tensors.
"""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.contract import Array
from neoclassic.model import torch_files
from neoclassic.model.artefact import is_bounded

FOLDER = 0x10  # the attribute of a folder in a zip file
DEEPEST = 4  # levels of nested dictionaries that are searched for weights
NUMBERS = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (8, 16, 32, 64)},
    "BOOL": "|b1",
    "BF16": "<u2",
}
STRANGERS = {  # the first bytes of files that people mistake for weights
    b"version https://git-lfs": "it is a Git LFS pointer: fetch the file itself with 'git lfs pull'",
    b"<": "it is a web page: download the file itself",
    b"\x89HDF": "it is an HDF5 file, as written by Keras: only PyTorch weights can be read",
    b"\x93NUMPY": "it is a lone NumPy array: give a .pth or .safetensors file",
}


@dataclass(frozen=True)
class Found:
    """Arrays by their names in the file, floating point as float32, and notes for the user.

    preprocessing  what the weights expect, if a file beside them says it
    """

    arrays: dict[str, Array]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def read(path: str | Path) -> Found:
    """Read the weights of a file: a state_dict, or one inside the dictionary that a training script saved.

    Of several state_dicts the one with the most arrays counts; of equal ones the averaged one ("ema" in its name), or
    else the first. NeoclassicError, one line, if there is no such file or it has no weights that can be read.
    """
    path = Path(path)
    if not path.is_file():
        raise NeoclassicError(f"no weights at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(32)
        if start[4:9] == b"\0\0\0\0{":  # .safetensors; the four bytes before, a size, may look like any other file
            data = path.read_bytes()
            if not is_bounded(data):
                raise ValueError("its header has too many entries")
            deserialize: Any = safetensors.deserialize
            return Found({name: _tensor(entry) for name, entry in deserialize(data)})
        for beginning, reason in STRANGERS.items():
            if start.lstrip().startswith(beginning):
                raise ValueError(reason)
        if start.startswith((b"PK", b"\x80")):
            return _of_pickle(path)
        raise ValueError("it is neither a torch.save file nor a .safetensors file")
    except NeoclassicError as error:
        raise NeoclassicError(f"{path} cannot be read as weights: {error}") from None
    except zipfile.BadZipFile as error:
        raise NeoclassicError(f"{path} is damaged ({error}): copy it again from its source") from None
    except Exception as error:  # the two readers raise many kinds of exceptions for broken files
        reason = " ".join(str(error).partition("\n")[0].partition(". ")[0].split()) or type(error).__name__
        raise NeoclassicError(f"{path} cannot be read as weights: {reason}") from None


def as_array(value: Any) -> Array:
    """A tensor, or anything that NumPy accepts, as an array; floating point as float32."""
    if isinstance(value, torch_files.Tensor):
        value = value.array()
    elif hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array: Array = np.asarray(value)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


# ── .safetensors ─────────────────────────────────────────────────────────────────────────────────────


def _tensor(entry: Mapping[str, Any]) -> Array:
    """The array of an entry from `deserialize`. NumPy has no bfloat16, which is the upper half of a float32."""
    if entry["dtype"] not in NUMBERS:
        raise ValueError(f"it holds numbers of type {entry['dtype']}: save it as float32")
    array: Array = np.frombuffer(entry["data"], NUMBERS[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return as_array(array)


# ── torch.save ───────────────────────────────────────────────────────────────────────────────────────


class _Inert:
    """Replaces an object of an unknown class. It records only whether the object was a module."""

    module = False

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        pass

    def __new__(cls, *_arguments: Any, **_named: Any) -> Any:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.module = isinstance(state, Mapping) and "_parameters" in state


class _InertMapping:
    """Replaces a dictionary of an unknown class, which the reader fills."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> Any:
        return OrderedDict()


def _of_pickle(path: Path) -> Found:
    saved = _saved(path)
    sets = sorted(_state_dicts(saved), key=lambda each: (-_size(each[1]), "ema" not in each[0].lower()))
    if modules := sorted({type(each).__name__ for each in _objects(saved) if each.module}):
        if not sets:
            raise ValueError(
                f"a whole module was saved ({modules[0]}), which only its own code can load: "
                "load it there, and save it with torch.save(model.state_dict(), FILE)"
            )
    elif not sets:
        raise ValueError("there are no tensors by name in it: save it with torch.save(model.state_dict(), FILE)")
    (name, tensors), *others = sets
    arrays = {key: as_array(value) for key, value in tensors.items()}
    alike = [other for other, also in others if _size(also) * 2 > _size(tensors)]
    notes = (f"the weights under {name!r} are used, not those under {alike[0]!r}",) if alike else ()
    return Found(arrays, notes)


def _saved(path: Path) -> Any:
    """The object that torch.save was given, with inert replacements for objects of unknown classes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
        if inside > path.stat().st_size:  # torch.save compresses nothing
            raise ValueError("it is compressed, or damaged: save it again with torch.save")
    try:
        return torch_files.load(path)
    except torch_files.NeedsTorch:
        if find_spec("torch") is None:
            raise
        return _by_torch(path)


def _by_torch(path: Path) -> Any:
    import torch

    if zipfile.is_zipfile(path):
        _check_zip(path)
    try:
        with path.open("rb") as file:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # not a zip file, or damaged, which torch.load reports
        unknown = []
    # torch.load gets an open file: given a path, it would interpret the suffix
    stand_ins = [(type(name, (_InertMapping if "dict" in name.lower() else _Inert,), {}), name) for name in unknown]
    with (
        torch.serialization.safe_globals(stand_ins),
        path.open("rb") as file,
    ):
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_zip(path: Path) -> None:
    """Refuse a damaged file: torch.load ignores the checksums of the entries, and reads zeros from a "folder"."""
    with zipfile.ZipFile(path) as archive:
        folders = (entry.filename for entry in archive.infolist() if entry.external_attr & FOLDER)
        if name := archive.testzip() or next(folders, None):
            raise ValueError(f"{name!r} in it is damaged: copy it again from its source")


def _state_dicts(saved: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every dictionary of named tensors, with the keys that lead to it."""
    if isinstance(saved, Mapping) and depth < DEEPEST:
        tensors = {k: v for k, v in saved.items() if isinstance(k, str) and hasattr(v, "detach")}
        if _size(tensors):
            yield name, tensors
        for key, value in saved.items():
            yield from _state_dicts(value, f"{name}.{key}" if name else str(key), depth + 1)


def _size(tensors: Mapping[str, Any]) -> int:
    """The number of weights. Step counters and other integers do not count."""
    return sum(tensor.is_floating_point() for tensor in tensors.values())


def _objects(saved: Any) -> Iterator[_Inert]:
    """The replaced objects at the top level and in the first dictionary."""
    for each in saved.values() if isinstance(saved, Mapping) else [saved]:
        if isinstance(each, _Inert):
            yield each
