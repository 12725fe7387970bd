"""Runs: what is kept, what repeats, what can be killed, and what stops by itself."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers import cut_after, model_bytes, write_data_set

from neoclassic import data
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.cli import main
from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.insight.watching import watchers
from neoclassic.model.artefact import Model
from neoclassic.recipes import choose, list_recipes, recipe
from neoclassic.train.loop import Diverged, resume, train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Run, Settings

ENGINES = ("numpy", "torch")
TINY = Recipe(
    name="test:tiny",
    network="deepconvnet",  # it has dropout, so the random masks must repeat too
    data="tiny",
    epochs=2,
    batch_size=40,
    optimizer=Optimizer("adam"),
    learning_rate=0.002,
    schedule="cosine",
    warmup_epochs=0.5,
    standardise=True,
)


@pytest.fixture(scope="module")
def idx_folder(fashion, tmp_path_factory):
    """The first 400 training and 100 test images of Fashion-MNIST."""
    return write_data_set(tmp_path_factory.mktemp("data") / "tiny", fashion, 400, 100)


@pytest.fixture(scope="module")
def splits(idx_folder):
    return data.load(str(idx_folder))


def log_of(folder):
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_folder_is_complete_and_learns(engine, ornaments, splits, tmp_path):
    result = train(TINY.but(network="lenet:bn", epochs=4), Settings(engine), tmp_path / "run", splits, watchers())
    kept = {path.name for path in (tmp_path / "run").iterdir()}
    assert kept == {
        "recipe.json",
        "log.csv",
        "curves.png",
        "confusion.png",
        "result.json",
        "answers.csv",
        "model.safetensors",
        "checkpoint.safetensors",
    }
    log = log_of(tmp_path / "run")
    assert [row["epoch"] for row in log] == ["1", "2", "3", "4"]
    assert float(log[-1]["train_loss"]) < float(log[0]["train_loss"])
    assert result.test_accuracy > 0.4  # chance is 0.1
    assert result.validation_accuracy == float(log[result.best_epoch - 1]["validation_accuracy"])
    assert result.validation_accuracy > max(float(row["validation_accuracy"]) for row in log) - 0.02  # in bfloat16
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result.to_dict()
    assert Model.load(tmp_path / "run").metrics["test"]["accuracy"] == result.test_accuracy


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(engine, splits, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(TINY.but(seed=seed), Settings(engine), tmp_path / name, splits)
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b")
    assert model_bytes(tmp_path / "a") != model_bytes(tmp_path / "c")


def command(engine, idx_folder, out):
    options = ["--epochs", "3", "--batch-size", "10", "--lr", "0.002", "--seed", "3"]
    where = ["--data", str(idx_folder), "--out", str(out), "--engine", engine]
    return ["train", "deepconvnet", *options, *where]


def wait_for(path, process):
    until = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(idx_folder, tmp_path_factory):
    """A function that gives the folder of an engine's run that was never killed."""

    @cache
    def folder(engine):
        made = tmp_path_factory.mktemp(engine) / "whole"
        assert main(command(engine, idx_folder, made)) == 0
        return made

    return folder


@pytest.mark.parametrize(
    ("engine", "how"), [("numpy", signal.SIGKILL), ("numpy", signal.SIGINT), ("torch", signal.SIGKILL)]
)
def test_killed_in_the_second_epoch_and_resumed_ends_with_the_bytes_of_a_run_never_killed(
    engine, how, whole, idx_folder, tmp_path
):
    line = [sys.executable, "-m", "neoclassic", *command(engine, idx_folder, tmp_path / "cut")]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "cut" / "checkpoint.safetensors", process)
    time.sleep(0.05)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (tmp_path / "cut" / "result.json").exists()
    if how == signal.SIGINT:
        assert process.returncode == 1
        assert err.splitlines()[-1].endswith(f"resume with: neoclassic train --resume {tmp_path / 'cut'}")
    resume(tmp_path / "cut")
    assert model_bytes(tmp_path / "cut") == model_bytes(whole(engine))


@pytest.fixture(scope="module", params=ENGINES)
def uncut(request, splits, tmp_path_factory):
    """An engine, and the folder of TINY's run on it."""
    folder = tmp_path_factory.mktemp(request.param) / "uncut"
    train(TINY, Settings(request.param), folder, splits)
    return request.param, folder


