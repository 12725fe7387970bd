"""Runs the chapters of a book with neoclassic's names: python tests/readers BOOK [--own] [--only TEXT] [--errors]"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import extract

HERE = Path(__file__).parent
SECONDS = 600  # for one chapter


def run(names: str, book: Path, section: Path) -> list[dict]:
    """What each cell of a section did. A cell that was not reached, for want of time, has failed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, HERE / "chapter.py", names, book.resolve(), section.resolve(), folder]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | {"MPLBACKEND": "Agg"}
        ) as process:
            try:
                out, err = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += f"\nstopped after {SECONDS} s"
    rows = [json.loads(line) for line in out.splitlines()]
    why = err.strip().splitlines()[-1] if err.strip() else "the process ended"
    missing = extract.cells(section, book)[len(rows) :]
    return rows + [{"line": cell.line, "error": f"not reached: {why}", "printed": ""} for cell in missing]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/readers", description=__doc__)
    parser.add_argument("book", type=Path)
    parser.add_argument("--own", action="store_true", help="also run the book's own names, and compare")
    parser.add_argument("--only", default="", help="only sections whose path contains this")
    options = parser.parse_args()
    sections = [s for s in extract.sections(options.book) if options.only in str(s)]
    total, failed = 0, 0
    print(f"{'section':60} cells  failed")
    for section in sections:
        rows = run("neoclassic", options.book, section)
        if not rows:
            continue
        bad = [row for row in rows if row["error"]]
        total, failed = total + len(rows), failed + len(bad)
        name = str(section.relative_to(options.book)).removesuffix(".md")
        print(f"{name:60} {len(rows):5} {len(bad):7}", flush=True)
        for row in bad:
            print(f"    line {row['line']}: {row['error']}")
    print(f"{'all':60} {total:5} {failed:7}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
