"""Sentences and tables of a model card, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from neoclassic.base.text import markdown, printable
from neoclassic.model.evaluate import wilson

FEW = 100  # test images of a class, below which an accuracy is uncertain


def repository(name: str) -> str:
    """A name for a repository on the Hub, which allows letters, digits, hyphens, dots and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def listed(classes: Sequence[str]) -> str:
    """The names of the classes in a sentence; the first of many."""
    if len(classes) <= 12:
        return ", ".join(map(markdown, classes))
    return f"{', '.join(map(markdown, classes[:10]))} and {len(classes) - 10:,} more, which `config.json` lists"


def class_row(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table of classes, from a row of an evaluation."""
    low, high = wilson(round(row["recall"] * row["n"]), row["n"])
    if not row["n"]:
        return markdown(row["class"]), "0", "", "", ""
    return (
        markdown(row["class"]),
        f"{row['n']:,}",
        f"{row['recall']:.1%}",
        f"{low:.1%}–{high:.1%}",
        f"{row['precision']:.1%}",
    )


def class_limits(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Which class is recognised least, and which ones have few test images."""
    limits = []
    tested = [row for row in rows if row["n"]]
    if tested:
        worst = min(tested, key=lambda row: row["recall"])
        limits.append(
            f"It is weakest on {markdown(worst['class'])}: {1 - worst['recall']:.1%} of these images are missed."
        )
    few = [row for row in rows if row["n"] < FEW]
    if few:
        some = ", ".join(f"{markdown(row['class'])} ({row['n']})" for row in few[:5])
        more = f" and {len(few) - 5:,} more classes" if len(few) > 5 else ""
        limits.append(f"Few test images make the figures uncertain: {some}{more}. Look at the intervals.")
    return limits


def fenced(text: str) -> str:
    """Text that stands between lines of three backticks."""
    return printable(text).replace("```", "` ` `")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], alignment: str = "") -> str:
    """A table in Markdown. alignment: l or r for each column."""
    rules = ["---:" if side == "r" else "---" for side in alignment or "l" * len(head)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))
