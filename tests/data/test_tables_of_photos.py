"""Tables and lists as other systems write them: each is read as it is meant, or refused in one line."""

import codecs
import csv
import io
import os
import unicodedata

import numpy as np
import pytest
from helpers import write_idx
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.data import scan

TRAIN = ("train", "lenet", "--engine", "numpy", "--image-size", 28, "--epochs", 1, "--max-steps", 1)
ROWS = [(f"img/{name}/{i}.jpg", name, "test" if i > 5 else "train") for name in ("chat", "ours") for i in range(8)]


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path):
    for path, _, _ in ROWS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([*os.fsencode(path)]).integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / path)
    return tmp_path


def text(rows=ROWS, header=("path", "label", "split"), end="\n", **options):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end, **options)
    writer.writerows([header, *rows])
    return file.getvalue()


COUNTS = {"train": {"chat": 6, "ours": 6}, "test": {"chat": 2, "ours": 2}}


@pytest.mark.parametrize(
    "content",
    [
        text().encode(),
        text().encode("utf-8-sig"),
        text(end="\r\n").encode(),
        text(end="\r").encode(),
        text(delimiter=";").encode(),
        text(delimiter="\t").encode(),
        text(delimiter="|").encode(),
        ("sep=;\r\n" + text(delimiter=";", end="\r\n")).encode(),
        text(delimiter="\t").encode("utf-16"),
        codecs.BOM_UTF16_BE + text().encode("utf-16-be"),
        text().encode("utf-16-le"),
        text(quoting=csv.QUOTE_ALL).encode(),
        ("\n\n" + text() + "\n\n,,\n \n").encode(),
        text().replace(",", " , ").encode(),
        text(header=("PATH", "Label", "SPLIT")).encode(),
        text(header=("filename", "class", "subset")).encode(),
        text(header=("Image Path", "Category", "set")).encode(),
        text(header=("file_name", "class_name", "Part")).encode(),
        text([(p, name, s.upper()) for p, name, s in ROWS]).encode(),
        text([(p, name, f"{s}ing_set") for p, name, s in ROWS]).encode(),
        text(
            [(i, p, name, s, "") for i, (p, name, s) in enumerate(ROWS)], ("id", "image", "label", "split", "")
        ).encode(),
        text([*ROWS, *ROWS[:3]]).encode(),
        text([(f"./img/../{p}", name, s) for p, name, s in ROWS]).encode(),
    ],
    ids=range(23),
)
def test_a_table_is_read_however_it_was_written(content, root, run_json):
    (root / "table.csv").write_bytes(content)
    assert run_json("check", root / "table.csv")["counts"] == COUNTS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            text([("img/été.jpg", "été", "train")]).encode("cp1252"),
            "line 2: this is not UTF-8 text: save the file as UTF",
        ),
        (b"path,label\nimg/a\0b.jpg,x\n", "line 2: there is a NUL byte"),
        (text([("img\\chat\\0.jpg", "chat", "train")]).encode(), "has Windows separators: write img/chat/0.jpg"),
        (text([("C:\\me\\0.jpg", "chat", "train")]).encode(), "line 2: C:\\me\\0.jpg has Windows separators"),
        (
            b"path,label\nimg/a, b.jpg,x\n",
            "line 2: 3 cells for 2 columns: put a cell that contains the delimiter in quotes",
        ),
        (b'path,label\n"img/a.jpg,x\nb.jpg,y\n', "line 3: unexpected end of data"),
        (b"path,label\nimg/chat/0.jpg\n", "line 2: the label is missing"),
        (b"path,label,split\na.jpg,x,\n", "line 2: the split is missing"),
        (b"path,label\nhttps://a.org/b.jpg,x\n", "line 2: https://a.org/b.jpg is not a file: download it"),
        (
            b"0.jpg,cat\n1.jpg,dog\n",
            "no column 'path': the first line must name path, label and optionally split, but it has 0.jpg",
        ),
        (b"path,label\n", "no photos"),
        (b"", "no column 'path'"),
    ],
    ids=range(12),
)
def test_a_table_that_cannot_be_read_is_one_line(content, words, root, run):
    (root / "table.csv").write_bytes(content)
    for verb in (("check", root / "table.csv"), (*TRAIN, "--data", root / "table.csv", "--out", root / "run")):
        code, out, err = run(*verb)
        assert (code, out) == (1, "")
        assert err.splitlines()[-1].startswith("neoclassic: ")
        assert words in err


