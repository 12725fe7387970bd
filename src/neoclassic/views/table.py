"""Text tables: the list of the zoo, and one row a layer of a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from neoclassic.measure import Field, Measure, Row, by, measure
from neoclassic.networks import Entry

LEFT, RIGHT = "<", ">"


def align(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Rows of cells as columns, two blanks apart. `sides`: "<" or ">" for each column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def size(count: int) -> str:
    """Bytes for people: 812 B, 3.1 KiB, 97.5 MiB, 1.2 GiB.

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
    """A curve in one line of text, from the least value to the greatest.

    >>> spark([0.5, 0.75, 0.7, 0.9])
    '▁▅▄█'
    """
    low, high = min(values), max(values)
    steps = "▁▂▃▄▅▆▇█"
    return "".join(steps[round((v - low) / (high - low) * 7) if high > low else 0] for v in values)


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────


def by_family(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The networks by year of their first form, each with its variants behind it."""
    families: dict[str, list[Entry]] = {}
    for entry in entries:
        families.setdefault(entry.family, []).append(entry)
    for rows in families.values():
        rows.sort(key=lambda e: (e.name != e.family, e.year))
    return sorted(families.values(), key=lambda rows: rows[0].year)


def network_list(entries: Iterable[Entry]) -> str:
    """One line a network, by year, its variants indented under it."""
    table = [("year", "network", "input", "parameters", "MACs", "about")]
    for family in by_family(entries):
        for entry in family:
            m = measure(entry.build(entry.classes), entry.input)
            variant = entry is not family[0] and family[0].name == entry.family
            counts = (by(entry.input), f"{m.parameters:,}", f"{m.macs:,}")
            table.append((str(entry.year), "  " * variant + entry.name, *counts, entry.about))
    return align(table, LEFT + LEFT + LEFT + RIGHT + RIGHT + LEFT)


# ── the layers ───────────────────────────────────────────────────────────────────────────────────────


def at_depth(m: Measure, depth: int | None) -> list[Row]:
    """The leaves; with a depth, the children of the root (1), theirs (2), …, and the leaves above them."""
    if depth is None:
        return list(m.layers)
    rows = [row for row in m.rows if row.path or row.is_layer]
    return [r for r in rows if (n := r.path.count(".") + 1) == depth or (n < depth and r.is_layer)]


def _axes(fields: tuple[Field, ...], name: str) -> str:
    values = [f"{getattr(field, name):g}" for field in fields]
    return values[0] if len(set(values)) == 1 else "×".join(values)


def layer_table(m: Measure, batch: int = 1, depth: int | None = None) -> str:
    """One row a layer: path, type, output shape, parameters, MACs of one image, memory of the output for the
    batch, and the receptive field (pixels that a unit sees, pixels between units, centre of the first); totals below.

    depth: 1 for the network's own children only, as courses print a `Sequential`; None for every layer.
    """
    table: list[tuple[str, ...]] = [
        ("path", "type", "output", "parameters", "MACs", "memory", "sees", "step", "centre")
    ]
    for row in at_depth(m, depth):
        counts = (f"{row.parameters:,}", f"{row.macs:,}", size(batch * row.bytes))
        sight = tuple(_axes(row.fields, name) for name in ("size", "stride", "centre"))
        table.append((row.path or "(network)", row.type, by(row.output), *counts, *sight))
    return align(table, LEFT * 3 + RIGHT * 6) + "\n\n" + totals(m, batch)


def totals(m: Measure, batch: int = 1) -> str:
    """Parameters, MACs and memory of the whole network, a line each."""
    memory, side = m.memory(batch), m.auxiliary
    lines = [
        ("parameters", f"{m.parameters:,}"),
        *([("statistics", f"{m.statistics:,}")] if m.statistics else []),
        ("MACs", f"{m.macs:,} an image"),
        *([("auxiliary", f"{side.parameters:,} parameters and {side.macs:,} MACs more, in training")] if side else []),
        ("weights", size(memory.weights)),
        ("activations", f"{size(memory.inference)} at most, {size(memory.training)} kept in training; batch {batch}"),
    ]
    return align(lines, LEFT + LEFT)


def to_dict(name: str, m: Measure, batch: int = 1, depth: int | None = None) -> dict[str, Any]:
    """`neoclassic show --json`. Counts are those of inference; what auxiliary heads add stands apart."""
    memory, side = m.memory(batch), m.auxiliary
    return {
        "network": name,
        "input": list(m.input),
        "classes": m.output[0],
        "parameters": m.parameters,
        "statistics": m.statistics,
        "macs": m.macs,
        "auxiliary": {"parameters": side.parameters, "macs": side.macs} if side else None,
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
