"""A network as nested, labelled boxes: the figure of its paper, drawn from the tree.

Layers without windows stand in the box of the convolution that they belong to; equal neighbours are drawn
once, with ×N; arms stand side by side and meet in ⊕, ⊗ or a bar. Every figure has a vertical axis on which it
is entered and left, so that figures stack: `left` and `right` are how far it reaches from its axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from math import inf, log

from neoclassic.base.errors import UsageError
from neoclassic.measure import Measure, Row, by, pooling
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm2d,
    Combinator,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Node,
    PadChannels,
    ReLU,
    ReLU6,
    Select,
    Sequential,
    Sigmoid,
    Tanh,
    join,
    unknown_layer,
)
from neoclassic.views.svg import LABEL, SMALL, Canvas, width

ROW, GAP, PAD, HEAD = 26.0, 16.0, 10.0, 22.0  # heights of a layer and of the arrow behind it; a frame's rim and title
APART = 18.0  # between arms
MOST_ARMS = 6  # drawn side by side, if they are alike
TALL = 760.0  # pixels above which a drawing is broken into columns
SHAPE = 1.35  # wanted width by height, then


# ── what the layers are called ───────────────────────────────────────────────────────────────────────


def label(row: Row) -> str:
    """As in the papers' figures: `3×3 conv, 64, /2`."""
    node = row.node
    match node:
        case Conv2d(out, k, stride, groups=groups):
            step = f", /{stride}" if stride > 1 else ""
            if groups == row.input[0] > 1:
                return f"{k}×{k} depthwise{f', {out}' if out != groups else ''}{step}"
            return f"{k}×{k} conv, {out}{step}{f', {groups} groups' if groups > 1 else ''}"
        case AvgPool2d(1):
            return f"every {'2nd' if node.stride == 2 else f'{node.stride}th'} pixel"
        case MaxPool2d() | AvgPool2d():
            k, s, _ = pooling(node)
            return f"{k}×{k} {'max' if isinstance(node, MaxPool2d) else 'average'} pool{f', /{s}' if s > 1 else ''}"
        case AdaptiveAvgPool2d(size):
            return "global average pool" if size == 1 else f"average pool to {size}×{size}"
        case Linear(out):
            return f"fully connected, {out}"
        case RBF():
            return f"distances to {len(node.prototypes)} prototypes"
        case Dropout(p):
            return f"dropout {p:g}"
        case Select():
            return f"some of {row.input[0]} maps"
        case PadChannels(out):
            return f"zero maps up to {out}"
    names: dict[type[Node], str] = {
        BatchNorm2d: "BN",
        LocalResponseNorm: "LRN",
        ReLU: "ReLU",
        ReLU6: "ReLU6",
        Hardswish: "h-swish",
        Hardsigmoid: "h-sigmoid",
        Sigmoid: "sigmoid",
        Tanh: "tanh",
        Flatten: "flatten",
        Identity: "identity",
    }
    for kind, name in names.items():
        if isinstance(node, kind):
            return name
    raise unknown_layer("the drawing", node, row.path)


def _style(row: Row) -> str:
    match row.node:
        case Conv2d(groups=groups):
            return "depthwise" if groups == row.input[0] > 1 else "conv"
        case Linear() | RBF():
            return "fc"
        case MaxPool2d() | AvgPool2d() | AdaptiveAvgPool2d():
            return "pool"
    return "other"


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────

Paint = Callable[[Canvas, float, float], None]  # at an axis x and a top y


@dataclass(frozen=True)
class Figure:
    """Something drawn, with its reach to both sides of its axis, and what the arrow that leaves it says."""

    left: float
    right: float
    height: float
    paint: Paint
    after: str = ""


def _nothing(_canvas: Canvas, _x: float, _y: float) -> None:
    pass


def _layers(rows: list[Row], count: int) -> Figure:
    """A convolution, pooling or fully connected layer with what follows it, in one box."""
    main = next((row for row in rows if _style(row) != "other"), None)
    parts: list[tuple[str, str]] = []
    for row in rows:
        style = "ink bold" if row is main else "soft small" if main else "ink"
        parts += [(" · " if parts and row is not main else "  " if parts else "", "soft small"), (label(row), style)]
    badge, behind = f"×{count}", 3.0 if count > 1 else 0.0
    wide = sum(width(text, SMALL if "small" in style else LABEL) for text, style in parts) + 16
    about = "\n".join(f"{row.path}: {row.node!r}, {by(row.input)} → {by(row.output)}" for row in rows)

    def paint(canvas: Canvas, x: float, y: float) -> None:
        if count > 1:
            canvas.line([(x, y), (x, y + behind)])
            canvas.box(x - wide / 2 + behind, y, wide, ROW, _style(main or rows[0]))
            y += behind
        canvas.box(x - wide / 2, y, wide, ROW, _style(main or rows[0]), about)
        canvas.spans(x, y + ROW / 2, parts, "middle")
        if count > 1:
            canvas.text(x + wide / 2 + 8, y + ROW / 2, badge, "ink bold")

    extra = 10 + width(badge) if count > 1 else 0
    return Figure(wide / 2, wide / 2 + extra, ROW + behind, paint)


