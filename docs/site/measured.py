"""Measured numbers that say where they stand: `python -m docs.site.measured` lists those that differ.

A number that was measured is a link to its file under results/, and the title of the link says where the number stands
in the file:

    [94.19 %](../results/neoclassic-fashion-record-torch.json "/test_accuracy_with_flip/0 × 100")

The title is a JSON Pointer (RFC 6901). A `*` in it means all entries; `min`, `max`, `mean` or `median`, written before
the pointer, makes one number of them. `× NUMBER`, `÷ NUMBER` or `÷ POINTER` may follow. The number on the page is
compared at the precision in which it is printed.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from docs.site.staging import DOCS, ROOT

LINK = re.compile(r'\[([^\]]*)\]\(([^)\s]*results/[^)\s]+\.json) "([^"]*)"\)')
TITLE = re.compile(r"(?:(min|max|mean|median) )?(/\S(?:.*?\S)?)(?: ([×÷]) (\S.*))?")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
AGGREGATES = {"min": min, "max": max, "mean": statistics.fmean, "median": statistics.median}


def pages() -> list[Path]:
    """All pages and notebooks in both languages, and both READMEs."""
    inside = [path for path in DOCS.rglob("*") if path.suffix in (".md", ".ipynb")]
    return sorted([*inside, *ROOT.glob("README*.md")])


def words(path: Path) -> str:
    """The text of a page, or of a notebook's cells that are text."""
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def at(found: Any, pointer: str) -> list[float]:
    """The numbers at a JSON Pointer. KeyError, IndexError or ValueError if there are none."""
    values = [found]
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if token == "*":
            values = [entry for each in values for entry in (each.values() if isinstance(each, dict) else each)]
        else:
            values = [each[int(name) if isinstance(each, list) else name] for each in values]
    return [float(value) for value in values]


def value(found: Any, title: str) -> float:
    """What a title means in a file. ValueError if it cannot be read, or means several numbers."""
    parts = TITLE.fullmatch(title)
    if parts is None:
        raise ValueError(f"not a pointer into the file: {title}")
    aggregate, pointer, sign, operand = parts.groups()
    values = at(found, pointer)
    if sign:
        others = at(found, operand) if operand.startswith("/") else [float(operand)] * len(values)
        values = [a * b if sign == "×" else a / b for a, b in zip(values, others, strict=True)]
    if aggregate:
        return AGGREGATES[aggregate](values)
    (single,) = values
    return single


def wrong(path: Path) -> list[str]:
    """What is wrong with the measured numbers of a page, a line for each."""
    links = LINK.findall(words(path))
    return [said for text, file, title in links if (said := _difference(path, text, file, title))]


def _difference(path: Path, text: str, file: str, title: str) -> str:
    """How a number differs from its file, or an empty string."""
    try:
        (printed,) = NUMBER.findall(text)
        measured = value(json.loads((path.parent / file).read_text("utf-8")), title)
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"{os.path.relpath(path, ROOT)}: [{text}]: {error!r} in {file} at {title}"
    decimals = len(printed.partition(".")[2])
    if f"{float(printed.replace(',', '')):.{decimals}f}" == f"{measured:.{decimals}f}":
        return ""
    return f"{os.path.relpath(path, ROOT)}: [{text}], but {file} has {measured:.{decimals + 2}f} at {title}"


def main() -> int:
    """The command line."""
    said = [line for path in pages() for line in wrong(path)]
    print("\n".join(said) or "every measured number is what its file says")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
