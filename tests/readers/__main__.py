"""Runs the chapters of a book with neoclassic's names: python tests/readers BOOK [--own] [--only TEXT] [--keep FILE]

BOOK is a checkout of d2l-en, d2l-zh or deep-learning-from-scratch. Of d2l, the convolutional chapters, those before
them, and four on fine-tuning and Kaggle run cell by cell; of the other book, every script is one cell. They run with
few images, two epochs and no network; stand-ins take the place of downloads. Nothing of the book is kept. This runs the
code in BOOK, so give a checkout that you trust. The packages that the book's readers have (pandas, requests, IPython)
must be installed, and the system must be able to fork (Linux, macOS).
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import extract

from neoclassic.base import files

HERE = Path(__file__).parent
PACKAGES = ("numpy", "pandas", "torch", "torchvision")  # whose versions matter to what runs
Rows = dict[Path, list[dict]]


def run(names: str, book: Path, sections: list[Path], seconds: int) -> Rows:
    """What each cell did, by section. A cell that was not reached has failed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, HERE / "chapter.py", names, book, str(seconds), *sections]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"MPLBACKEND": "Agg"})
    rows: Rows = defaultdict(list)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        rows[Path(row["section"])].append(row)
    lines = done.stderr.strip().splitlines()
    why = lines[-1] if done.returncode and lines else f"the process ended, or took {seconds} s"
    for section in sections:
        for cell in extract.cells(section, book)[len(rows[section]) :]:
            rows[section].append({"line": cell.line, "error": f"not reached: {why}", "printed": ""})
    return rows


def shape_of(printed: str) -> str:
    """What a cell printed, without numbers, addresses, figures and the points of curves, which neoclassic prints."""
    printed = re.sub(r"0x[0-9a-f]+", "#", printed)
    kept = [
        line for line in printed.splitlines() if not re.match(r"(<?Figure|(epoch|x) [\d.e+-]+  |\[?<matplotlib)", line)
    ]
    return re.sub(r"\s+", " ", re.sub(r"\s*[\d.e+-]*\d[\d.e+-]*", "#", " ".join(kept)))


def table(book: Path, ours: Rows, own: Rows) -> list[dict]:
    """A row per section: how many cells it has, the names it uses, and what failed or printed otherwise where."""
    found = []
    for section, rows in ours.items():
        name = str(section.relative_to(book)).removesuffix(".md").removeprefix("chapter_")
        row = {"section": name, "cells": len(rows), "names": extract.names(section, book), "failed": [], "differ": []}
        theirs = own.get(section) or [None] * len(rows)
        for cell, other in zip(rows, theirs, strict=True):
            line, error, own_error = cell["line"], cell["error"], other and other["error"]
            if error:
                row["failed"].append({"line": line, "error": error, "own": own_error})
            elif own_error:
                row["differ"].append({"line": line, "own": own_error})
            elif other and shape_of(cell["printed"]) != shape_of(other["printed"]):
                printed = [each["printed"][:150] for each in (cell, other)]
                row["differ"].append({"line": line, "printed": printed})
        found.append(row)
    return found


def show(rows: list[dict]) -> None:
    """Print the table."""
    print(f"{'section':62} cells  failed")
    for row in rows:
        print(f"{row['section']:62} {row['cells']:5} {len(row['failed']):7}")
        for cell in row["failed"]:
            print(f"    line {cell['line']}: {cell['error']}" + " (the book's own names fail, too)" * bool(cell["own"]))
        for cell in row["differ"]:
            if "own" in cell:
                print(f"    line {cell['line']}: only the book's own names fail: {cell['own']}")
            else:
                print("    line {}: prints {!r}, with the book's own names {!r}".format(cell["line"], *cell["printed"]))
    print(f"{'all':62} {sum(row['cells'] for row in rows):5} {sum(len(row['failed']) for row in rows):7}")


def keep(file: Path, edition: str, rows: list[dict], compared: bool) -> None:
    """Put an edition's table into a file of results, without what was printed. `own`: failures of the book's names."""
    kept_rows = [
        {
            "section": row["section"],
            "cells": row["cells"],
            "names": functions(row),
            "failed": [cell | {"own": bool(cell["own"])} for cell in row["failed"]],
            "own": sum(bool(cell.get("own")) for cell in row["failed"] + row["differ"]),
        }
        for row in rows
    ]
    kept = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if find_spec(name)}
    today = datetime.date.today().isoformat()
    kept[edition] = {"date": today, "versions": versions, "compared": compared, "sections": kept_rows}
    files.write(file, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def functions(row: dict) -> list[str]:
    """The names of a section that neoclassic has, without functions of tensors, which most sections of d2l use."""
    if row["section"].endswith(".py"):
        from neoclassic.compat import dlfs

        return [name for name in row["names"] if name in dlfs.__all__]
    from neoclassic.compat import d2l
    from neoclassic.compat.d2l import tensors

    return [name for name in row["names"] if name in d2l.__all__ and not hasattr(tensors, name)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/readers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("book", type=Path, help="a folder: a checkout of the book")
    parser.add_argument("--own", action="store_true", help="also run the book's own names, and compare")
    parser.add_argument("--only", default="", help="only the sections whose path contains this")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="put the table into a JSON file, too")
    parser.add_argument("--edition", help="the name of the table in that file (default: the folder's name)")
    parser.add_argument("--seconds", type=int, default=600, help="the most time for a section (default: 600)")
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        parser.error("each section runs in a forked process: use Linux, macOS or WSL")
    book = options.book.resolve()
    sections = [s for s in extract.sections(book) if options.only in str(s) and extract.cells(s, book)]
    if not sections:
        parser.error(f"{options.book} has no such chapters: give a checkout of one of the books")
    ours = run("neoclassic", book, sections, options.seconds)
    rows = table(book, ours, run("own", book, sections, options.seconds) if options.own else {})
    show(rows)
    if options.keep:
        keep(options.keep, options.edition or book.name, rows, options.own)
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
