"""The names of two books' packages, so that their readers' code runs on today's Python.

    >>> import neoclassic.compat
    >>> neoclassic.compat.install()  # doctest: +SKIP
    >>> from d2l import torch as d2l  # doctest: +SKIP

`d2l` has the names of *Dive into Deep Learning* (zh.d2l.ai and d2l.ai) that its chapters on convolutional networks, and
the chapters before them, use. `dlfs` has those of *Deep Learning from Scratch* (O'Reilly Japan 2016). All code is new,
written from the books' descriptions. `from neoclassic.compat import d2l` works without `install`.
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
    """Make the books' module names importable, so that their listings run unchanged.

    books: "d2l" (the default) for `from d2l import torch as d2l`; "dlfs" for `from common.layers import *`,
    `from dataset.mnist import load_mnist`, `from deep_convnet import DeepConvNet` … Of "dlfs", modules of your own come
    first, from beside the script or from a folder that is already on sys.path; what they lack is filled in.

    The names stay importable until the process ends; calling it again does no harm. UsageError if a book is unknown,
    or if one of the names has already been imported from elsewhere.
    """
    for book in books or ("d2l",):
        if book not in BOOKS:
            raise unknown("book", book, BOOKS)
        if book == "dlfs":
            importlib.import_module("neoclassic.compat.dlfs.imports").install()
            continue
        for name, module in importlib.import_module(f"neoclassic.compat.{book}").book_modules().items():
            _put(name, module)


def _put(name: str, module: ModuleType) -> None:
    present = sys.modules.get(name)
    if present is not None and present is not module and not getattr(present, "__neoclassic__", False):
        where = getattr(present, "__file__", None) or "an unknown place"
        raise UsageError(f"{name!r} is already imported from {where}: call neoclassic.compat.install() first")
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def book_module(name: str, about: str, names: dict[str, Any] | None = None) -> ModuleType:
    """A module for `install` to add: with `names` in it, or an empty package if they are omitted."""
    module = ModuleType(name, about)
    module.__neoclassic__ = True  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=names is None)
    if names is None:
        module.__path__ = []
    else:
        module.__dict__.update(names, __all__=list(names))
    return module
