"""What a notebook shows of an expression, as IPython's own formatter asks for it: HTML, and plain text beside it."""

import csv
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import Browser
from helpers import fill_photos, needs

import neoclassic as nc
from neoclassic.base.errors import NeoclassicWarning
from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.insight import curves, explain, maps, report, review
from neoclassic.insight.compare import Comparison
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run
from neoclassic.views import drawing, lettering
from neoclassic.views.table import layer_table

QUOTED = '"a", b <b>'
NAMES = ("猫", "狗", QUOTED)
OWN = nc.Sequential(
    nc.Conv2d(8, 3, padding=1),
    nc.Sum(nc.Sequential(nc.Conv2d(8, 3, padding=1), nc.ReLU()), nc.Identity()),
    nc.AdaptiveAvgPool2d(),
    nc.Flatten(),
    nc.Linear(3),
)
EMPTY = {"meta", "img", "br", "link"}  # elements without an end
OPEN = {"tr", "td", "th", "thead", "tbody"}  # elements whose end may be left out


class Page(HTMLParser):
    """The elements and the text of a piece of HTML, whose tags must be balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.stack, self.text = [], [], ""
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in EMPTY | OPEN:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in OPEN:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack[-1:] != ["style"]:
            self.text += data


def shown(expression):
    """The HTML of the expression as a page, or None, and its plain text."""
    needs("IPython")
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(expression)
    return Page(data["text/html"]) if "text/html" in data else None, data["text/plain"]


def svg(html):
    """The drawing in a piece of HTML."""
    start = html.index("<svg")
    return ElementTree.fromstring(html[start : html.index("</svg>") + 6])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two epochs on photos of three classes."""
    root = tmp_path_factory.mktemp("displays")
    for split, first in (("train", 0), ("test", 99)):
        fill_photos(root / "photos" / split, NAMES, first=first)
    recipe = nc.recipe("neoclassic:lenet").but(epochs=2, learning_rate=0.05, validation=0.2, image_size=28)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model learnt little
        nc.train(recipe, root / "photos", out=root / "run", engine="numpy", verbose=False)
    return root / "run"


@pytest.fixture(scope="module")
def model(folder):
    return Model.load(folder)


@pytest.fixture(scope="module")
def reviewed(model):
    return review.of_model(model, model.engine("numpy"))


# ── networks ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_network_of_the_zoo_draws_itself_with_its_cost_below():
    page, text = shown(nc.network("lenet"))
    assert page.tags.count("svg") == 1
    assert "image 1×28×28" in page.text
    assert page.text.rindex("61,706") > page.text.index("10 logits")
    assert eval(text, vars(nc)) == nc.network("lenet")
    assert max(map(len, text.splitlines())) <= 100


def test_knobs_and_classes_keep_the_published_input():
    tree = nc.network("mobilenet-v1", classes=7, width=0.5)
    page, _ = shown(tree)
    assert "image 3×224×224" in page.text
    assert "7 logits" in page.text
    assert nc.network("lenet") == eval(repr(nc.network("lenet")), vars(nc))  # equality knows nothing of it


def test_ones_own_network_is_drawn_without_shapes():
    page, text = shown(OWN)
    assert page.tags.count("svg") == 1
    drawn = "".join(svg(OWN._repr_html_()).itertext()).partition("}")[2]
    assert "3×3 conv, 8" in drawn
    assert "224" not in page.text
    assert "nc.measure(network, (channels, height, width))" in page.text
    assert eval(text, vars(nc)) == OWN


def test_a_block_is_drawn_though_it_takes_only_its_own_channels():
    block = nc.Sum(nc.Sequential(nc.Conv2d(64, 3, padding=1), nc.ReLU()), nc.Identity())
    assert "3×3 conv, 64" in shown(block)[0].text


def test_what_cannot_be_drawn_is_plain_text():
    assert shown(nc.Conv2d(6, 5)) == (None, "Conv2d(6, 5)")
    assert shown(nc.Sum(nc.Conv2d(2, 3), nc.Identity()))[0] is None


