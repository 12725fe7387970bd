"""What folders are taken for: usual layouts are read as they are meant, uncertain ones are questioned or refused."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TRAIN = ("train", "lenet", "--engine", "numpy", "--image-size", 28, "--epochs", 1, "--max-steps", 1)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))


def make(root, *folders, n=6):
    """n photos in each folder, no two alike."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            rng = np.random.default_rng([i, *os.fsencode(root / folder)])
            Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(root / folder / f"{i}.jpg")
    return root


def both(*parts):
    return [f"{part}/{name}" for part in parts for name in ("cat", "dog")]


@pytest.fixture
def checked(run):
    """The exit code of `check --json`, the classes of each part, and the texts of its findings on the layout."""

    def call(folder):
        code, out, err = run("check", folder, "--image-size", 28, "--json")
        assert out, err
        report = json.loads(out)
        layout = [f"{f['severity']}: {f['text']}" for f in report["findings"] if f["kind"] in ("layout", "one-class")]
        return code, {part: sorted(n) for part, n in report["counts"].items()}, layout

    return call


PARTS = {"train": ["cat", "dog"], "test": ["cat", "dog"]}
DIVIDED = PARTS
THREE = {**PARTS, "validation": ["cat", "dog"]}


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (both("training_set", "test_set"), PARTS),
        (both("train_data", "test_data", "val_data"), THREE),
        (both("Training", "Testing", "validation_set"), THREE),
        (both("TrainImages", "TestImages"), PARTS),
        (both("train", "eval"), PARTS),
        (both("train", "holdout"), PARTS),
        (both("train", "test", "eval"), THREE),
        (both("train", "val", "hold-out"), THREE),
        (both("Trainingsdaten", "Validierung", "Testdaten"), THREE),
        (both("entraînement", "validation", "test"), THREE),
        (both("entrenamiento", "validación", "prueba"), THREE),
        (both("训练集", "验证集", "测试集"), THREE),
        (both("学習データ", "検証用", "テスト"), THREE),
        (both("train2017", "val2017"), PARTS),
        (both("flowers_train", "flowers_test"), PARTS),
        (both("seg_train/seg_train", "seg_test/seg_test"), PARTS),
        (both("archive/dataset/train", "archive/dataset/test"), PARTS),
        (both("deep/PetImages"), PARTS),
        (["cat/train", "cat/test", "dog/train", "dog/test"], PARTS),
        ([*both("train"), "test_stg1"], PARTS),
        ([*both("imgs/train"), "imgs/test"], PARTS),
        (["train/cat/images", "train/dog/images", "val/images", "test/images"], PARTS),
        ([*both("train", "val", "test"), *both("chest_xray/train", "chest_xray/test")], THREE),
        ([*both("letters_train/letters_train"), "letters_test/letters_test"], PARTS),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_usual_layouts_are_read_as_intended_and_reported(folders, parts, checked, tmp_path):
    code, found, layout = checked(make(tmp_path, *folders))
    assert (code, found) == (0, parts)
    plain = {"train", "val"}
    assert layout or {Path(folder).parts[0] for folder in folders} <= plain
    assert not any(line.startswith("error") for line in layout)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["train", "test"], "found 12 images in test, train, but no folders of classes: put the photos of each class"),
        (["training_set", "validation_set"], "found 12 images in training_set, validation_set, but no folders"),
        (["train/train", "test1/test1"], "but no folders of classes"),
        (["train", *both("val")], "found 6 images in train, but no folders of classes"),
        (["images/train", "images/val"], "but no folders of classes"),
        (["."], "found 6 images, but no folders of classes"),
        (
            ["bus", "car", "train/diesel", "train/steam"],
            "'train' may be the training set, with the classes diesel, steam, or",
        ),
        (["bike", "test/a", "test/b"], "a class like bike: rename it if it is a class, or move bike elsewhere"),
        (both("val", "valid", "train"), "two folders are the validation set, 'val' and 'valid': rename one, or merge"),
        (both("train", "test", "holdout", "val"), "two folders are the validation set, 'holdout' and 'val'"),
    ],
    ids=str,
)
def test_a_layout_that_cannot_be_read_is_one_line_that_says_what_to_do(folders, words, run, tmp_path):
    root = make(tmp_path / "data", *folders)
    for verb in (("check", root), (*TRAIN, "--data", root, "--out", tmp_path / "run")):
        code, out, err = run(*verb)
        assert (code, out) == (1, "")
        assert err.splitlines()[-1].startswith("neoclassic: ")
        assert words in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("folders", "classes", "warning"),
    [
        (["bus", "car", "train"], ["bus", "car", "train"], "'train' is read as a class, like bus, car"),
        (["valid", "invalid"], ["invalid", "valid"], "'valid' is read as a class, like invalid"),
        (
            [*both("train", "test"), "extra"],
            ["cat", "dog"],
            "'extra' is left out with its 6 images: name it train, val or test",
        ),
        (both("train", "old"), ["cat", "dog"], "'old' is left out with its 12 images: name it train, val or test if"),
        ([*both("train"), "test"], ["cat", "dog"], "'test' is left out: its 6 images are not in any class's folder"),
        ([*both("train"), "test/unknown"], ["cat", "dog"], "'test' is left out: its images are all in the folder"),
        (
            [*both("train"), "train"],
            ["cat", "dog"],
            "'train' holds 6 images outside the folders of classes, which are left out (first: 0.jpg)",
        ),
        (both("fold1", "fold2"), ["fold1", "fold2"], "though each holds the folders cat, dog"),
        (["a/train", "a/test", "a/truth", "b"], ["a", "b"], "'a' is read as a class, with its train and test merged"),
    ],
    ids=str,
)
def test_what_is_uncertain_or_left_out_is_reported_by_check_and_train(
    folders, classes, warning, checked, run, tmp_path
):
    root = make(tmp_path / "data", *folders)
    code, parts, layout = checked(root)
    assert (code, parts["train"], sorted(parts)) == (0, classes, ["test", "train"])
    assert any(line.startswith(f"warning: {warning}") or warning in line for line in layout), layout
    code, _, err = run(*TRAIN, "--data", root, "--out", tmp_path / "run")
    assert code == 0, err
    assert any(line.startswith("warning: ") and warning in line for line in err.splitlines()), err


