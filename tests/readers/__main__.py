"""Runs the chapters of a book with neoclassic's names: python tests/readers BOOK [--own] [--only TEXT] [--json FILE]

BOOK is a checkout of d2l-en, d2l-zh or deep-learning-from-scratch. Of d2l, the convolutional chapters, those before
them, and four on fine-tuning and Kaggle run cell by cell; of the other book, every script is one cell. They run with
few images, two epochs and no network; stand-ins take the place of downloads. Nothing of the book is kept. The packages
that the book's readers have (pandas, requests, IPython) must be installed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import extract

HERE = Path(__file__).parent
SECONDS = 600  # for one section
Rows = dict[Path, list[dict]]


def run(names: str, book: Path, sections: list[Path]) -> Rows:
    """What each cell did, by section. A cell that was not reached has failed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, HERE / "chapter.py", names, book, str(SECONDS), *sections]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"MPLBACKEND": "Agg"})
    rows: Rows = defaultdict(list)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        rows[Path(row["section"])].append(row)
    lines = done.stderr.strip().splitlines()
    why = lines[-1] if done.returncode and lines else f"the process ended, or took {SECONDS} s"
    for section in sections:
        for cell in extract.cells(section, book)[len(rows[section]) :]:
            rows[section].append({"line": cell.line, "error": f"not reached: {why}", "printed": ""})
    return rows


def shape_of(printed: str) -> str:
    """What a cell printed, without numbers, figures and the points of curves, which only neoclassic prints."""
    kept = [
        line for line in printed.splitlines() if not re.match(r"(<?Figure|(epoch|x) [\d.e+-]+  |\[?<matplotlib)", line)
    ]
    return re.sub(r"\s+", " ", re.sub(r"[\d.e+-]*\d[\d.e+-]*", "#", " ".join(kept)))


def report(book: Path, ours: Rows, own: Rows) -> list[dict]:
    """Print and return a row per section: cells, failed, failed with the book's own names, and the differences."""
    found = []
    print(f"{'section':62} cells  failed" + "  own" * bool(own))
    for section, rows in ours.items():
        theirs = own.get(section, [])
        name = str(section.relative_to(book)).removesuffix(".md").removeprefix("chapter_")
        row = {"section": name, "cells": len(rows), "failed": sum(bool(r["error"]) for r in rows)}
        row["own"] = sum(bool(r["error"]) for r in theirs) if own else None
        row["names"] = extract.names(section, book)
        found.append(row)
        print(f"{name:62} {row['cells']:5} {row['failed']:7}" + f"{row['own']:5}" * bool(own))
        for i, cell in enumerate(rows):
            other = theirs[i] if own else None
            if cell["error"]:
                same = " (with the book's own, too)" if other and other["error"] else ""
                print(f"    line {cell['line']}: {cell['error']}{same}")
            elif other and other["error"]:
                print(f"    line {cell['line']}: only the book's own fails: {other['error']}")
            elif other and shape_of(cell["printed"]) != shape_of(other["printed"]):
                print(
                    f"    line {cell['line']}: prints otherwise: {cell['printed']!r:.150} not {other['printed']!r:.150}"
                )
    total = [sum(row[key] or 0 for row in found) for key in ("cells", "failed", "own")]
    print(f"{'all':62} {total[0]:5} {total[1]:7}" + f"{total[2]:5}" * bool(own))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/readers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("book", type=Path, help="a folder: a checkout of the book")
    parser.add_argument("--own", action="store_true", help="also run the book's own names, and compare")
    parser.add_argument("--only", default="", help="only the sections whose path contains this")
    parser.add_argument("--json", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    book = options.book.resolve()
    sections = [s for s in extract.sections(book) if options.only in str(s) and extract.cells(s, book)]
    if not sections:
        parser.error(f"{options.book} has no such chapters: give a checkout of one of the books")
    rows = report(book, run("neoclassic", book, sections), run("own", book, sections) if options.own else {})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
