"""The differences between two networks, layer by layer, with the reasons.

The children of two combinators are aligned in order at the lowest cost; equal nodes and equal names are cheap. A pair
of combinators is compared child by child. A combinator without a counterpart is missing or added as a whole.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from neoclassic.base import display
from neoclassic.measure import Measure, Row, by, measure
from neoclassic.networks import Entry, differences
from neoclassic.tree import Combinator, Node, join, walk
from neoclassic.views.table import RIGHT, WRAP, Column, Part, Table, text

MISSING, ADDED, CHANGED = "missing", "added", "changed"
COLOURS = {MISSING: "red", ADDED: "green", CHANGED: "yellow"}  # in a terminal


@dataclass(frozen=True)
class Change:
    """One difference.

    path              in the first network, or in the second if the node is added
    parameters, macs  those of the second network minus those of the first
    """

    change: str
    path: str
    what: str
    parameters: int
    macs: int


def diff(first: Measure, second: Measure) -> list[Change]:
    """The changes from the first network to the second, in order of execution.

    A layer whose MACs differ only because the input size differs is not a change.
    """
    return _nodes(first, second, first.rows[0], second.rows[0])


def _nodes(first: Measure, second: Measure, a: Row, b: Row) -> list[Change]:
    if a.node == b.node and a.parameters == b.parameters:
        return []
    if not isinstance(a.node, Combinator) or not isinstance(b.node, Combinator):
        return [Change(CHANGED, a.path, _fields(a, b), b.parameters - a.parameters, b.macs - a.macs)]
    changes: list[Change] = []
    for left, right in _aligned(a.node.children, b.node.children):
        x = first[join(a.path, left)] if left else None
        y = second[join(b.path, right)] if right else None
        if x and y:
            changes += _nodes(first, second, x, y)
        elif x:
            changes.append(Change(MISSING, x.path, _name(x.node), -x.parameters, -x.macs))
        elif y:
            changes.append(Change(ADDED, y.path, _name(y.node), y.parameters, y.macs))
    return changes


def _name(node: Node) -> str:
    if not isinstance(node, Combinator):
        return repr(node) if len(repr(node)) < 80 else f"{type(node).__name__}(…)"
    return f"{type(node).__name__} of {sum(not isinstance(n, Combinator) for _, n in walk(node))} layers"


def _fields(a: Row, b: Row) -> str:
    """The arguments that changed, or the input shapes if the arguments are equal."""
    pairs = [(f.name, getattr(a.node, f.name), getattr(b.node, f.name)) for f in fields(a.node)]
    changed = [f"{name} {before!r} → {after!r}" for name, before, after in pairs if before != after]
    return f"{a.type}: " + (", ".join(changed) or f"input {by(a.input)} → {by(b.input)}")


def _cost(a: tuple[str, Node], b: tuple[str, Node]) -> float:
    """The cost of pairing two children: 0 if equal, 2 (as much as one missing and one added) if the types differ."""
    if type(a[1]) is not type(b[1]):
        return 2.0
    return (0.0 if a[1] == b[1] else 0.5) + (0.0 if a[0] == b[0] else 0.1)


def _aligned(a: tuple[tuple[str, Node], ...], b: tuple[tuple[str, Node], ...]) -> list[tuple[str | None, str | None]]:
    """Pairs of child names; None stands for a missing counterpart. Needleman & Wunsch 1970."""
    cost = [[float(i + j) for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            cost[i][j] = min(cost[i - 1][j - 1] + _cost(x, y), cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs: list[tuple[str | None, str | None]] = []
    i, j = len(a), len(b)
    while i or j:
        if i and j and _cost(a[i - 1], b[j - 1]) < 2 and cost[i][j] == cost[i - 1][j - 1] + _cost(a[i - 1], b[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((a[i][0], b[j][0]))
        elif j and cost[i][j] == cost[i][j - 1] + 1:
            j -= 1
            pairs.append((None, b[j][0]))
        else:
            i -= 1
            pairs.append((a[i][0], None))
    return pairs[::-1]


# ── for printing ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Diff(display.Displayed):
    """Two networks and how they differ. The repr is a table of the changes.

    names          of both networks
    first, second  their measures
    reasons        why they differ, a sentence on each; "" where none is known
    """

    names: tuple[str, str]
    first: Measure
    second: Measure
    reasons: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, first: Entry, second: Entry) -> Diff:
        """The difference between two networks of the zoo, as published."""
        names, reasons = (first.name, second.name), (differences(first.name), differences(second.name))
        return cls(names, measured(first), measured(second), reasons)

    @property
    def changes(self) -> list[Change]:
        """The changes from the first network to the second, in order of execution."""
        return diff(self.first, self.second)

    @property
    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """The table: change, paths, what, parameters and MACs. Equal changes share a row; the last one is the total."""
        a, b = self.first, self.second
        groups: dict[tuple[str, str], list[Change]] = {}
        for change in self.changes:
            groups.setdefault((change.change, change.what), []).append(change)
        rows = []
        for (kind, what), equal in groups.items():
            more = f" and {len(equal) - 1} more" if len(equal) > 1 else ""
            parameters, macs = sum(c.parameters for c in equal), sum(c.macs for c in equal)
            rows.append((kind, equal[0].path + more, what, f"{parameters:+,}", f"{macs:+,}"))
        total = (f"{b.parameters - a.parameters:+,}", f"{b.macs - a.macs:+,}")
        return [*rows, ("", "in all, at inference", f"{by(a.input)} → {by(b.input)}", *total)]

    @property
    def notes(self) -> list[str]:
        """The known reasons, each with the name of its network."""
        return [f"{name}: {reason}" for name, reason in zip(self.names, self.reasons, strict=True) if reason]

    def __repr__(self) -> str:
        return text(diff_parts(self))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `neoclassic diff --json`."""
        a, b = self.first, self.second
        return {
            "networks": list(self.names),
            "parameters": [a.parameters, b.parameters],
            "macs": [a.macs, b.macs],
            "reasons": list(self.reasons),
            "changes": [asdict(change) for change in self.changes],
        }


def measured(entry: Entry) -> Measure:
    """The measure of a network as published."""
    return measure(entry.tree(), entry.input)


def diff_parts(found: Diff) -> list[Part]:
    """A table of the changes, equal ones on one line, with the totals; then the reasons."""
    columns = (
        Column("", colours=COLOURS),
        Column(" → ".join(found.names), narrow=WRAP, least=18),
        Column("", narrow=WRAP, least=24),
        Column("parameters", RIGHT),
        Column("MACs", RIGHT, rank=1),
    )
    return [Table(columns, tuple(found.rows)), *([""] if found.notes else []), *found.notes]
