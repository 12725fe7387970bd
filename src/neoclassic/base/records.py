"""Validating values, and reading frozen dataclasses from plain JSON values that people may have edited."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from neoclassic.base.errors import NeoclassicError, UsageError

Record = TypeVar("Record")
Row = TypeVar("Row")


def whole(value: Any) -> bool:
    """Return whether a value is an int. True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    """Return whether a value is an int or float in the range of finite floats. True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def require(what: str, value: Any, valid: bool, rule: str) -> None:
    """UsageError "`what` must be `rule`, not `value`" unless the value is valid."""
    if not valid:
        raise UsageError(f"{what} must be {rule}, not {value}")


def differing(made: Any) -> dict[str, Any]:
    """The fields of a dataclass whose values are not their defaults."""
    values = {f.name: (getattr(made, f.name), f.default) for f in fields(made)}
    return {name: value for name, (value, default) in values.items() if default is not MISSING and value != default}


def record(cls: type[Record], data: Any) -> Record:
    """Make a dataclass from a dict of its fields. Lists become tuples, and dicts the nested dataclasses.

    ValueError, naming the field, if it is unknown or missing, or if its value has the wrong type.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{_short(data)} is not an object with the fields of {cls.__name__}")
    hints = get_type_hints(cls)
    if unknown := sorted(data.keys() - hints.keys()):
        raise ValueError(f"unknown entry {unknown[0]!r}")
    values = {name: _value(name, hints[name], value) for name, value in data.items()}
    try:
        return cls(**values)
    except TypeError as error:  # it names the missing field
        raise ValueError(str(error)) from None


def csv_rows(path: Path, convert: Callable[[dict[str, str]], Row], advice: str = "") -> list[Row] | None:
    """The rows of a file that `text.csv_table` made; None without the file. NeoclassicError for a damaged one.

    convert: makes a row from the texts of its columns. advice: the end of the message, after the reason.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [convert(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, csv.Error) as error:
        raise NeoclassicError(f"{path}: damaged ({error}){advice}") from None


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