def test_a_measure_is_the_layer_table():
    m = nc.measure(nc.network("lenet"), (1, 28, 28))
    page, text = shown(m)
    assert text == layer_table(m)
    assert page.tags.count("tr") == 1 + 12 + 4
    assert "117,600" in page.text
    assert page.text.count("conv1") == 1


def test_a_measure_of_many_layers_shows_its_blocks_and_folds_the_layers():
    m = nc.measure(nc.network("resnet50"), (3, 224, 224))
    page, text = shown(m)
    assert len(text.splitlines()) < 60
    assert "171 layers" in text
    assert page.tags.count("details") == 1
    assert "stage4.block3.sum.path.conv3" in page.text


def test_a_diff_is_a_table_of_the_changes_with_the_reasons():
    page, text = shown(nc.diff("resnet50", "resnet50:2015"))
    for said in (page.text, text):
        assert "stage2.block1.sum.path.conv1 and 2 more" in said
        assert "-231,211,008" in said
        assert "resnet50: the stride is in the 3×3 convolution" in said
    assert len(text.splitlines()) == 7


def test_a_drawing_is_svg_and_can_be_saved(tmp_path):
    needs("IPython")
    from IPython.core.formatters import DisplayFormatter

    drawn = nc.draw("lenet")
    data, _ = DisplayFormatter().format(drawn)
    assert ElementTree.fromstring(data["image/svg+xml"]).get("class") == "nc"
    assert data["text/plain"] == "<Drawing of lenet: save() writes the SVG file>"
    drawn.save(tmp_path / "lenet.svg")
    assert (tmp_path / "lenet.svg").read_text("utf-8") == data["image/svg+xml"]


# ── recipes, models and runs ─────────────────────────────────────────────────────────────────────────


def test_a_recipe_is_a_table_and_its_repr_makes_it():
    recipe = nc.recipe("resnet-2015:resnet20")
    page, text = shown(recipe)
    assert eval(text, {"Recipe": Recipe, "Optimizer": Optimizer, "Augmentation": Augmentation}) == recipe
    assert "sgd, momentum 0.9, weight decay 0.0001" in page.text
    assert "pad 4, flip yes" in page.text
    page, _ = shown(recipe.but(network="mine", tree=OWN))
    assert page.tags.count("svg") == 1


def test_a_list_of_recipes_is_a_table():
    page, text = shown(nc.list_recipes("d2l-zh:*"))
    assert page.tags.count("tr") == len(text.splitlines()) == 1 + len(nc.list_recipes("d2l-zh:*"))


def test_a_model_says_what_it_is_in_one_line(model):
    page, text = shown(model)
    assert "\n" not in text
    for part in ("lenet on photos", "3×28×28", "猫", "61,411", "test accuracy"):
        assert part in text
    assert page.tags.count("svg") == 1
    assert shown(nc.load(model.source))[0].text == page.text
    assert shown(nc.Classifier("lenet")) == (None, "Classifier('lenet')")


def test_a_result_shows_its_curves_and_its_classes(folder):
    result = Run(folder).result()
    page, text = shown(result)
    assert page.tags.count("img") == 1
    assert f"{result.test_accuracy:.2%} of 42 images" in text
    assert QUOTED in page.text
    assert len(text) < 1500
    assert shown(Run(folder))[0].text == page.text


def test_a_result_outlives_its_folder(folder, tmp_path, monkeypatch):
    result = Run(folder).result()
    monkeypatch.chdir(tmp_path)
    page, _ = shown(type(result)(**{**vars(result), "run": "gone", "warnings": ("a doubt",)}))
    assert "img" not in page.tags
    assert "a doubt" in page.text
    assert QUOTED in page.text


