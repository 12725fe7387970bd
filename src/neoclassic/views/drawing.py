"""A network as nested, labelled boxes, like the figure of its paper, drawn from the tree.

Activations, normalisations and other layers without windows share the box of their convolution. Equal neighbours are
drawn once, with ×N. Branches are drawn side by side and join in ⊕, ⊗ or a bar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf, log
from pathlib import Path

from neoclassic.base import display, files
from neoclassic.measure import Measure, by
from neoclassic.tree import Auxiliary, BatchNorm2d, Combinator, Identity, Node, Select, Sequential, join
from neoclassic.views.figures import GAP, Figure, branches, frame, layer_box, pill, side_head, stack, straight
from neoclassic.views.labels import is_main
from neoclassic.views.svg import SMALL, Canvas, width

MAX_BRANCHES = 6  # more branches than this are drawn as one with ×N if they are alike
MAX_HEIGHT = 760.0  # pixels above which a drawing is split into columns
ASPECT = 1.35  # preferred width by height of a drawing in columns
MARGIN, GUTTER, TOP = 24.0, 44.0, 84.0  # of the page, between columns, and of the first figure


@dataclass(frozen=True, repr=False)
class Drawing(display.Displayed):
    """A drawing of a network: `svg` is the text of the file. A notebook shows it; `save` writes it."""

    name: str
    svg: str

    def save(self, path: str | Path) -> None:
        """Write the SVG file, atomically. NeoclassicError when it cannot be written."""
        files.write(Path(path), self.svg)

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Drawing of {self.name}: save() writes the SVG file>"


def tree(name: str, m: Measure) -> str:
    """The drawing of a network as an SVG file. NeoclassicError for a layer without a rule.

    If `m.input` is empty, the input is unknown: the drawing gives no shapes and no cost.
    """
    figures = [
        pill(f"image {by(m.input)}" if m.input else "input"),
        *_column(m, _items(m.rows[0].node, ""), m.input),
        pill(_end(m)),
    ]
    figures[-2] = replace(figures[-2], after="")
    canvas = Canvas()
    stacks = [stack(column) for column in _columns(figures)]
    right_edge = _paint_columns(canvas, stacks)
    summary = f"{m.parameters:,} parameters · {m.macs:,} multiply-accumulates an image"
    if not m.input:
        summary = f"{len(m.layers)} layers"
    page_width = max(right_edge + MARGIN, MARGIN * 2 + width(summary, SMALL), MARGIN * 2 + 18 * 0.75 * len(name))
    canvas.text(MARGIN, 26, name, "ink title")
    canvas.text(MARGIN, 48, summary, "soft small")
    bottom = TOP + max(s.height for s in stacks)
    about = f"{name}, {by(m.input)} to {_end(m)}: {summary}" if m.input else f"{name}: {summary}"
    return canvas.page(page_width, bottom + 36, name, about)


def _end(m: Measure) -> str:
    if not m.input:
        return "output"
    return f"{m.output[0]} logits" if len(m.output) == 1 else f"output {by(m.output)}"


# ── from the tree to figures ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Item:
    """Layers that share a box, or one combinator; `count` equal ones in a row, the last of them at `last`."""

    nodes: tuple[Node, ...]
    paths: tuple[str, ...]
    count: int = 1
    last: str = ""


def _items(node: Node, path: str) -> list[_Item]:
    """The items of a sequence from top to bottom, equal neighbours merged."""
    children = node.children if isinstance(node, Sequential | Auxiliary) else ()
    groups = _groups([(join(path, name), child) for name, child in children] or [(path, node)])
    items = [_Item(tuple(n for _, n in g), tuple(p for p, _ in g), 1, g[-1][0]) for g in groups]
    merged = []
    for _, equal in groupby(items, key=lambda item: item.nodes):
        first, *others = equal
        merged.append(replace(first, count=1 + len(others), last=(others or [first])[-1].last))
    return merged


def _groups(children: list[tuple[str, Node]]) -> list[list[tuple[str, Node]]]:
    """(path, node) pairs by box: each combinator alone, each main layer with the layers that share its box.

    In a sequence that starts with batch norm, a norm and its activation share the box of the convolution after them.
    """
    groups: list[list[tuple[str, Node]]] = []
    pre_activation = isinstance(children[0][1], BatchNorm2d)
    open_group = False  # whether the last group accepts more layers
    for path, child in children:
        if isinstance(child, Identity):
            continue
        if isinstance(child, Combinator):
            groups.append([(path, child)])
            open_group = False
            continue
        starts = is_main(child) or (pre_activation and isinstance(child, BatchNorm2d))
        if open_group and not (starts and any(is_main(n) for _, n in groups[-1])):
            groups[-1].append((path, child))
        else:
            groups.append([(path, child)])
        open_group = True
    return groups


def _column(m: Measure, items: list[_Item], input_shape: tuple[int, ...]) -> Iterator[Figure]:
    """The figures of a sequence; the arrow after a figure is labelled with the shape where it changes."""
    shape = input_shape
    for item in items:
        output = m[item.last].output
        yield replace(_figure(m, item), after=by(output) if m.input and output != shape else "")
        shape = output


def _sequence(m: Measure, node: Node, path: str) -> Figure:
    figures = list(_column(m, _items(node, path), m[path].input))
    return replace(stack(figures), after="") if figures else straight()


def _figure(m: Measure, item: _Item) -> Figure:
    node, path = item.nodes[0], item.paths[0]
    name = path.rpartition(".")[2]
    if not isinstance(node, Combinator):
        return layer_box([m[p] for p in item.paths], item.count, bool(m.input))
    if isinstance(node, Auxiliary):
        return side_head(node, _sequence(m, node, path), name)
    if isinstance(node, Sequential):
        inner = _items(node, path)
        if len(inner) == 1 and not isinstance(inner[0].nodes[0], Combinator) and inner[0].count == 1:
            return layer_box([m[p] for p in inner[0].paths], item.count, bool(m.input))
        figure = _sequence(m, node, path)
    else:
        figure = _branches(m, node, path)
    title = f"{name} … {item.last.rpartition('.')[2]}" if item.count > 1 else name
    unnamed = not name or (name.rstrip("0123456789") == node.kind and item.count == 1)
    return figure if unnamed else frame(figure, title, item.count, f"{path}: {type(node).__name__}")


def _branches(m: Measure, node: Combinator, path: str) -> Figure:
    children = [(join(path, name), child) for name, child in node.children]
    if len(children) > MAX_BRANCHES and len({_without_channels(child) for _, child in children}) == 1:
        (first, child), last = children[0], children[-1][0].rpartition(".")[2]
        title = f"{first.rpartition('.')[2]} … {last}"
        return branches(node, [frame(_sequence(m, child, first), title, len(children), "")], [False])
    identity = [isinstance(child, Identity) for _, child in children]
    figures = [straight() if isinstance(child, Identity) else _branch(m, child, p) for p, child in children]
    return branches(node, figures, identity)


def _branch(m: Measure, node: Node, path: str) -> Figure:
    if isinstance(node, Sequential) or not isinstance(node, Combinator):
        return _sequence(m, node, path)
    return _branches(m, node, path)


def _without_channels(node: Node) -> Node:
    """A branch without the channels that it selects, so that branches on different channels compare equal."""
    if isinstance(node, Sequential):
        return Sequential.of({name: _without_channels(child) for name, child in node.children})
    return Select((0,)) if isinstance(node, Select) else node


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────


def _columns(figures: list[Figure]) -> list[list[Figure]]:
    """The figures in as many columns as bring the page closest to ASPECT; one column if it is short enough."""
    total = sum(f.height + GAP for f in figures)
    if total <= MAX_HEIGHT:
        return [figures]
    best_score, best = inf, [figures]
    for n in range(1, 9):
        low, high = max(f.height for f in figures), total
        while high - low > 1:  # the smallest height at which n columns are enough
            middle = (low + high) / 2
            low, high = (low, middle) if len(_filled(figures, middle)) <= n else (middle, high)
        columns = _filled(figures, high)
        stacks = [stack(column) for column in columns]
        w, h = sum(s.left + s.right + 60 for s in stacks), max(s.height for s in stacks) + 90
        score = abs(log(w / h / ASPECT))
        if score < best_score:
            best_score, best = score, columns
    return best


def _filled(figures: list[Figure], max_height: float) -> list[list[Figure]]:
    """The figures in order, each column filled up to `max_height` but holding at least one figure."""
    columns: list[list[Figure]] = [[]]
    height = 0.0
    for figure in figures:
        if columns[-1] and height + figure.height > max_height:
            columns.append([])
            height = 0.0
        columns[-1].append(figure)
        height += figure.height + GAP
    return columns


def _paint_columns(canvas: Canvas, stacks: list[Figure]) -> float:
    """Paint the columns from left to right, joined by lines from the bottom of each to the top of the next.

    Return the x of the right edge of the last column.
    """
    edge = MARGIN - GUTTER
    end: tuple[float, float] | None = None  # where the flow leaves the previous column
    for i, column in enumerate(stacks):
        axis = edge + GUTTER + column.left
        if end:
            middle, low, high = edge + GUTTER / 2, end[1] + 20, TOP - 14
            canvas.line([end, (end[0], low), (middle, low), (middle, high), (axis, high), (axis, TOP)], tip=True)
        column.paint(canvas, axis, TOP)
        edge = axis + column.right
        end = (axis, TOP + column.height)
        if i + 1 < len(stacks) and column.after:
            canvas.text(axis + 8, end[1] + 9, column.after, "soft small")
    return edge
