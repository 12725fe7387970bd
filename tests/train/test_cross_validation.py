"""A recipe over several folds: what is trained and tested on what, what a kill changes, and the ensemble."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import fill_photos
from options import TINY

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import load
from neoclassic.data.preprocessing import to_input
from neoclassic.insight.reproduce import command
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import softmax
from neoclassic.model.opening import load_model, open_model
from neoclassic.train import loop
from neoclassic.train.cross_validation import resume, train
from neoclassic.train.listener import Listener
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run, Settings

NUMPY = Settings("numpy")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder without a test set: 9 photos of each class, and a copy of the first one of each under another name."""
    folder = fill_photos(tmp_path_factory.mktemp("photos") / "fruit", ["apple", "banana"], 9)
    for name in ("apple", "banana"):
        shutil.copy(folder / name / "0.jpg", folder / name / "copy.jpg")
    return folder


def recipe(data):
    return TINY.but(data=str(data), epochs=2, image_size=28, batch_size=8)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "three"
    return train(recipe(photos), 3, NUMPY, out)


@pytest.fixture(scope="module")
def tested(idx_folder, tmp_path_factory):
    """Folds of arrays that have a test set of their own."""
    return train(TINY.but(data=str(idx_folder), epochs=1), 2, NUMPY, tmp_path_factory.mktemp("runs") / "two")


def test_each_photo_is_tested_once_by_a_model_that_has_not_seen_it_or_its_copy(trained, photos):
    seen = [load_model(f"{trained.folder}/fold{i}").data["photos"] for i in (1, 2, 3)]
    marks = [mark for each in seen for mark in each["test"]]
    assert len(marks) == trained.n == 20
    assert len(set(marks)) == 18  # two of them twice, since they are copies
    for each in seen:
        assert not set(each["test"]) & set(each["train"])
        assert len(each["train"]) + len(each["test"]) == 20
    assert trained.right == sum(round(result.test_accuracy * result.evaluation["n"]) for result in trained.results)
    assert trained.ensemble is None  # all photos were trained on
    counts = [[row["n"] for row in result.evaluation["per_class"]] for result in trained.results]
    assert np.ptp(counts, 0).max() <= 1  # stratified


class Killed(BaseException):
    """A process that ends at once: nothing is saved."""


class Kills(Listener):
    """Ends the process in an epoch of a fold."""

    def __init__(self, fold, error):
        self.fold, self.error = fold, error

    def started(self, job, run, state):
        self.here = run.folder.name == self.fold

    def epoch_ended(self, log, best, last):
        if self.here and len(log) == 1:
            raise self.error


@pytest.mark.parametrize("error", [Killed(), loop.Interrupted("stopped in epoch 1")])
def test_folds_that_were_killed_and_resumed_give_the_same_result(error, trained, photos, tmp_path):
    out = tmp_path / "again"
    with pytest.raises(type(error)) as raised:
        train(recipe(photos), 3, NUMPY, out, [Kills("fold2", error)])
    if not isinstance(error, Killed):
        assert str(raised.value) == f"stopped in fold 2 of 3; resume with: neoclassic train --resume {out}"
    assert not (out / "fold3").exists()
    with pytest.raises(NeoclassicError, match=f"{out} is not finished: .* --resume {out}"):
        open_model(out)
    assert facts(resume(out)) == facts(trained)
    kept = json.loads((out / "folds.json").read_text("utf-8"))["result"]
    assert kept["folds"][1]["checksum"] == trained.results[1].checksum
    assert facts(resume(out)) == facts(trained)  # finished: nothing is trained again


def facts(done):
    """All of a result that does not depend on the time and the place."""
    found = done.to_dict()
    del found["seconds"]
    for row in found["folds"]:
        del row["seconds"]
    return found


def test_a_fold_is_an_ordinary_run(trained, run_json):
    first = f"{trained.folder}/fold1"
    found = run_json("evaluate", first, "--engine", "numpy")
    assert found["accuracy"] == trained.results[0].test_accuracy
    assert found["n"] == trained.results[0].evaluation["n"]
    assert Run.open(first)[1].fold == (1, 3)
    assert loop.resume(first).checksum == trained.results[0].checksum
    assert nc.diagnose(first).run == first
    assert "--folds 3" in command(Run.open(first)[1], "numpy")[0]


def test_the_ensemble_is_tested_once_on_a_test_set_of_its_own(tested, idx_folder, run_json):
    test = load(str(idx_folder)).test
    assert tested.n == 1000
    assert tested.ensemble.n == len(test) == 300
    assert {result.evaluation["n"] for result in tested.results} == {500}
    members = [Model.load(f"{tested.folder}/fold{i}") for i in (1, 2)]
    each = [softmax(m.engine("numpy").logits(to_input(test.images, m.preprocessing)), m.temperature) for m in members]
    assert tested.ensemble.accuracy == pytest.approx((np.mean(each, 0).argmax(1) == test.labels).mean(), abs=0.004)
    found = run_json("evaluate", tested.folder, "--engine", "numpy")
    assert found["accuracy"] == tested.ensemble.accuracy
    kept = json.loads((Path(tested.folder) / "folds.json").read_text("utf-8"))
    assert kept["result"]["ensemble"]["accuracy"] == tested.ensemble.accuracy


