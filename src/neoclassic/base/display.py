"""How objects look in a notebook.

Networks and runs are described in rooms that come before those that draw them. So an object that has a picture or a
table asks here for the module that makes it; the package's root registers these modules by the names of the classes.
A module is imported when the first of its objects is shown.
"""

from __future__ import annotations

import importlib
from dataclasses import MISSING, fields, is_dataclass
from types import ModuleType
from typing import Any

from neoclassic.base.errors import Ornament
from neoclassic.base.records import differing

WIDTH = 100  # columns above which a repr is broken into lines

_modules: dict[str, str] = {}  # by class


def register(module: str, *classes: str) -> None:
    """Name the module whose functions `html` and `text` show objects of these classes, and of those derived."""
    _modules.update(dict.fromkeys(classes, module))


class Displayed:
    """An object that a notebook shows as HTML. A display that fails is a warning, and the plain text is shown."""

    def _repr_html_(self) -> str | None:
        with Ornament(f"the display of a {type(self).__name__}"):
            html: str = _module_of(self).html(self)
            return html
        return None


def text(shown: Displayed) -> str:
    """The plain text of an object, for classes whose module has the function `text`."""
    plain: str = _module_of(shown).text(shown)
    return plain


def _module_of(shown: Displayed) -> ModuleType:
    names = [each.__name__ for each in type(shown).__mro__]
    return importlib.import_module(next(_modules[name] for name in names if name in _modules))


def call(name: str, arguments: list[str]) -> str:
    """A constructor call, in one line if it fits, or with one line for each argument.

    >>> call("Linear", ["10", "bias=False"])
    'Linear(10, bias=False)'
    """
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    inner = ",\n".join(arguments).replace("\n", "\n    ")
    return f"{name}(\n    {inner},\n)"


def changed(record: Any) -> list[str]:
    """The arguments that make a dataclass: those without a default, and those that differ from it."""
    required = [repr(getattr(record, f.name)) for f in fields(record) if f.default is MISSING]
    return required + [f"{name}={_shown(value)}" for name, value in differing(record).items()]


def _shown(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, Displayed):
        return call(type(value).__name__, changed(value))
    return repr(value)
