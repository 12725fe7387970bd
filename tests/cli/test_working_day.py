"""The frictions of a working day with photos, each through the command line as it is typed."""

import csv
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from helpers import TRAIN, fill_photos, needs
from PIL import Image
from safetensors.numpy import save_file
from serving import Running

from neoclassic.cli import main
from neoclassic.model.artefact import Model


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    pass


@pytest.fixture(scope="module")
def trained(own_cache, tmp_path_factory):
    """A folder of two classes, and a run on it."""
    folder = fill_photos(tmp_path_factory.mktemp("photos") / "pets", ("cat", "dog"), 20)
    run = tmp_path_factory.mktemp("runs") / "pets"
    assert main([str(a) for a in (*TRAIN, "--data", folder, "--out", run)]) == 0
    return folder, run


def table(file):
    return list(csv.DictReader(file.read_text().splitlines()))


# ── names of classes ─────────────────────────────────────────────────────────────────────────────────


def test_names_that_differ_only_in_capitals_or_spaces_are_questioned(run, run_json, tmp_path):
    root = fill_photos(tmp_path / "pets", ("Cat", "cat", "cat ", "dog", "dog_", "hen"), 6)
    said = "'Cat', 'cat', 'cat '; 'dog', 'dog_': merge them if they are one class"
    assert any(f["severity"] == "warning" and said in f["text"] for f in run_json("check", root)["findings"])
    code, _, err = run(*TRAIN, "--data", root, "--out", tmp_path / "run")
    assert code == 0, err
    assert said in err


def test_names_that_differ_otherwise_are_not_questioned(run, tmp_path):
    root = fill_photos(tmp_path / "languages", ("C", "C++", "c-sharp", "D"), 6)
    assert "capitals" not in run("check", root)[1]


def test_a_list_with_two_classes_of_one_name_is_refused_with_the_lines(trained, run, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("crane\n\nhen\ncrane\n")
    code, _, err = run("import", trained[1] / "model.safetensors", "--network", "lenet", "--classes", names)
    assert (code, err.count("\n")) == (1, 1)
    assert "'crane' twice, in lines 1 and 4: give each class a name of its own" in err


def test_what_systems_keep_beside_photos_ends_no_prediction(trained, run_json, tmp_path):
    root = shutil.copytree(trained[0], tmp_path / "pets")
    for name in ("__MACOSX", "@eaDir", ".thumbnails"):
        shutil.copytree(root / "cat", root / name)
    for name in ("Thumbs.db", "cat/Thumbs.db", "cat/._1.jpg"):
        (root / name).write_bytes(b"\xd0\xcf\x11\xe0")
    shell = sorted(root.iterdir())  # what `pets/*` becomes
    assert len(run_json("predict", trained[1], *shell)) == 40
    assert len(run_json("predict", trained[1], root / "*" / "*.jpg")) == 40
    assert run_json("evaluate", trained[1], "--data", root)["n"] == 8


def test_what_systems_keep_beside_photos_is_no_class_of_a_table(trained, run_json, tmp_path):
    root = shutil.copytree(trained[0], tmp_path / "pets")
    shutil.copytree(root / "cat", root / "__MACOSX")
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.glob("*/*"))]
    (root / "all.csv").write_text("\n".join(["path,label", *rows, "cat/Thumbs.db,cat"]))
    report = run_json("check", root / "all.csv")
    assert {name for part in report["counts"].values() for name in part} == {"cat", "dog"}
    assert any("21 rows that name a system's own files" in f["text"] for f in report["findings"])


# ── splits ───────────────────────────────────────────────────────────────────────────────────────────


def counts(result):
    return {split: len(marks) for split, marks in Model.load(result["model"]).data["photos"].items()}


def test_the_test_and_validation_sets_have_the_fractions_that_are_asked_for(trained, run_json, tmp_path):
    wish = ("--data", trained[0], "--test", "0.3", "--validation", "0.25")
    made = [
        run_json(*TRAIN, *wish, "--split-seed", split, "--seed", seed, "--out", tmp_path / f"{split}-{seed}")
        for split, seed in ((1, 0), (1, 5), (2, 0))
    ]
    assert counts(made[0]) == {"train": 20, "validation": 8, "test": 12}  # of each class 6 of 20, and 4 of 14
    one, same, other = (Model.load(result["model"]).data["photos"] for result in made)
    assert one == same
    assert set(one["test"]) != set(other["test"])
    assert run_json("evaluate", made[0]["run"])["accuracy"] == pytest.approx(made[0]["test_accuracy"])
    assert run_json("evaluate", made[0]["run"])["n"] == 12


