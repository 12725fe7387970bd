"""Networks side by side, in one table."""

from __future__ import annotations

from neoclassic.measure import Measure, Row, by
from neoclassic.tree import AvgPool2d, Conv2d, Linear, MaxPool2d
from neoclassic.views.savings import savings
from neoclassic.views.table import RIGHT, WRAP, Column, Table, size

Cell = tuple[str, int | None]  # the text, and the number to compare with the first network's


def compare(measures: dict[str, Measure], batch: int = 1) -> Table:
    """A column for each network; brackets give the ratio to the first network's figure."""
    rows = []
    for name, values in _figures(measures, batch).items():
        cells = [text for text, _ in values]
        if isinstance(values[0][1], int) and values[0][1]:
            first = values[0][1]
            others = (f"{text} ({_ratio(value / first)})" for text, value in values[1:] if value is not None)
            cells = [cells[0], *others]
        rows.append((name, *cells))
    columns = [Column(name, RIGHT, WRAP, least=14, rank=i) for i, name in enumerate(measures)]
    return Table((Column(""), *columns), tuple(rows), split=True)


def _ratio(ratio: float) -> str:
    return f"×{ratio:.2f}" if ratio < 10 else f"×{ratio:,.0f}"


def _numbers(values: list[int]) -> list[Cell]:
    return [(f"{value:,}", value) for value in values]


def _sizes(values: list[int]) -> list[Cell]:
    return [(size(value), value) for value in values]


def _figures(measures: dict[str, Measure], batch: int) -> dict[str, list[Cell]]:
    """The rows of the table by name, one cell for each network. Auxiliary heads do not count.

    The receptive field is that of the last layer with a window.
    """
    networks = list(measures.values())
    memory = [m.memory(batch) for m in networks]
    layers = [[row for row in m.layers if not row.auxiliary] for m in networks]
    return {
        "input": [(by(m.input), None) for m in networks],
        "classes": [(f"{m.output[0]:,}", None) for m in networks],
        "convolutions": _numbers([sum(isinstance(r.node, Conv2d) for r in rows) for rows in layers]),
        "fully connected": _numbers([sum(isinstance(r.node, Linear) for r in rows) for rows in layers]),
        "parameters": _numbers([m.parameters for m in networks]),
        "MACs per image": _numbers([m.macs for m in networks]),
        "weights": _sizes([x.weights for x in memory]),
        f"training, batch {batch}": _sizes([x.training for x in memory]),
        f"inference, batch {batch}": _sizes([x.inference for x in memory]),
        "receptive field": [(f"{_last_field(rows)} pixels", None) for rows in layers],
        "saved by 1×1": [(_saved(m, "reduced"), None) for m in networks],
        "saved by depthwise": [(_saved(m, "separated"), None) for m in networks],
    }


def _last_field(rows: list[Row]) -> int:
    windows = [row for row in rows if isinstance(row.node, Conv2d | MaxPool2d | AvgPool2d)]
    return windows[-1].fields[0].size if windows else 1


def _saved(m: Measure, kind: str) -> str:
    """The MACs of the whole network with dense convolutions instead, divided by its MACs."""
    group = [s for s in savings(m) if s.kind == kind]
    dense = m.macs + sum(s.dense_macs - s.macs for s in group)
    return f"{dense / m.macs:.2f}× fewer MACs" if group else "–"
