"""Imports by the book's names: the reader's own modules first, and neoclassic's for what they lack.

A reader's own modules are those that Python finds when `install` is called: beside the script, and in the folders that
are on sys.path by then. Installed packages, such as `dataset` of PyPI, are not.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from neoclassic.base.errors import NeoclassicWarning, UsageError
from neoclassic.compat.dlfs.modules import MODULES, names_of

_ABOUT = "Deep Learning from Scratch, by neoclassic"


def install() -> None:
    """Make the book's modules importable. Calling it again looks again for the reader's own modules.

    UsageError if an installed package of the same name has already been imported.
    """
    for name in MODULES:
        module = sys.modules.get(name)
        if module is None or _is_ours(module):
            continue
        if _is_installed(where := getattr(module, "__file__", None) or ""):
            raise UsageError(f"{name!r} is already imported from {where}: call neoclassic.compat.install() first")
        _fill(module)
    _Finder.own = [folder for folder in sys.path if not _is_installed(folder)]
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _is_ours(module: ModuleType) -> bool:
    return getattr(module, "__neoclassic__", False)


def _is_installed(path: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts)


def _fill(module: ModuleType) -> None:
    """Add the names that the book's module has and the reader's lacks."""
    for name, value in names_of(module.__name__).items():
        if name not in vars(module):
            setattr(module, name, value)
            if "__all__" in vars(module):
                vars(module)["__all__"] = [*vars(module)["__all__"], name]


class _Own(SourceFileLoader):
    """Runs a reader's own module, and fills it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _fill(module)


class _Finder(MetaPathFinder, Loader):
    """Finds the book's modules by name: the reader's own, or else neoclassic's."""

    own: Sequence[str] = ()  # the folders in which a reader's own modules may be

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name not in MODULES:
            return None
        parent = sys.modules.get(name.rpartition(".")[0])
        if parent is None or not _is_ours(parent):
            found = PathFinder.find_spec(name, self.own if path is None else path)
            if found is not None and isinstance(found.loader, SourceFileLoader) and found.origin:
                inside = found.submodule_search_locations
                loader = _Own(name, found.origin)
                return importlib.util.spec_from_file_location(name, loader=loader, submodule_search_locations=inside)
            if found is not None:  # a folder without __init__.py
                return found
        spec = ModuleSpec(name, self, is_package=MODULES[name] is None)
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations += _passed_over(name)
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name, _ABOUT)
        module.__neoclassic__ = True  # type: ignore[attr-defined]
        return module

    def exec_module(self, module: ModuleType) -> None:
        names = names_of(module.__name__)
        module.__dict__.update(names)
        if names:
            module.__all__ = list(names)  # type: ignore[attr-defined]


def _passed_over(package: str) -> list[str]:
    """The folders of this name that sys.path has got since `install`. Other modules in them remain importable."""
    later = [folder for folder in sys.path if folder not in _Finder.own and not _is_installed(folder)]
    found = PathFinder.find_spec(package, later)
    folders = [Path(folder).resolve() for folder in (found and found.submodule_search_locations) or ()]
    modules = [name.rpartition(".")[2] for name in MODULES if name.startswith(f"{package}.")]
    for folder in folders:
        if any((folder / f"{name}.py").exists() for name in modules):
            remedy = f"to use yours, add {folder.parent} to sys.path before install()"
            warnings.warn(f"{package} is neoclassic's, not {folder}: {remedy}", NeoclassicWarning, stacklevel=3)
    return [str(folder) for folder in folders]
