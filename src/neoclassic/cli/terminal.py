"""What a verb prints, fitted to the window if it is a terminal. Into a file or a pipe everything goes, uncut and plain.

rich lays the tables out and knows how wide each character is. It is imported when something is shown in a terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from neoclassic.base.text import printable
from neoclassic.views.table import KEEP, LEFT, SHORTEN, WRAP, Column, Part, Table, text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP = 2  # between two columns
# Words that are coloured at the beginning of a line.
WORDS = {"error:": "red", "warning:": "yellow", "wrong:": "red", "doubtful:": "yellow"}
ASCII = str.maketrans({"…": "...", "×": "x", "→": "->", "−": "-", "–": "-", "·": "*", "⌊": "[", "⌋": "]"})


def window() -> int | None:
    """The columns of the terminal that standard output goes to; None if it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_fitted(*parts: Part) -> None:
    """Print texts and tables on standard output. In a terminal, no line is wider than its window."""
    width = window()
    if width is None or all(isinstance(part, str) and _fits(part, width) for part in parts):
        click.echo(text(parts))
        return
    lines = "\n".join(_fitted(parts, width)) + "\n"
    getattr(sys.stdout, "write_styled", sys.stdout.write)(lines)


def _fits(part: str, width: int) -> bool:
    """Whether rich need not be loaded: the text certainly fits, and has nothing to colour."""
    lines = part.split("\n")
    plain = all(line.isascii() and line.isprintable() and len(line) <= width for line in lines)
    return plain and not any(line.startswith(tuple(WORDS)) for line in lines)


def _fitted(parts: Sequence[Part], width: int) -> Iterator[str]:
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    console = Console(file=sys.stdout, width=width, color_system=None if plain else "auto", highlight=False)
    for part in parts:
        with console.capture() as capture:
            if isinstance(part, Table):
                _print_table(console, part)
            else:
                for line in part.split("\n"):
                    _print_line(console, line)
        yield from (line.rstrip() for line in capture.get().splitlines())


def _print_line(console: Console, line: str, style: str = "") -> None:
    """Wrap a line between words; what follows its first line is indented by two more than that."""
    from rich.padding import Padding
    from rich.text import Text

    shown = Text(_writable(line), style, overflow="fold")
    first = line.partition(" ")[0]
    if first in WORDS:
        shown.stylize(WORDS[first], 0, len(first))
    indent = len(line) - len(line.lstrip(" "))
    if shown.cell_len <= console.width or indent + 2 >= console.width // 2:
        console.print(shown)
        return
    head, *rest = shown[indent:].wrap(console, console.width - indent - 2)
    console.print(Padding(head, (0, 0, 0, indent)))
    for more in rest:
        console.print(Padding(more, (0, 0, 0, indent + 2)))


def _print_table(console: Console, table: Table) -> None:
    from rich.cells import cell_len
    from rich.table import Table as Grid

    columns = [replace(column, title=_writable(column.title)) for column in table.columns]
    cells = list(zip(*([_writable(cell) for cell in row] for row in table.rows), strict=True)) or [()] * len(columns)
    natural = [max(map(cell_len, (column.title, *own))) for column, own in zip(columns, cells, strict=True)]
    shown, widths = _layout(columns, natural, console.width)
    grid = Grid(box=None, padding=0, pad_edge=False, header_style="bold")
    grid.show_header = any(columns[i].title for i in shown)
    for i, width in zip(shown, widths, strict=True):
        if grid.columns:
            grid.add_column(width=GAP)  # rich's own padding differs between its versions
        side: Literal["left", "right"] = "left" if columns[i].side == LEFT else "right"
        grid.add_column(columns[i].title, justify=side, width=width, overflow="fold")
    for row in zip(*(cells[i] for i in shown), strict=True):
        filled = (_cell(text, columns[i], width) for text, i, width in zip(row, shown, widths, strict=True))
        grid.add_row(*[cell for one in filled for cell in ("", one)][1:])
    console.print(grid)
    others = [i for i in range(len(columns)) if i not in shown]
    if others and table.split:
        console.print()
        _print_table(console, _part_of(table, [0, *others]))
    elif others:
        titles = ", ".join(columns[i].title for i in others)
        _print_line(console, f"not shown in {console.width} columns: {titles}", "dim")


def _part_of(table: Table, which: Sequence[int]) -> Table:
    rows = tuple(tuple(row[i] for i in which) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in which), rows=rows)


def _layout(columns: Sequence[Column], natural: Sequence[int], room: int) -> tuple[list[int], list[int]]:
    """The columns that are shown, by index, and their widths."""
    shown = list(range(len(columns)))
    while (widths := _widths([columns[i] for i in shown], [natural[i] for i in shown], room)) is None:
        ranked = [i for i in shown[1:] if columns[i].rank]
        if not ranked or len(shown) == 2:  # the window is narrow enough to break numbers
            tight = [replace(columns[i], narrow=WRAP, least=1) for i in shown]
            return shown, _widths(tight, [natural[i] for i in shown], room) or [1] * len(shown)
        shown.remove(max(ranked, key=lambda i: columns[i].rank))
    return shown, widths


def _widths(columns: Sequence[Column], natural: Sequence[int], room: int) -> list[int] | None:
    """Widths that fit the room, taken from the widest columns that may be narrowed; None if there are none."""
    widths = list(natural)
    while sum(widths) + GAP * (len(widths) - 1) > room:
        flexible = [i for i, c in enumerate(columns) if c.narrow != KEEP and widths[i] > c.least]
        if not flexible:
            return None
        widths[max(flexible, key=widths.__getitem__)] -= 1
    return widths


def _cell(content: str, column: Column, width: int) -> Text:
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    if column.narrow == SHORTEN and cell_len(content) > width:
        mark = _writable("…")
        content = mark + set_cell_size(content[::-1], width - len(mark))[::-1]
    return Text(content, (column.colours or {}).get(content, ""))


def _writable(content: str) -> str:
    """Text that the terminal's encoding has, without control characters, so that its width is known."""
    content, encoding = printable(content), sys.stdout.encoding or "utf-8"
    if not encoding.lower().startswith("utf"):
        content = "".join(c if _has(encoding, c) else c.translate(ASCII) for c in content)
    return content.encode(encoding, "backslashreplace").decode(encoding)


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False
