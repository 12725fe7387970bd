"""The folder where neoclassic keeps what it can always make or fetch again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def folder() -> Path:
    """NEOCLASSIC_CACHE, or the place that this system gives to caches. May not exist yet."""
    if own := os.environ.get("NEOCLASSIC_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "neoclassic"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "neoclassic" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "neoclassic"
    return Path.home() / ".cache" / "neoclassic"
