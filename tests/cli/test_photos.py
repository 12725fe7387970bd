"""Photos from a folder to a prediction: what training reports and stores, and that all ways agree."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neoclassic.data import decode, scan
from neoclassic.data.file_info import read_info
from neoclassic.model.artefact import Model
from neoclassic.model.export import export, standalone
from neoclassic.model.opening import open_model
from neoclassic.model.predict import images_in, predict, probabilities
from neoclassic.recipes import choose
from neoclassic.recipes.neoclassic import photos

TRAIN = ("train", "lenet:bn", "--engine", "numpy", "--image-size", 28, "--batch-size", 16, "--epochs", 6)
COLOURS = {"ants": (200, 60, 40), "bees": (230, 200, 60), "wasps": (60, 90, 200)}


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def photo(name, seed, size=(48, 40)):
    """A patch of the class's colour on grey patches: classes are easy to tell apart, and no two photos are equal."""
    rng = np.random.default_rng([seed, len(name)])
    ground = Image.fromarray(rng.integers(40, 200, (5, 6), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    image = Image.merge("RGB", [ground] * 3)
    left, top = rng.integers(4, 14, 2)
    image.paste(COLOURS[name], (int(left), int(top), int(left) + 26, int(top) + 20))
    return image


def fill(root, n=20, parts=("",), names=("ants", "bees"), first=0):
    """Write n photos of each class for each split. first: the first seed."""
    for k, part in enumerate(parts, first):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                photo(name, 1000 * k + i).save(root / part / name / f"{i:03}.jpg", quality=92)
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of classes, and a run trained on it."""
    from neoclassic.cli import main

    folder, out = fill(tmp_path_factory.mktemp("photos") / "garden", 30), tmp_path_factory.mktemp("run") / "run"
    assert main([str(a) for a in (*TRAIN, "--data", folder, "--out", out)]) == 0
    return folder, out


# ── the same photo in every format ───────────────────────────────────────────────────────────────────

# format: how a photo is saved, and by how much that may change a probability. Lossless formats with exact colours
# change nothing.
FORMS = {
    "webp": (lambda im, f: im.save(f, "WEBP", lossless=True), 0.0),
    "bmp": (lambda im, f: im.save(f, "BMP"), 0.0),
    "tiff": (lambda im, f: im.save(f, "TIFF"), 0.0),
    "alpha": (lambda im, f: im.convert("RGBA").save(f, "PNG"), 0.0),
    "cmyk": (lambda im, f: im.convert("CMYK").save(f, "TIFF"), 0.0),
    "cmyk-jpeg": (lambda im, f: im.convert("CMYK").save(f, "JPEG", quality=98), 0.05),
    "jpeg": (lambda im, f: im.save(f, "JPEG", quality=98), 0.05),
    "lossy-webp": (lambda im, f: im.save(f, "WEBP", quality=95), 0.05),
    "palette": (lambda im, f: im.quantize(256).save(f, "PNG"), 0.05),
    "gif": (lambda im, f: im.quantize(256).save(f, "GIF"), 0.05),
}
GREY_FORMS = {  # of the greyscale photo, which is a different photo
    "grey": (lambda im, f: im.save(f, "PNG"), 0.0),
    "grey-alpha": (lambda im, f: im.convert("LA").save(f, "PNG"), 0.0),
    "16-bit": (lambda im, f: Image.fromarray(np.asarray(im).astype(np.uint16) * 257).save(f, "PNG"), 0.0),
    "16-bit-tiff": (lambda im, f: Image.fromarray(np.asarray(im).astype(np.uint16) * 257).save(f, "TIFF"), 0.0),
    "grey-jpeg": (lambda im, f: im.save(f, "JPEG", quality=98), 0.05),
}
LYING = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose that the EXIF tag undoes


def store(folder, upright, grey):
    """Write a photo in every format; the two originals come first."""
    folder = folder / "bees"
    folder.mkdir(parents=True)
    upright.save(folder / "00-original.png")
    grey.convert("RGB").save(folder / "01-grey-original.png")
    expected = {"00-original.png": (0, 0.0), "01-grey-original.png": (1, 0.0)}
    for original, forms in enumerate((FORMS, GREY_FORMS)):
        for name, (save, most) in forms.items():
            save((upright, grey)[original], folder / f"{name}.png")  # the content decides, not the name
            expected[f"{name}.png"] = (original, most)
    for tag, turn in LYING.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        lying = upright if turn is None else upright.transpose(turn)
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
            lying.save(folder / f"turned-{tag}.{kind.lower()}", kind, exif=exif, **options)
            expected[f"turned-{tag}.{kind.lower()}"] = (0, 0.0)
    return dict(sorted(expected.items()))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_the_shape_of_a_rotated_photo_is_known_before_it_is_decoded(kind, tmp_path):
    for tag, turn in LYING.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        upright = photo("ants", tag)
        (upright if turn is None else upright.transpose(turn)).save(tmp_path / f"{tag}.{kind}", exif=exif)
        told = read_info(tmp_path / f"{tag}.{kind}")
        assert (told.width, told.height, told.orientation) == (*upright.size, tag)


@pytest.mark.parametrize("channels", [3, 1])
def test_a_photo_gives_the_same_answer_in_every_format_and_reader(channels, trained, run, tmp_path):
    model = Model.load(trained[1])
    if channels == 1:
        code, _, err = run(*TRAIN, "--data", trained[0], "--channels", 1, "--out", tmp_path / "run")
        assert code == 0, err
        model = Model.load(tmp_path / "run")
    upright = photo("bees", 7777)
    expected = store(tmp_path / "forms", upright, upright.convert("L"))
    paths = images_in([str(tmp_path / "forms")])
    assert [path.name for path in paths] == list(expected)
    part = scan(tmp_path / "forms", ("bees",)).split("all", model.preprocessing)
    loaded = part.subset([part.paths.index(str(path)) for path in paths])

    export(model, tmp_path / "model.onnx")
    told, onnx = open_model(tmp_path / "model.onnx")
    answers = predict(model, model.engine("numpy"), paths, top=2)
    ways = {
        "loader, torch": probabilities(model, model.engine("torch", "cpu"), loaded.images),
        "predict, numpy": np.array([[dict(a.top)[name] for name in model.classes] for a in answers]),
        "loader, onnx": probabilities(told, onnx, loaded.images),
        "stand-alone, onnx": standalone(tmp_path / "model.onnx", loaded.paths),
    }
    first = ways["loader, torch"]
    for way, rows in ways.items():
        np.testing.assert_allclose(rows, first, atol=1e-4, err_msg=way)
        assert (rows.argmax(1) == first.argmax(1)).all(), way
    for row, (name, (original, most)) in zip(first, expected.items(), strict=True):
        assert np.abs(row - first[original]).max() <= most + 1e-6, name
        assert row.argmax() == first[original].argmax(), name
    if channels == 1:  # the same formula for grey, so the colour original equals the grey original
        np.testing.assert_allclose(first[0], first[1], atol=1e-6)


def test_a_broken_exif_block_prints_nothing(trained, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a text that is cut off"
    for kind in ("JPEG", "PNG", "WEBP"):
        photo("ants", 1).save(tmp_path / f"a.{kind.lower()}", kind, exif=exif.tobytes()[:-12])
    command = [sys.executable, "-W", "always::UserWarning", "-m", "neoclassic", "predict", str(trained[1])]
    done = subprocess.run([*command, str(tmp_path), "--engine", "numpy"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


def test_a_folder_is_predicted_as_it_is_trained_on(tmp_path):
    fill(tmp_path, 2, names=("ants",))
    for name in (".hidden.jpg", "ants/._000.jpg", "ants/notes.pdf", "ants/Thumbs.db"):
        (tmp_path / name).write_bytes(b"")
    photo("ants", 9).save(tmp_path / "ants" / "upper.JPE", "JPEG")
    assert [path.name for path in images_in([str(tmp_path)])] == ["000.jpg", "001.jpg", "upper.JPE"]


# ── what training reports, stores and leaves out ─────────────────────────────────────────────────────


def test_the_run_learns_and_reports_each_class(trained):
    _, out = trained
    result = json.loads((out / "result.json").read_text())
    assert result["test_accuracy"] > 0.8  # chance is 0.5
    assert result["skipped"] == 0
    assert not (out / "skipped.csv").exists()
    for row, name in zip(result["evaluation"]["per_class"], ("ants", "bees"), strict=True):
        assert (row["class"], row["n"]) == (name, 6)
        assert 0 < row["precision"] <= 1
        assert 0 < row["recall"] <= 1
        assert row["f1"] == pytest.approx(2 / (1 / row["precision"] + 1 / row["recall"]))


def test_before_training_the_folder_is_checked_in_a_few_lines(run, tmp_path):
    fill(tmp_path / "garden", 16, parts=("train", "val"))
    shutil.copy(tmp_path / "garden/train/ants/003.jpg", tmp_path / "garden/val/ants/again.jpg")
    photo("ants", 5).save(tmp_path / "garden/train/ants/lone.gif")
    code, _, err = run(*TRAIN, "--data", tmp_path / "garden", "--max-steps", 1, "--out", tmp_path / "run")
    assert code == 0
    lines = err.splitlines()
    assert "66 images in 2 classes: train 29, validation 4, test 33" in lines
    assert "there is no test set: the validation set serves as one, and is used once, at the end" in lines
    assert any(line.startswith("each becomes 28×28, fit crop: a centre crop cuts") for line in lines)
    wrong = next(line for line in lines if line.startswith("error: "))
    assert "the same file is in two splits" in wrong
    assert "again.jpg" in wrong
    assert any(line.startswith("warning: 1 image stored as GIF") and "lone.gif" in line for line in lines)
    assert f"'neoclassic check {tmp_path / 'garden'}' shows all" in lines


def damage(folder):
    """Two photos that cannot be read: one has no header, one is cut short."""
    (folder / "ants" / "000.jpg").write_bytes(b"no image")
    whole = (folder / "bees" / "001.jpg").read_bytes()
    (folder / "bees" / "001.jpg").write_bytes(whole[: len(whole) // 2])


def test_photos_that_cannot_be_read_are_listed_counted_and_left_out(run, tmp_path):
    damage(fill(tmp_path / "garden"))
    code, out, err = run(*TRAIN, "--data", tmp_path / "garden", "--max-steps", 1, "--out", tmp_path / "run", "--json")
    assert code == 0
    assert json.loads(out)["skipped"] == 2
    (line,) = (line for line in err.splitlines() if "cannot be read" in line)
    assert line.startswith(f"2 images that cannot be read are left out, listed in {tmp_path / 'run' / 'skipped.csv'}: ")
    rows = list(csv.DictReader((tmp_path / "run" / "skipped.csv").read_text().splitlines()))
    assert {Path(row["path"]).name: row["reason"] for row in rows} == {
        "000.jpg": "is not an image, or its format is not supported",
        "001.jpg": "is truncated",
    }


def test_strict_makes_them_an_error_before_anything_is_written(run, tmp_path):
    damage(fill(tmp_path / "garden"))
    code, out, err = run(*TRAIN, "--data", tmp_path / "garden", "--strict", "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    assert "images cannot be read: " in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("neoclassic: ")
    assert not (tmp_path / "run").exists()


def test_a_second_run_decodes_nothing_and_gives_the_same_bytes(run, trained, tmp_path, monkeypatch):
    folder, out = trained
    monkeypatch.setattr(decode, "_make", lambda *_: pytest.fail("decoded again"))
    assert run(*TRAIN, "--data", folder, "--out", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_a_table_of_paths_and_labels_is_trained_on(run_json, tmp_path):
    fill(tmp_path / "photos", 12, names=("ants", "bees", "wasps"))
    rows = [
        (path.relative_to(tmp_path), path.parent.name, "test" if path.stem > "008" else "train")
        for path in sorted((tmp_path / "photos").rglob("*.jpg"))
    ]
    table = tmp_path / "table.csv"
    table.write_text("path,label,split\n" + "".join(f"{p},{label},{split}\n" for p, label, split in rows))
    result = run_json(*TRAIN, "--data", table, "--max-steps", 2, "--out", tmp_path / "run")
    assert result["data"] == "table"
    assert [row["class"] for row in result["evaluation"]["per_class"]] == ["ants", "bees", "wasps"]
    assert result["evaluation"]["n"] == 9
    assert run_json("evaluate", tmp_path / "run")["accuracy"] == pytest.approx(result["test_accuracy"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "val" / "bees"), "validation: the class 'bees' is missing"),
        (lambda root: (root / "val" / "bees").rename(root / "val" / "bee"), "unknown class 'bee': did you mean 'bees'"),
        (lambda root: [p.unlink() for p in (root / "train/ants").iterdir()], "train: the class 'ants' has no images"),
        (lambda root: [p.write_bytes(b"") for p in (root / "train/ants").iterdir()], "no image of class 'ants' can be"),
        (lambda root: shutil.rmtree(root / "train"), "there is no training set"),
    ],
)
def test_a_class_that_is_missing_unknown_or_empty_is_one_line_that_names_it(change, message, run, tmp_path):
    change(fill(tmp_path / "garden", 4, parts=("train", "val")))
    code, out, err = run(*TRAIN, "--data", tmp_path / "garden", "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("neoclassic: ")
    assert message in last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("n", "weights", "epochs", "batch"),
    [
        (20, False, 100, 32),
        (2000, False, 48, 32),
        (9000, False, 43, 128),
        (244, True, 10, 32),
        (2500, True, 7, 32),
        (100_000, True, 5, 128),
    ],
)
def test_the_recipe_follows_the_number_of_photos(n, weights, epochs, batch):
    recipe = photos("resnet18", n, weights).but(weights="imagenet" if weights else "").checked()
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch)
    assert recipe.image_size == (None if weights else 128)
    assert photos("lenet", n, weights).image_size is None
    recipe.but(epochs=1).checked()


def test_photos_have_their_own_recipe_unless_one_is_named(tmp_path):
    folder = str(fill(tmp_path / "garden", 25))
    assert choose("lenet", None, folder) == photos("lenet", 40).but(data=folder)
    assert choose("lenet", "default", folder, "model.safetensors").epochs == 10
    assert choose("lenet", None, folder, "model.safetensors", "all").epochs == 30
    assert choose("lenet", None, "fashion-mnist") == choose("lenet", None)
    assert choose("lenet", "d2l-zh:lenet", folder).name == "d2l-zh:lenet"


# ── the held-out photos stay held out ────────────────────────────────────────────────────────────────


def test_the_model_stores_which_photos_were_in_which_split(trained):
    folder, out = trained
    kept = Model.load(out).data["photos"]
    now = scan(folder, validation=0.1, seed=0)
    assert kept == now.digests
    assert {part: len(marks) for part, marks in kept.items()} == {"train": 44, "validation": 4, "test": 12}
    assert len({mark for marks in kept.values() for mark in marks}) == 60


def test_evaluate_finds_what_training_found(trained, run_json, run):
    _, out = trained
    found = run_json("evaluate", out, "--engine", "numpy")
    result = json.loads((out / "result.json").read_text())
    assert {k: found[k] for k in ("accuracy", "n", "confusion")} == {
        k: result["evaluation"][k] for k in ("accuracy", "n", "confusion")
    }
    code, text, _ = run("evaluate", out)
    assert code == 0
    assert text.splitlines()[0].split() == ["class", "precision", "recall", "95", "%", "interval", "F1", "images"]


def test_evaluate_tests_on_exactly_the_photos_that_were_not_trained_on(trained, run_json, run, tmp_path):
    folder, out = trained
    grown = shutil.copytree(folder, tmp_path / "grown")
    for i in range(5):
        photo("bees", 500 + i).save(grown / "bees" / f"new{i}.jpg")
    assert run_json("evaluate", out, "--data", grown)["n"] == 12 + 5
    assert run_json("evaluate", out, "--data", fill(tmp_path / "other", 7, first=7))["n"] == 14
    held = {one.path.relative_to(folder) for one in scan(folder, validation=0.1).splits["test"]}
    for path in (*(grown / one for one in held), *grown.rglob("new*.jpg")):
        path.unlink()
    code, _, err = run("evaluate", out, "--data", grown)
    assert code == 1
    assert err.endswith("grown: the model was trained on all of it: name other images with --data\n")


def test_evaluate_uses_a_test_set_as_it_is_and_reports_unreadable_photos(trained, run, tmp_path):
    root = fill(tmp_path / "garden", 6, parts=("train", "test"))
    (root / "test" / "ants" / "000.jpg").write_bytes(b"")
    code, out, err = run("evaluate", trained[1], "--data", root, "--json")
    assert code == 0
    assert json.loads(out)["n"] == 11
    assert err == f"1 of 12 images cannot be read, first {root / 'test/ants/000.jpg'}: is empty\n"
    for path in (root / "test").rglob("*.jpg"):
        path.write_bytes(b"")
    _, _, err = run("evaluate", trained[1], "--data", root)
    assert err.endswith(f"no test image can be read: {root / 'test/ants/000.jpg'}: is empty\n")


def test_evaluate_matches_classes_by_name(trained, run, tmp_path):
    code, _, err = run("evaluate", trained[1], "--data", fill(tmp_path / "garden", 2, names=("ants", "wasps")))
    assert code == 1
    assert "unknown class 'wasps'" in err


# ── check and cache ──────────────────────────────────────────────────────────────────────────────────


def test_check_says_what_is_wrong_and_fails_where_it_spoils_the_result(run, run_json, tmp_path):
    root = fill(tmp_path / "garden", 12, parts=("train", "test"))
    found = run_json("check", root, "--image-size", 28)
    assert {"folder", "counts", "notes", "fit", "findings"} == found.keys()
    assert found["counts"]["train"] == {"ants": 12, "bees": 12}
    code, text, err = run("check", root, "--image-size", 28)
    assert (code, err) == (0, "")
    assert text.splitlines()[-1] == f"next: neoclassic train mobilenet-v2 --data {root} --weights imagenet --head"

    shutil.copy(root / "train/ants/000.jpg", root / "train/bees/other.jpg")
    code, text, err = run("check", root, "--image-size", 28, "--json")
    assert code == 1
    (finding,) = (f for f in json.loads(text)["findings"] if f["severity"] == "error")
    assert finding["kind"] == "duplicate-classes"
    assert finding["paths"] == [f"{root}/train/ants/000.jpg = {root}/train/bees/other.jpg"]
    assert err.startswith(f"neoclassic: {root}: 1 of ")


def test_check_fails_for_a_crop_of_a_training_photo_in_the_test_set(run, tmp_path):
    root = tmp_path / "garden"
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), np.uint8)
        path = root / ("test" if i > 7 else "train") / ("ants" if i % 2 else "bees") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((200, 150), Image.Resampling.BICUBIC).save(path)
    Image.open(root / "train/ants/1.jpg").crop((0, 20, 170, 150)).save(root / "test/ants/part.jpg", quality=75)
    code, text, err = run("check", root, "--image-size", 28)
    assert code == 1
    assert "train and test: the model is tested on images it has seen, and looks too good (1 case: 1 cropped)" in text
    assert f"    {root}/train/ants/1.jpg = {root}/test/ants/part.jpg (cropped)" in text.splitlines()
    assert err.startswith(f"neoclassic: {root}: 1 of ")


def test_checking_something_that_is_not_a_folder_is_a_wrong_call(run, tmp_path):
    for name in ("fashion-mnist", str(tmp_path / "nowhere")):
        code, out, err = run("check", name)
        assert (code, out) == (2, "")
        assert err == f"neoclassic: {name} is not a folder of photos or a .csv table\n"


def test_names_that_are_not_utf_8_are_used_and_reported(run, tmp_path):
    root = fill(tmp_path / "garden", 12)
    (root / "ants" / "\udcff\udcfe.jpg").write_bytes(b"no image")
    for verb in (("check", root), ("check", root, "--json")):
        code, out, err = run(*verb)
        assert code == 0, err
        assert "udcff" in out
    code, _, err = run(*TRAIN, "--data", root, "--max-steps", 1, "--out", tmp_path / "run")
    assert code == 0, err
    assert "udcff" in (tmp_path / "run" / "skipped.csv").read_text()


def test_the_cache_is_shown_and_cleared(run, run_json, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    assert run("cache")[:2] == (0, f"0 B in {tmp_path / 'cache'}\n")
    assert run(*TRAIN, "--data", fill(tmp_path / "garden"), "--max-steps", 1, "--out", tmp_path / "run")[0] == 0
    shown = run_json("cache")
    assert sorted(e["about"] for e in shown["entries"]) == [
        "decoded: garden test, 8 images at 28×28×3",
        "decoded: garden train, 28 images at 28×28×3",
        "decoded: garden validation, 4 images at 28×28×3",
    ]
    assert all(Path(e["path"]).is_dir() and e["bytes"] > 4 * 28 * 28 * 3 for e in shown["entries"])
    code, _, err = run("cache", "--clear", "mnist")
    assert code == 2
    assert "matches 'mnist': 'neoclassic cache' lists the entries" in err
    code, out, _ = run("cache", "--clear", "decoded")
    assert code == 0
    assert "removed from" in out.splitlines()[-1]
    assert run_json("cache")["entries"] == []
