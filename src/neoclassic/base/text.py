"""Names that users gave to classes and files, as text in the languages that neoclassic writes: one function for each.

A name may hold anything: markup, formulas, commands to a terminal. Whatever is written stays that text.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any


def hidden(character: str) -> bool:
    """Whether a terminal may obey a character instead of showing it: control codes, and what turns text around."""
    joins = "\u200c\u200d\u00ad"  # letters of some scripts, parts of emoji, syllables
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character not in joins


def printable(text: str, keep: str = "") -> str:
    """Text whose control characters can be seen: each, but those to keep, is written as in JSON.

    >>> print(printable("two\\nlines"))
    two\\u000alines
    """
    return "".join(f"\\u{ord(c):04x}" if c not in keep and hidden(c) else c for c in text)


def escape(text: str) -> str:
    """For HTML and SVG, between tags or inside a quoted attribute."""
    return html.escape(printable(text, keep="\n\t"))


def json_text(value: Any, indent: int | None = None) -> str:
    """Valid JSON whatever the names and numbers are: null for what is no number, escapes for what is no Unicode."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False, separators=separators)
    return text.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair becomes its JSON escape


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_table(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV, with `csv_cell` for each value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([csv_cell(value) for value in head])
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """A value for CSV. A spreadsheet would run text that begins with = + - @: an apostrophe in front keeps it text.

    Numbers are left as they are, written out or not. Control characters can be seen, as `printable` shows them.

    >>> csv_cell("=1+1"), csv_cell("-1.5"), csv_cell(-1)
    ("'=1+1", '-1.5', -1)
    """
    if not isinstance(value, str):
        return value
    value = printable(value, keep="\n\t")
    if not value.startswith(("=", "+", "-", "@", "\t")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
