"""A safe reader of the pickles in which the book keeps weights.

A pickle can run any code. This reader replaces the names in a pickle by five stand-ins, which can only hold a shape, a
dtype and bytes, and refuses every other name before anything is built. What it builds is limited by the file's size:
a memo has no gaps, and arrays that share their bytes are refused once they would outgrow the file.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.engines.contract import Array

_TYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
_LIMIT = 1 << 30  # the largest file, in bytes


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in _TYPES:
            raise NeoclassicError(f"an array of type {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _Budget:
    """The bytes that may still be built."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, data: Any) -> None:
        self.left -= len(data) if isinstance(data, bytes | bytearray | str) else 0
        if self.left < 0:
            raise NeoclassicError("arrays that are larger than the file")


class _Array:
    """Stands in for numpy.ndarray."""

    array: Array

    def __init__(self, budget: _Budget) -> None:
        self.budget = budget

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        self.fill(data, kind, shape, "F" if fortran else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: str) -> None:
        self.budget.spend(data)
        self.array = _build(data, kind, shape, order)


def _build(data: Any, kind: Any, shape: Any, order: str) -> Array:
    if not isinstance(kind, _Type) or not all(isinstance(n, int) and n >= 0 for n in shape) or len(shape) > 32:
        raise NeoclassicError("an array with an invalid header")
    if not isinstance(data, bytes | bytearray) or len(data) != prod(shape) * kind.dtype.itemsize:
        raise NeoclassicError("an array whose bytes do not fit its shape")
    values = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")
    return values.astype(kind.dtype.newbyteorder("="))


def _reconstruct(budget: _Budget, *_: Any) -> _Array:
    return _Array(budget)


def _frombuffer(budget: _Budget, data: Any, kind: Any, shape: Any, order: str) -> _Array:
    array = _Array(budget)
    array.fill(data, kind, shape, order)
    return array


def _encode(budget: _Budget, text: str, encoding: str) -> bytes:
    """Stands in for _codecs.encode, with which pickles of protocol 2 write bytes."""
    budget.spend(text)
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise NeoclassicError("bytes that are not latin-1 text")
    return text.encode("latin1")


_CORES = ("numpy.core", "numpy._core")
_TYPE = {("numpy", "dtype"): _Type}
_BUILDERS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _reconstruct,
    ("_codecs", "encode"): _encode,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _frombuffer for core in _CORES},
}


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._budget = _Budget(2 * len(content))  # bytes as text of protocol 2 are built twice

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TYPE:
            return _TYPE[module, name]
        if (module, name) not in _BUILDERS:
            raise NeoclassicError(f"it asks for {f'{module}.{name}'[:80]}")
        return partial(_BUILDERS[module, name], self._budget)


def _check_memo(content: bytes) -> None:
    """Refuse a memo index beyond the file's length: the reader's memo is a list of that length."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise NeoclassicError("a memo index beyond its end")


def load_arrays(path: str | Path) -> dict[str, Array]:
    """Return the dictionary of arrays in a pickle. NeoclassicError for any other content, before it is built."""
    try:
        if Path(path).stat().st_size > _LIMIT:
            raise NeoclassicError(f"{path}: larger than {_LIMIT >> 30} GiB")
        data = Path(path).read_bytes()
    except OSError as error:
        raise NeoclassicError(f"cannot read {path}: {error.strerror}") from None
    try:
        _check_memo(data)
        content = _Reader(data).load()
    except NeoclassicError as error:
        raise NeoclassicError(f"{path}: refused, not a pickle of plain arrays: {error}") from None
    except Exception as error:  # a damaged pickle can raise any exception
        raise NeoclassicError(f"{path}: damaged, or not a pickle: {type(error).__name__}") from None
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, _Array) and hasattr(v, "array") for k, v in content.items()
    ):
        raise NeoclassicError(f"{path}: refused, not a dictionary of arrays")
    return {key: value.array for key, value in content.items()}


def save_arrays(path: str | Path, arrays: dict[str, Array]) -> None:
    """Write a dictionary of arrays as a pickle, as the book does. NeoclassicError if that fails."""
    from neoclassic.base import files

    files.write(Path(path), pickle.dumps({key: np.array(value) for key, value in arrays.items()}, protocol=4))
