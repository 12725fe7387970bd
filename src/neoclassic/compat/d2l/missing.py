"""Names of the book's package that neoclassic does not have, and what to use instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from neoclassic.base.errors import UsageError

_TRAINING = "'neoclassic train --data FOLDER' trains on a folder of photos, in Python nc.Classifier"
_FILES = "download the file yourself and read it with its own library (pandas, pathlib)"
_NOT_COVERED = "neoclassic covers the book's convolutional chapters and what they build on"
# The beginning of a missing name → what to use instead. Keys of up to four letters must match the whole name.
_INSTEAD = {
    "train_ch13": _TRAINING,
    "train_batch_ch13": _TRAINING,
    "split_batch": "torch.nn.parallel.DistributedDataParallel splits batches over devices",
    "DATA_HUB": _FILES,
    "DATA_URL": _FILES,
    "download": _FILES,
    "extract": _FILES,
    "KaggleHouse": _FILES,
    "copyfile": _FILES,
    "read_csv": _FILES,
    "reorg_": f"folders with one subfolder per class are read as they are: {_TRAINING}",
    "display": "from IPython import display",
    "backend_inline": "import matplotlib_inline",
    "pd": "import pandas as pd",
    "requests": "import requests",
    "re": "import re",
    "Vocab": "it belongs to the chapters on text",
    "annotate": "use matplotlib's axes.annotate",
}


class MissingName(UsageError, AttributeError):
    """A name of the book's package that neoclassic does not have. The message says what to use instead."""


def missing(name: str, names: Iterable[str]) -> MissingName:
    """The error for `name`; `names` are those that neoclassic has."""
    for start, instead in _INSTEAD.items():
        if name == start or (len(start) > 4 and name.startswith(start)):
            return MissingName(f"d2l.{name} is not here: {instead}")
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return MissingName(f"d2l.{name} is not here: {f'did you mean d2l.{near[0]}?' if near else _NOT_COVERED}")
