"""Readers' code runs: the names of two books' own packages, on today's Python.

    >>> import neoclassic.compat
    >>> neoclassic.compat.install()  # doctest: +SKIP
    >>> from d2l import torch as d2l  # doctest: +SKIP

`d2l` are the names of *Dive into Deep Learning* (zh.d2l.ai and d2l.ai) that its chapters on convolutional networks, and
what they build on, use; `dlfs` are those of *Deep Learning from Scratch* (O'Reilly Japan 2016). Everything is written
anew from what the books say their names do. `from neoclassic.compat import d2l` needs no `install`.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from neoclassic.base.errors import UsageError, unknown

__all__ = ["d2l", "dlfs", "install"]

BOOKS = ("d2l", "dlfs")


def __getattr__(name: str) -> Any:
    if name in BOOKS:
        return importlib.import_module(f"neoclassic.compat.{name}")
    raise AttributeError(f"module 'neoclassic.compat' has no attribute {name!r}")


def install(*books: str) -> None:
    """Put the books' own module names into place, so that their listings run unchanged.

    books: "d2l" (the default) for `from d2l import torch as d2l`; "dlfs" for `from common.layers import *`,
    `from dataset.mnist import load_mnist`, `from deep_convnet import DeepConvNet` …

    Lasts for this process and may be called again. UsageError for an unknown book, or when one of the names is
    already imported from elsewhere.
    """
    for book in books or ("d2l",):
        if book not in BOOKS:
            raise unknown("book", book, BOOKS)
        for name, module in importlib.import_module(f"neoclassic.compat.{book}").book_modules().items():
            _put(name, module)


def _put(name: str, module: ModuleType) -> None:
    present = sys.modules.get(name)
    if present is not None and present is not module and not getattr(present, "__neoclassic__", False):
        where = getattr(present, "__file__", None) or "somewhere else"
        raise UsageError(f"{name!r} is already imported from {where}: call neoclassic.compat.install() before it")
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def book_module(name: str, about: str, names: dict[str, Any] | None = None) -> ModuleType:
    """A module of a book's, made here: what `install` puts into place. Without names, a package."""
    module = ModuleType(name, about)
    module.__neoclassic__ = True  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=names is None)
    if names is None:
        module.__path__ = []
    else:
        module.__dict__.update(names, __all__=list(names))
    return module
