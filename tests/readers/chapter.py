"""Runs the cells of sections as notebooks do: python chapter.py NAMES BOOK SECONDS SECTION…

NAMES is `neoclassic`, or `own` for the package of the book in BOOK. Each section runs in a process of its own, for at
most SECONDS. Prints one line of JSON a cell: its section and line, what failed or null, and what it printed.
"""

import ast
import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any, TextIO

import extract
import numpy as np
import standins
import torch


class _Tab:
    """What the newer edition's cells ask for the framework."""

    @staticmethod
    def selected(*names: str) -> bool:
        return "pytorch" in names


def _run(cell: extract.Cell, section: str, names: dict[str, Any]) -> str | None:
    """Run a cell; print its last value. Return the error in one line, or None."""
    try:
        tree = extract.Shorter(cell.code).visit(ast.parse("\n" * (cell.line - 1) + cell.code, section))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, section, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), section, "eval"), names)
            if value is not None and not cell.code.rstrip().endswith(";"):
                print(repr(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _quiet_figures() -> None:
    """Figures are drawn, not printed or kept."""
    import matplotlib

    matplotlib.use("Agg")
    with contextlib.suppress(ImportError):
        import IPython.display

        IPython.display.display = IPython.display.clear_output = lambda *_, **__: None


def _import_own() -> None:
    """Import the book's package without its assertions, which are of full trainings."""
    spec = importlib.util.find_spec("d2l.torch")
    assert spec is not None
    assert spec.origin is not None
    module = sys.modules["d2l.torch"] = importlib.util.module_from_spec(spec)
    exec(compile(Path(spec.origin).read_text("utf-8"), spec.origin, "exec", optimize=1), module.__dict__)
    sys.modules["d2l"].__dict__["torch"] = module


def _prepare(which: str, book: Path) -> None:
    """Import what every chapter needs, once for all of them."""
    _quiet_figures()
    if extract.has_scripts(book):
        return
    standins.put_in_place()
    if which == "own":
        sys.path.insert(0, str(book))
        _import_own()
    else:
        import neoclassic.compat

        neoclassic.compat.install()
        standins.put_in_neoclassic()


def _place(which: str, path: Path, book: Path, folder: Path) -> Path:
    """Make the folder in which a section runs, with what the book keeps beside it."""
    place = folder / path.parent.name
    if not extract.has_scripts(book):
        place.mkdir()
        (folder / "img").symlink_to(book / "img")
        return place
    left_out = extract.SCRIPTS_OF_NAMES if which == "neoclassic" else ()
    shutil.copytree(path.parent, place, ignore=shutil.ignore_patterns(*left_out))
    (folder / "dataset").mkdir()
    for file in (book / "dataset").glob("*.png" if which == "neoclassic" else "*.p[ny]*"):
        shutil.copy(file, folder / "dataset")
    (folder / "dataset" / "mnist.pkl").write_bytes(standins.pickled_mnist())
    if which == "own":
        shutil.copytree(book / "common", folder / "common")
    return place


def _section(which: str, path: Path, book: Path, folder: Path, report: TextIO) -> None:
    """Run the cells of a section in a folder of its own."""
    place = _place(which, path, book, folder)
    os.chdir(place)
    if extract.has_scripts(book):
        sys.path[0] = str(place)
        if which == "neoclassic":
            import neoclassic.compat

            neoclassic.compat.install("dlfs")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__["tab"] = _Tab()
    sys.argv = [path.name if path.suffix == ".py" else path.stem]
    module.__dict__["__file__"] = str(place / path.name)
    for cell in extract.cells(path, book):
        torch.manual_seed(cell.line)
        np.random.seed(cell.line)  # noqa: NPY002 — the cells use it
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            error = _run(cell, str(path), module.__dict__)
        row = {"section": str(path), "line": cell.line, "error": error, "printed": printed.getvalue()}
        print(json.dumps(row), file=report, flush=True)


def main(which: str, book: str, seconds: str, *sections: str) -> None:
    warnings.simplefilter("ignore")
    _prepare(which, Path(book))
    for section in sections:
        with tempfile.TemporaryDirectory() as folder:
            if child := os.fork():
                os.waitpid(child, 0)
                continue
            signal.alarm(int(seconds))  # ends this process
            _section(which, Path(section), Path(book), Path(folder), sys.__stdout__)
            os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
