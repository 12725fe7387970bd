"""Elements of HTML, from plain text: tables, facts, code. Pages and notebooks give them their style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neoclassic.base.text import escape
from neoclassic.views import styles


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def cards(facts: Iterable[tuple[str, str]]) -> str:
    """Large figures from (value, label)."""
    return (
        '<div class="cards">'
        + "".join(f"<div><b>{escape(v)}</b><span>{escape(k)}</span></div>" for v, k in facts)
        + "</div>"
    )


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A table of (name, value)."""
    inner = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f'<table class="facts">{inner}</table>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 1) -> str:
    """A table; its columns from index `numbers` on are right-aligned."""

    def cells(values: Sequence[str], tag: str) -> str:
        kinds = (' class="n"' if i >= numbers else "" for i in range(len(values)))
        return "".join(f"<{tag}{kind}>{escape(v)}</{tag}>" for kind, v in zip(kinds, values, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix that scrolls under its names. Each count is shaded by its share of its row, in ten steps."""
    head = "<th>true class ↓ predicted class →" + "".join(f"<th><span>{escape(name)}</span>" for name in names)
    lines = []
    for name, row in zip(names, counts, strict=True):
        total = max(sum(row), 1)
        cells = (f"<td class=s{max(round(10 * count / total), 1)}>{count}" if count else "<td>" for count in row)
        lines.append(f"<tr><th>{escape(name)}{''.join(cells)}")
    return f'<div class="matrix"><table><thead><tr>{head}<tbody>{"".join(lines)}</table></div>'


def code(text: str, wrap: bool = True) -> str:
    """Preformatted text."""
    style = ' class="wrap"' if wrap else ""
    return f"<pre{style}>{escape(text)}</pre>"


def details(title: str, inner: str) -> str:
    """An element that is hidden until the reader opens it."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def cell(*parts: str) -> str:
    """What the cell of a notebook shows; wide parts scroll."""
    return f'<div class="nc-cell"><style>{styles.CELL}</style>\n' + "\n".join(parts) + "\n</div>"
