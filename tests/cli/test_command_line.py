"""The command line: output, errors, and files that are written completely or not at all."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from helpers import write_idx
from PIL import Image

import neoclassic
from neoclassic.cli import cli
from neoclassic.engines import Optimizer
from neoclassic.train.run import Run

NEW_CLICK = tuple(map(int, version("click").split(".")[:2])) >= (8, 4)  # which changed the wording


def test_import_loads_neither_torch_nor_matplotlib_nor_anything_slow():
    code = "import sys, neoclassic; print([m for m in ('torch', 'matplotlib', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_showing_a_network_needs_no_numpy():
    code = "import sys; from neoclassic.cli import main; main(['show', 'lenet']); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_public_names_are_listed():
    assert all(hasattr(neoclassic, name) for name in neoclassic.__all__)


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_every_verb_has_help_with_an_example(verb, run):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"Example:  neoclassic {verb}" in out


ROOT = Path(__file__).parents[2]
SILENT = re.compile(
    r"terminal|index|guides|python|books|editions|convolution|security|reference|project"
)  # without commands
PAGES = [
    "README.md",
    *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")) if not SILENT.search(p.as_posix())),
]
CODE = re.compile(r"^```\w*\n(.*?)^```$|^(    .*?)$", re.M | re.S)
COMMAND = re.compile(r"^(?: {4}|\$ )?(?:[A-Z_]+=\S+ |torchrun .* -m )*neoclassic (\w+)(.*)$", re.M)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_shows_can_be_typed(page):
    blocks = "\n".join(map("".join, CODE.findall((ROOT / page).read_text("utf-8"))))
    shown = COMMAND.findall(re.sub(r"\\\n +", "", blocks))  # a line that ends with \\ goes on in the next
    assert shown
    for verb, rest in shown:
        arguments = shlex.split(re.split(r"  | < ", rest)[0], comments=True)
        cli.commands[verb].make_context(verb, arguments)  # fails if the command line is invalid


def test_version(run):
    assert run("--version") == (0, f"neoclassic {neoclassic.__version__}\n", "")


def test_show_json_has_the_fields_and_counts(run_json):
    shown = run_json("show", "lenet")
    assert {k: shown[k] for k in ("network", "input", "classes", "parameters", "statistics", "macs", "auxiliary")} == {
        "network": "lenet",
        "input": [1, 28, 28],
        "classes": 10,
        "parameters": 61_706,
        "statistics": 0,
        "macs": 416_520,
        "auxiliary": None,
    }
    first = shown["layers"][0]
    assert (first["path"], first["type"], first["output"]) == ("conv1", "Conv2d", [6, 28, 28])
    assert (first["parameters"], first["macs"]) == (156, 117_600)
    assert first["receptive_field"][0]["size"] == 5


def test_show_accepts_other_inputs_and_classes(run_json):
    assert run_json("show", "lenet", "--input", "3x32x32", "--classes", 4)["layers"][-1]["output"] == [4]
    assert run_json("show", "lenet", "--input", "32")["input"] == [1, 32, 32]


def test_lists_can_be_json(run_json):
    assert any(row["network"] == "lenet:bn" for row in run_json("list"))
    assert run_json("recipes", "d2l-zh:lenet")[0]["learning_rate"] == 0.9


# ── using a run ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def trained(idx_folder, tmp_path_factory):
    """The result that `train --json` prints, and the run folder."""
    out = tmp_path_factory.mktemp("run") / "first"
    command = [sys.executable, "-m", "neoclassic", "train", "lenet:bn", "--data", str(idx_folder), "--epochs", "4"]
    done = subprocess.run([*command, "--out", str(out), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def test_train_json(trained):
    result, out = trained
    wanted = "run model network data engine device seed epochs train_accuracy validation_accuracy test_accuracy"
    assert set(wanted.split()) | {"seconds", "images_per_second"} <= result.keys()
    assert result["run"] == str(out)
    assert result["network"] == "lenet:bn"


@pytest.mark.parametrize(("recipe", "kept"), [("mnist-residual", {"clip": 1.0}), ("mnist-record", {"average": 0.999})])
def test_another_optimizer_keeps_settings_that_do_not_belong_to_the_rule(recipe, kept, run, idx_folder, tmp_path):
    arguments = ["--recipe", f"neoclassic:{recipe}", "--data", idx_folder, "--max-steps", 1, "--out", tmp_path / "run"]
    code, _, err = run("train", *arguments, "--optimizer", "adam")
    assert code == 0, err
    assert Run.open(tmp_path / "run")[1].optimizer == Optimizer("adam", **kept)


def test_evaluate_finds_what_training_found(trained, idx_folder, run_json):
    result, out = trained
    found = run_json("evaluate", out, "--data", idx_folder)
    assert found["accuracy"] == pytest.approx(result["test_accuracy"], abs=1e-6)
    assert found["n"] == 300
    assert sum(map(sum, found["confusion"])) == 300
    assert {"class", "precision", "recall", "f1", "n"} <= found["per_class"][0].keys()


def test_predict_agrees_with_evaluate_and_on_both_engines(trained, fashion, run_json, tmp_path):
    _, out = trained
    for n in range(12):
        Image.fromarray(fashion.test.images[n, :, :, 0]).save(tmp_path / f"{n:02}.png")
    on = {e: run_json("predict", out, tmp_path, "--engine", e, "--top", 10) for e in ("numpy", "torch")}
    assert [p["label"] for p in on["numpy"]] == [p["label"] for p in on["torch"]]
    for a, b in zip(on["numpy"], on["torch"], strict=True):
        assert [t["probability"] for t in a["top"]] == pytest.approx([t["probability"] for t in b["top"]], abs=1e-5)
        assert sum(t["probability"] for t in a["top"]) == pytest.approx(1)
        assert a["error"] is None


def test_predict_takes_photos_and_drawings_and_writes_csv(trained, run, tmp_path):
    _, out = trained
    Image.new("RGB", (640, 480), "white").save(tmp_path / "photo.jpg")
    Image.new("RGBA", (50, 80), (0, 0, 0, 0)).save(tmp_path / "drawing.png")
    code, text, _ = run("predict", out, tmp_path / "photo.jpg", tmp_path / "drawing.png", "--csv", tmp_path / "a.csv")
    assert code == 0
    assert len(text.splitlines()) == 2
    assert (tmp_path / "a.csv").read_text().splitlines()[0].startswith("path,label,probability")


def test_unreadable_images_are_named_and_the_others_classified(trained, run, tmp_path):
    _, out = trained
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(good)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:400])
    code, text, err = run("predict", out, *sorted(tmp_path.glob("*.png")), "--json")
    found = {p["path"].rpartition("/")[2]: p for p in json.loads(text)}
    assert code == 1
    assert found["good.png"]["error"] is None
    assert all(
        found[f"{name}.png"]["error"] and found[f"{name}.png"]["label"] is None for name in ("empty", "text", "cut")
    )
    assert err.splitlines()[-1] == "neoclassic: 3 of 4 images could not be read"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian lenet", "unknown command 'trian': did you mean 'train'?"),
        ("show lenett", "unknown network 'lenett': did you mean 'lenet'?"),
        ("show lenet:nb", "unknown variant"),
        ("show lenet --clases 3", "No such option '--clases'" if NEW_CLICK else "No such option: --clases"),
        ("show lenet --classes 0", "at least 1 class"),
        ("show lenet --input one", "--input 'one' is not a shape"),
        ("show lenet --input 1x5x5", "conv2: a 5×5 window does not fit"),
        ("train lenett", "unknown network 'lenett': did you mean 'lenet'?"),
        ("train", "name a network or a recipe"),
        ("train lenet --recipe d2l-zh:lent", "unknown recipe 'd2l-zh:lent': did you mean 'd2l-zh:lenet'?"),
        ("train lenet --recipe d2l-zh", "'d2l-zh' is a source of several recipes: choose one of d2l-zh:lenet, "),
        ("train deepconvnet --recipe d2l-zh:lenet", "trains 'lenet', not 'deepconvnet'"),
        ("train lenet --data fashion-mnis", "unknown data set 'fashion-mnis': did you mean 'fashion-mnist'?"),
        ("train lenet --classes 7", "--classes 7, but fashion-mnist has 10 classes"),
        ("train lenet --epochs 0", "epochs must be at least 1"),
        ("train lenet --epochs many", "'many' is not a valid integer"),
        ("train lenet --engine jax", "unknown engine 'jax'"),
        ("train lenet --image-size 8", "the smallest square image that works is 12×12"),
        ("train lenet --resume nowhere --seed 3", "--resume uses the run's own settings"),
        ("train --resume nowhere", "nowhere holds no run"),
        (f"compare {__file__}", "test_command_line.py holds no run"),
        ("serve nowhere --timeout nan", "--timeout must be a number of seconds above 0"),
        ("train lenet --seed 4294967296", "seed must be from 0 to 4294967295"),
        ("train lenet --freeze * --engine numpy", "every parameter is frozen: there is nothing to train"),
        ("train lenet --out ''", "--out is empty: is a shell variable not set?"),
        ("train --resume=", "--resume is empty"),
        ("show ''", "an argument is empty"),
        ("cache --clear .", "'.' is not a pattern"),
        ("evaluate nowhere.safetensors", "cannot read nowhere.safetensors"),
        ("predict", "Missing argument"),
    ],
)
def test_a_wrong_call_is_one_clear_line(arguments, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*shlex.split(arguments))
    assert code == (1 if arguments.startswith("evaluate") else 2)
    assert out == ""
    assert message in err
    last = err.splitlines()[-1]
    assert last.startswith("neoclassic: ")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def damaged(idx_folder, where, damage):
    for file in idx_folder.iterdir():
        (where / file.name).write_bytes(file.read_bytes())
    damage(where)
    return where


def cut(where):
    file = where / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda where: write_idx(where / "train-labels-idx1-ubyte.gz", np.zeros(999)),
        lambda where: write_idx(where / "train-labels-idx1-ubyte.gz", np.zeros((1000, 1))),
        lambda where: (where / "train-images-idx3-ubyte.gz").write_bytes(b"\x07\x07\x07\x07 no magic"),
        lambda where: (where / "t10k-labels-idx1-ubyte.gz").unlink(),
    ],
)
def test_bad_data_is_one_clear_line_and_leaves_no_run_behind(damage, idx_folder, run, tmp_path):
    (tmp_path / "data").mkdir()
    folder = damaged(idx_folder, tmp_path / "data", damage)
    code, _, err = run("train", "lenet", "--data", folder, "--out", tmp_path / "run")
    assert code in (1, 2)
    assert err.splitlines()[-1].startswith("neoclassic: ")
    assert "unexpected" not in err
    assert not (tmp_path / "run").exists()


def test_a_label_out_of_range_names_the_image(idx_folder, run, tmp_path):
    mnist = tmp_path / "mnist"
    mnist.mkdir()
    for file in idx_folder.iterdir():
        (mnist / file.name).write_bytes(file.read_bytes())
    labels = np.zeros(1000)
    labels[41] = 10
    write_idx(mnist / "train-labels-idx1-ubyte.gz", labels)
    code, _, err = run("train", "lenet", "--data", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "run")
    assert code == 1
    assert "label 10 of image 41 is out of range 0 to 9" in err


def test_an_impossible_output_folder_is_refused(run, idx_folder, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run("train", "lenet", "--data", idx_folder, "--out", tmp_path / "file" / "run")
    assert code == 1
    assert "choose another place" in err


def test_a_full_disk_ends_the_run_with_one_line(run, idx_folder, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("train", "lenet", "--data", idx_folder, "--out", tmp_path / "run")
    assert code == 1
    assert "No space left on device; choose another place" in err.splitlines()[-1]
    assert list((tmp_path / "run").iterdir()) == []


def test_the_error_for_a_missing_data_set_lists_the_places_searched(run, tmp_path, monkeypatch):
    from neoclassic.data import sources

    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    code, _, err = run("train", "deepconvnet", "--data", "mnist", "--out", tmp_path / "run")
    last = err.splitlines()[-1]
    assert code == 1
    assert str(tmp_path / "cache") in last
    assert str(tmp_path / "debian") in last
    assert "--data-dir" in last
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(run):
    code, _, err = run("show", "lenett", "--debug")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize(
    "line",
    ["predict {long} x.jpg", "predict {run} {long}", "evaluate {long}", "check {long}", "train lenet --data {long}"],
)
def test_a_path_that_cannot_be_examined_is_one_line(line, run, tmp_path):
    code, _, err = run(*line.format(long="x" * 5000, run=tmp_path).split())
    assert code in (1, 2)
    assert err.count("neoclassic:") == 1
    assert "unexpected" not in err
