"""Text tables: the list of networks, and the layers of one network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neoclassic.measure import Field, Measure, Row, by, measure
from neoclassic.networks import Entry

LEFT, RIGHT = "<", ">"
KEEP, WRAP, SHORTEN = "keep", "wrap", "shorten"  # what a narrow window does to cells; SHORTEN drops their beginnings


@dataclass(frozen=True)
class Column:
    """A column of a `Table`, and what becomes of it in a window that is too narrow.

    side    LEFT or RIGHT
    narrow  KEEP, WRAP or SHORTEN
    least   the width to which WRAP and SHORTEN may narrow it
    rank    a window that is too narrow leaves out the column with the highest rank first, and never one of rank 0
    colours of cells with these texts, in a terminal that has colours
    """

    title: str
    side: str = LEFT
    narrow: str = KEEP
    least: int = 0
    rank: int = 0
    colours: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text in columns. `str(table)` shows everything; `cli.terminal` fits it to a window.

    split  whether columns that do not fit the window are shown in a further table below, instead of left out
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    split: bool = False

    def __str__(self) -> str:
        titles = tuple(column.title for column in self.columns)
        return align([titles, *self.rows] if any(titles) else self.rows, "".join(c.side for c in self.columns))


Part = str | Table  # of what a verb prints; each begins on a new line


def text(parts: Iterable[Part]) -> str:
    """What a verb prints into a file or a pipe."""
    return "\n".join(map(str, parts))


def align(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Align rows of cells into columns with two spaces between them. `sides`: "<" or ">" for each column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def duration(seconds: float) -> str:
    """2 h 5 min; 1 min 38 s; 0.6 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def between(low: float, high: float) -> str:
    """The cell of an interval of fractions: "0.895–0.907"."""
    return f"{low:.3f}–{high:.3f}"


def size(count: int) -> str:
    """A number of bytes in a readable unit: 812 B, 3.1 KiB, 97.5 MiB, 1.2 GiB.

    >>> size(3211264)
    '3.1 MiB'
    """
    scaled = float(count)
    for unit in ("B", "KiB", "MiB"):
        if scaled < 1024:
            return f"{count} B" if unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    return f"{scaled:,.1f} GiB"


def spark(values: Sequence[float]) -> str:
    """A sparkline, scaled from the smallest to the largest value.

    >>> spark([0.5, 0.75, 0.7, 0.9])
    '▁▅▄█'
    """
    low, high = min(values), max(values)
    steps = "▁▂▃▄▅▆▇█"
    return "".join(steps[round((v - low) / (high - low) * 7) if high > low else 0] for v in values)


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────


