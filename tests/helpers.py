"""Functions that several tests share."""

import gzip
import importlib.util
import os
import struct
from pathlib import Path

import numpy as np
import pytest


def write_idx(path: Path, array: np.ndarray) -> None:
    """An array of bytes as a compressed IDX file."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def needs(module: str) -> None:
    """Skip the test where a package of the test extra is not installed; in CI (CI=true) that is a failure."""
    if importlib.util.find_spec(module) is None:
        missing(f"needs {module}: pip install '.[test]'")


def missing(what: str) -> None:
    """Skip the test for want of something; in CI (CI=true), where everything is there, fail."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)