@pytest.mark.parametrize("step", [9, 13, 18])  # of two epochs of nine
def test_a_run_cut_between_any_two_steps_ends_with_the_same_bytes_and_log(step, uncut, splits, tmp_path, monkeypatch):
    engine, whole = uncut
    cut = cut_after(step, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, Settings(engine), tmp_path / "cut", splits)
    resume(tmp_path / "cut", splits)
    assert cut
    assert model_bytes(tmp_path / "cut") == model_bytes(whole)
    losses = [[(row["epoch"], row["train_loss"]) for row in log_of(folder)] for folder in (tmp_path / "cut", whole)]
    assert losses[0] == losses[1]


def test_a_finished_run_is_left_as_it_is(splits, tmp_path):
    result = train(TINY.but(epochs=1), Settings("torch"), tmp_path / "run", splits)
    before = model_bytes(tmp_path / "run")
    assert resume(tmp_path / "run", splits) == result
    assert model_bytes(tmp_path / "run") == before


def test_a_run_is_not_resumed_on_other_data(splits, tmp_path):
    train(TINY.but(epochs=1), Settings("torch"), tmp_path / "run", splits)
    (tmp_path / "run" / "result.json").unlink()
    other = replace(splits, train=splits.train.subset(np.arange(300)))
    with pytest.raises(Exception, match="tiny has changed since"):
        resume(tmp_path / "run", other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": "many"}, "batch_size cannot be 'many'"),
        ({"batch_size": True}, "batch_size cannot be True"),
        ({"network": ["lenet"]}, r"network cannot be \('lenet',\)"),
        ({"augmentation": {"scale": None}}, "scale cannot be None"),
        ({"optimizer": {"betas": [0.9]}}, r"betas cannot be \(0.9,\)"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, r"betas must be in \[0, 1\), not \(0.9, 1.0\)"),
        ({"optimizer": "sgd"}, "'sgd' is not an object with the fields of Optimizer"),
        ({"batchsize": 3}, "unknown entry 'batchsize'"),
    ],
)
def test_a_recipe_that_was_edited_is_taken_or_refused_by_name(change, message, tmp_path):
    Run.create(tmp_path, "", TINY, Settings("numpy"))
    file = tmp_path / "recipe.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, **change}))
    with pytest.raises(NeoclassicError, match=message):
        Run.open(tmp_path)
    file.write_text(json.dumps({**whole, "learning_rate": 1}))
    assert Run.open(tmp_path)[1] == TINY.but(learning_rate=1)


def test_a_log_comes_back_or_says_that_it_is_damaged(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(UsageError, match="has not finished an epoch yet"):
        run.log()
    log = [Epoch(1, 0.1, 2.0, 0.2, None, None, 2.1, 0.25, 3.0, 1000.0)]
    run.save_log(log)
    assert run.log() == log
    text = (tmp_path / "log.csv").read_text()
    for damaged in (
        text.replace(",2.0,", ",,"),
        text.replace("0.25", "x"),
        text + "2,0.1\n",
        text.replace("epoch", "e"),
    ):
        (tmp_path / "log.csv").write_text(damaged)
        with pytest.raises(NeoclassicError, match=r"log.csv: damaged"):
            run.log()


def test_a_result_that_is_damaged_is_made_again(splits, tmp_path):
    result = train(TINY.but(epochs=1), Settings("numpy"), tmp_path / "run", splits)
    file = tmp_path / "run" / "result.json"
    whole = result.to_dict()
    scores = whole["evaluation"]
    impossible: list[dict[str, Any]] = [
        {"epochs": "one"},
        {"seconds": math.inf},
        {"test_accuracy": 10**400},
        {"evaluation": {}},
        {"evaluation": {**scores, "n": scores["n"] + 1}},
        {"evaluation": {**scores, "n": {}}},
        {"evaluation": {**scores, "accuracy": "high"}},
        {"evaluation": {**scores, "confusion": scores["confusion"][1:]}},
        {"evaluation": {**scores, "per_class": [{}]}},
    ]
    for damaged in ("", "[]", json.dumps({"run": "run"}), *(json.dumps({**whole, **change}) for change in impossible)):
        file.write_text(damaged)
        with pytest.raises(NeoclassicError, match=r"result.json: damaged .*; remove it, and train --resume"):
            resume(tmp_path / "run", splits)
    file.unlink()
    again = resume(tmp_path / "run", splits)
    assert replace(again, finished="") == replace(result, finished="")


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: Run.create(None, "tiny", TINY, Settings("numpy")), range(40)))
    assert {run.folder.name for run in runs} == {f"tiny-{number}" for number in range(1, 41)}