def test_a_validation_set_is_the_test_set_of_the_ensemble_or_divided(tmp_path, run, run_json):
    fill_photos(tmp_path / "fruit" / "train", ["apple", "banana"], 6)
    fill_photos(tmp_path / "fruit" / "val", ["apple", "banana"], 4, first=1)
    given = recipe(tmp_path / "fruit").but(epochs=1, validation=0.2)
    done = train(given, 2, NUMPY, tmp_path / "apart")
    assert (done.n, done.ensemble.n) == (12, 8)
    assert run_json("evaluate", done.folder, "--engine", "numpy")["accuracy"] == done.ensemble.accuracy
    done = train(given.but(test=0.0), 2, NUMPY, tmp_path / "divided")
    assert (done.n, done.ensemble) == (20, None)
    assert run_json("evaluate", f"{done.folder}/fold2", "--engine", "numpy")["n"] == done.results[1].evaluation["n"]
    assert "trained on all of it" in run("evaluate", done.folder)[2]
    done = train(given.but(test=0.5), 2, NUMPY, tmp_path / "held out")
    assert (done.n, done.ensemble.n) == (6 + 8, 6)
    assert run_json("evaluate", done.folder, "--engine", "numpy")["accuracy"] == done.ensemble.accuracy


def test_the_folder_is_a_model_wherever_a_model_answers(trained, photos, run, run_json, tmp_path):
    def asked(model):
        found = run_json("predict", model, photos / "apple" / "1.jpg", "--engine", "numpy")
        return {row["label"]: row["probability"] for row in found[0]["top"]}

    found = asked(trained.folder)
    each = [asked(f"{trained.folder}/fold{i}")["apple"] for i in (1, 2, 3)]
    assert found["apple"] == pytest.approx(np.mean(each), abs=1e-6)
    loaded = nc.load(trained.folder, engine="numpy")
    assert loaded.predict([str(photos / "apple" / "1.jpg")])[0] == max(found, key=found.get)
    with pytest.raises(NeoclassicError, match="no weights to write"):
        loaded.save(tmp_path / "model.safetensors")
    code, _, err = run("evaluate", trained.folder)
    assert code == 1
    assert "the model was trained on all of it: name other images with --data" in err


@pytest.mark.parametrize("line", [("export", "a.onnx"), ("doctor",), ("report",)])
def test_what_needs_one_model_says_how_to_name_it(line, trained, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(line[0], trained.folder, *line[1:])
    assert code == 2
    assert err.count("\n") == 1
    assert f"{trained.folder}/fold1" in err


def test_wrong_calls_write_nothing(photos, trained, idx_folder, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="class 'apple' has 9 different images, too few for 10 folds"):
        train(recipe(photos), 10, NUMPY)
    with pytest.raises(UsageError, match="must be from 2 to 1,000, not 1"):
        train(recipe(photos), 1, NUMPY)
    for fold in ((1,), (0, 5), (6, 5), (1, 1)):
        with pytest.raises(UsageError, match="fold must be two numbers"):
            recipe(photos).but(fold=fold).checked()
    with pytest.raises(UsageError, match="has a test set of its own"):
        train(recipe(idx_folder).but(test=0.0), 2, NUMPY)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="holds a run already"):
        train(recipe(photos), 3, NUMPY, trained.folder)
    with pytest.raises(UsageError, match="holds no folds"):
        resume(tmp_path)
    (tmp_path / "folds.json").write_text('{"folds": "five"}')
    with pytest.raises(NeoclassicError, match=r"folds.json: damaged"):
        resume(tmp_path)
    code, _, err = run("train", "--resume", tmp_path)
    assert (code, err.count("\n")) == (1, 1)


def test_photos_that_change_between_the_folds_are_noticed(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "fruit")
    given = recipe(tmp_path / "fruit").but(epochs=1)
    with pytest.raises(Killed):
        train(given, 2, NUMPY, tmp_path / "out", [Kills("fold2", Killed())])
    shutil.rmtree(tmp_path / "out" / "fold2")
    (tmp_path / "fruit" / "apple" / "8.jpg").unlink()
    with pytest.raises(NeoclassicError, match="changed while the folds were trained"):
        resume(tmp_path / "out")


@pytest.mark.filterwarnings("ignore::neoclassic.base.errors.NeoclassicWarning")  # one epoch teaches little
def test_the_command_prints_a_table_and_python_returns_the_record(photos, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = {"epochs": 1, "engine": "numpy", "verbose": False}
    found = nc.train("lenet:bn", photos, folds=2, out="python", **common)
    code, out, _ = run(*f"train lenet:bn --data {photos} --folds 2 --epochs 1 --engine numpy".split())
    assert code == 0
    assert f"accuracy {found.accuracy:.4f} over 20 images, each by a model that has not seen it" in out
    assert "next: neoclassic predict runs/lenet-bn-fruit-2-folds-1 IMAGE" in out
    assert str(found.table).splitlines()[1].split()[:3] == out.splitlines()[1].split()[:3]
    assert "each by a model that has not seen it" in found._repr_html_()
    assert Recipe.from_dict(Run.open("python/fold2")[1].to_dict()).fold == (2, 2)
    assert "fold" not in TINY.to_dict()  # the checksums of other models stay as they are