def test_the_validation_set_is_kept_if_a_test_set_is_asked_for(run, run_json, tmp_path):
    root = fill_photos(tmp_path / "pets" / "train", ("cat", "dog"), 20).parent
    fill_photos(root / "val", ("cat", "dog"), 6, first=1)
    kept = run_json(*TRAIN, "--data", root, "--test", "0.2", "--out", tmp_path / "kept")
    assert counts(kept) == {"train": 32, "validation": 12, "test": 8}
    assert run_json("evaluate", tmp_path / "kept")["n"] == 8
    none = run_json(*TRAIN, "--data", root, "--test", "0", "--out", tmp_path / "none")
    assert counts(none) == {"train": 40, "validation": 12, "test": 12}
    assert none["validation_accuracy"] == pytest.approx(none["test_accuracy"], abs=1e-6)
    assert run_json("evaluate", tmp_path / "none")["n"] == 12
    _, _, err = run(*TRAIN, "--data", root, "--test", "0", "--out", tmp_path / "said")
    assert "that of the validation set, which chose the model" in err
    assert "two splits" not in err


def test_fractions_that_cannot_be_are_wrong_calls(trained, run, idx_folder, tmp_path):
    split = fill_photos(tmp_path / "pets" / "train", ("cat", "dog"), 5).parent
    fill_photos(split / "test", ("cat", "dog"), 2, first=1)
    for data, options, reason in (
        (split, ("--test", "0.2"), "has a test set of its own: leave out --test"),
        (idx_folder, ("--test", "0.2"), "has a test set of its own: leave out --test"),
        (trained[0], ("--test", "1.5"), "test must be in [0, 1)"),
        (trained[0], ("--test", "0", "--validation", "0"), "nothing is held out"),
    ):
        code, _, err = run(*TRAIN, "--data", data, *options, "--out", tmp_path / "run")
        assert code == 2, err
        assert reason in err.splitlines()[-1]


def test_few_photos_of_a_class_lead_to_advice_that_works(run, run_json, tmp_path):
    root = fill_photos(tmp_path / "few", ("cat", "dog"), 4)
    code, _, err = run(*TRAIN, "--data", root, "--out", tmp_path / "run")
    assert (code, err.splitlines()[-1].count("--validation 0")) == (1, 1)
    assert "--head, which validates on folds" in err.splitlines()[-1]
    assert run_json(*TRAIN, "--data", root, "--validation", "0", "--out", tmp_path / "none")["evaluation"]["n"] == 2
    start = run_json(*TRAIN, "--data", root, "--validation", "0", "--out", tmp_path / "start")["model"]
    head = ("train", "lenet", "--engine", "numpy", "--data", root, "--weights", start, "--head")
    assert run_json(*head, "--out", tmp_path / "head")["validation_accuracy"] is not None
    two = fill_photos(tmp_path / "two", ("cat", "dog"), 2)
    code, _, err = run(*TRAIN, "--data", two, "--validation", "0", "--out", tmp_path / "run")
    assert "--test 0.5" in err.splitlines()[-1]
    wish = ("--test", "0.5", "--validation", "0", "--out", tmp_path / "half")
    assert run_json(*TRAIN, "--data", two, *wish)["evaluation"]["n"] == 2
    tiny = [f["text"] for f in run_json("check", root)["findings"] if f["kind"] in ("tiny", "held-out")]
    assert len(tiny) == 2
    assert all("--head" in text for text in tiny)


def test_a_tiny_held_out_set_stores_no_temperature_and_no_threshold(trained, run, tmp_path):
    code, _, err = run(*TRAIN, "--data", trained[0], "--out", tmp_path / "run")
    assert code == 0
    assert "no temperature and no threshold are stored: only 4 images were held out, and at least 20" in err
    assert Model.load(tmp_path / "run").calibration == {"n": 4}
    code, _, err = run("predict", tmp_path / "run", trained[0], "--threshold", "stored")
    assert (code, err.count("\n")) == (2, 1)
    assert "only 4 images were held out" in err
    code, _, err = run(*TRAIN, "--data", trained[0], "--validation", "0.7", "--out", tmp_path / "more")
    assert "temperature" in Model.load(tmp_path / "more").calibration
    assert "no temperature" not in err


