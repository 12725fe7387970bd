"""Networks of one's own on the command line: `my_networks.py:tiny`.

This is the only place that runs a file, and only one that the command line names. Nothing that is opened, such as a run
or an artefact, leads here.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from neoclassic import networks
from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.networks import Entry
from neoclassic.tree import Node

SUFFIX = ".py"
CLASSES = "classes"  # the argument of a function that makes a network


def entry(given: str) -> Entry:
    """The entry of a network of the zoo, or of one's own that is given as FILE.py:NAME.

    NAME is a tree, or a function that returns one: without arguments, or with the number of `classes`. UsageError for
    an unknown name, and for anything else that NAME may be; NeoclassicError for a file that fails.
    """
    path, colon, name = given.rpartition(":") if not given.endswith(SUFFIX) else (given, "", "")
    if not path.endswith(SUFFIX):
        return networks.entry(given)
    module = _run(Path(path))
    if name not in vars(module):
        found = [key for key, value in vars(module).items() if _is_network(value, module)]
        if not found:
            raise UsageError(f"no networks in {path}: define a tree, or a function that returns one")
        if not colon:
            named = ", ".join(f"{path}:{key}" for key in found)
            raise UsageError(f"name one of the networks in {path}: {named}")
        raise unknown(f"network of {path}", name, found)
    with _one_line(given, path):
        return _entry_of(getattr(module, name), f"{Path(path).name}:{name}", partial(_one_line, given, path))


def _entry_of(value: Any, name: str, one_line: Callable[[], AbstractContextManager[None]]) -> Entry:
    """The entry of what stands in a file under a name. one_line: the context for calls of a function of the file."""
    if isinstance(value, Node) or not callable(value):
        return networks.own_entry(_tree(value), name)
    if (surplus := _required(value) - {CLASSES}) or isinstance(value, type):
        what = f"{sorted(surplus)[0]!r}" if surplus else "to be called"
        raise UsageError(f"it needs {what}: name a tree, or a function that has no argument but {CLASSES!r}")

    def make(**arguments: int) -> Node:
        with one_line():
            return _tree(value(**arguments))

    if CLASSES in inspect.signature(value).parameters:
        return networks.made_entry(lambda classes: make(classes=classes), name)
    return networks.own_entry(make(), name)


def _tree(value: Any) -> Node:
    if isinstance(value, Node):
        return value
    raise UsageError(f"it is of type {type(value).__name__}, not a network: give a tree such as nc.Sequential(…)")


def _required(function: Any) -> set[str]:
    """The names of the arguments that a function cannot do without."""
    given = inspect.signature(function).parameters.values()
    return {p.name for p in given if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def _is_network(value: Any, module: ModuleType) -> bool:
    """Whether a value may be meant: a tree, or a function of the file itself that makes one."""
    if inspect.isfunction(value):
        return value.__module__ == module.__name__ and _required(value) <= {CLASSES}
    return isinstance(value, Node)


def _run(path: Path) -> ModuleType:
    """The module of a file, which may import its neighbours."""
    if not path.is_file():
        raise UsageError(f"no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(f"neoclassic_own_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as for any import: dataclasses look there
    sys.path.insert(0, str(path.resolve().parent))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with _one_line(str(path), str(path)):
            spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@contextmanager
def _one_line(given: str, path: str) -> Iterator[None]:
    """Run a part of a file: what it prints goes to standard error, and every failure says where it is in one line."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except NeoclassicError as error:
        if str(error).startswith(given):  # it has been said
            raise
        kind = UsageError if isinstance(error, UsageError) else NeoclassicError
        raise kind(f"{given}{_line(error, path)}: {error}") from error
    except (Exception, SystemExit) as error:
        where = "" if isinstance(error, SyntaxError) else _line(error, path).removeprefix(",")
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise NeoclassicError(f"{given} fails{f':{where}' if where else ''}: {said}") from error


def _line(error: BaseException, path: str) -> str:
    """The line of the file at which it failed, in words."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == Path(path).name]
    return f", line {frames[-1].lineno}" if frames else ""
