"""The pieces of a drawing: boxes, stacks, frames, branches and side heads.

Each piece is a `Figure`. The flow enters a figure at the top of its vertical axis and leaves it at the bottom, so
figures can be stacked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

from neoclassic.measure import Row, by
from neoclassic.tree import Auxiliary, Combinator, Concat, Product
from neoclassic.views.labels import is_main, label, style
from neoclassic.views.svg import LABEL, SMALL, Canvas, width

ROW, GAP = 26.0, 16.0  # height of a layer's box, and of the arrow below it
PAD, TITLE = 10.0, 22.0  # padding of a frame, and height of its title
BRANCH_GAP = 18.0  # between neighbouring branches
JOIN = 20.0  # height of the bar or circle where branches meet

Paint = Callable[[Canvas, float, float], None]  # paints with the axis at x and the top at y


@dataclass(frozen=True)
class Figure:
    """A piece of a drawing.

    left, right  how far it extends from its axis, in pixels
    height       in pixels
    paint        paints it
    after        text of the arrow below it
    """

    left: float
    right: float
    height: float
    paint: Paint
    after: str = ""


def layer_box(rows: list[Row], count: int, shapes: bool = True) -> Figure:
    """A convolution, pooling or fully connected layer and the layers that follow it, in one box.

    count: how many equal boxes follow each other; more than 1 is drawn as a pile with ×N. shapes: whether the shapes of
    the rows are known.
    """
    main = next((row for row in rows if is_main(row.node)), None)
    spans: list[tuple[str, str]] = []
    for row in rows:
        text_style = "ink bold" if row is main else "soft small" if main else "ink"
        separator = "" if not spans else "  " if row is main else " · "
        spans += [(separator, "soft small"), (label(row), text_style)]
    badge, shift = f"×{count}", 3.0 if count > 1 else 0.0
    box_width = sum(width(text, SMALL if "small" in text_style else LABEL) for text, text_style in spans) + 16
    lines = [f"{row.path}: {row.node!r}" + f", {by(row.input)} → {by(row.output)}" * shapes for row in rows]
    about = "\n".join(lines)
    box_style = style(main or rows[0])

    def paint(canvas: Canvas, x: float, y: float) -> None:
        if count > 1:
            canvas.line([(x, y), (x, y + shift)])
            canvas.box(x - box_width / 2 + shift, y, box_width, ROW, box_style)
            y += shift
        canvas.box(x - box_width / 2, y, box_width, ROW, box_style, about)
        canvas.spans(x, y + ROW / 2, spans, "middle")
        if count > 1:
            canvas.text(x + box_width / 2 + 8, y + ROW / 2, badge, "ink bold")

    badge_width = 10 + width(badge) if count > 1 else 0
    return Figure(box_width / 2, box_width / 2 + badge_width, ROW + shift, paint)


def pill(text: str) -> Figure:
    """The rounded box of the input or the output."""
    box_width = width(text, LABEL) + 24

    def paint(canvas: Canvas, x: float, y: float) -> None:
        canvas.box(x - box_width / 2, y, box_width, ROW, "end", radius=13)
        canvas.text(x, y + ROW / 2, text, "paper bold", "middle")

    return Figure(box_width / 2, box_width / 2, ROW, paint)


def straight() -> Figure:
    """The identity branch, a line."""
    return Figure(8, 8, 0, lambda canvas, x, y: None)


def stack(figures: list[Figure]) -> Figure:
    """Figures below each other, with arrows between them."""
    tops = list(accumulate((f.height + GAP for f in figures), initial=0.0))
    notes = [width(f.after, SMALL) + 14 if f.after else 0 for f in figures[:-1]]

    def paint(canvas: Canvas, x: float, y: float) -> None:
        for i, (figure, top) in enumerate(zip(figures, tops, strict=False)):
            figure.paint(canvas, x, y + top)
            if i + 1 < len(figures):
                _arrow(canvas, x, y + top + figure.height, figure.after)

    left, right = max(f.left for f in figures), max([f.right for f in figures] + notes)
    return Figure(left, right, tops[-1] - GAP, paint, figures[-1].after)


def _arrow(canvas: Canvas, x: float, y: float, text: str = "") -> None:
    canvas.line([(x, y), (x, y + GAP)], tip=True)
    if text:
        canvas.text(x + 8, y + GAP / 2 - 0.5, text, "soft small")


def frame(inner: Figure, title: str, count: int, about: str, frame_style: str = "frame") -> Figure:
    """A titled box around a figure. A count above 1 is drawn as a pile of frames with ×N."""
    badge = f"×{count}" if count > 1 else ""
    left = max(inner.left + PAD, width(title) + PAD + 8)  # the title ends before the arrow
    right = max(inner.right + PAD, width(badge) + PAD + 8)
    if frame_style == "frame" and abs(right - left) < 24:
        left = right = max(left, right)
    shift = 6.0 if count > 1 else 0.0  # how far the lowest frame of the pile shows
    height = TITLE + inner.height + PAD + 4

    def paint(canvas: Canvas, x: float, y: float) -> None:
        if shift:
            canvas.line([(x, y), (x, y + shift)])
            y += shift
            for step in (shift, shift / 2):
                canvas.box(x - left + step, y - step, left + right, height, frame_style, radius=8)
        canvas.box(x - left, y, left + right, height, frame_style, about, radius=8)
        canvas.text(x - left + PAD, y + TITLE / 2 + 1, title, "soft bold")
        if badge:
            canvas.text(x + right - PAD, y + TITLE / 2 + 1, badge, "ink bold", "end")
        canvas.line([(x, y), (x, y + TITLE + 2)], tip=True)
        inner.paint(canvas, x, y + TITLE + 2)
        if frame_style == "frame":
            canvas.line([(x, y + TITLE + 2 + inner.height), (x, y + height)])

    return Figure(left, right + shift, height + shift, paint, inner.after)


def side_head(node: Auxiliary, inner: Figure, name: str) -> Figure:
    """An auxiliary head: the main flow passes on the left of the head's frame."""
    framed = frame(inner, f"{name}: in training, × {node.weight:g}", 1, "", "aside")
    offset = 10 + BRANCH_GAP + framed.left
    height = framed.height + GAP

    def paint(canvas: Canvas, x: float, y: float) -> None:
        canvas.line([(x, y - 2), (x, y + height)])
        canvas.line([(x, y + 4), (x + offset, y + 4), (x + offset, y + GAP)], tip=True)
        framed.paint(canvas, x + offset, y + GAP)

    return Figure(12, offset + framed.right, height, paint)