# ── predict at scale ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def many(trained, tmp_path_factory):
    """400 links to photos; every 50th is a file that is no image."""
    folder = tmp_path_factory.mktemp("many")
    photos = sorted(trained[0].glob("*/*.jpg"))
    for i in range(400):
        if i % 50 == 49:
            (folder / f"{i:03}.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
        else:
            (folder / f"{i:03}.jpg").symlink_to(photos[i % len(photos)])
    return folder


def test_answers_of_many_photos_come_in_order_with_the_rate_on_standard_error(trained, many, run, tmp_path):
    code, out, err = run("predict", trained[1], many, "--csv", tmp_path / "all.csv")
    assert (code, out.count("\n")) == (1, 392)
    rows = table(tmp_path / "all.csv")
    assert [Path(row["path"]).name for row in rows] == [f"{i:03}.jpg" for i in range(400)]
    assert [i for i, row in enumerate(rows) if row["error"]] == list(range(49, 400, 50))
    assert re.search(r"^400 images in [\d.]+ s, [\d,]+ images a second$", err, re.M)
    assert err.splitlines()[-1] == "neoclassic: 8 of 400 images could not be read"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_is_shown_in_a_terminal(trained, many, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("neoclassic.cli.predicting.PATIENCE", 0)
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    assert main(["predict", str(trained[1]), str(many), "--csv", str(tmp_path / "all.csv")]) == 1
    assert re.search(r"\d+/400 \[.*, [\d.]+ images/s\]", shown.getvalue())


def test_the_answers_are_those_that_each_photo_has_alone(trained, many, run, run_json):
    together = json.loads(run("predict", trained[1], many, "--json")[1])
    for i in (0, 63, 64, 398):
        (alone,) = run_json("predict", trained[1], many / f"{i:03}.jpg")
        assert (alone["path"], alone["label"]) == (together[i]["path"], together[i]["label"])
        assert alone["probability"] == pytest.approx(together[i]["probability"], abs=1e-6)


def test_every_class_is_in_the_table_and_in_json_with_top_0(trained, run, run_json, tmp_path):
    photos = trained[0] / "dog"
    run("predict", trained[1], photos, "--top", "0", "--csv", tmp_path / "all.csv")
    rows = table(tmp_path / "all.csv")
    assert list(rows[0]) == ["path", "label", "probability", "error", "cat", "dog"]
    assert all(float(row["cat"]) + float(row["dog"]) == pytest.approx(1) for row in rows)
    assert all(float(row[row["label"]]) == float(row["probability"]) for row in rows)
    answers = run_json("predict", trained[1], photos, "--top", "0")
    assert all({each["label"] for each in answer["top"]} == {"cat", "dog"} for answer in answers)


def test_what_a_stopped_run_had_is_kept(trained, tmp_path):
    """The last image is a pipe that nothing writes to yet: what comes before it must be there already."""
    photos = sorted(trained[0].glob("*/*.jpg")) * 5
    answers, printed = tmp_path / "all.csv", tmp_path / "out.json"
    command = [sys.executable, "-m", "neoclassic", "predict", trained[1], *photos, "-", "--csv", answers, "--json"]
    with printed.open("w") as out:
        running = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
        while not (answers.exists() and answers.read_text().count("\n") > 64):
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    stopped = re.search(r"stopped after (\d+) of 201 images", err)
    assert stopped, err
    done = int(stopped[1])
    for kept in (table(answers), json.loads(printed.read_text())):
        assert len(kept) in (done, done + 1)  # it may have been stopped between writing and counting
        assert [row["path"] for row in kept] == [str(path) for path in photos[: len(kept)]]


def test_a_table_that_cannot_be_written_is_told_before_the_model_is_opened(trained, run, tmp_path):
    code, out, err = run("predict", "nothing.safetensors", trained[0], "--csv", tmp_path / "no" / "all.csv")
    assert (code, out) == (1, "")
    assert err.startswith(f"neoclassic: cannot write {tmp_path / 'no' / 'all.csv'}")


def test_the_memory_of_predict_does_not_grow_with_the_photos(trained, many, monkeypatch):
    from neoclassic.model import predict

    model = Model.load(trained[1])
    alive, read_so_far, most = weakref.WeakValueDictionary(), count(), 0

    class Pixels(np.ndarray):
        pass

    def read(path, p, read=predict.read_pixels):
        pixels = read(path, p).view(Pixels)
        alive[next(read_so_far)] = pixels
        return pixels

    monkeypatch.setattr(predict, "read_pixels", read)
    for _ in predict.predict(model, model.engine("numpy"), [trained[0] / "cat" / "1.jpg"] * 2000, 1):
        most = max(most, len(alive))
    assert most <= 4 * predict.BATCH


def test_an_image_that_was_trained_on_is_left_out_of_the_test_and_told(run, run_json, tmp_path):
    root = fill_photos(tmp_path / "pets", ("cat", "dog"), 20)
    for photo in sorted(root.glob("*/*.jpg")):
        shutil.copy(photo, photo.with_stem(f"{photo.stem} copy"))
    assert run(*TRAIN, "--data", root, "--out", tmp_path / "run")[0] == 0
    parts = Model.load(tmp_path / "run").data["photos"]
    twice = set(parts["test"]) & {*parts["train"], *parts["validation"]}
    assert twice
    said = f"images that are also in the training set are left out of the test: {len(twice)}\n"
    assert said in run("evaluate", tmp_path / "run")[2]
    alone = [digest for digest in parts["test"] if digest not in twice]
    assert run_json("evaluate", tmp_path / "run")["n"] == len(alone)


# ── crop ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_share_that_a_crop_keeps_is_an_option_and_is_stored_in_the_model(trained, run, run_json, tmp_path):
    wish = ("--data", trained[0], "--keep", "0.875")
    code, _, err = run(*TRAIN, *wish, "--out", tmp_path / "run")
    assert code == 0
    assert "each becomes 28×28, fit crop that keeps 87.5% of the shorter side" in err
    model = Model.load(tmp_path / "run")
    assert (model.preprocessing.fit, model.preprocessing.keep) == ("crop", 0.875)
    photo = trained[0] / "dog" / "1.jpg"
    resized = Image.open(photo).resize((42, 32), Image.Resampling.BILINEAR).crop((7, 2, 35, 30))  # 28/0.875 = 32
    resized.save(tmp_path / "cropped.png")
    whole = replace(model, preprocessing=replace(model.preprocessing, keep=1.0))
    whole.save(tmp_path / "whole.safetensors")
    cropped = run_json("predict", tmp_path / "whole.safetensors", tmp_path / "cropped.png")[0]
    assert run_json("predict", tmp_path / "run", photo)[0]["probability"] == cropped["probability"]
    assert run_json("evaluate", tmp_path / "run")["n"] == 8


def test_a_share_without_a_crop_or_out_of_range_is_a_wrong_call(trained, run, tmp_path):
    for wish, reason in (
        (("--keep", "0.9", "--fit", "pad"), "keep applies only to a centre crop, but fit is 'pad'"),
        (("--keep", "1.5"), "keep must be from 0.1 to 1"),
    ):
        code, _, err = run(*TRAIN, "--data", trained[0], *wish, "--out", tmp_path / "run")
        assert (code, err.count("\n")) == (2, 2), err
        assert reason in err.splitlines()[-1]


def test_import_stores_the_share_that_a_crop_keeps(trained, run_json, tmp_path):
    model = Model.load(trained[1])
    save_file(model.weights, tmp_path / "weights.safetensors")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    given = ("import", tmp_path / "weights.safetensors", "--network", "lenet", "--classes", tmp_path / "names.txt")
    made = run_json(*given, "--keep", "0.9", "--out", tmp_path / "model.safetensors")
    assert made["preprocessing"]["keep"] == 0.9


# ── one limit of pixels ──────────────────────────────────────────────────────────────────────────────

TOO_LARGE = "has more than 1 million pixels: make it smaller first, or raise --max-pixels"


def test_one_limit_of_pixels_in_check_train_predict_and_evaluate(trained, run, run_json, tmp_path):
    root = shutil.copytree(trained[0], tmp_path / "pets")
    large = root / "cat" / "large.png"
    Image.new("RGB", (1200, 1000), (200, 40, 40)).save(large)
    one = ("--max-pixels", "1")
    unreadable = [f for f in run_json("check", root, *one)["findings"] if f["kind"] == "unreadable"]
    assert [f["paths"] for f in unreadable] == [[f"{large}: {TOO_LARGE}"]]
    assert not [f for f in run_json("check", root)["findings"] if f["kind"] == "unreadable"]
    wish = (*TRAIN, "--data", root, "--seed", "1")
    assert run_json(*wish, *one, "--out", tmp_path / "small")["skipped"] == 1
    assert f"large.png,{TOO_LARGE}" in (tmp_path / "small" / "skipped.csv").read_text().replace('"', "")
    assert run_json("train", "--resume", tmp_path / "small")["skipped"] == 1
    assert run_json(*wish, "--out", tmp_path / "large")["skipped"] == 0
    code, _, err = run("predict", trained[1], large, *one)
    assert (code, err.splitlines()[0]) == (1, f"neoclassic: {large}: {TOO_LARGE}")
    assert run("predict", trained[1], large)[0] == 0
    assert "1 of 9 images cannot be read" in run("evaluate", trained[1], "--data", root, *one)[2]


def test_the_limit_is_the_same_by_default_and_can_be_raised_above_pillows(trained, run, tmp_path):
    huge = tmp_path / "huge.png"
    Image.new("1", (16_000, 12_000)).save(huge)  # 192 million: Pillow itself refuses 179
    code, _, err = run("predict", trained[1], huge)
    assert (code, "has more than 67 million pixels" in err) == (1, True)
    assert run("predict", trained[1], huge, "--max-pixels", "200")[0] == 0
    helps = [run(verb, "--help")[1] for verb in ("check", "train", "predict", "evaluate", "serve")]
    assert all("Default: 67." in " ".join(text.split()) for text in helps)


def test_predict_answers_with_onnxruntime_where_it_is_installed_and_there_is_no_gpu(trained, run, monkeypatch):
    needs("onnxruntime")
    from neoclassic import engines

    monkeypatch.setattr(engines, "GPUS", ())
    used, create = [], engines.create
    monkeypatch.setattr(engines, "create", lambda name, *given: used.append(name) or create(name, *given))
    assert run("predict", trained[1], trained[0] / "cat" / "1.jpg")[0] == 0
    installed = {"torch"}
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name in installed or None)
    assert run("predict", trained[1], trained[0] / "cat" / "1.jpg")[0] == 0
    installed.clear()
    assert run("predict", trained[1], trained[0] / "cat" / "1.jpg")[0] == 0
    assert used == ["onnx", "torch", "numpy"]


def test_serve_answers_with_onnxruntime_says_so_and_has_the_same_limit(trained, tmp_path):
    needs("onnxruntime")
    Image.new("RGB", (1200, 1000)).save(tmp_path / "large.png")
    server = Running(trained[1], tmp_path)  # without PyTorch, with --max-pixels 1
    try:
        assert "answers with lenet on the onnx engine" in server.said
        status, (answer,) = server.predict((tmp_path / "large.png").read_bytes())
        assert (status, answer["error"]) == (400, f"image: {TOO_LARGE}")
        status, (answer,) = server.predict((trained[0] / "cat" / "1.jpg").read_bytes())
        assert (status, answer["error"]) == (200, None)
    finally:
        server.end()


# ── quiet libraries, short lines ─────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform == "win32", reason="Pillow's wheels for Windows do not give libtiff's names away")
def test_libtiff_and_pillow_print_nothing_of_their_own(trained, tmp_path, capfd):
    root, rng = shutil.copytree(trained[0], tmp_path / "pets"), np.random.default_rng(0)
    for kind in ("tiff_lzw", "tiff_deflate", "group4"):
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        image.convert("1" if kind == "group4" else "RGB").save(root / "cat" / f"{kind}.tif", compression=kind)
        content = bytearray((root / "cat" / f"{kind}.tif").read_bytes())
        third = len(content) // 3
        content[third : third + 100] = b"\xff" * 100
        (root / "cat" / f"{kind}.tif").write_bytes(content)
    for words in (
        ("check", root),
        (*TRAIN, "--data", root, "--out", tmp_path / "run"),
        ("predict", trained[1], root),
        ("evaluate", trained[1], "--data", root),
    ):
        main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert "tiff" in out + err
        assert not re.search("Decode: |tempfile|TIFF[A-Z]|Warning", err + out), err


def test_no_line_names_hundreds_of_files_and_a_table_names_all(trained, run, tmp_path):
    root = shutil.copytree(trained[0], tmp_path / "pets")
    for i in range(200):
        shutil.copy(root / "cat" / "1.jpg", root / "cat" / f"again-{i}.jpg")
        (root / "dog" / f"broken-{i}.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    findings = tmp_path / "findings.csv"
    code, out, err = run("check", root, "--out", findings)
    assert code == 1
    assert "and 198 more" in out
    assert "all paths: neoclassic check" in out
    rows = table(findings)
    assert sum(row["kind"] == "unreadable" for row in rows) == 200
    (group,) = (row["path"] for row in rows if row["kind"] == "duplicate-parts")
    assert len(group.split(" = ")) == 201
    shown = [out, err]
    for words in (
        (*TRAIN, "--data", root, "--out", tmp_path / "run"),
        (*TRAIN, "--data", root, "--out", tmp_path / "strict", "--strict"),
        ("evaluate", trained[1], "--data", root, "--out", tmp_path / "mistakes"),
    ):
        shown += run(*words)[1:]
    assert max(line.count(".jpg") for text in shown for line in text.splitlines()) <= 3
    assert max(len(text.splitlines()) for text in shown) < 60
    assert f"all are in {tmp_path / 'mistakes'}/skipped.csv" in shown[-1]
    assert len(table(tmp_path / "mistakes" / "skipped.csv")) == int(re.search(r"(\d+) of", shown[-1])[1])


# ── evaluate ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_evaluated_on_some_of_its_classes_and_on_a_table(trained, run, run_json, tmp_path):
    root = fill_photos(tmp_path / "new", ("dog",), 12, first=7)
    code, out, err = run("evaluate", trained[1], "--data", root)
    assert code == 0, err
    assert "there are no images of cat" in err
    assert re.search(r"^cat +0$", out, re.M)
    found = run_json("evaluate", trained[1], "--data", root)
    assert [row["n"] for row in found["per_class"]] == [0, 12]
    (root / "new.csv").write_text("\n".join(["path,label", *(f"dog/{i}.jpg,dog" for i in range(12))]))
    listed = run_json("evaluate", trained[1], "--data", root / "new.csv")
    assert (listed["data"], listed["confusion"]) == ("new", found["confusion"])
    assert "unknown class 'hen'" in run("evaluate", trained[1], "--data", fill_photos(tmp_path / "h", ("hen",), 2))[2]
    assert "the class 'hen' is missing" in run(*TRAIN, "--data", missing(tmp_path / "m"), "--out", tmp_path / "r")[2]


def missing(root):
    """A folder whose validation set lacks a class: training needs it."""
    fill_photos(root / "train", ("dog", "hen"), 4)
    fill_photos(root / "val", ("dog",), 4)
    return root


def test_accuracy_and_recall_have_intervals(trained, run, run_json, tmp_path):
    root = fill_photos(tmp_path / "new", ("cat", "dog"), 12, first=7)
    found = run_json("evaluate", trained[1], "--data", root, "--out", tmp_path / "mistakes")
    rows = [(found["accuracy"], *found["accuracy_interval"], found["n"])]
    rows += [(row["recall"], row["recall_low"], row["recall_high"], row["n"]) for row in found["per_class"]]
    for share, low, high, n in rows:
        for end in (low, high):  # Wilson's ends are where the share is 1.96 deviations away
            assert abs(share - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, abs=1e-9)
        assert low <= share <= high
    out = run("evaluate", trained[1], "--data", root)[1]
    assert f"95 % interval of the accuracy: {rows[0][1]:.4f} to {rows[0][2]:.4f}" in out
    assert f"{rows[1][1]:.3f}–{rows[1][2]:.3f}" in out
    assert table(tmp_path / "mistakes" / "per-class.csv")[0]["recall_low"] == str(rows[1][1])
