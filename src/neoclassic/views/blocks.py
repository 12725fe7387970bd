"""The feature maps of a network as blocks, to scale, as an SVG file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from neoclassic.base.errors import UsageError
from neoclassic.measure import Measure, Row, by
from neoclassic.tree import Auxiliary, Node, Sequential, join
from neoclassic.views.labels import is_main, label, style
from neoclassic.views.svg import SMALL, Canvas, width

MAX_MAPS = 26
TALLEST, WIDEST, LONGEST = 200.0, 60.0, 190.0  # pixels: the largest map, the most channels, the longest vector
SLANT = 0.45  # how far the depth of a block extends to the right and up
FLOOR = 320.0  # y of the bottom of every block


def blocks(name: str, m: Measure) -> str:
    """The feature maps of a network as blocks, to scale, as an SVG file.

    The height and depth of a block are those of the map, and its width is the number of channels. A vector is a bar.
    UsageError for a network with more than 26 maps; NeoclassicError for a layer without a rule.
    """
    maps = _feature_maps(m)
    if len(maps) > MAX_MAPS:
        raise UsageError(f"{name} has {len(maps)} maps, too many for blocks: leave --blocks out")
    shapes = [m.input, *(row.output for row, _ in maps)]
    texts = [["image"], *(labels for _, labels in maps)]
    styles = ["other", *(style(row) if row.is_layer else "conv" for row, _ in maps)]
    scale = _Scale.of(shapes)
    canvas, x, text_height = Canvas(), 24.0, 24.0
    for shape, labels, box_style in zip(shapes, texts, styles, strict=True):
        lines = [by(shape), *_numbered(labels)]
        x += _paint(canvas, x, shape, scale, box_style, f"{', '.join(labels)}: {by(shape)}", lines) + 16
        text_height = max(text_height, 18 + 15 * len(lines))
    legend = f"height and depth {scale.pixel:.3g} px a pixel, width {scale.channel:.3g} px a channel"
    legend += f", bars {scale.number:.3g} px a number" if any(len(shape) == 1 for shape in shapes) else ""
    canvas.text(24, 26, name, "ink title")
    canvas.text(24, 48, legend, "soft small")
    page_width = max(x + 8, width(legend, SMALL) + 48)
    about = ", ".join(by(shape) for shape in shapes)
    return canvas.page(page_width, FLOOR + text_height + 20, f"{name}, its maps to scale", about)


def _feature_maps(m: Measure) -> list[tuple[Row, list[str]]]:
    """Each new shape along the main path: the row that makes it, and the labels of the layers that keep it."""
    maps: list[tuple[Row, list[str]]] = []

    def visit(node: Node, path: str) -> None:
        if isinstance(node, Sequential):
            for name, child in node.children:
                visit(child, join(path, name))
        elif not isinstance(node, Auxiliary):
            row = m[path]
            text = label(row) if row.is_layer else path.rpartition(".")[2]
            if row.output != (maps[-1][0].output if maps else m.input):
                maps.append((row, [text]))
            elif maps and (is_main(node) or not row.is_layer):
                maps[-1][1].append(text)

    visit(m.rows[0].node, "")
    return maps


@dataclass(frozen=True)
class _Scale:
    """Pixels of the drawing for a pixel of a map, for a channel, and for a number of a vector."""

    pixel: float
    channel: float
    number: float

    @classmethod
    def of(cls, shapes: list[tuple[int, ...]]) -> _Scale:
        maps = [shape for shape in shapes if len(shape) == 3]
        vectors = [shape[0] for shape in shapes if len(shape) == 1]
        return cls(
            TALLEST / max(shape[1] for shape in maps),
            WIDEST / max(shape[0] for shape in maps),
            LONGEST / max(vectors) if vectors else 1.0,
        )


def _paint(
    canvas: Canvas, x: float, shape: tuple[int, ...], scale: _Scale, box_style: str, about: str, lines: list[str]
) -> float:
    """Paint a block or a bar with its text below, and return their width."""
    if len(shape) == 3:
        c, h = max(shape[0] * scale.channel, 2.0), max(shape[1] * scale.pixel, 2.0)
        depth = max(shape[2] * scale.pixel, 2.0) * SLANT
    else:
        c, h, depth = 7.0, max(shape[0] * scale.number, 3.0), 0.0
    total = max(c + depth, max(width(line, SMALL) for line in lines))
    left, top = x + (total - c - depth) / 2, FLOOR - h
    if depth:
        rise = depth * 0.6
        roof = [(left, top), (left + depth, top - rise), (left + depth + c, top - rise), (left + c, top)]
        wall = [(left + c, top), (left + c + depth, top - rise), (left + c + depth, FLOOR - rise), (left + c, FLOOR)]
        for face, shade in ((roof, "roof"), (wall, "wall")):
            canvas.polygon(face, box_style, about)
            canvas.polygon(face, shade, about)
    canvas.box(left, top, c, h, box_style, about, radius=0)
    for i, line in enumerate(lines):
        text_style = "ink small bold" if i == 0 else "soft small"
        canvas.text(x + total / 2, FLOOR + 18 + 15 * i, line, text_style, "middle")
    return total


def _numbered(labels: list[str]) -> list[str]:
    """The labels in short lines, equal neighbours once with ×N."""
    counted = [(text, len(list(equal))) for text, equal in groupby(labels)]
    return [line for text, n in counted for line in _wrapped(text + (f" ×{n}" if n > 1 else ""))]


def _wrapped(text: str) -> list[str]:
    """Lines of about 12 characters, broken at spaces."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + len(word) < 12:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