@pytest.mark.parametrize("name", ["test", "val", "测试"])
def test_an_empty_split_is_left_out_and_the_training_set_divided(name, checked, tmp_path):
    make(tmp_path, *both("train"))
    (tmp_path / name / "cat").mkdir(parents=True)
    (tmp_path / name / "dog").mkdir()
    code, parts, layout = checked(tmp_path)
    assert (code, parts) == (0, DIVIDED)
    assert layout[0] == f"warning: {name!r} is left out: it holds no images"


def test_photos_without_labels_next_to_the_splits_are_only_noted(checked, tmp_path):
    make(tmp_path, *both("seg_train", "seg_test"), "seg_pred")
    code, parts, layout = checked(tmp_path)
    assert (code, parts) == (0, PARTS)
    assert "note: 'seg_pred' is left out with its 6 images" in layout


def test_folders_inside_a_class_belong_to_it_and_it_is_said(checked, tmp_path):
    _, parts, layout = checked(make(tmp_path, "animals/cat", "animals/dog", "things"))
    assert parts["train"] == ["animals", "things"]
    assert layout == ["note: folders inside a class's folder belong to the class: animals with cat, dog"]


@pytest.mark.parametrize("folders", [["photos"], ["train/photos"], ["train/cat", "test/cat"]], ids=str)
def test_one_class_is_refused_in_training_and_by_check(folders, checked, run, tmp_path):
    root = make(tmp_path / "data", *folders)
    code, _, layout = checked(root)
    assert code == 1
    assert "error: all images are of one class" in layout[0]
    code, out, err = run(*TRAIN, "--data", root, "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    assert "all images are of one class" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_model_is_evaluated_on_photos_of_one_class_and_in_any_layout(run, run_json, tmp_path):
    make(tmp_path / "data", *both("PetImages"), n=10)
    assert run(*TRAIN, "--data", tmp_path / "data", "--out", tmp_path / "run")[0] == 0
    assert run_json("evaluate", tmp_path / "run")["n"] == 4
    new = make(tmp_path / "new", "cat/monday", "cat/tuesday")
    (new / "dog").mkdir()
    assert run_json("evaluate", tmp_path / "run", "--data", new)["n"] == 12
    assert run_json("evaluate", tmp_path / "run", "--data", make(tmp_path / "more", *both("Testdaten")))["n"] == 12
    assert "Testdaten is the test set" in run("evaluate", tmp_path / "run", "--data", tmp_path / "more")[2]
    only = make(tmp_path / "only", "test/cat/monday", "test/cat/tuesday")
    (only / "test" / "dog").mkdir()
    (only / "test" / "dog" / "notes.txt").write_text("none yet")
    assert run_json("evaluate", tmp_path / "run", "--data", only)["n"] == 12
    assert len(run_json("predict", tmp_path / "run", new)) == 12


def test_the_classes_of_a_model_settle_what_a_folder_is(run, run_json, tmp_path):
    make(tmp_path / "data", "bus", "train", n=10)
    assert run(*TRAIN, "--data", tmp_path / "data", "--out", tmp_path / "run")[0] == 0
    assert (
        run_json("evaluate", tmp_path / "run", "--data", make(tmp_path / "new", "bus", "train/a", "train/b"))["n"] == 18
    )


# ── links, and what systems leave ────────────────────────────────────────────────────────────────────


def test_linked_folders_are_followed(checked, run_json, tmp_path):
    make(tmp_path / "pool", "cats", "dogs/old")
    root = make(tmp_path / "data", "dog")
    (root / "cat").symlink_to(tmp_path / "pool" / "cats")
    (root / "dog" / "more").symlink_to(tmp_path / "pool" / "dogs")
    counts = run_json("check", root)["counts"]
    assert {name: sum(part[name] for part in counts.values()) for name in ("cat", "dog")} == {"cat": 6, "dog": 12}


@pytest.mark.parametrize(
    ("link", "target"),
    [("again", "."), ("dog/up", ".."), ("cat/self", "cat"), ("wolf", "dog"), ("dog/all", "/")],
    ids=str,
)
def test_a_link_to_what_is_read_already_is_named_and_not_followed(link, target, checked, tmp_path):
    root = make(tmp_path / "data", "cat", "dog")
    (root / link).symlink_to(target if target == "/" else (root / target).resolve(), target_is_directory=True)
    _, parts, layout = checked(root)
    assert parts == DIVIDED
    assert layout == [f"warning: {root / link} is left out: it links to a folder that is read already"]


def test_links_to_themselves_and_to_nothing_are_no_folders(checked, tmp_path):
    root = make(tmp_path, "cat", "dog")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    assert checked(root) == (0, DIVIDED, [])


def test_what_systems_keep_beside_photos_is_never_a_class_nor_a_photo(checked, run_json, tmp_path):
    root = make(tmp_path, "cat", "dog")
    names = "@eaDir", "__MACOSX", ".thumbnails", ".picasaoriginals", "$RECYCLE.BIN", "cat/@eaDir", "dog/.thumbnails"
    for name in names:
        shutil.copytree(root / "cat", root / name, ignore=shutil.ignore_patterns("@eaDir"))
    shutil.copy(root / "cat" / "0.jpg", root / "cat" / "Thumbs.db")
    shutil.copy(root / "cat" / "0.jpg", root / "cat" / "._0.jpg")
    assert checked(root) == (0, DIVIDED, [])
    counts = run_json("check", root)["counts"]
    assert sum(part["cat"] + part["dog"] for part in counts.values()) == 12


# ── names in two Unicode forms ───────────────────────────────────────────────────────────────────────


def test_names_in_two_unicode_forms_are_one_class(checked, run, run_json, tmp_path):
    nfc, nfd = "café", unicodedata.normalize("NFD", "café")
    make(tmp_path / "data", f"train/{nfc}", "train/dog", f"test/{nfd}", "test/dog")
    assert checked(tmp_path / "data")[1] == {"train": [nfc, "dog"], "test": [nfc, "dog"]}
    assert run(*TRAIN, "--data", tmp_path / "data", "--out", tmp_path / "run")[0] == 0
    assert run_json("evaluate", tmp_path / "run", "--data", make(tmp_path / "new", nfd, "dog"))["n"] == 12


def test_two_folders_of_one_name_in_two_unicode_forms_are_joined(checked, run_json, tmp_path):
    make(tmp_path, "é", "e\u0301", "dog")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system knows one form only")
    assert checked(tmp_path)[1]["train"] == ["dog", "é"]
    counts = run_json("check", tmp_path)["counts"]
    assert sum(part["é"] for part in counts.values()) == 12


# ── by their content ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "bmp", "tiff", "ppm"])
def test_files_without_an_image_ending_count_if_they_are_images(kind, run_json, tmp_path):
    root = make(tmp_path, "cat", "dog")
    for name in ("none", "photo.jpg_large", "0123.dat"):
        Image.new("RGB", (12, 9), (len(name), 2, 3)).save(root / "cat" / name, kind)
    counts = run_json("check", root)["counts"]
    assert sum(part["cat"] for part in counts.values()) == 9


def test_other_files_are_named_as_unused(run_json, tmp_path):
    root = make(tmp_path, "cat", "dog")
    contents = {
        "notes.txt": b"BMW is a car",
        "list": b"P5 is no header",
        "x.nef": b"II*\0raw",
        "clip.mp4": b"\0\0\0\x18ftypisom",
    }
    for name, content in contents.items():
        (root / "cat" / name).write_bytes(content)
    (finding,) = (f for f in run_json("check", root)["findings"] if f["kind"] == "surplus")
    assert {Path(path).name for path in finding["paths"]} == contents.keys()


def test_predict_finds_photos_by_the_same_rule(run, run_json, tmp_path):
    root = make(tmp_path / "data", "cat", "dog", n=10)
    assert run(*TRAIN, "--data", root, "--out", tmp_path / "run")[0] == 0
    shutil.copy(root / "cat/0.jpg", root / "cat/unnamed")
    shutil.copy(root / "cat/0.jpg", root / "cat/._0.jpg")
    (root / "cat/notes.txt").write_text("none")
    assert len(run_json("predict", tmp_path / "run", root / "cat")) == 11