def test_a_folder_that_holds_a_run_is_not_overwritten(splits, tmp_path):
    train(TINY.but(epochs=1), Settings("torch"), tmp_path / "run", splits)
    with pytest.raises(UsageError, match="holds a run already"):
        train(TINY.but(epochs=1), Settings("torch"), tmp_path / "run", splits)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do(engine, splits, tmp_path):
    wild = TINY.but(optimizer=Optimizer("sgd"), learning_rate=1e12, schedule="constant", warmup_epochs=0.0)
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) before step \d+: try --lr 1e\+11"):
        train(wild, Settings(engine), tmp_path / "run", splits)


def test_without_a_validation_set_the_last_model_is_kept_and_the_test_set_is_logged(splits, tmp_path):
    result = train(TINY.but(validation=0.0), Settings("torch"), tmp_path / "run", splits)
    log = log_of(tmp_path / "run")
    assert log[-1]["validation_accuracy"] == ""
    assert float(log[-1]["test_accuracy"]) == pytest.approx(result.test_accuracy, abs=1e-6)
    assert result.best_epoch == 2
    assert result.validation_accuracy is None


def test_the_model_is_the_best_by_validation_and_the_test_set_is_read_once(splits, tmp_path, monkeypatch):
    from neoclassic.train import finishing, job

    seen = []
    evaluate, logits_of = job.evaluate, finishing.logits_of
    monkeypatch.setattr(job, "evaluate", lambda *a, **k: seen.append(len(a[2])) or evaluate(*a, **k))
    monkeypatch.setattr(finishing, "logits_of", lambda *a, **k: seen.append(len(a[1])) or logits_of(*a, **k))
    result = train(TINY.but(epochs=3), Settings("torch"), tmp_path / "run", splits)
    assert seen == [40, 40, 40, 40, 100]  # a tenth of each class, rounded, is held out; the test images come last
    assert Model.load(tmp_path / "run").metrics["epoch"] == result.best_epoch


def test_max_steps_ends_early(splits, tmp_path):
    result = train(TINY, Settings("torch", max_steps=3), tmp_path / "run", splits)
    assert result.steps == 3
    assert result.epochs == 1


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_rate_warms_up_and_falls_to_zero():
    r = TINY.but(epochs=4, warmup_epochs=1.0, learning_rate=1.0)
    rates = [r.learning_rate_at(step, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert rates[10] == 1.0
    assert rates[25] == pytest.approx(0.5)
    assert rates[-1] < 0.01
    assert r.but(schedule="constant", warmup_epochs=0.0).learning_rate_at(39, 10) == 1.0


@pytest.mark.parametrize("known", list_recipes(), ids=lambda r: r.name)
def test_every_recipe_can_be_run_comes_back_from_json_and_says_what_it_reaches(known):
    assert recipe(known.name).checked() is known
    assert Recipe.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    assert known.reaches


@pytest.mark.parametrize("name", ["mobilenet-v2", "mobilenet-v3-large", "mobilenet-v3-small"])
def test_the_loss_falls_with_the_recipes_of_the_mobilenets(name, splits, tmp_path):
    few = replace(splits, train=splits.train.subset(np.arange(80)))
    changes = {"image_size": 32, "epochs": 4, "batch_size": 16, "augmentation": Augmentation(), "validation": 0.2}
    chosen = recipe(f"neoclassic:{name}").but(**changes)
    train(chosen, Settings("torch"), tmp_path / "run", few, finishing=False)
    first, *_, last = Run(tmp_path / "run").log()
    assert last.train_loss < first.train_loss


def test_the_published_lenet_is_what_the_course_prints():
    r = recipe("d2l-zh:lenet")
    assert (r.batch_size, r.learning_rate, r.epochs, r.optimizer) == (256, 0.9, 10, Optimizer("sgd"))
    assert (r.schedule, r.initialisation, r.standardise, r.validation) == ("constant", "xavier-taught", False, 0)


def test_a_recipe_that_disagrees_with_the_network_is_refused():
    with pytest.raises(UsageError, match="trains 'lenet', not 'deepconvnet'"):
        choose("deepconvnet", "d2l-zh:lenet")
    assert choose("lenet", "default").name == "neoclassic:lenet"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning rate must be above 0"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'?"),
        ({"optimizer": Optimizer("adm")}, "unknown optimizer 'adm': did you mean 'adam'?"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"optimizer": Optimizer("sgd", nesterov=True)}, "nesterov needs a momentum"),
    ],
)
def test_a_recipe_that_cannot_be_says_why(change, message):
    with pytest.raises(UsageError, match=message):
        TINY.but(**change).checked()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(splits, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(Exception, match="cannot make"):
        train(TINY, Settings("torch"), tmp_path / "run", splits)