def test_an_unfinished_run_says_how_to_finish_it(folder, tmp_path):
    for name in ("recipe.json", "log.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    page, text = shown(Run(tmp_path))
    assert page.tags.count("img") == 1
    assert f"neoclassic train --resume {tmp_path}" in page.text
    assert text == f"Run({str(tmp_path)!r})"
    (tmp_path / "log.csv").unlink()
    assert "has not finished an epoch" in shown(Run(tmp_path))[0].text


def test_an_evaluation_shows_what_is_confused_with_what(reviewed):
    e = Evaluation(0.5, 1.0, 4, NAMES, np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]]))
    page, text = shown(e)
    assert text.startswith("50.00% of 4 images (15.0% to 85.0%), loss 1.0000\n\nclass")
    assert page.text.count(QUOTED) == 4  # its row in three tables, and its column in the matrix
    assert "b" not in page.tags
    page, text = shown(reviewed[0])
    assert "expected calibration error" in page.text
    assert "expected calibration error" in text


def test_an_explanation_shows_where_the_model_looked(model, reviewed):
    explained = explain.explain(model, model.engine("numpy"), reviewed[1].images[0], label="猫")
    page, text = shown(explained)
    assert page.tags.count("img") == 4
    assert "\n" not in text
    assert "猫" in page.text
    assert "猫" in text


def test_a_comparison_is_a_table_with_curves(folder):
    page, text = shown(Comparison.of([str(folder)]))
    assert page.tags.count("img") == 1
    assert text.splitlines()[1].startswith("run  lenet")


# ── how they are made ────────────────────────────────────────────────────────────────────────────────


