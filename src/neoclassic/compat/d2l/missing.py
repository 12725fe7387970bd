"""Names of the book's package that neoclassic does not have, and what to use instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from neoclassic.base.errors import UsageError

_FILES = "d2l.download gets the file; read it with its own library (pandas, pathlib)"
_NOT_COVERED = "neoclassic covers the book's convolutional chapters and what they build on"
_TEXT = "it belongs to the chapters on text"
_INSTEAD = {  # a missing name → what to use instead
    "train_ch5": "it belongs to d2lzh_pytorch; the book's own editions have d2l.train_ch6",
    "train_ch8": _TEXT,
    "Vocab": _TEXT,
    "KaggleHouse": _FILES,
    "display": "from IPython import display",
    "backend_inline": "import matplotlib_inline",
    "pd": "import pandas as pd",
    "requests": "import requests",
    "re": "import re",
    "annotate": "use matplotlib's axes.annotate",
}
_LOADER = "load_data_"


class MissingName(UsageError, AttributeError):
    """A name of the book's package that neoclassic does not have. The message says what to use instead."""


def missing(name: str, names: Iterable[str]) -> MissingName:
    """The error for `name`; `names` are those that neoclassic has."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    if name in _INSTEAD:
        instead = _INSTEAD[name]
    elif near:
        instead = f"did you mean d2l.{near[0]}?"
    else:
        instead = _FILES if name.startswith(_LOADER) else _NOT_COVERED
    return MissingName(f"d2l.{name} is not available here: {instead}")


def not_in_package(name: str) -> NoReturn:
    """Raise the error for `d2l.name` after `import d2l`, whose modules are the editions of the book."""
    if name.startswith("__"):
        raise AttributeError(f"module 'd2l' has no attribute {name!r}")
    if name in ("mxnet", "tensorflow", "paddle", "jax"):
        # no AttributeError, which `from d2l import mxnet` would replace by a message of Python's
        raise UsageError(f"only the book's PyTorch edition is available here, not {name}: from d2l import torch as d2l")
    raise MissingName(f"the package d2l has no {name}; its module for PyTorch does: from d2l import torch as d2l")