def _stack(figures: list[Figure]) -> Figure:
    """One under the other, with arrows between."""
    tops = list(accumulate((f.height + GAP for f in figures), initial=0.0))
    notes = [width(f.after, SMALL) + 14 if f.after else 0 for f in figures[:-1]]

    def paint(canvas: Canvas, x: float, y: float) -> None:
        for i, (figure, top) in enumerate(zip(figures, tops, strict=False)):
            figure.paint(canvas, x, y + top)
            if i + 1 < len(figures):
                _arrow(canvas, x, y + top + figure.height, figure.after)

    return Figure(
        max(f.left for f in figures),
        max([f.right for f in figures] + notes),
        tops[-1] - GAP,
        paint,
        figures[-1].after,
    )


def _arrow(canvas: Canvas, x: float, y: float, says: str = "") -> None:
    canvas.line([(x, y), (x, y + GAP)], tip=True)
    if says:
        canvas.text(x + 8, y + GAP / 2 - 0.5, says, "soft small")


def _frame(inner: Figure, title: str, count: int, about: str, style: str = "frame") -> Figure:
    """A box around a figure, its name above, ×N behind it."""
    badge = f"×{count}" if count > 1 else ""
    left = max(inner.left + PAD, width(title) + PAD + 8)  # the name ends before the arrow
    right = max(inner.right + PAD, width(badge) + PAD + 8)
    if style == "frame" and abs(right - left) < 24:
        left = right = max(left, right)
    behind = 6.0 if count > 1 else 0.0  # how far the pile of equal frames shows
    height = HEAD + inner.height + PAD + 4

    def paint(canvas: Canvas, x: float, y: float) -> None:
        if behind:
            canvas.line([(x, y), (x, y + behind)])
            y += behind
            for step in (behind, behind / 2):
                canvas.box(x - left + step, y - step, left + right, height, style, radius=8)
        canvas.box(x - left, y, left + right, height, style, about, radius=8)
        canvas.text(x - left + PAD, y + HEAD / 2 + 1, title, "soft bold")
        if badge:
            canvas.text(x + right - PAD, y + HEAD / 2 + 1, badge, "ink bold", "end")
        canvas.line([(x, y), (x, y + HEAD + 2)], tip=True)
        inner.paint(canvas, x, y + HEAD + 2)
        if style == "frame":
            canvas.line([(x, y + HEAD + 2 + inner.height), (x, y + height)])

    return Figure(left, right + behind, height + behind, paint, inner.after)


def _straight() -> Figure:
    """The arm that changes nothing: a line."""
    return Figure(8, 8, 0, _nothing)


def _arms(node: Combinator, arms: list[Figure], straight: list[bool]) -> Figure:
    """Side by side from one line to where they meet."""
    places = [0.0]
    for before, after in pairwise(arms):
        places.append(places[-1] + before.right + APART + after.left)
    if isinstance(node, Concat) and not any(straight):
        axis = (places[0] + places[-1]) / 2
    else:  # the flow goes on straight through the first arm that does something
        axis = places[straight.index(False)] if False in straight else places[0]
    places = [place - axis for place in places]
    tall = max(arm.height for arm in arms)
    bar = isinstance(node, Concat)
    sign = {"Sum": "+", "Product": "×"}.get(type(node).__name__, "")
    meet = GAP + 6 + tall + GAP
    height = meet + 20

    def paint(canvas: Canvas, x: float, y: float) -> None:
        split = y + 5
        canvas.line([(x, y - 2), (x, split)])
        canvas.line([(x + min(*places, 0), split), (x + max(*places, 0), split)])
        for place, arm, plain in zip(places, arms, straight, strict=True):
            top, bottom = y + GAP + 6, y + meet
            if plain and not bar:
                canvas.line(
                    [(x + place, split), (x + place, bottom + 10), (x + (10 if place > 0 else -10), bottom + 10)]
                )
                continue
            canvas.line([(x + place, split), (x + place, bottom if plain else top)], tip=not plain or bar)
            if not plain:
                arm.paint(canvas, x + place, top)
                end = bottom if bar or place == 0 else bottom + 10
                points = [(x + place, top + arm.height), (x + place, end)]
                if end != bottom:
                    points.append((x + (10 if place > 0 else -10), end))
                canvas.line(points, tip=end == bottom)
        if bar:
            first, last = min(*places, -26), max(*places, 26)
            canvas.box(x + first - 8, y + meet, last - first + 16, 20, "merge", radius=4)
            canvas.text(x + (first + last) / 2, y + meet + 10, "concatenate", "ink small", "middle")
        else:
            canvas.circle(x, y + meet + 10, 9, "merge")
            canvas.text(x, y + meet + 9.5, sign, "ink bold", "middle")

    wide = width("concatenate", SMALL) / 2 + 10 if bar else 12
    left = max([wide] + [arm.left - place for arm, place in zip(arms, places, strict=True)])
    right = max([wide] + [arm.right + place for arm, place in zip(arms, places, strict=True)])
    if bar:
        left, right = max(left, 8 - min(places)), max(right, 8 + max(places))
    return Figure(left, right, height, paint)


