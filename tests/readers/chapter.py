"""Runs the cells of one chapter as a notebook does: python chapter.py NAMES BOOK SECTION FOLDER

NAMES is `neoclassic`, or `own` for the package of the book in BOOK. Prints one line of JSON a cell: its line, what
failed or null, and what it printed.
"""

import ast
import contextlib
import io
import json
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import extract
import standins


class _Tab:
    """What the newer edition's cells ask for the framework."""

    @staticmethod
    def selected(*names: str) -> bool:
        return "pytorch" in names


def _run(cell: extract.Cell, section: str, names: dict[str, Any]) -> str | None:
    """Run a cell; print its last value. Return the error in one line, or None."""
    try:
        tree = extract.Shorter().visit(ast.parse("\n" * (cell.line - 1) + cell.code, section))
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
    import IPython.display

    IPython.display.display = IPython.display.clear_output = lambda *_, **__: None


def main(which: str, book: str, section: str, folder: str) -> None:
    import torch

    path = Path(section)
    place = Path(folder) / path.parent.name
    place.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (Path(folder) / "img").symlink_to(Path(book).resolve() / "img")
    found = extract.cells(path, Path(book))
    os.chdir(place)
    warnings.simplefilter("ignore")
    _quiet_figures()
    standins.put_in_place()
    if which == "own":
        sys.path.insert(0, str(Path(book).resolve()))
    else:
        import neoclassic.compat

        neoclassic.compat.install()
        standins.put_in_neoclassic()
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__["tab"] = _Tab()
    sys.argv = [path.stem]
    for cell in found:
        torch.manual_seed(cell.line)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            error = _run(cell, section, module.__dict__)
        sys.__stdout__.write(json.dumps({"line": cell.line, "error": error, "printed": printed.getvalue()}) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
