"""bench: every engine is measured, the fastest choice is remembered and used; RESULTS.md says what results/ says."""

import importlib.util
import json
from pathlib import Path

import pytest

from neoclassic import data
from neoclassic.engines import Speed
from neoclassic.recipes import choose, recipe
from neoclassic.train import tuned
from neoclassic.train.job import resolved
from neoclassic.train.loop import train
from neoclassic.train.run import Settings

pytest.importorskip("torch")


def test_every_engine_is_measured(run_json):
    rows = run_json("bench", "lenet", "--seconds", 0, "--batch-size", 2)
    assert [row["engine"] for row in rows] == ["numpy", "torch", "onnx"]
    assert all(row["inference"] > 0 for row in rows)
    assert [row["train"] is None for row in rows] == [False, False, True]


def test_the_fastest_choice_is_remembered_and_written_into_the_run(run, idx_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("neoclassic.insight.bench.choices", lambda device: [Speed("32", "off"), Speed("bf16", "off")])
    size, tiny = (28, 28), recipe("neoclassic:lenet").but(data="tiny", epochs=1, warmup_epochs=0.0)
    assert tuned.remembered("lenet", size, 2, "cpu") is None
    code, out, err = run("bench", "--tune", "lenet", "--seconds", 0, "--batch-size", 2, "--device", "cpu")
    assert code == 0, err
    kept = tuned.remembered("lenet", size, 2, "cpu")
    assert kept.precision == out.splitlines()[1].split()[3]
    assert tuned.remembered("lenet", size, tiny.batch_size, "cpu") is None  # measured with other batches
    assert tuned.remembered("lenet", (32, 32), 2, "cpu") is None  # and with other images
    tuned.remember("lenet", size, tiny.batch_size, "cpu", Speed("bf16", "off"))
    splits = data.load(str(idx_folder))
    for asked, used in (("auto", "bf16"), ("32", "32")):
        train(tiny, Settings("torch", "cpu", Speed(asked, "auto")), tmp_path / asked, splits)
        assert json.loads((tmp_path / asked / "recipe.json").read_text())["run"]["precision"] == used


@pytest.mark.parametrize("damage", ["[]", "{", '{"precision": "64", "compile": "off"}', '{"precision": "32"}', "3"])
def test_a_damaged_memory_of_choices_is_as_good_as_none(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path))
    tuned.remember("lenet", (28, 28), 2, "cpu", Speed("32", "off"))
    assert tuned.remembered("lenet", (28, 28), 2, "cpu") == Speed("32", "off")
    ((key, _),) = json.loads(tuned.file().read_text()).items()
    tuned.file().write_text(damage if damage in ("[]", "{") else f"{{{json.dumps(key)}: {damage}}}")
    assert tuned.remembered("lenet", (28, 28), 2, "cpu") is None
    tuned.remember("lenet", (28, 28), 2, "cpu", Speed("32", "on"))
    assert tuned.remembered("lenet", (28, 28), 2, "cpu") == Speed("32", "on")


def test_tuning_measures_what_the_networks_own_recipe_trains(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path))
    monkeypatch.setattr("neoclassic.insight.bench.choices", lambda device: [Speed("32", "off")])
    assert run("bench", "--tune", "lenet", "--seconds", 0, "--device", "cpu")[0] == 0
    own = choose("lenet", None, None)
    assert tuned.remembered("lenet", (28, 28), own.batch_size, "cpu") == Speed("32", "off")
    settings = resolved(own, Settings("torch", "cpu"))
    assert settings.speed == Speed("32", "off")


def test_recipes_one_after_the_other(run_json, run):
    found = run_json("bench", "--recipes", "d2l-zh:lenet-bn", "--max-steps", 1, "--engine", "numpy")
    assert [row["recipe"] for row in found] == ["d2l-zh:lenet-bn"]
    assert found[0]["reaches"].startswith("median .845")
    low, high = found[0]["accuracy_interval"]
    assert 0 < low < found[0]["test_accuracy"] < high < 1
    assert run("bench")[::2] == (2, "neoclassic: name networks, or --recipes PATTERN\n")
    assert run("bench", "--recipes", "d2l-zz")[0] == 2


def test_recipes_of_several_sources_and_the_runs_are_kept(run_json, tmp_path):
    patterns = ("--recipes", "d2l-en:lenet-bn", "--recipes", "d2l-??:lenet", "--recipes", "d2l-en:lenet")
    found = run_json("bench", *patterns, "--max-steps", 1, "--engine", "numpy", "--out", tmp_path / "runs")
    assert [row["recipe"] for row in found] == ["d2l-en:lenet-bn", "d2l-zh:lenet", "d2l-en:lenet"]
    for row, name in zip(found, ("d2l-en-lenet-bn", "d2l-zh-lenet", "d2l-en-lenet"), strict=True):
        result = json.loads((tmp_path / "runs" / name / "result.json").read_text())
        assert (result["recipe"], result["test_accuracy"]) == (row["recipe"], row["test_accuracy"])


def test_results_become_a_table(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "results.py"
    spec = importlib.util.spec_from_file_location("results", script)
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
    run = {
        "recipe": recipe("d2l-zh:lenet").to_dict(),
        "engine": "numpy",
        "device": "cpu",
        "n": 2,
        "test_accuracy": {"mean": 0.8, "sd": 0.01, "worst": 0.79},
        "seconds": {"runs": [20.0, 30.0]},
        "versions": {"python": "3", "numpy": "2.0"},
        "machine": {"cores": 2},
        "published": "median .806",
    }
    (tmp_path / "a.json").write_text(json.dumps(run))
    short = run | {"n": 1, "test_accuracy": {"mean": 0.9, "worst": 0.9}}
    (tmp_path / "b.json").write_text(json.dumps(short))
    candidate = run | {"recipe": run["recipe"] | {"name": "neoclassic:lenet+longer", "source": "neoclassic"}}
    (tmp_path / "c.json").write_text(json.dumps(candidate))
    rows = {"lenet": {"ms": 1.23456, "date": "today"}, "alexnet": {"ms": 20}}
    (tmp_path / "other.json").write_text(json.dumps({"benchmark": "other", "ratio": 3.5, "rows": rows}))
    lines = results.text(tmp_path).splitlines()
    row = "| [`d2l-zh:lenet`](results/a.json) | `lenet` | 61,706 | 10 | 0.8000 ± 0.0100 | 0.7900 | 2 | 25 | "
    row += "numpy, cpu, 2 cores | median .806 |"
    assert any(line.startswith("| [`neoclassic:lenet+longer`](results/c.json) | `lenet` | 61,706 |") for line in lines)
    assert [line for line in lines if line.startswith("| [`d2l-zh:lenet`")] == [row]
    assert {"| ratio | 3.5 |", "| | ms |", "| lenet | 1.2346 |", "| alexnet | 20 |"} <= set(lines)