def _aside(node: Auxiliary, inner: Figure, name: str) -> Figure:
    """A side head: the flow passes by, the head stands right of it."""
    framed = _frame(inner, f"{name}: in training, × {node.weight:g}", 1, "", "aside")
    place = 10 + APART + framed.left
    height = framed.height + GAP

    def paint(canvas: Canvas, x: float, y: float) -> None:
        canvas.line([(x, y - 2), (x, y + height)])
        canvas.line([(x, y + 4), (x + place, y + 4), (x + place, y + GAP)], tip=True)
        framed.paint(canvas, x + place, y + GAP)

    return Figure(12, place + framed.right, height, paint)


# ── from tree to figures ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Item:
    """Layers that share a box, or one combinator; `count` equal ones in a row, the last of them at `last`."""

    nodes: tuple[Node, ...]
    paths: tuple[str, ...]
    count: int = 1
    last: str = ""


def _items(node: Node, path: str) -> list[_Item]:
    """What stands under each other in a sequence, equal neighbours taken together."""
    children = node.children if isinstance(node, Sequential | Auxiliary) else ()
    at = [(join(path, name), child) for name, child in children] or [(path, node)]
    groups: list[list[tuple[str, Node]]] = []
    open_group = False
    activated_before = isinstance(at[0][1], BatchNorm2d)  # norm and activation belong to the convolution behind them
    for child_path, child in at:
        if isinstance(child, Combinator):
            groups.append([(child_path, child)])
            open_group = False
        elif isinstance(child, Identity):
            continue
        else:
            holds = open_group and any(_is_main(n) for _, n in groups[-1])
            begins = _is_main(child) or (activated_before and isinstance(child, BatchNorm2d))
            if open_group and not (begins and holds):
                groups[-1].append((child_path, child))
            else:
                groups.append([(child_path, child)])
            open_group = True
    made = [_Item(tuple(n for _, n in g), tuple(p for p, _ in g), 1, g[-1][0]) for g in groups]
    folded = []
    for _, same in groupby(made, key=lambda item: item.nodes):
        first, *others = same
        folded.append(replace(first, count=1 + len(others), last=(others or [first])[-1].last))
    return folded


def _is_main(node: Node) -> bool:
    return isinstance(node, Conv2d | Linear | RBF | MaxPool2d | AvgPool2d | AdaptiveAvgPool2d)


def _alike(node: Node) -> Node:
    """The node without what makes arms that are alike unequal: which maps they see."""
    if isinstance(node, Sequential):
        return Sequential.of({name: _alike(child) for name, child in node.children})
    return Select((0,)) if isinstance(node, Select) else node


def _column(m: Measure, items: list[_Item], enters: tuple[int, ...]) -> Iterator[Figure]:
    """The figures of a sequence; an arrow says the shape where it has changed."""
    shape = enters
    for item in items:
        out = m[item.last].output
        yield replace(_figure(m, item), after=by(out) if out != shape else "")
        shape = out


def _sequence(m: Measure, node: Node, path: str) -> Figure:
    figures = list(_column(m, _items(node, path), m[path].input))
    return replace(_stack(figures), after="") if figures else _straight()


