"""Names of classes, files and folders may hold anything, and stay text wherever they are written."""

import csv
import io
import json
import os
import re
import xml.dom.minidom
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import TRAIN, fill_photos, neoclassic
from PIL import Image

from neoclassic.base import files, text
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.insight import curves
from neoclassic.views import lettering

pytestmark = pytest.mark.usefixtures("ornaments")
ESCAPE = "\x1b[31mRED\x1b]0;title\x07"
HOSTILE = {
    "dollars": ("under_$10", "$10_$20", "over $20"),
    "no mathematics": ("$^$", r"\frac{$1$}{", "a_{b$c$"),
    "markup": ("<img src=x onerror=alert(1)>", "</title><script>", "&lt;b"),
    "formulas": ("=cmd|' '!A0", "+1+1", "@SUM(1)"),
    "escapes": (ESCAPE, "a\rb", "\u202egpj.exe"),
    "quotes": ('a"b', "it's", "a,b;c"),
    "percent and braces": ("100%", "{0}", "%s %(x)s"),
}


class Page(HTMLParser):
    """Fails where a name has become a tag."""

    def handle_starttag(self, tag, attributes):
        assert tag != "script"
        assert not any(name.startswith("on") or (name == "src" and value == "x") for name, value in attributes)


@pytest.mark.parametrize("names", HOSTILE.values(), ids=HOSTILE)
def test_photos_of_such_classes_train_and_are_seen_through_every_verb(names, tmp_path, run, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    names = [name.replace("/", "∕") for name in names]
    photos = fill_photos(tmp_path / "my $^$ photos", names, 12)
    first = sorted(names)[0]
    (photos / first / "0.jpg").rename(photos / first / "=1+1 $x$ \x1b[2J.jpg")
    said = []
    for arguments in (
        (*TRAIN, "--data", photos.name, "--out", "r"),
        ("check", photos.name),
        ("evaluate", "r", "--out", "evaluated"),
        ("predict", "r", photos.name, "--csv", "predicted.csv"),
        ("explain", "r", photos / first / "=1+1 $x$ \x1b[2J.jpg", "--out", "looked"),
        ("report", "r"),
        ("compare", "r", "--out", "compared"),
    ):
        code, out, err = run(*arguments)
        assert code == 0, (arguments, err)
        assert "could not be made" not in err, err
        said.append(out + err)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", "".join(said)), "a terminal would obey it"
    for name in ("curves.png", "confusion.png", "report.html"):
        assert (tmp_path / "r" / name).exists()

    rows = {}
    for file in [*tmp_path.glob("evaluated/*.csv"), tmp_path / "predicted.csv", tmp_path / "compared" / "runs.csv"]:
        rows[file.name] = list(csv.reader(io.StringIO(file.read_bytes().decode("utf-8"), newline="")))
        for value in (value for row in rows[file.name] for value in row):
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r")), "a spreadsheet would run it"
    assert {text.csv_cell(name) for name in names} == {row[0] for row in rows["per-class.csv"][1:]}

    Page().feed((tmp_path / "r" / "report.html").read_text("utf-8"))
    assert json.loads(run("evaluate", "r", "--json")[1])["per_class"][0]["class"] == first


def test_a_drawing_of_such_a_network_is_well_formed(tmp_path):
    from neoclassic import measure
    from neoclassic.tree import Conv2d, Flatten, Linear, Sequential
    from neoclassic.views import drawing

    name = "a<b>&\x1b[0m\"'"
    tree = Sequential(Conv2d(2, 3), Flatten(), Linear(2))
    drawn = drawing.tree(name, measure(tree, (1, 8, 8)))
    xml.dom.minidom.parseString(drawn)
    assert "\x1b" not in drawn


@pytest.mark.parametrize("value", ["=1", "+x", "-x", "@x", "\t=1"])
def test_a_formula_in_a_csv_cell_is_text(value):
    assert text.csv_cell(value) == "'" + value


@pytest.mark.parametrize("value", ["-1", "+2.5", "-1e-3", -1, -0.5, None, "a=b", ""])
def test_numbers_and_other_text_stay_as_they_are_in_csv(value):
    assert text.csv_cell(value) == value


def draw(path, names):
    n = len(names)
    curves.draw_confusion(np.eye(n, dtype=np.int64), names, path, "the same title")
    return path.read_bytes()


@pytest.mark.parametrize(("one", "two"), ["猫狗", "ЖЮ", "🐱🐶", "قك", "\ue000\ue001"])
def test_names_in_any_script_are_told_apart_in_a_picture_without_a_warning(one, two, tmp_path):
    assert draw(tmp_path / "1.png", [one, "a"]) != draw(tmp_path / "2.png", [two, "a"])  # a warning is an error here


def test_a_letter_that_no_font_has_is_written_as_its_code_point(monkeypatch):
    monkeypatch.setattr(lettering, "_font_of", lambda c: None if c == "猫" else "")
    assert lettering.name("a猫$") == r"aU+732B\$"


def test_a_font_of_the_system_is_taken_for_letters_that_matplotlib_lacks(monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(lettering, "_font_of", lambda c: "Some CJK" if c == "猫" else "")
    figure = Figure()
    figure.text(0, 0, lettering.name("猫"))
    lettering.set_fonts(figure)
    assert figure.texts[0].get_fontfamily()[-1] == "Some CJK"


def test_a_title_is_drawn_letter_by_letter_and_not_as_mathematics(tmp_path):
    matrix = np.eye(2, dtype=np.int64)
    for i, title in enumerate(("$x^2$", "$x^{2}$")):  # the same mathematics
        curves.draw_confusion(matrix, ["a", "b"], tmp_path / f"{i}.png", title)
    one, two = (np.asarray(Image.open(tmp_path / f"{i}.png")) for i in (0, 1))
    assert one.shape != two.shape or (one != two).any()


def test_an_error_about_a_file_whose_name_has_lines_is_one_line(tmp_path):
    done = neoclassic("predict", tmp_path / "no\nrun\x1b[2J", "x.jpg")
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_a_name_that_is_no_text_is_shown_and_kept(tmp_path, run, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    photos = fill_photos(tmp_path / "p", ("a", "b"))
    (photos / "a" / "0.jpg").rename(photos / "a" / os.fsdecode(b"\xff.jpg"))
    assert run(*TRAIN, "--data", photos, "--out", tmp_path / "r")[0] == 0
    code, _, _ = run("predict", tmp_path / "r", photos, "--csv", tmp_path / "p.csv")
    assert code == 0
    assert (tmp_path / "p.csv").read_text("utf-8").count("\n") == 29


def test_every_error_is_one_line():
    assert str(NeoclassicError("unknown variant `\n`")) == "unknown variant `\\u000a`"
    assert str(UsageError("a\u2028b")) == "a\\u2028b"


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(NeoclassicError, match=r"^\\ud800/x: no file can have this name$"):
        files.on_disk("\ud800/x")
