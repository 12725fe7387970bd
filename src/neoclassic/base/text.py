"""Escaping names that users gave to classes and files: one function for each format that neoclassic writes.

A name may contain anything, such as markup, formulas or terminal commands. It must stay plain text everywhere.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any


def hidden(character: str) -> bool:
    """Return whether a terminal may obey a character instead of showing it: control codes, changes of direction."""
    joiners = "\u200c\u200d\u00ad"  # they join letters of some scripts, parts of emoji, syllables
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character not in joiners


def printable(text: str, keep: str = "") -> str:
    """Make control characters visible, except those in `keep`: each is written as in JSON.

    >>> print(printable("two\\nlines"))
    two\\u000alines
    """
    return "".join(f"\\u{ord(c):04x}" if c not in keep and hidden(c) else c for c in text)


def escape(text: str) -> str:
    """Escape text for HTML and SVG, between tags or inside a quoted attribute."""
    return html.escape(printable(text, keep="\n\t"))


def json_text(value: Any, indent: int | None = None) -> str:
    """Return valid JSON for any names and numbers: NaN and infinity become null, invalid Unicode is escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False, separators=separators)
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate becomes its JSON escape


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_table(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV, with each value escaped by `csv_cell`."""
    return "".join(map(csv_line, (head, *rows)))


def csv_line(values: Iterable[Any]) -> str:
    """Return a row of a CSV table with its end of line, with each value escaped by `csv_cell`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([csv_cell(value) for value in values])
    return text.getvalue()


def csv_cell(value: Any) -> Any:
    """Escape a value for CSV. A spreadsheet would run text that begins with = + - @, so an apostrophe precedes it.

    Numbers are not changed, even as text. Control characters are made visible as by `printable`.

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


def markdown(text: str) -> str:
    """Escape text for Markdown, within a line or a cell of a table. Control characters are made visible.

    >>> print(markdown("*a* | <b>"))
    \\*a\\* \\| \\<b\\>
    """
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>()#|~&$!@" else c for c in printable(text))
    escaped = escaped.replace("://", "\\://").replace("www.", "www\\.").strip()  # they become links by themselves
    return re.sub(r"^([-+]|\d+\.)", lambda m: f"{m[1][:-1]}\\{m[1][-1]}", escaped)  # it may begin a list


def yaml_text(text: str) -> str:
    """Return text as a double-quoted scalar of YAML, which is also a string of JSON. Control characters are visible."""
    return json.dumps(printable(text), ensure_ascii=False)