def _figure(m: Measure, item: _Item) -> Figure:
    node, path = item.nodes[0], item.paths[0]
    name = path.rpartition(".")[2]
    if not isinstance(node, Combinator):
        return _layers([m[p] for p in item.paths], item.count)
    if isinstance(node, Auxiliary):
        return _aside(node, _sequence(m, node, path), name)
    if isinstance(node, Sequential):
        inside = _items(node, path)
        if len(inside) == 1 and not isinstance(inside[0].nodes[0], Combinator) and inside[0].count == 1:
            return _layers([m[p] for p in inside[0].paths], item.count)
        figure = _sequence(m, node, path)
    else:
        figure = _merged(m, node, path)
    title = f"{name} … {item.last.rpartition('.')[2]}" if item.count > 1 else name
    unnamed = name.rstrip("0123456789") == node.kind and item.count == 1
    return figure if unnamed else _frame(figure, title, item.count, f"{path}: {type(node).__name__}")


def _merged(m: Measure, node: Combinator, path: str) -> Figure:
    children = [(join(path, name), child) for name, child in node.children]
    if len(children) > MOST_ARMS and len({_alike(child) for _, child in children}) == 1:
        (first, child), last = children[0], children[-1][0].rpartition(".")[2]
        title = f"{first.rpartition('.')[2]} … {last}"
        return _arms(node, [_frame(_sequence(m, child, first), title, len(children), "")], [False])
    straight = [isinstance(child, Identity) for _, child in children]
    arms = [_straight() if isinstance(child, Identity) else _arm(m, child, p) for p, child in children]
    return _arms(node, arms, straight)


def _arm(m: Measure, node: Node, path: str) -> Figure:
    if isinstance(node, Sequential) or not isinstance(node, Combinator):
        return _sequence(m, node, path)
    return _merged(m, node, path)


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────


def _pill(text: str) -> Figure:
    wide = width(text, LABEL) + 24

    def paint(canvas: Canvas, x: float, y: float) -> None:
        canvas.box(x - wide / 2, y, wide, ROW, "end", radius=13)
        canvas.text(x, y + ROW / 2, text, "paper bold", "middle")

    return Figure(wide / 2, wide / 2, ROW, paint)


def _columns(figures: list[Figure], most: float) -> list[list[Figure]]:
    """In order, each column as high as `most` if it can be."""
    columns: list[list[Figure]] = [[]]
    height = 0.0
    for figure in figures:
        if columns[-1] and height + figure.height > most:
            columns.append([])
            height = 0.0
        columns[-1].append(figure)
        height += figure.height + GAP
    return columns


def _broken(figures: list[Figure]) -> list[list[Figure]]:
    """Into columns, so that the page has a pleasant shape."""
    whole = sum(f.height + GAP for f in figures)
    if whole <= TALL:
        return [figures]
    best, found = inf, [figures]
    for n in range(1, 9):
        low, high = max(f.height for f in figures), whole
        while high - low > 1:
            middle = (low + high) / 2
            low, high = (low, middle) if len(_columns(figures, middle)) <= n else (middle, high)
        columns = _columns(figures, high)
        stacks = [_stack(column) for column in columns]
        w, h = sum(s.left + s.right + 60 for s in stacks), max(s.height for s in stacks) + 90
        if (score := abs(log(w / h / SHAPE))) < best:
            best, found = score, columns
    return found


def tree(name: str, m: Measure) -> str:
    """The drawing of a network as an SVG file."""
    root = m.rows[0].node
    items = _items(root, "")
    figures = [
        replace(_pill(f"image {by(m.input)}")),
        *_column(m, items, m.input),
        _pill(f"{m.output[0]} logits"),
    ]
    figures[-2] = replace(figures[-2], after="")
    canvas = Canvas()
    stacks = [_stack(column) for column in _broken(figures)]
    margin, gutter, top = 24.0, 44.0, 84.0
    x, bottom = margin, top + max(s.height for s in stacks)
    ends: tuple[float, float] | None = None
    edge = margin
    for i, stack in enumerate(stacks):
        axis = x + stack.left
        if ends:
            middle, low, high = edge + gutter / 2, ends[1] + 20, top - 14
            way = [ends, (ends[0], low), (middle, low), (middle, high), (axis, high), (axis, top)]
            canvas.line(way, tip=True)
        stack.paint(canvas, axis, top)
        edge = axis + stack.right
        ends = (axis, top + stack.height)
        if i + 1 < len(stacks) and stack.after:
            canvas.text(axis + 8, ends[1] + 9, stack.after, "soft small")
        x = edge + gutter
    sub = f"{m.parameters:,} parameters · {m.macs:,} multiply-accumulates an image"
    wide = max(edge + margin, margin * 2 + width(sub, SMALL), margin * 2 + 18 * 0.75 * len(name))
    canvas.text(margin, 26, name, "ink title")
    canvas.text(margin, 48, sub, "soft small")
    return canvas.page(wide, bottom + 36, name, f"{name}, {by(m.input)} to {m.output[0]} logits: {sub}")