def test_networks_are_shown_without_numpy_and_matplotlib():
    code = (
        "import sys, neoclassic as nc; m = nc.measure(nc.network('lenet'), (1, 28, 28)); repr(m)\n"
        "shown = [x._repr_html_() for x in (nc.network('lenet'), m)]; assert all(shown)\n"
        "print({'numpy', 'matplotlib', 'torch', 'rich', 'IPython'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_display_that_fails_is_a_warning_and_plain_text(monkeypatch):
    def fail(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(drawing, "tree", fail)
    with pytest.warns(NeoclassicWarning, match="the display of a Sequential could not be made .*planted"):
        assert nc.network("lenet")._repr_html_() is None


IN_SIGHT = """{
    let matrix = document.querySelector('.matrix');
    matrix.scrollTo(1500, 1000);
    let frame = matrix.getBoundingClientRect();
    [...matrix.querySelectorAll('NAMES')].filter(each => {
        let box = each.getBoundingClientRect();
        return box.left >= frame.left - 1 && box.right <= frame.right + 1
            && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
    }).length
}"""


def test_a_cell_has_the_colours_of_the_notebook_not_of_the_system(tmp_path):
    n = 100
    many = Evaluation(0.5, 1.0, n, tuple(f"class {i} 猫" for i in range(n)), np.full((n, n), 3))
    cells = "".join(each._repr_html_() for each in (nc.network("lenet"), many))
    browser = Browser(tmp_path / "profile")
    try:
        for mark, system, expected in (("true", "dark", "rgb(255, 255, 255)"), ("false", "light", "rgb(15, 19, 26)")):
            body = f'<body data-jp-theme-light="{mark}" style="color:gray">{cells}'  # as JupyterLab marks its theme
            (tmp_path / "cell.html").write_text(f'<!doctype html><meta charset="utf-8">{body}', "utf-8")
            browser.prefer(system, width=390)
            browser.open((tmp_path / "cell.html").as_uri())
            assert browser.ask("getComputedStyle(document.querySelector('svg.nc .page')).fill") == expected
            assert browser.ask("document.documentElement.scrollWidth") <= 390
        browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
        for names in ("tbody th:first-child", "thead th:not(:first-child)"):  # in sight, however far it is scrolled
            assert browser.ask(IN_SIGHT.replace("NAMES", names)) >= 3
        size = browser.ask("getComputedStyle(document.querySelector('.matrix td')).fontSize")
        assert float(size.removesuffix("px")) >= 12
    finally:
        browser.close()


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    drawn = []
    for module in (curves, maps):
        monkeypatch.setattr(module, "save", lambda fig, path: (fig.draw_without_rendering(), drawn.append(fig)))
    return drawn


def labels(axis):
    low, high = axis.get_view_interval()
    return [t.label1.get_text() for t in axis.get_major_ticks() if low <= t.get_loc() <= high]


def test_one_epoch_has_one_tick_and_the_whole_scale(figures):
    names = [f"{kind}_{what}" for kind in ("train", "validation", "test") for what in ("loss", "accuracy")]
    curves.draw_log([{"epoch": 1, "seconds": 1.0} | dict.fromkeys(names, 0.3333)], Path(), "")
    loss, accuracy = figures[0].axes
    assert labels(loss.xaxis) == labels(accuracy.xaxis) == ["1"]
    assert labels(accuracy.yaxis) == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert loss.get_ylim()[0] == 0


@pytest.mark.parametrize(
    ("lost", "expected"),
    [(-3e-7, ["-1.0%", "0.0%", "1.0%"]), (0.0, ["-1.0%", "0.0%", "1.0%"]), (0.373, ["-37%", "0%", "37%"])],
)
def test_a_flat_map_has_no_negative_zero(figures, lost, expected):
    maps.draw_occlusion(np.zeros((8, 8, 1), np.uint8), np.full((8, 8), lost), Path(), "")
    assert labels(figures[0].axes[-1].yaxis) == expected


def test_a_hundred_classes_have_names_that_do_not_touch(figures):
    curves.draw_confusion(np.eye(100, dtype=int), [f"class {i}" for i in range(100)], Path(), "")
    axes = figures[0].axes[0]
    for ticks, sides in ((axes.get_xticklabels(), ("x0", "x1")), (axes.get_yticklabels(), ("y0", "y1"))):
        assert [t.get_text() for t in ticks] == [f"class {i}" for i in range(100)]
        edges = sorted(tuple(getattr(t.get_window_extent(), side) for side in sides) for t in ticks)
        assert all(one[1] <= other[0] + 1 for one, other in pairwise(edges))


def test_the_names_are_whole_in_every_file(folder, tmp_path):
    written = nc.evaluate(folder, out=tmp_path, engine="numpy")
    assert set(written.evaluation.classes) == set(NAMES)
    rows = list(csv.reader((tmp_path / "confusion.csv").read_text("utf-8").splitlines()))
    assert set(rows[0][1:]) == {row[0] for row in rows[1:]} == set(NAMES)
    html = report.write(folder, tmp_path / "report.html", engine="numpy").read_text("utf-8")
    for name in NAMES:
        assert Page(html).text.count(name) >= 3


def test_a_report_says_once_that_no_font_has_some_characters(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(lettering, "_font_of", lambda c: None if c in "猫狗" else "")
    text = Page(report.write(folder, tmp_path / "r.html", engine="numpy").read_text("utf-8")).text
    assert text.count("as code points, because no installed font has them: install one that does") == 1
    assert "猫" in text


def test_a_font_that_is_installed_is_used(tmp_path, monkeypatch):
    font = Path(tmp_path / "test.ttf")
    made_font(font, "Test Sans CJK", "猫狗ねこ고양이")
    from matplotlib.font_manager import fontManager

    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    fontManager.addfont(font)
    lettering._font_of.cache_clear()
    try:
        assert [lettering.name(text) for text in ("猫狗", "ねこ", "고양이")] == ["猫狗", "ねこ", "고양이"]
        assert lettering.advice(NAMES) == ""
        curves.draw_confusion(np.eye(3, dtype=int), NAMES, tmp_path / "confusion.png", "猫")
        assert (tmp_path / "confusion.png").stat().st_size
    finally:
        lettering._font_of.cache_clear()


def made_font(path, family, characters):
    """A font that draws each of the characters as a square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for point in ((0, 0), (0, 800), (800, 800)):
        pen.lineTo(point) if point != (0, 0) else pen.moveTo(point)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"uni{ord(c):04X}" for c in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): f"uni{ord(c):04X}" for c in characters})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (900, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