def by_family(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The networks in families, sorted by the year of the original, which comes before its variants."""
    families: dict[str, list[Entry]] = {}
    for entry in entries:
        families.setdefault(entry.family, []).append(entry)
    for rows in families.values():
        rows.sort(key=lambda e: (e.name != e.family, e.year))
    return sorted(families.values(), key=lambda rows: rows[0].year)


def network_list(entries: Iterable[Entry]) -> Table:
    """One row per network, by year, with its variants indented below it."""
    rows = []
    for family in by_family(entries):
        for entry in family:
            m = measure(entry.build(entry.classes), entry.input)
            variant = entry is not family[0] and family[0].name == entry.family
            counts = (by(entry.input), f"{m.parameters:,}", f"{m.macs:,}")
            rows.append((str(entry.year), "  " * variant + entry.name, *counts, entry.about))
    columns = (
        Column("year"),
        Column("network"),
        Column("input", rank=2),
        Column("parameters", RIGHT),
        Column("MACs", RIGHT, rank=1),
        Column("about", narrow=WRAP, least=24),
    )
    return Table(columns, tuple(rows))


# ── the layers ───────────────────────────────────────────────────────────────────────────────────────


def at_depth(m: Measure, depth: int | None) -> list[Row]:
    """The rows at a depth (1 is the children of the root) and the leaves above it; all leaves if it is None."""
    if depth is None:
        return list(m.layers)
    rows = [row for row in m.rows if row.path or row.is_layer]
    return [r for r in rows if (n := r.path.count(".") + 1) == depth or (n < depth and r.is_layer)]


def _axes(fields: tuple[Field, ...], name: str) -> str:
    values = [f"{getattr(field, name):g}" for field in fields]
    return values[0] if len(set(values)) == 1 else "×".join(values)


LAYERS = (
    Column("path", narrow=WRAP, least=24),
    Column("type", rank=2),
    Column("output"),
    Column("parameters", RIGHT),
    Column("MACs", RIGHT),
    Column("memory", RIGHT, rank=1),
    Column("sees", RIGHT, rank=3),
    Column("step", RIGHT, rank=4),
    Column("centre", RIGHT, rank=5),
)
LAYER_COLUMNS = tuple(column.title for column in LAYERS)


def layer_cells(m: Measure, batch: int = 1, depth: int | None = None) -> list[tuple[str, ...]]:
    """The cells of `layer_table`, a row for each layer."""
    cells: list[tuple[str, ...]] = []
    for row in at_depth(m, depth):
        counts = (f"{row.parameters:,}", f"{row.macs:,}", size(batch * row.bytes))
        receptive_field = tuple(_axes(row.fields, name) for name in ("size", "stride", "centre"))
        cells.append((row.path or "(network)", row.type, by(row.output), *counts, *receptive_field))
    return cells


def layer_table(m: Measure, batch: int = 1, depth: int | None = None) -> str:
    """One row per layer, then the totals.

    The columns are path, type, output shape, parameters, MACs of one image, memory of the output for the batch, and
    the receptive field: its size, its stride and the centre of the first unit's, in pixels.

    depth: 1 for the children of the network only, like a printed `Sequential`; None for every layer.
    """
    return text(layer_parts(m, batch, depth))


def layer_parts(m: Measure, batch: int = 1, depth: int | None = None) -> list[Part]:
    """The parts of `layer_table`."""
    return [Table(LAYERS, tuple(layer_cells(m, batch, depth))), "", totals(m, batch)]


def totals(m: Measure, batch: int = 1) -> Table:
    """Parameters, MACs and memory of the whole network, one per line."""
    return pairs(total_rows(m, batch))


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what there is to say about them, without titles."""
    return Table((Column(""), Column("", narrow=WRAP, least=20)), tuple(rows))


def total_rows(m: Measure, batch: int = 1) -> list[tuple[str, str]]:
    """The rows of `totals`: a name and a value."""
    memory, auxiliary = m.memory(batch), m.auxiliary
    lines = [("parameters", f"{m.parameters:,}")]
    if m.statistics:
        lines.append(("statistics", f"{m.statistics:,}"))
    lines.append(("MACs", f"{m.macs:,} an image"))
    if auxiliary:
        more = f"{auxiliary.parameters:,} parameters and {auxiliary.macs:,} MACs more, in training"
        lines.append(("auxiliary", more))
    return [
        *lines,
        ("weights", size(memory.weights)),
        ("activations", f"{size(memory.inference)} at most, {size(memory.training)} kept in training; batch {batch}"),
    ]


def to_dict(name: str, m: Measure, batch: int = 1, depth: int | None = None) -> dict[str, Any]:
    """The JSON of `neoclassic show --json`. The counts are for inference; those of auxiliary heads are separate."""
    memory, auxiliary = m.memory(batch), m.auxiliary
    return {
        "network": name,
        "input": list(m.input),
        "classes": m.output[0],
        "parameters": m.parameters,
        "statistics": m.statistics,
        "macs": m.macs,
        "auxiliary": {"parameters": auxiliary.parameters, "macs": auxiliary.macs} if auxiliary else None,
        "batch": batch,
        "memory": {"weights": memory.weights, "training": memory.training, "inference": memory.inference},
        "layers": [
            {
                "path": row.path,
                "type": row.type,
                "output": list(row.output),
                "parameters": row.parameters,
                "macs": row.macs,
                "bytes": batch * row.bytes,
                "receptive_field": [
                    {"size": field.size, "stride": field.stride, "centre": field.centre} for field in row.fields
                ],
            }
            for row in at_depth(m, depth)
        ],
    }