# ── branches ─────────────────────────────────────────────────────────────────────────────────────────


def branches(node: Combinator, figures: list[Figure], identity: list[bool]) -> Figure:
    """The children of a Sum, Concat or Product side by side, from the line that splits to where they join.

    identity: for each figure, whether it is the branch that changes nothing.
    """
    offsets = _offsets(node, figures, identity)
    concat = isinstance(node, Concat)
    join_at = GAP + 6 + max(figure.height for figure in figures) + GAP

    def paint(canvas: Canvas, x: float, y: float) -> None:
        split = y + 5
        canvas.line([(x, y - 2), (x, split)])
        canvas.line([(x + min(*offsets, 0), split), (x + max(*offsets, 0), split)])
        for offset, figure, is_identity in zip(offsets, figures, identity, strict=True):
            top, bottom = y + GAP + 6, y + join_at
            if is_identity:
                _paint_end(canvas, x, offset, split, bottom, concat)
            else:
                canvas.line([(x + offset, split), (x + offset, top)], tip=True)
                figure.paint(canvas, x + offset, top)
                _paint_end(canvas, x, offset, top + figure.height, bottom, concat)
        if concat:
            first, last = min(*offsets, -26), max(*offsets, 26)
            canvas.box(x + first - 8, y + join_at, last - first + 16, JOIN, "merge", radius=4)
            canvas.text(x + (first + last) / 2, y + join_at + 10, "concatenate", "ink small", "middle")
        else:
            canvas.circle(x, y + join_at + 10, 9, "merge")
            canvas.text(x, y + join_at + 9.5, "×" if isinstance(node, Product) else "+", "ink bold", "middle")

    half_join = width("concatenate", SMALL) / 2 + 10 if concat else 12
    left = max([half_join] + [figure.left - offset for figure, offset in zip(figures, offsets, strict=True)])
    right = max([half_join] + [figure.right + offset for figure, offset in zip(figures, offsets, strict=True)])
    if concat:
        left, right = max(left, 8 - min(offsets)), max(right, 8 + max(offsets))
    return Figure(left, right, join_at + JOIN, paint)


def _offsets(node: Combinator, figures: list[Figure], identity: list[bool]) -> list[float]:
    """The x of each branch relative to the axis."""
    offsets = [0.0]
    for before, after in pairwise(figures):
        offsets.append(offsets[-1] + before.right + BRANCH_GAP + after.left)
    if isinstance(node, Concat) and not any(identity):
        axis = (offsets[0] + offsets[-1]) / 2
    else:  # the axis is that of the first branch that is not the identity
        axis = offsets[identity.index(False)] if False in identity else offsets[0]
    return [offset - axis for offset in offsets]


def _paint_end(canvas: Canvas, x: float, offset: float, top: float, bottom: float, concat: bool) -> None:
    """The line from the end of a branch down into the bar or circle, or round a corner into the circle's side."""
    if concat or offset == 0:
        canvas.line([(x + offset, top), (x + offset, bottom)], tip=True)
    else:
        canvas.line([(x + offset, top), (x + offset, bottom + 10), (x + (10 if offset > 0 else -10), bottom + 10)])
