"""The comparison of runs: its figures, its pictures, and the errors for wrong calls."""

import csv
import json

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def runs(idx_folder, tmp_path_factory):
    """Two short runs: LeNet with and without batch norm."""
    from neoclassic.cli import main

    folder = tmp_path_factory.mktemp("runs")
    for name, network in (("plain", "lenet"), ("normed", "lenet:bn")):
        call = ["train", network, "--data", idx_folder, "--epochs", 2, "--batch-size", 250, "--engine", "torch"]
        assert main([str(a) for a in [*call, "--device", "cpu", "--out", folder / name, "--json"]]) == 0
    return folder


def test_the_table_has_the_results_and_costs_of_each_run(runs, run, run_json, tmp_path):
    found = run_json("compare", runs / "plain", runs / "normed", "--out", tmp_path / "both")
    plain, normed = found["runs"]
    assert (plain["parameters"], plain["macs"]) == (61_706, 416_520)
    assert normed["parameters"] == 44_878
    for entry in found["runs"]:
        result = json.loads((runs / entry["name"] / "result.json").read_text())
        assert entry["accuracy"] == result["test_accuracy"]
        assert entry["seconds"] == result["seconds"]
    for name in ("curves.png", "costs.png"):
        with Image.open(tmp_path / "both" / name) as picture:
            assert picture.width > 1000
    with (tmp_path / "both" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["plain", "normed"]
    code, out, _ = run("compare", runs / "plain", runs / "normed")
    assert code == 0
    assert "44,878" in out
    assert "test" not in out.splitlines()[0]


def test_an_unfinished_run_counts_with_its_best_epoch_so_far(runs, run_json, tmp_path):
    import shutil

    shutil.copytree(runs / "plain", tmp_path / "half")
    (tmp_path / "half" / "result.json").unlink()
    (found,) = run_json("compare", tmp_path / "half")["runs"]
    assert found["finished"] is False
    assert found["accuracy"] > 0


@pytest.mark.parametrize("what", ["nowhere", "empty", "twice"])
def test_folders_that_cannot_be_compared_are_a_usage_error(runs, run, tmp_path, what):
    (tmp_path / "empty").mkdir()
    calls = {
        "nowhere": [tmp_path / "nowhere"],
        "empty": [runs / "plain", tmp_path / "empty"],
        "twice": [runs / "plain", runs / "plain"],
    }
    code, _, err = run("compare", *calls[what])
    assert code == 2
    assert len(err.splitlines()) == 1


# ── chance ───────────────────────────────────────────────────────────────────────────────────────────


def test_mcnemar_agrees_with_the_binomial_test_of_scipy():
    from scipy.stats import binomtest

    from neoclassic.insight.mcnemar import exact

    for first, second in ((0, 0), (1, 0), (10, 3), (40, 80), (900, 1000)):
        expected = binomtest(first, first + second).pvalue if first + second else 1.0
        assert exact(first, second) == pytest.approx(expected, rel=1e-9)


def test_of_several_comparisons_each_must_be_clearer():
    import numpy as np

    from neoclassic.insight.mcnemar import compared

    labels = np.zeros(100, np.int64)
    right = {"a": 95, "b": 88, "c": 94}
    answers = {name: (labels, (np.arange(100) >= n).astype(np.int64)) for name, n in right.items()}
    alone = compared("a", answers["a"], [("b", answers["b"])])[0]
    both = compared("a", answers["a"], [("b", answers["b"]), ("c", answers["c"])])
    assert (alone.only_better, alone.only_other) == (7, 0)
    assert alone.p == pytest.approx(2 / 2**7)
    assert both[0].p == pytest.approx(2 * alone.p)
    assert both[0].significant
    assert not both[1].significant
    assert "is not measurably better than" in both[1].line
    assert compared("a", answers["a"], [("b", (labels + 1, labels))]) == []  # other images


def test_compare_says_which_difference_is_more_than_chance(runs, run, run_json):
    found = run_json("compare", runs / "plain", runs / "normed")
    (difference,) = found["differences"]
    assert difference["images"] == 300
    accuracies = {each["name"]: each["accuracy"] for each in found["runs"]}
    gained = accuracies[difference["better"]] - accuracies[difference["other"]]
    assert difference["only_better"] - difference["only_other"] == round(300 * gained)
    assert all(each["accuracy_low"] < each["accuracy"] < each["accuracy_high"] for each in found["runs"])
    _, out, _ = run("compare", runs / "plain", runs / "normed")
    assert "McNemar's test, p = " in out
    assert "95 % interval" in out
