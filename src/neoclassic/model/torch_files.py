"""Read tensors from files of torch.save without PyTorch: zip files, and the consecutive pickles of before 2020.

This is no unpickler: a pickle is a program for a stack machine, and the few instructions that tensors in dictionaries
need are executed here. None of them imports or calls anything. A name such as `torch.FloatStorage` is only compared
with those below, and dictionaries have only text and integers as keys. Whatever needs more needs PyTorch.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, install
from neoclassic.engines.contract import Array

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # with which the older files begin
DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "<u2", "Long": "<i8", "Int": "<i4"}
DTYPES |= {"Short": "<i2", "Char": "<i1", "Byte": "<u1", "Bool": "|b1"}
ORDERED, PARAMETER = "collections OrderedDict", "torch._utils _rebuild_parameter"
TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
PUSHED = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
PUSHED |= {"BINSTRING", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class Storage:
    """Numbers that tensors are views of. `data` are its bytes, once they have been found in the file."""

    kind: str
    numel: int
    data: Any = b""

    @property
    def itemsize(self) -> int:
        return np.dtype(DTYPES[self.kind]).itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage: offset and strides count its elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def detach(self) -> Tensor:  # by which tensors are recognised
        return self

    def is_floating_point(self) -> bool:
        return self.storage.kind in ("Float", "Double", "Half", "BFloat16")

    def array(self) -> Array:
        """The numbers, contiguous; bfloat16 as float32. ValueError if they are not all in the file."""
        dtype = np.dtype(DTYPES[self.storage.kind])
        if len(self.storage.data) != self.storage.numel * dtype.itemsize:
            raise ValueError("a storage is truncated: copy it again from its source")
        flat = np.frombuffer(self.storage.data, dtype)[self.offset :]
        strides = [stride * dtype.itemsize for stride in self.strides]
        array = np.array(np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False))
        return (array.astype(np.uint32) << 16).view(np.float32) if self.storage.kind == "BFloat16" else array


class NeedsTorch(NeoclassicError):
    """A file holds something that only PyTorch reads."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it holds {what[:80]}, which only PyTorch reads: {install('torch')}")


def load(path: Path) -> Any:
    """The object that torch.save was given, with a `Tensor` for each tensor.

    NeedsTorch for a file that only PyTorch can read; ValueError, IndexError or another of Python's exceptions for one
    that is damaged.
    """
    machine = Machine(path.stat().st_size)
    if zipfile.is_zipfile(path):
        return _of_zip(path, machine)
    with path.open("rb") as stream:
        if (machine.run(stream), machine.run(stream)) != (MAGIC, PROTOCOL):
            raise ValueError("it was not written by torch.save")
        machine.run(stream)  # the sizes of types on the machine that wrote it
        saved = machine.run(stream)
        for key in machine.run(stream):
            storage = machine.storages[key]
            if int.from_bytes(stream.read(8), "little") != storage.numel:
                raise ValueError(
                    "a storage has a different size from what its tensors say: copy it again from its source"
                )
            storage.data = stream.read(storage.numel * storage.itemsize)
    return saved


def _of_zip(path: Path, machine: Machine) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (pickled,) = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise NeedsTorch("numbers of another byte order")
        saved = machine.run(io.BytesIO(archive.read(pickled)))
        for key, storage in machine.storages.items():
            storage.data = archive.read(f"{root}data/{key}")  # which checks its checksum
    return saved


class Machine:
    """Executes pickles. size: bytes of the file, which the tensors together cannot outgrow."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.storages: dict[str, Storage] = {}

    def run(self, stream: IO[bytes]) -> Any:
        """Execute the pickle at which a stream stands, and return its value. The stream stands behind it then."""
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}
        for operation, argument, _ in pickletools.genops(stream):
            name = operation.name
            if name in PUSHED:
                stack.append(argument)
            elif name in CONSTANTS:
                stack.append(CONSTANTS[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[int(argument or 0)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[int(argument or 0)])
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "GLOBAL":
                stack.append(_Name(str(argument)))
            elif name == "STOP":
                return stack.pop()
            elif name != "PROTO":
                self._build(name, stack, marks)
        raise ValueError("it is truncated: copy it again from its source")

    def _build(self, name: str, stack: list[Any], marks: list[int]) -> None:
        """Execute an instruction that makes something of what is on the stack."""
        if name in ("TUPLE", "APPENDS", "SETITEMS"):
            top = _popped(stack, len(stack) - marks.pop())
        elif name in ("APPEND", "BUILD", "BINPERSID"):
            top = _popped(stack, 1)
        elif name in ("SETITEM", "REDUCE"):
            top = _popped(stack, 2)
        else:
            top = _popped(stack, TUPLES.get(name, 0))
        if name.startswith("TUPLE"):
            stack.append(tuple(top))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name.startswith("APPEND"):
            _of(list, stack[-1]).extend(top)
        elif name.startswith("SETITEM"):
            if not all(isinstance(key, str | int) for key in top[::2]):
                raise NeedsTorch("a dictionary whose keys are neither text nor integers")
            _of(dict, stack[-1]).update(zip(top[::2], top[1::2], strict=True))
        elif name == "BINPERSID":
            stack.append(self._storage(*top[0]))
        elif name == "REDUCE":
            stack.append(self._made(str(_of(_Name, top[0])), _of(tuple, top[1])))
        elif name == "BUILD":  # attributes, such as the version numbers of a state_dict
            _of(dict, stack[-1])
        else:
            raise NeedsTorch(f"a pickle with {name}")

    def _storage(self, what: str, kind: object, key: str, _place: str, numel: int, view: None = None) -> Storage:
        name = str(_of(_Name, kind))
        short = name.removeprefix("torch ").removesuffix("Storage")
        if what != "storage" or name != f"torch {short}Storage" or short not in DTYPES or view is not None:
            raise NeedsTorch(name)
        stored = self.storages.setdefault(_of(str, key), Storage(short, _of(int, numel)))
        if (stored.kind, stored.numel) != (short, numel):
            raise ValueError("a storage of two kinds")
        return stored

    def _made(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == ORDERED and not arguments:
            return {}
        if name == PARAMETER:
            return _of(Tensor, arguments[0])
        if name not in TENSORS:
            raise NeedsTorch(name)
        storage, offset, shape, strides = arguments[:4]
        numbers = (offset, *_of(tuple, shape), *_of(tuple, strides))
        if not all(isinstance(n, int) and n >= 0 for n in numbers) or not len(shape) == len(strides) <= 32:
            raise ValueError("a tensor with an invalid header")
        count = prod(shape)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if count else 0
        if last >= max(_of(Storage, storage).numel, 1) or count > storage.numel:
            raise NeedsTorch("a tensor that is larger than its storage")
        self.left -= count * storage.itemsize
        if self.left < 0:
            raise ValueError("its tensors are larger than the file")
        return Tensor(storage, offset, tuple(shape), tuple(strides))


class _Name(str):
    """The name of a class or function: module and name with a space between."""


def _popped(stack: list[Any], n: int) -> list[Any]:
    """The n topmost values, removed."""
    if n > len(stack):
        raise ValueError("it takes more than there is on its stack")
    top = stack[len(stack) - n :]
    del stack[len(stack) - n :]
    return top


def _of(kind: Callable[..., Any], value: Any) -> Any:
    """The value, if it is exactly of this type. ValueError otherwise."""
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where its pickle needs a {getattr(kind, '__name__', kind)}")
    return value
