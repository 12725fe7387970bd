"""Modules that are called like a function of the same name.

`nc.train` is both: a package, which `import neoclassic.train.loop` binds to that name, and what users call. So the
module itself can be called. Its function may stand in a later room; the package's root registers where.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_functions: dict[str, str] = {}  # the module that holds the function, by the module that is called


def register(home: str, *modules: str) -> None:
    """Name the module whose functions are called through these modules; each has the last part of its module's name."""
    _functions.update(dict.fromkeys(modules, home))


def make_callable(module: str) -> None:
    """Let a module that is being imported be called."""
    sys.modules[module].__class__ = _Called


class _Function:
    """The function of a module, found when it is first used."""

    def __get__(self, module: ModuleType | None, _type: type) -> Any:
        if module is None:
            return self
        name = module.__name__
        return getattr(importlib.import_module(_functions[name]), name.rpartition(".")[2])


class _Called(ModuleType):
    __call__: Callable[..., Any] = _Function()  # type: ignore[assignment]  # a call looks it up here

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__call__)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as functions are."""
        return importlib.import_module, (self.__name__,)