# ── maps to scale ────────────────────────────────────────────────────────────────────────────────────

MOST_MAPS = 26
TALLEST, WIDEST, LONGEST = 200.0, 60.0, 190.0  # pixels: of the largest map, of the most channels, of the longest vector
SLANT = 0.45  # how far the depth of a block goes to the right, and up


def _stations(m: Measure) -> list[tuple[Row, list[str]]]:
    """Along the main path, each new shape: the row that makes it, and what it and those behind it are called."""
    found: list[tuple[Row, list[str]]] = []

    def visit(node: Node, path: str) -> None:
        if isinstance(node, Sequential):
            for name, child in node.children:
                visit(child, join(path, name))
        elif not isinstance(node, Auxiliary):
            row = m[path]
            says = label(row) if row.is_layer else path.rpartition(".")[2]
            if row.output != (found[-1][0].output if found else m.input):
                found.append((row, [says]))
            elif found and (_is_main(node) or not row.is_layer):
                found[-1][1].append(says)

    visit(m.rows[0].node, "")
    return found


def _said(names: list[str]) -> list[str]:
    """Each name once, with its number where there are several, in short lines."""
    every = [(name, len(list(same))) for name, same in groupby(names)]
    return [line for name, n in every for line in _wrapped(name + (f" ×{n}" if n > 1 else ""))]


def blocks(name: str, m: Measure) -> str:
    """The maps of a network as blocks, to scale, as an SVG file: height and depth are those of the map, the width is
    its channels; a vector is a bar. UsageError for a network with too many."""
    stations = _stations(m)
    if len(stations) > MOST_MAPS:
        raise UsageError(f"{name} has {len(stations)} maps, too many for blocks: leave --blocks out")
    shapes = [m.input, *(row.output for row, _ in stations)]
    maps = [shape for shape in shapes if len(shape) == 3]
    tall = TALLEST / max(shape[1] for shape in maps)
    wide = WIDEST / max(shape[0] for shape in maps)
    vectors = [shape[0] for shape in shapes if len(shape) == 1]
    long = LONGEST / max(vectors) if vectors else 1.0
    words = [["image"], *(names for _, names in stations)]
    styles = ["other", *(_style(row) if row.is_layer else "conv" for row, _ in stations)]
    canvas, x, floor, side = Canvas(), 24.0, 320.0, 24.0
    for shape, names, style in zip(shapes, words, styles, strict=True):
        lines = [by(shape), *_said(names)]
        text = max(width(line, SMALL) for line in lines)
        if len(shape) == 3:
            c, h, w = max(shape[0] * wide, 2.0), max(shape[1] * tall, 2.0), max(shape[2] * tall, 2.0) * SLANT
        else:
            c, h, w = 7.0, max(shape[0] * long, 3.0), 0.0
        room = max(c + w, text)
        left, top = x + (room - c - w) / 2, floor - h
        about = f"{', '.join(names)}: {by(shape)}"
        if w:
            up = w * 0.6
            roof = [(left, top), (left + w, top - up), (left + w + c, top - up), (left + c, top)]
            wall = [(left + c, top), (left + c + w, top - up), (left + c + w, floor - up), (left + c, floor)]
            for face, shade in ((roof, "roof"), (wall, "wall")):
                canvas.polygon(face, style, about)
                canvas.polygon(face, shade, about)
        canvas.box(left, top, c, h, style, about, radius=0)
        for j, line in enumerate(lines):
            canvas.text(x + room / 2, floor + 18 + 15 * j, line, "ink small bold" if j == 0 else "soft small", "middle")
        x += room + 16
        side = max(side, 18 + 15 * len(lines))
    sub = f"height and depth {tall:.3g} px a pixel, width {wide:.3g} px a channel"
    sub += f", bars {long:.3g} px a number" if vectors else ""
    canvas.text(24, 26, name, "ink title")
    canvas.text(24, 48, sub, "soft small")
    page = max(x + 8, width(sub, SMALL) + 48)
    return canvas.page(page, floor + side + 20, f"{name}, its maps to scale", ", ".join(by(shape) for shape in shapes))


def _wrapped(text: str) -> list[str]:
    """At its commas and blanks, in short lines."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + len(word) < 12:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
