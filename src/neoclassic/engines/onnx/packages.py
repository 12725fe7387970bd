"""The optional packages of the onnx engine."""

from __future__ import annotations

import importlib.util

from neoclassic.base.errors import UsageError, install


def need(package: str, what: str) -> None:
    """Raise UsageError unless the package is installed."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{what} needs {package}: {install(package)}")
