"""Elements of HTML, from plain text: tables, facts, code. Pages and notebooks give them their style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neoclassic.base.text import escape


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


def code(text: str, wrap: bool = True) -> str:
    """Preformatted text."""
    style = ' class="wrap"' if wrap else ""
    return f"<pre{style}>{escape(text)}</pre>"


def details(title: str, inner: str) -> str:
    """An element that is hidden until the reader opens it."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


# colours are the notebook's own, light or dark
CELL_STYLE = """.nc-cell{max-width:100%;color:inherit;line-height:1.4}
.nc-cell p{max-width:70ch;margin:.6em 0;opacity:.8}
.nc-cell table{border-collapse:collapse;border:0;margin:.4em 0;font-size:.92em;font-variant-numeric:tabular-nums;
color:inherit;table-layout:auto}.nc-cell .wide{overflow-x:auto;max-width:100%}.nc-cell svg{display:block;max-width:100%;
height:auto}.nc-cell th,.nc-cell td{text-align:left;padding:2px 14px 2px 0;border:0;color:inherit;vertical-align:top;
border-bottom:1px solid rgba(128,128,128,.3);overflow-wrap:anywhere;white-space:normal;max-width:60ch}
.nc-cell tr,.nc-cell tr:hover,.nc-cell tr:nth-child(odd){background:none}.nc-cell th{font-weight:600;opacity:.75}
.nc-cell td.n,.nc-cell th.n{text-align:right;white-space:nowrap;padding:2px 0 2px 14px}.nc-cell th{white-space:nowrap}
.nc-cell summary{cursor:pointer;margin:.6em 0}.nc-cell .title{font-weight:700;margin:.2em 0;opacity:1}"""


def cell(*parts: str) -> str:
    """What the cell of a notebook shows; wide parts scroll."""
    return f'<div class="nc-cell"><style>{CELL_STYLE}</style>\n' + "\n".join(parts) + "\n</div>"