def test_columns_with_other_names_are_said(root, run):
    (root / "table.tsv").write_text(text(header=("file", "species", "set"), delimiter="\t"), "utf-8")
    _, out, _ = run("check", root / "table.tsv")
    assert "note: the path is in the column 'file', the label is in the column 'species', the split is in" in out


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_paths_and_labels_are_found_in_either_unicode_form(form, root, run_json):
    (root / "img" / "chat").rename(root / "img" / unicodedata.normalize("NFD" if form == "NFC" else "NFC", "café"))
    rows = [(p.replace("chat", "café"), name.replace("chat", "café"), s) for p, name, s in ROWS]
    (root / "table.csv").write_text(unicodedata.normalize(form, text(rows)), "utf-8")
    report = run_json("check", root / "table.csv")
    assert report["counts"]["train"] == {"café": 6, "ours": 6}
    assert "unreadable" not in {f["kind"] for f in report["findings"]}


def test_a_label_in_two_unicode_forms_is_one_class(root, run_json):
    rows = [(p, unicodedata.normalize("NFD" if i % 2 else "NFC", f"é{name}"), s) for i, (p, name, s) in enumerate(ROWS)]
    (root / "table.csv").write_text(text(rows), "utf-8")
    assert run_json("check", root / "table.csv")["counts"]["train"] == {"échat": 6, "éours": 6}


def test_a_photo_in_two_splits_is_wrong_and_named_by_check_and_train(root, run):
    (root / "t.csv").write_text(
        text([*ROWS, ("img/chat/7.jpg", "chat", "train"), ("img/../img/ours/7.jpg", "ours", "train")])
    )
    code, out, _ = run("check", root / "t.csv")
    assert code == 1
    spoilt = "the model is tested on images it has seen, and looks too good (2 cases)"
    assert f"error: the same file is in two splits, train and test: {spoilt}" in out
    code, _, err = run(*TRAIN, "--data", root / "t.csv", "--out", root / "run")
    assert code == 0
    assert any(line.startswith("error: the same file is in two splits") for line in err.splitlines())


def test_a_photo_of_two_classes_is_wrong_and_named(root, run):
    (root / "t.csv").write_text(text([*ROWS, ("img/chat/0.jpg", "ours", "train")]))
    code, out, _ = run("check", root / "t.csv")
    assert code == 1
    assert f"{root}/img/chat/0.jpg = {root}/img/chat/0.jpg" in out


def test_files_that_are_not_where_the_table_says_are_explained(root, run):
    (root / "t.csv").write_text(text([(p.removeprefix("img/"), name, s) for p, name, s in ROWS]))
    code, out, _ = run("check", root / "t.csv")
    assert code == 1
    assert "warning: 16 of 16 files do not exist: paths are relative to the table's folder" in out


# ── classes.txt ──────────────────────────────────────────────────────────────────────────────────────


def idx(folder):
    for role, n in (("train", 20), ("t10k", 10)):
        folder.mkdir(exist_ok=True)
        write_idx(folder / f"{role}-images-idx3-ubyte.gz", np.arange(n * 784).reshape(n, 28, 28) % 251)
        write_idx(folder / f"{role}-labels-idx1-ubyte.gz", np.arange(n) % 2)
    return folder


@pytest.mark.parametrize(
    "content",
    [
        "café\r\nours\r\n".encode(),
        "café\rours".encode(),
        "\ufeffcafé\nours\n\n".encode(),
        "café\nours\n".encode("utf-16"),
        unicodedata.normalize("NFD", "café\nours\n").encode(),
    ],
    ids=range(5),
)
def test_names_of_classes_are_read_however_they_were_written(content, run_json, tmp_path):
    (idx(tmp_path / "data") / "classes.txt").write_bytes(content)
    result = run_json(*TRAIN, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert [row["class"] for row in result["evaluation"]["per_class"]] == ["café", "ours"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ours\ncafé\n".encode("latin-1"), "classes.txt, line 2: this is not UTF-8 text: save the file as UTF-8"),
        (b"a\0\nb\n", "classes.txt, line 1: there is a NUL byte"),
        (b"one\n", "classes.txt: names 1 classes, but labels reach 1"),
        (b"a\na\n", "the class name 'a' is used twice"),
    ],
    ids=range(4),
)
def test_names_of_classes_that_cannot_be_read_are_one_line(content, words, run, tmp_path):
    (idx(tmp_path / "data") / "classes.txt").write_bytes(content)
    code, out, err = run(*TRAIN, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    assert words in err.splitlines()[-1]


def test_the_home_of_a_user_who_is_not_known_is_one_line(run):
    for verb in (("check", "~nobody-here/x"), (*TRAIN, "--data", "~nobody-here/x")):
        code, out, err = run(*verb)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("neoclassic: ~nobody-here/x: the home folder of that user is not known")


@pytest.mark.parametrize("header", ['path,"a\nb"', "path\x0clabel,split", "path,a\x1b[31m"])
def test_an_odd_header_is_shown_in_one_line(tmp_path, header):
    (tmp_path / "t.csv").write_text(header + "\na.png,x\n")
    with pytest.raises(NeoclassicError, match="no column") as error:
        scan(tmp_path / "t.csv")
    assert len(str(error.value).splitlines()) == 1
    assert "\x1b" not in str(error.value)
