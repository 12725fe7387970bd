"""Modules under their former names: the same objects, so that older programs still run."""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

ROOMS = {
    "base": ("errors", "files", "machine", "progress", "records", "text"),
    "insight": ("bench", "compare", "explain", "report", "review"),
    "model": ("artefact", "ensemble", "export", "predict", "provenance"),
}
MOVED = {
    "neoclassic.torchvision_weights": "neoclassic.model.torchvision",
    "neoclassic.train.evaluate": "neoclassic.model.evaluate",
    "neoclassic.train.calibration": "neoclassic.model.calibration",
    **{f"neoclassic.{name}": f"neoclassic.{room}.{name}" for room, names in ROOMS.items() for name in names},
}


class _Finder(MetaPathFinder, Loader):
    """Finds an old name and hands out the module that has it now."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module has run already; importlib has put the old name's spec on it, which is taken off again."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
