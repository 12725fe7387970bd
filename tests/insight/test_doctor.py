"""The doctor names the disease of a run, with its cause, and finds nothing wrong with healthy runs."""

import csv
import itertools
import json
import re
import shlex
import shutil
from types import SimpleNamespace

import pytest
from helpers import fill_photos, neoclassic

import neoclassic as nc
from benchmarks.doctor import MLP, PLANTS, SOUND, folder, normed, sicken
from neoclassic.base.finding import GRADES, WRONG
from neoclassic.insight.doctor import setting
from neoclassic.insight.doctor.case import Case
from neoclassic.insight.doctor.witness import Witness
from neoclassic.train import feed

LONG = {
    "a rate that is far too high",
    "memorised random labels",
    "a network that is too small",
    "batches of two",
    "test images from elsewhere",
    "weights that let nothing through",
    "a class of six images",
    "black images",
    "a tiny test set",
    "one epoch",
    "a last ReLU that lives",
    "a network that is far too large",
    "batches that come too late",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of data for a plant; plants with the same data share it."""
    root, made = tmp_path_factory.mktemp("data"), {}

    def at(plant):
        key = plant.change, plant.n, plant.tested
        if key not in made:
            made[key] = folder(root / str(len(made)), *key)
        return made[key]

    return at


def marked(name):
    return pytest.param(name, marks=pytest.mark.slow) if name in LONG else name


# ── diseases ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [marked(name) for name in PLANTS])
def test_a_planted_disease_is_found_first_or_second(name, source, tmp_path):
    found = sicken(PLANTS[name], tmp_path, source(PLANTS[name]))
    assert PLANTS[name].finding in found.names[:2], found
    assert [GRADES.index(each.grade) for each in found.findings] == sorted(
        GRADES.index(each.grade) for each in found.findings
    )
    assert all(re.search(r"\d", " ".join(each.evidence)) for each in found.findings[:1])


def test_a_dead_last_relu_is_named_and_what_the_doctor_advises_mends_it(source, tmp_path):
    plant = PLANTS["a last ReLU that dies"]
    found = sicken(plant, tmp_path, source(plant))
    first = found.findings[0]
    assert first.text.startswith("the last ReLU, relu2, gives 0 for every image")
    assert "--initialisation he-open" in first.advice
    assert any("before the first step" in line for line in first.evidence)
    assert "the learning rate 0.5 is too high" in found.findings[1].text
    rate = float(re.search(r"--lr (\S+);", found.findings[1].advice)[1])
    mended = {**SOUND, "initialisation": "he-open", "learning_rate": rate, "epochs": 6}
    result = nc.train(plant.network, source(plant), out=tmp_path / "mended", **mended)
    assert result.train_accuracy > 0.3
    assert WRONG not in {each.grade for each in nc.diagnose(result).findings}


@pytest.fixture(scope="module")
def slow_run(tmp_path_factory, idx_folder):
    """A run of the zoo whose learning rate is far too low, and what its training printed."""
    out = tmp_path_factory.mktemp("runs") / "slow"
    train = f"train lenet:bn --data {idx_folder} --lr 1e-7 --epochs 2 --batch-size 50 --engine numpy --out {out}"
    done = neoclassic(*shlex.split(train))
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def test_the_next_command_mends_the_run(slow_run, run, run_json, tmp_path):
    out, _ = slow_run
    code, printed, _ = run("doctor", out)
    assert code == 0
    assert "wrong: the learning rate 1e-07 is too low" in printed
    (command,) = set(re.findall(r"^    next: neoclassic (.*)$", printed, re.M)[:1])
    mended = run_json(*shlex.split(command), "--out", tmp_path / "mended")
    assert mended["test_accuracy"] > 2 * json.loads((out / "result.json").read_text())["test_accuracy"]


def test_a_run_says_at_its_end_what_is_wrong_and_where_there_is_more(slow_run):
    out, err = slow_run
    lines = err.splitlines()
    assert any(line.startswith("wrong: the learning rate 1e-07 is too low: at") for line in lines)
    assert lines[-1].startswith("doctor")
    assert lines[-1].endswith(f"for details: neoclassic doctor {out}")


def test_json_python_and_a_notebook_say_the_same(source, tmp_path, run_json):
    plant = PLANTS["inverted test images"]
    found = sicken(plant, tmp_path, source(plant))
    printed = run_json("doctor", tmp_path / "run")
    assert [each["name"] for each in printed["findings"]] == list(found.names)
    assert found.worst == printed["findings"][0]["grade"] == "wrong"
    assert "black and white seem to be exchanged" in found._repr_html_()
    assert "black and white seem to be exchanged" in repr(found)


# ── runs of which less is known ──────────────────────────────────────────────────────────────────────


def test_without_its_data_a_run_is_examined_by_its_files(source, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(source(PLANTS["too few images"]), data)
    out = nc.train(MLP, data, out=tmp_path / "run", **{**SOUND, "epochs": 30, "batch_size": 20}).run
    shutil.rmtree(data)
    found = nc.diagnose(out)
    assert "data" in found.unread
    assert "overfitting" in found.names


def test_a_run_that_was_stopped_is_examined_and_resumed(source, tmp_path):
    out = tmp_path / "run"
    nc.train(MLP, source(PLANTS["a tiny test set"]), out=out, **SOUND)
    (out / "result.json").unlink()
    found = nc.diagnose(out)
    assert found.names == ("unfinished",)
    assert found.findings[0].next == f"neoclassic train --resume {out}"


def test_a_damaged_file_and_a_folder_without_a_run_are_one_line(tmp_path, run):
    assert run("doctor", tmp_path) == (2, "", f"neoclassic: {tmp_path} holds no run: there is no recipe.json in it\n")
    with pytest.raises(nc.NeoclassicError):
        nc.train(MLP, folder(tmp_path / "data", n=100), out=tmp_path / "run", **{**SOUND, "learning_rate": 1e30})
    assert nc.diagnose(tmp_path / "run").names[0] == "diverged"
    (tmp_path / "run" / "diverged.json").write_text("{")
    code, out, err = run("doctor", tmp_path / "run")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "diverged.json: damaged" in err


def test_what_check_finds_in_the_photos_is_found_in_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    fill_photos(photos / "train", ["red", "green"], 30)
    fill_photos(photos / "val", ["red", "green"], 20, first=1)
    for name in ("3.jpg", "4.jpg"):
        shutil.copy(photos / "train" / "red" / name, photos / "val" / "red" / f"copy-{name}")
    nc.train("lenet:bn", photos, out=tmp_path / "run", image_size=28, epochs=4, batch_size=8, **ENGINE)
    first = nc.diagnose(tmp_path / "run").findings[0]
    assert (first.name, first.grade) == ("duplicate-parts", "wrong")
    assert first.next == f"neoclassic check {photos}"


def test_small_photos_that_are_enlarged_are_told_with_a_size_that_the_network_takes(tmp_path, monkeypatch, run):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    photos = fill_photos(tmp_path / "photos", ["red", "green"], 30)  # 36×48 pixels
    nc.train("lenet:bn", photos, out=tmp_path / "run", image_size=96, epochs=1, batch_size=8, **ENGINE)
    (found,) = (each for each in nc.diagnose(tmp_path / "run").findings if each.name == "enlarged-images")
    assert found.text == "small photos are enlarged to 96×96, which adds work and no information"
    assert found.evidence == (
        "half of the photos are at most 36 pixels on the side that becomes 96",
        "7 times the pixels",
    )
    assert "--image-size 72" in found.next
    code, _, err = run(*shlex.split(found.next)[1:], "--out", tmp_path / "again")
    assert (code, json.loads((tmp_path / "again" / "recipe.json").read_text())["image_size"]) == (0, 72), err
    nc.train("lenet:bn", photos, out=tmp_path / "fit", image_size=64, epochs=1, batch_size=8, **ENGINE)
    assert "enlarged-images" not in nc.diagnose(tmp_path / "fit").names


ENGINE = {"engine": "numpy", "verbose": False, "learning_rate": 0.01}


# ── rules that need only the files ───────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def sound(source, tmp_path_factory):
    """A sound run of four epochs."""
    out = tmp_path_factory.mktemp("sound") / "run"
    nc.train(MLP, source(PLANTS["a last ReLU that dies"]), out=out, **{**SOUND, "epochs": 4})
    return out


def relogged(folder, out, **columns):
    """A copy of a run in whose log some columns are replaced."""
    shutil.copytree(folder, out)
    rows = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (out / "log.csv").write_text("\n".join(lines) + "\n")
    return out


def test_a_run_that_collapses_and_one_whose_loss_rises_are_told_apart(sound, tmp_path):
    fallen = relogged(sound, tmp_path / "fallen", train_accuracy=[0.5, 0.7, 0.6, 0.12])
    first = nc.diagnose(fallen).findings[0]
    assert (first.name, first.grade) == ("collapsed", "wrong")
    assert "after epoch 2" in first.text
    assert first.evidence == ("log.csv: training accuracy 70.0% in epoch 2, and 12.0% in epoch 4",)
    rising = relogged(sound, tmp_path / "rising", train_loss=[1.0, 0.5, 0.7, 0.9])
    (found,) = (each for each in nc.diagnose(rising).findings if each.name == "loss-rises")
    assert "rising since epoch 2" in found.text


def test_overfitting_is_dated_by_the_held_out_loss(sound, tmp_path):
    columns = {"train_accuracy": [0.6, 0.8, 0.95, 1.0], "validation_loss": [0.9, 0.6, 0.8, 1.2]}
    over = relogged(sound, tmp_path / "over", validation_accuracy=[0.6, 0.7, 0.7, 0.7], **columns)
    (found,) = (each for each in nc.diagnose(over).findings if each.name == "overfitting")
    assert "from epoch 3 on" in found.text
    assert "the held-out loss is lowest in epoch 2, 0.6000, and ends at 1.2000" in found.evidence
    assert "overfitting" not in nc.diagnose(sound).names


def test_training_that_waits_for_data_is_told(sound, tmp_path):
    late = relogged(sound, tmp_path / "late", data_seconds=[8, 2, 2, 2], seconds=[10, 4, 4, 4])
    (found,) = (each for each in nc.diagnose(late).findings if each.name == "waits-for-data")
    assert (found.grade, found.confidence) == ("note", "certain")
    assert found.text == "training waits for data 64% of the time"
    assert found.evidence[0].startswith("log.csv: 14 of 22 seconds")
    (late / "model.safetensors").unlink()
    assert "waits-for-data" in nc.diagnose(late).names
    busy = relogged(sound, tmp_path / "busy", data_seconds=[8, 2, 2, 2], seconds=[100, 4, 4, 4])
    assert "waits-for-data" not in nc.diagnose(busy).names


def test_the_log_has_the_seconds_that_batches_took(source, tmp_path, monkeypatch):
    ticks = itertools.count()  # one second at each look at the clock, of which a batch takes two
    monkeypatch.setattr(feed, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    result = nc.train(MLP, source(PLANTS["a tiny test set"]), out=tmp_path / "run", **{**SOUND, "epochs": 2})
    log = Case.open(result.run).log
    assert [row.data_seconds for row in log] == [result.steps / 2] * 2


def test_an_accuracy_below_the_known_range_is_doubtful(sound):
    case = Case.open(sound)
    case.recipe = case.recipe.but(reaches=".9810 to .9924 over 3 runs, numpy")
    vars(case)["published"] = known = case.recipe.but(seed=7)
    (found,) = setting.reached(case)
    assert (found.name, found.grade) == ("below-known-range", "doubtful")
    assert "what the recipe is known to reach, 0.9810" in found.text
    vars(case)["published"] = known.but(epochs=5)  # another recipe
    assert list(setting.reached(case)) == []
    case.recipe = case.recipe.but(reaches="median .844, .100 to .885 over 101 published runs")
    vars(case)["published"] = case.recipe
    assert list(setting.reached(case)) == []


# ── healthy runs ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        (normed(), {"epochs": 2}),
        pytest.param("lenet:bn", {"learning_rate": 0.01}, marks=pytest.mark.slow),
        pytest.param("lenet", {"learning_rate": 0.01}, marks=pytest.mark.slow),
    ],
    ids=["normed", "lenet-bn", "lenet"],
)
def test_nothing_is_wrong_with_a_healthy_run(network, changes, source, tmp_path, recwarn):
    plain = source(PLANTS["a last ReLU that dies"])
    result = nc.train(network, plain, out=tmp_path / "run", **{**SOUND, "epochs": 4, **changes})
    assert [each for each in nc.diagnose(result).findings if each.grade == WRONG] == []


def test_nothing_is_said_of_a_sound_run(sound):
    assert set(nc.diagnose(sound).names) <= {"stopped-early"}


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────


def test_nearest_neighbours_know_the_labels_of_fashion_mnist_and_not_shuffled_ones(fashion):
    part = fashion.train.subset(range(1000))
    witness = Witness.of(part)
    assert witness.knows
    assert witness.guessing.right > 650
    assert Witness.of(part.subset(range(20))) is None


def test_a_range_test_draws_its_picture_and_recommends_a_rate_that_learns(slow_run, run, run_json, tmp_path):
    out, _ = slow_run
    picture = tmp_path / "rates.png"
    found = run_json("doctor", out, "--rate", "--out", picture)
    assert 1e-4 < found["best"] < found["highest"] <= 10
    assert found["own"] == 1e-7
    assert f"--lr {found['best']:g}" in found["next"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [point["rate"] for point in found["points"]] == sorted(point["rate"] for point in found["points"])
    code, _, err = run("doctor", out, "--out", picture)
    assert (code, err) == (2, "neoclassic: --out works only with --rate: add --rate, or leave it out\n")
