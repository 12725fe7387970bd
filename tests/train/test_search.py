"""A search: what it tries, what it leaves behind, and what a kill, the end of the time and wrong calls do to it."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import columns, in_terminal, needs, write_data_set
from options import TINY

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError
from neoclassic.cli import main
from neoclassic.data import load
from neoclassic.insight.watching import TrialBar
from neoclassic.model.artefact import Model
from neoclassic.train import loop
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run
from neoclassic.train.search.space import Space, shortened
from neoclassic.train.search.watch import Watch

needs("optuna")
COMMON = ("--engine", "numpy", "--epochs", "3", "--batch-size", "40", "--minutes", "30")


def found(folder):
    """The trials of a search, without what depends on the time."""
    content = json.loads((Path(folder) / "search.json").read_text("utf-8"))
    return content["winner"], [
        {k: v for k, v in row.items() if k not in ("seconds", "pace")} for row in content["trials"]
    ]


@pytest.fixture(scope="module")
def idx_folder(fashion, tmp_path_factory):
    """The first 400 training and 100 test images of Fashion-MNIST."""
    return write_data_set(tmp_path_factory.mktemp("data") / "tiny", fashion, 400, 100)


@pytest.fixture(scope="module")
def searched(idx_folder, tmp_path_factory):
    """A search of two networks in four trials."""
    out = tmp_path_factory.mktemp("runs") / "search"
    with pytest.MonkeyPatch.context() as patch:
        finished = []
        finish = loop.finish
        patch.setattr(loop, "finish", lambda *given: finished.append(given[1].folder) or finish(*given))
        assert (
            main(
                ["search", "lenet:bn", "lenet", "--data", str(idx_folder), *COMMON, "--trials", "4", "--out", str(out)]
            )
            == 0
        )
    assert finished == [out]  # the test set is used once, for the winner
    return out


def test_the_default_recipes_come_first_and_the_winner_is_at_least_as_good(searched, idx_folder):
    winner, trials = found(searched)
    assert [row["number"] for row in trials] == [1, 2, 3, 4]
    for row, network in zip(trials, ("lenet:bn", "lenet"), strict=False):
        rate = nc.recipe(f"neoclassic:{network}").learning_rate
        assert (row["network"], row["learning_rate"], row["augmentation"]) == (network, rate, "default")
    assert len({(row["network"], row["learning_rate"]) for row in trials}) == 4
    assert trials[0]["outcome"] == "complete"
    complete = [row for row in trials if row["outcome"] == "complete"]
    assert trials[winner - 1]["right"] == max(row["right"] for row in complete) >= trials[0]["right"]
    assert {row["n"] for row in trials} == {len(load(str(idx_folder)).train) // 10}
    assert all(row["epochs"] < row["length"] == 3 for row in trials if row["outcome"] == "pruned")


def test_the_folder_is_the_run_of_the_winner(searched, run_json, run, tmp_path):
    winner, trials = found(searched)
    best = trials[winner - 1]
    result = Run(searched).finished()
    assert (result.network, result.epochs) == (best["network"], 3)
    assert result.validation_accuracy == round(best["right"] / best["n"], 6)
    assert not (searched / "trials").exists()
    assert (searched / "search.png").read_bytes().startswith(b"\x89PNG")
    assert run_json("evaluate", searched, "--engine", "numpy")["accuracy"] == result.test_accuracy
    code, _, err = run("train", "--recipe", searched / "recipe.json", "--engine", "numpy", "--out", tmp_path / "again")
    assert code == 0, err
    assert Run(tmp_path / "again").finished().checksum == result.checksum  # the recipe alone makes the same model
    assert nc.recipe(str(searched / "recipe.json")).learning_rate == best["learning_rate"]


def test_a_finished_search_is_shown_again(searched, run, idx_folder):
    before = {path.name: path.stat().st_mtime_ns for path in searched.iterdir()}
    code, out, _ = run("search", "--resume", searched)
    assert code == 0
    assert {path.name: path.stat().st_mtime_ns for path in searched.iterdir()} == before
    rows = out.splitlines()
    assert rows[0].split()[:3] == ["trial", "network", "rate"]
    assert sum("winner" in row for row in rows[1:5]) == 1
    assert "test accuracy of the winner" in out
    shown = nc.search(resume=searched, verbose=False)
    assert str(shown.table) in out
    assert "<table" in shown._repr_html_()
    assert shown.best.number == found(searched)[0]
    code, _, err = run("search", "lenet", "--data", idx_folder, "--out", searched)
    assert (code, err) == (
        2,
        f"neoclassic: {searched} holds a run already: use --resume {searched}, or choose another --out\n",
    )


class Killed(BaseException):
    """A process that ends at once: nothing is saved."""


@pytest.mark.parametrize(("error", "number", "epoch"), [(Killed(), 2, 1), (KeyboardInterrupt(), 3, 0)])
def test_a_search_that_was_stopped_and_resumed_finds_the_same(
    error, number, epoch, searched, idx_folder, tmp_path, run, monkeypatch
):
    out, advised, seen = tmp_path / "again", TrialBar.started, []

    def started(bar, job, running, state):
        advised(bar, job, running, state)
        seen.append(running.folder)
        if not epoch and seen[-1].name == str(number):
            raise error

    def ended(bar, log, best, last):
        if len(log) == epoch and seen[-1].name == str(number):
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(TrialBar, "started", started)
        patch.setattr(TrialBar, "epoch_ended", ended)
        given = ["search", "lenet:bn", "lenet", "--data", str(idx_folder), *COMMON, "--trials", "4", "--out", str(out)]
        if isinstance(error, Killed):
            with pytest.raises(Killed):
                main(given)
        else:
            code, _, err = run(*given)
            assert code == 1
            assert (
                err.splitlines()[-1]
                == f"neoclassic: the search was stopped; resume with: neoclassic search --resume {out}"
            )
    assert len(seen) == number
    code, _, err = run("evaluate", out)
    assert code == 1
    assert f"neoclassic search --resume {out}" in err
    code, _, err = run("search", "--resume", out)
    assert code == 0, err
    assert found(out) == found(searched)
    assert Run(out).finished().checksum == Run(searched).finished().checksum


def test_a_process_that_is_killed_loses_at_most_the_trial_in_progress(idx_folder, tmp_path, run):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "neoclassic", "search", "lenet", "--data", idx_folder, *COMMON, "--out", out]
    running = subprocess.Popen([*map(str, command), "--trials", "3"], stderr=subprocess.PIPE, text=True)
    for line in running.stderr:
        if line.startswith("trial 2"):
            break
    running.send_signal(signal.SIGKILL)
    running.wait(20)
    running.stderr.close()
    code, _, err = run("search", "--resume", out)
    assert code == 0, err
    assert "trial 1:" not in err
    assert [row["number"] for row in found(out)[1]] == [1, 2, 3]


def test_a_trial_is_shortened_to_a_part_of_the_time(idx_folder, tmp_path, run):
    out = tmp_path / "short"
    code, _, err = run(
        "search", "lenet", "--data", idx_folder, "--engine", "numpy", "--minutes", "0.0001", "--out", out
    )
    assert code == 0, err
    assert "lenet: 1 of 15 epochs, so that a trial takes at most a quarter of the time" in err
    winner, trials = found(out)
    assert (winner, len(trials), trials[0]["length"], trials[0]["outcome"]) == (1, 1, 1, "complete")
    assert Run.open(out)[1].epochs == 1


def test_a_trial_that_is_out_of_time_ends_where_it_is(idx_folder, tmp_path, run, monkeypatch):
    monkeypatch.setattr(Watch, "settle", lambda watch, seconds: None)  # the length is estimated wrongly
    out = tmp_path / "late"
    code, _, err = run(
        "search", "lenet", "--data", idx_folder, "--engine", "numpy", "--minutes", "0.0001", "--out", out
    )
    assert code == 0, err
    _, trials = found(out)
    assert (len(trials), trials[0]["epochs"], trials[0]["length"], trials[0]["outcome"]) == (1, 1, 15, "out of time")
    assert Run(out).finished().epochs == 1
    assert Run.open(out)[2].max_steps == 3


def test_the_schedule_of_a_shortened_recipe_is_the_same_in_less_time():
    given = TINY.but(epochs=10, schedule="step", milestones=(4.0, 8.0), warmup_epochs=1.0, unfreeze=((6, "conv1"),))
    half = shortened(given, 5).checked()
    assert (half.epochs, half.milestones, half.warmup_epochs) == (5, (2.0, 4.0), 0.5)
    assert half.unfreeze == ((3, "conv1"),)
    given = TINY.but(epochs=10, schedule="cosine")
    half = shortened(given, 5)
    assert [half.learning_rate_at(i, 8) for i in range(40)] == [given.learning_rate_at(2 * i, 8) for i in range(40)]


@pytest.fixture(scope="module")
def weights(idx_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("weights") / "run"
    nc.train("lenet:bn", idx_folder, epochs=4, batch_size=20, engine="numpy", out=out, verbose=False)
    return out


def test_of_the_last_layer_alone_there_is_nothing_to_search(weights, idx_folder, tmp_path, run):
    out = tmp_path / "head"
    code, printed, err = run(
        "search", "lenet:bn", "--data", idx_folder, "--weights", weights, "--head", "--engine", "numpy", "--out", out
    )
    assert code == 0, err
    assert "the last layer alone is fitted at once, without learning rate or epochs: there is nothing to search" in err
    _, trials = found(out)
    assert [(row["learning_rate"], row["n"], row["outcome"]) for row in trials] == [(None, 400, "complete")]
    assert "no trial does better on the validation images than the default recipe" in printed
    assert Model.load(out / "model.safetensors").recipe["head"]


def test_fine_tuning_is_searched_from_the_weights(weights, idx_folder, tmp_path, run):
    out = tmp_path / "tuned"
    given = ("search", "lenet:bn", "--data", idx_folder, "--weights", weights, "--epochs", "1", "--trials", "2")
    code, _, err = run(*given, "--engine", "numpy", "--out", out)
    assert code == 0, err
    assert Run.open(out)[1].weights == str(weights)
    assert max(row["right"] / row["n"] for row in found(out)[1]) > 0.3  # after an epoch


def test_processes_share_a_storage(idx_folder, tmp_path, run):
    given = ["search", "lenet", "--data", idx_folder, "--engine", "numpy", "--epochs", "1"]
    shared = ("--storage", f"sqlite:///{tmp_path}/shared.db")
    assert run(*given, *shared, "--trials", "1", "--out", tmp_path / "first")[0] == 0
    code, _, err = run(*given, *shared, "--trials", "2", "--out", tmp_path / "second")
    assert code == 0, err
    _, trials = found(tmp_path / "second")
    assert [row["ours"] for row in trials] == [False, True]
    assert trials[:1] == [row | {"ours": False} for row in found(tmp_path / "first")[1]]
    assert not (tmp_path / "second" / "trials.db").exists()
    assert "shared.db" not in (tmp_path / "second" / "search.json").read_text("utf-8")  # it may hold a password
    code, _, err = run("search", "--resume", tmp_path / "second")
    assert (code, err) == (
        2,
        f"neoclassic: {tmp_path / 'second'} was begun with --storage: give the same --storage again\n",
    )
    code, _, err = run(*given, "--storage", "nosuch://user:secret@host/x", "--out", tmp_path / "third")
    assert code == 1
    assert err.splitlines()[-1].startswith("neoclassic: the --storage cannot be used (")
    assert "secret" not in err


def test_without_optuna(idx_folder, tmp_path, run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else find(name, *rest)
    )
    code, _, err = run("search", "lenet", "--data", idx_folder, "--out", tmp_path / "none")
    assert code == 2
    assert err.count("\n") == 1
    assert "pip install optuna" in err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "name the networks to search"),
        (("lenet", "lenet"), "lenet is named twice: name each network once"),
        (("lenet", "--validation", "0"), "no validation images to judge trials by: give --validation 0.1"),
        (("lenet", "--head"), "needs weights"),
        (("lenet", "--minutes", "0"), "--minutes"),
        (("lenett",), "did you mean 'lenet'?"),
        (("lenet", "--data", "nowhere"), "nowhere"),
        (("--resume", "HERE", "--minutes", "3"), "leave out 'minutes'"),
        (("--resume", "HERE"), "holds no search: there is no search.json in it"),
    ],
)
def test_wrong_calls_are_one_line_and_write_nothing(given, said, idx_folder, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = [] if {"--data", "--resume"} & set(given) else ["--data", str(idx_folder)]
    code, _, err = run("search", *[str(tmp_path) if word == "HERE" else word for word in given], *data)
    assert code == 2, err
    assert err.count("\n") == 1
    assert said in err
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_one_line(searched, tmp_path, run):
    folder = tmp_path / "damaged"
    folder.mkdir()
    content = json.loads((searched / "search.json").read_text("utf-8"))
    for damage in ({"minutes": "x"}, {"recipes": []}, {"winner": 9}, {"trials": [{}]}):
        (folder / "search.json").write_text(json.dumps(content | damage), "utf-8")
        code, _, err = run("search", "--resume", folder)
        assert (code, err.count("\n")) == (1, 1)
        assert "search.json: damaged" in err
    (folder / "search.json").write_text(json.dumps(content | {"winner": None}), "utf-8")
    (folder / "trials.db").write_bytes(b"this is no database, and never was" * 99)
    code, _, err = run("search", "--resume", folder)
    assert (code, err.count("\n")) == (1, 1)
    assert "trials.db cannot be used" in err


def test_recipe_files(idx_folder, tmp_path, run):
    path = tmp_path / "recipe.json"
    for content in ("[]", "{", '{"name": 3}'):
        path.write_text(content, "utf-8")
        code, _, err = run("train", "--recipe", path, "--data", idx_folder)
        assert (code, err.count("\n")) == (1, 1)
        assert "recipe.json: not a recipe" in err
    code, _, err = run("train", "--recipe", tmp_path / "none.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "none.json does not exist" in err
    path.write_text(json.dumps(TINY.but(data="gone").to_dict() | {"run": {"place": str(idx_folder)}}), "utf-8")
    assert nc.recipe(str(path)).data == str(idx_folder)  # the folder that the run was trained on
    code, _, err = run("train", "lenet:bn", "--recipe", path)
    assert code == 2
    assert "trains 'lenet', not 'lenet:bn'" in err


def test_trials_differ_and_follow_from_the_seed():
    recipe = nc.recipe("neoclassic:resnet18:taught")
    space = Space((recipe,)).checked()
    assert space.augmentations == ("default", "none", "move", "flip, move", "strong")  # its own is flip
    with pytest.raises(NeoclassicError, match="no validation images"):
        Space((Recipe("x", "lenet", "mnist", validation=0.0),)).checked()


def test_the_table_fits_a_narrow_terminal(searched):
    table = in_terminal(60, "search", "--resume", searched).splitlines()[:5]
    assert max(map(columns, table)) <= 60
    assert "validation accuracy" in table[0]
