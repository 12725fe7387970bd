"""Networks of one's own: a tree becomes an `Entry`, as if it stood in the zoo.

The number of classes is adapted where the tree ends in a layer that has one output for each class, which gets as many
as the data have classes; the same holds for auxiliary heads. Input widths follow from the images, as in every tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from neoclassic import tree as nodes
from neoclassic.measure import Shape, ShapeError, measure, smallest_input
from neoclassic.networks.entries import Entry
from neoclassic.tree import Auxiliary, Combinator, Conv2d, Linear, Node, Sequential, at, join, walk

NAME = "own"  # of a tree that no file names
ABOUT = "a network of your own"
SIDE = 28  # pixels, where no data say how large the images are: those of Fashion-MNIST
CHANNELS = (1, 3)
LARGEST = 128  # pixels of a side: as good as 224 for few photos from scratch, in a third of the time

_TYPES = {getattr(nodes, name) for name in nodes.__all__ if isinstance(getattr(nodes, name), type)} - {Node, Combinator}


@lru_cache(maxsize=16)
def own_entry(tree: Node, name: str = NAME) -> Entry:
    """The entry of a tree. ShapeError, which names the layer, for a tree that takes neither grey nor colour images."""
    tree = plain(tree)
    return _entry(name, tree, lambda classes: with_classes(tree, classes))


def made_entry(make: Callable[[int], Node], name: str) -> Entry:
    """The entry of a function that makes the tree for a number of classes. ShapeError as from `own_entry`."""
    return _entry(name, plain(make(10)), lambda classes: with_classes(plain(make(classes)), classes))


def _entry(name: str, tree: Node, build: Callable[[int], Node]) -> Entry:
    shape = _input(tree)
    return Entry(name, build, 0, shape, measure(tree, shape).output[0], ABOUT, own=tree)


def _input(tree: Node) -> Shape:
    """An input that the tree takes: grey before colour, of SIDE pixels or the smallest side that works."""
    failure: ShapeError | None = None
    for channels in CHANNELS:
        shape = (channels, SIDE, SIDE)
        if (least := smallest_input(tree, channels)) and least > SIDE:
            shape = (channels, least, least)
        try:
            measure(tree, shape)
        except ShapeError as error:
            failure = error
            continue
        return shape
    assert failure is not None
    raise failure


# ── the size of the images ───────────────────────────────────────────────────────────────────────────


def size_for(entry: Entry, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The height and width at which a network is trained on images of these heights and widths.

    For a network of the zoo it is the published one. For one's own it is that of the images if they have one size of at
    most LARGEST pixels; else they become squares of the median of their shorter sides, but of at most LARGEST pixels.
    It is never less than the network needs.
    """
    channels, height, width = entry.input
    if entry.own is None:
        return height, width
    if len(set(sizes)) == 1 and max(sizes[0]) <= LARGEST:
        ((height, width),) = set(sizes)
    else:
        from statistics import median  # which would take a twentieth of the time of `import neoclassic`

        height = width = min(int(median(map(min, sizes))) if sizes else LARGEST, LARGEST)
    least = smallest_input(entry.own, channels) or 1
    return max(height, least), max(width, least)


# ── the number of classes ────────────────────────────────────────────────────────────────────────────


def with_classes(tree: Node, classes: int) -> Node:
    """The tree with this many outputs of its last layer, and of the last layers of its auxiliary heads.

    A tree that ends in something else is returned as it is: whoever measures it sees what it gives.
    """
    heads = [path for path, node in walk(tree) if isinstance(node, Auxiliary)]
    for path in (*heads, ""):
        if last := _last(at(tree, path), path):
            tree = _replaced(tree, last.split("."), classes)
    return tree


def _last(node: Node, path: str) -> str | None:
    """The path of the layer that decides about the outputs of a sequence; None if that is not a single layer."""
    for at_path, layer in _backwards(node, path):
        if isinstance(layer, Linear) or (isinstance(layer, Conv2d) and layer.groups == 1):
            return at_path
        if isinstance(layer, _DECISIVE):
            return None
    return None


_DECISIVE = (Conv2d, nodes.RBF, nodes.PadChannels, nodes.Select, Combinator)  # nothing before them decides


def _backwards(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """What an image goes through, from the end: the layers of sequences, and other combinators as a whole."""
    if not isinstance(node, Sequential | Auxiliary):
        yield path, node
        return
    for name, child in reversed(node.children):
        if not isinstance(child, Auxiliary):
            yield from _backwards(child, join(path, name))


def _replaced(node: Node, names: list[str], classes: int) -> Node:
    """The tree in which the Linear or Conv2d at a path has other outputs."""
    if isinstance(node, Combinator):
        children = dict(node.children)
        return _of(node, {**children, names[0]: _replaced(children[names[0]], names[1:], classes)})
    outputs = "out_features" if isinstance(node, Linear) else "out_channels"
    return replace(node, **{outputs: classes})


# ── plain trees ──────────────────────────────────────────────────────────────────────────────────────


def plain(node: Node) -> Node:
    """The tree with nodes of neoclassic's own classes only, so that an artefact of it needs no other program.

    A class that somebody derives from `Sequential` becomes a `Sequential`. A layer that is derived from `Node` itself
    stays as it is, and `measure` refuses it.
    """
    if isinstance(node, Combinator):
        return _of(node, {name: plain(child) for name, child in node.children})
    kind = _kind(node)
    return node if kind is type(node) else kind(**_options(node, kind))


def _of(node: Combinator, children: dict[str, Node]) -> Combinator:
    """A combinator of the same kind and with the same options, with other children."""
    kind = _kind(node)
    made: Combinator = kind.of(children, **_options(node, kind))
    return made


def _kind(node: Node) -> Any:
    return next((cls for cls in type(node).__mro__ if cls in _TYPES), type(node))


def _options(node: Node, kind: Any) -> dict[str, Any]:
    return {f.name: getattr(node, f.name) for f in fields(kind) if f.name != "children"}
