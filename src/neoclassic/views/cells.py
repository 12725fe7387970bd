"""What a notebook's cell shows of networks: a drawing with its cost, the table of layers, the changes of a diff."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import Any

from neoclassic.measure import Measure, ShapeError, by, measure
from neoclassic.tree import Combinator, Node, walk
from neoclassic.views import drawing, styles
from neoclassic.views.diff import Diff
from neoclassic.views.drawing import Drawing
from neoclassic.views.html import cell, details, facts, paragraph, table
from neoclassic.views.table import LAYER_COLUMNS, at_depth, layer_cells, layer_table, total_rows

MOST = 40  # rows of a table that is not folded


@singledispatch
def html(shown: Any) -> str | None:
    """The HTML of an object; None if its plain text says everything."""
    raise TypeError(f"a {type(shown).__name__} has no HTML")


@singledispatch
def text(shown: Any) -> str:
    """The plain text of an object."""
    raise TypeError(f"a {type(shown).__name__} has no table")


# ── networks ─────────────────────────────────────────────────────────────────────────────────────────


@html.register
def _(tree: Node) -> str | None:
    if not isinstance(tree, Combinator):
        return None
    name = tree.known_as or type(tree).__name__
    if tree.published:
        m = measure(tree, tree.published)
        return cell(picture(drawing.tree(name, m)), network_cost(m))
    hint = "Shapes and cost depend on the images: nc.measure(network, (channels, height, width)) computes them."
    unsized = _of_any_size(tree)
    return cell(picture(drawing.tree(name, unsized)), paragraph(hint)) if unsized else None


def network_cost(m: Measure) -> str:
    """The totals of a network, and its layers, folded."""
    return facts([("input", by(m.input)), *total_rows(m)]) + details("every layer", _layers(m, None))


def picture(file: str) -> str:
    """A drawing, an SVG file, in the theme of the notebook."""
    return f'<style>{styles.DRAWING}</style><div class="wide">{file}</div>'


def _of_any_size(tree: Node) -> Measure | None:
    """The tree's measure, for drawing it without shapes; None if it takes no usual input.

    A block takes as many channels as it returns, so the numbers in the tree are tried too.
    """
    numbers = {value for _, node in walk(tree) for value in vars(node).values() if isinstance(value, int)}
    for channels in (3, 1, *sorted(numbers)):
        for input in ((channels, 224, 224), (channels,)):
            try:
                return replace(measure(tree, input), input=())
            except ShapeError:
                continue
    return None


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────


def _shown_depth(m: Measure) -> int | None:
    """The deepest level with at most MOST rows; None if there are so few layers."""
    if len(m.layers) <= MOST:
        return None
    return next(depth for depth in range(m.rows[0].node.depth, 0, -1) if depth == 1 or len(at_depth(m, depth)) <= MOST)


@text.register
def _(m: Measure) -> str:
    depth = _shown_depth(m)
    note = f"\n{len(m.layers)} layers, of which this table shows the blocks; .layers has them all" if depth else ""
    return layer_table(m, depth=depth) + note


@html.register
def _(m: Measure) -> str:
    depth = _shown_depth(m)
    folded = [details(f"all {len(m.layers)} layers", _layers(m, None))] if depth else []
    return cell(_layers(m, depth), *folded, facts(total_rows(m)))


def _layers(m: Measure, depth: int | None) -> str:
    return table(LAYER_COLUMNS, layer_cells(m, 1, depth), numbers=3)


@html.register
def _(difference: Diff) -> str:
    head = ("", " → ".join(difference.names), "", "parameters", "MACs")
    return cell(table(head, difference.rows, numbers=3), *map(paragraph, difference.notes))


@html.register
def _(drawn: Drawing) -> str:
    return cell(picture(drawn.svg))
