"""Drawings of every network: everything is on the page, text fits its box, and no boxes overlap."""

from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import ImageFont

from neoclassic import networks
from neoclassic.base.errors import NeoclassicError
from neoclassic.cli import main
from neoclassic.measure import measure
from neoclassic.tree import Conv2d, Node, ReLU, Sequential, walk
from neoclassic.views import arithmetic, blocks, drawing, svg
from neoclassic.views.labels import is_main
from neoclassic.views.savings import savings

SVG = "{http://www.w3.org/2000/svg}"
LAYERS = {"conv", "depthwise", "fc", "pool", "other", "end"}
FONTS = {
    bold: ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", 100)
    for bold in (False, True)
}


def drawn(name):
    return drawing.tree(name, measure(networks.network(name), networks.entry(name).input))


def rectangles(root):
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
        yield rect.get("class"), (x, y, x + w, y + h)


def texts(root):
    """Each line of text with its largest bounding box: that in DejaVu Sans, the widest of the fonts."""
    for text in root.iter(f"{SVG}text"):
        wide = 0.0
        for span in text:
            classes = span.get("class").split()
            size = svg.SMALL if "small" in classes else 18 if "title" in classes else svg.LABEL
            wide += FONTS["bold" in classes or "title" in classes].getlength(span.text or "") * size / 100
        x, y = float(text.get("x")), float(text.get("y"))
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[text.get("text-anchor")]
        yield "".join(text.itertext()), (left, y - 10, left + wide, y + 3)


def inside(inner, outer, slack=0.6):
    a, b, c, d = inner
    e, f, g, h = outer
    return a >= e - slack and b >= f - slack and c <= g + slack and d <= h + slack


def overlap(one, two):
    a, b, c, d = one
    e, f, g, h = two
    return a < g - 0.6 and e < c - 0.6 and b < h - 0.6 and f < d - 0.6


@pytest.mark.parametrize("name", networks.list_networks())
def test_nothing_is_cut_off_and_nothing_overlaps(name):
    root = ElementTree.fromstring(drawn(name))
    page = (0.0, 0.0, float(root.get("width")), float(root.get("height")))
    boxes = list(rectangles(root))
    layers = [box for style, box in boxes if style in LAYERS]
    for _, box in boxes:
        assert inside(box, page)
    for text, box in texts(root):
        assert inside(box, page), text
        for layer in layers:
            if overlap(box, layer):
                assert inside((box[0], layer[1], box[2], layer[3]), layer), f"{text!r} is wider than its box"
    frames = [box for style, box in boxes if style in ("frame", "aside")]
    for i, layer in enumerate(layers):
        for other in layers[i + 1 :]:
            pile = abs(layer[0] - other[0]) == pytest.approx(3, abs=0.2)  # the second box of a pile
            assert not overlap(layer, other) or pile
        for frame in frames:
            assert not overlap(layer, frame) or inside(layer, frame)


@pytest.mark.parametrize("name", networks.list_networks())
def test_every_layer_or_an_equal_one_is_in_the_drawing(name):
    tree = networks.network(name)
    root = ElementTree.fromstring(drawn(name))
    titles = "\n".join("".join(title.itertext()) for title in root.iter(f"{SVG}title"))
    nodes = {repr(node) for path, node in walk(tree) if path and is_main(node)}
    if name == "lenet:1998":
        nodes = {node for node in nodes if "Select" not in node}
    assert nodes <= {line.partition(": ")[2].rpartition(", ")[0] for line in titles.splitlines()}


def test_the_file_is_self_contained_and_has_a_dark_mode():
    text = drawn("googlenet")
    assert "prefers-color-scheme:dark" in text
    assert "<script" not in text
    assert text.count("http") == 1  # the XML namespace


def test_repeats_are_folded():
    assert "×24" in drawn("densenet121")
    assert "block2 … block36" in drawn("resnet152")
    assert drawn("lenet").count(">×") == 0


@pytest.mark.parametrize("name", ["lenet", "lenet:1998", "alexnet", "vgg16", "deepconvnet", "nin", "mnist-inception"])
def test_blocks_are_to_scale(name):
    m = measure(networks.network(name), networks.entry(name).input)
    root = ElementTree.fromstring(blocks.blocks(name, m))
    page = (0.0, 0.0, float(root.get("width")), float(root.get("height")))
    assert all(inside(box, page) for _, box in texts(root))
    fronts = []
    for rect in root.iter(f"{SVG}rect"):
        if (title := rect.find(f"{SVG}title")) is not None:
            shape = [int(n) for n in title.text.rpartition(": ")[2].split("×")]
            if len(shape) == 3 and shape[1] > 2 * shape[0] ** 0:
                fronts.append((shape[1], float(rect.get("height"))))
    scale = fronts[0][1] / fronts[0][0]
    assert all(height == pytest.approx(max(side * scale, 2), abs=0.11) for side, height in fronts)


def with_unknown_leaf():
    """The measure of a small network with a leaf that no walker knows: a plain `Node` in place of the activation."""
    m = measure(Sequential(Conv2d(2, 3), ReLU(), Conv2d(2, 3)), (1, 8, 8))
    leaf = Node()
    tree = Sequential.of({"conv1": m["conv1"].node, "relu": leaf, "conv2": m["conv2"].node})
    nodes = {"": tree, "relu": leaf}
    return replace(m, rows=tuple(replace(row, node=nodes.get(row.path, row.node)) for row in m.rows))


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (lambda m: drawing.tree("net", m), "relu: the drawing does not know Node"),
        (lambda m: blocks.blocks("net", m), "relu: the drawing does not know Node"),
        (arithmetic.explain, "relu: the arithmetic does not know Node"),
        (lambda m: list(savings(m)), "relu: the arithmetic does not know Node"),
    ],
)
def test_an_unknown_leaf_is_an_error(view, message):
    with pytest.raises(NeoclassicError, match=message):
        view(with_unknown_leaf())


def test_show_writes_the_drawing(tmp_path, capsys):
    file = tmp_path / "lenet.svg"
    assert main(["show", "lenet", "--svg", str(file)]) == 0
    assert file.read_text().startswith("<svg")
    assert main(["show", "lenet", "--svg", str(file), "--blocks"]) == 0
    assert "5×5 conv, 6: 6×28×28" in file.read_text()
    assert main(["show", "densenet121", "--svg", str(file), "--blocks"]) == 2
    assert "too many for blocks" in capsys.readouterr().err
    assert main(["show", "lenet", "--blocks"]) == 2
