"""Records: frozen dataclasses, read from plain JSON values that people may have edited, and checked by name."""

from __future__ import annotations

from dataclasses import is_dataclass
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from neoclassic.base.errors import UsageError

Record = TypeVar("Record")


def whole(value: Any) -> bool:
    """Whether a value is an int. True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    """Whether a value is a finite int or float. True and False are not."""
    return whole(value) or (isinstance(value, float) and isfinite(value))


def require(what: str, value: Any, possible: bool, wish: str) -> None:
    """UsageError "`what` must be `wish`, not `value`" unless the value is possible."""
    if not possible:
        raise UsageError(f"{what} must be {wish}, not {value}")


def record(cls: type[Record], data: Any) -> Record:
    """The dataclass whose fields `data` holds: lists as tuples, objects as the dataclasses that they stand for.

    ValueError, naming the entry: one that no field has, or whose value is not of the field's kind; one that is missing.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{_short(data)} where {cls.__name__} has entries")
    hints = get_type_hints(cls)
    if strangers := sorted(data.keys() - hints.keys()):
        raise ValueError(f"unknown entry {strangers[0]!r}")
    values = {name: _value(name, hints[name], value) for name, value in data.items()}
    try:
        return cls(**values)
    except TypeError as error:  # it names what is missing
        raise ValueError(str(error)) from None


def _value(name: str, hint: Any, value: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return record(hint, value)
    value = _tuples(value)
    if not _fits(value, hint):
        raise ValueError(f"{name} cannot be {_short(value)}")
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is tuple:
        each = parts[:1] * len(value) if isinstance(value, tuple) and parts[-1] is ... else parts
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if hint is int:
        return whole(value)
    if hint is float:
        return isinstance(value, float) or whole(value)
    return isinstance(value, kind or hint)


def _short(value: Any) -> str:
    return repr(value)[:60]
