"""Several models in one artefact."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import write_data_set
from PIL import Image

import neoclassic as nc
from benchmarks.ensemble import build, selected
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import softmax
from neoclassic.model.joining import joined
from neoclassic.model.opening import load_model
from neoclassic.networks import network

CLASSES = tuple("abcdefghij")
SHAPE = (1, 28, 28)


def model(seed, name="lenet:bn", **changes):
    p = Preprocessing((28, 28), 1, mean=(0.1 * seed,), std=(0.5 + 0.1 * seed,))
    tree, recipe = network(name, 10), {"name": "mine", "data": "mnist", "seed": seed}
    found = Model(name, tree, SHAPE, CLASSES, p, initial(tree, SHAPE, "xavier", seed), {"epoch": 3}, recipe)
    return replace(found, data={"name": "mnist"}, calibration={"temperature": 0.5 + seed, "threshold": 0.2}, **changes)


@pytest.fixture
def paths(tmp_path):
    made = [model(0), model(1, "deepconvnet"), model(2)]
    for i, each in enumerate(made):
        each.save(tmp_path / f"{i}.safetensors")
    return [str(tmp_path / f"{i}.safetensors") for i in range(3)]


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)


def probabilities(it, pixels, engine="numpy"):
    return softmax(it.engine(engine).logits(to_input(pixels, it.preprocessing)), it.temperature)


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_its_probabilities_are_the_geometric_mean_of_those_of_its_members(engine, paths, pixels, tmp_path):
    nc.join(paths, tmp_path / "all.safetensors")
    alone = [probabilities(load_model(path), pixels) for path in paths]
    mean = np.exp(np.mean(np.log(alone), 0))
    mean /= mean.sum(1, keepdims=True)
    found = probabilities(load_model(tmp_path / "all.safetensors"), pixels, engine)
    np.testing.assert_allclose(found, mean, atol=1e-5)


def test_the_command_writes_one_model_that_other_verbs_take(paths, pixels, run, run_json, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels[0, ..., 0]).save("digit.png")
    made = run_json("join", *paths, "--out", "all.safetensors")
    assert (made["members"], made["classes"]) == (3, list(CLASSES))
    answers = [run_json("predict", "all.safetensors", "digit.png", "--engine", engine) for engine in ("numpy", "torch")]
    assert answers[0][0]["label"] == answers[1][0]["label"]
    code, _, err = run("export", "all.safetensors", "all.onnx")
    assert code == 0, err
    assert run_json("predict", "all.onnx", "digit.png")[0]["label"] == answers[0][0]["label"]
    assert "ensemble on mnist" in repr(nc.load("all.safetensors", engine="numpy").model_)
    code, _, err = run("join", *paths, "--out", "all.safetensors")
    assert (code, err) == (2, "neoclassic: all.safetensors exists: choose another name with --out\n")


def test_what_holds_for_one_member_is_not_said_of_all():
    whole = joined([model(0), model(1)])
    assert whole.metrics == {}
    assert whole.recipe == {"name": "mine", "data": "mnist"}
    assert whole.calibration == {"temperature": 2.0}
    assert whole.data == {"name": "mnist"}


def test_models_that_do_not_fit_together_are_refused(paths, tmp_path):
    other = tmp_path / "other.safetensors"
    model(0, classes=tuple("jihgfedcba")).save(other)
    for given, file, says in (
        (paths[:1], "x.safetensors", "an ensemble has at least two members: name another model"),
        ([paths[0], other], "x.safetensors", f"{other} has different classes from {paths[0]}"),
        (paths, "x.onnx", "the name of the model must end in .safetensors, not"),
    ):
        with pytest.raises(UsageError, match=says):
            nc.join(given, tmp_path / file)
    with pytest.raises(NeoclassicError, match="cannot read"):
        nc.join([paths[0], tmp_path / "gone"], tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


# ── chosen on held-out images ────────────────────────────────────────────────────────────────────────


def test_the_members_are_those_that_lower_the_loss_together():
    labels = np.arange(4) % 2
    margins = {"good": (2, 2, 2, 2), "bad": (-9, -9, -9, -9), "first": (5, 5, 1, 1), "second": (1, 1, 5, 5)}
    runs = {name: np.eye(2)[labels] * np.array(each)[:, None] for name, each in margins.items()}
    assert selected(runs, labels, "ab", 5) == ["good", "first", "second"]
    assert selected({"good": runs["good"], "bad": runs["bad"]}, labels, "ab", 5) == ["good", "bad"]  # two at least


def test_an_ensemble_of_runs_is_written_and_tested(tmp_path, fashion):
    where = write_data_set(tmp_path / "data", fashion, 600, 200)
    common = {"engine": "numpy", "data_dir": where, "verbose": False, "epochs": 3, "batch_size": 20, "split_seed": 0}
    runs = [str(tmp_path / f"run{seed}") for seed in range(2)]
    trained = {f"run{seed}": nc.train("lenet:bn", seed=seed, out=out, **common) for seed, out in enumerate(runs)}
    found = build(runs, tmp_path / "all.safetensors", 5, "numpy", str(where))
    review = nc.evaluate(tmp_path / "all.safetensors", "fashion-mnist", engine="numpy", data_dir=where)
    assert (found["test"]["accuracy"], found["test"]["images"]) == (review.accuracy, 200)
    assert set(found["members"]) == set(trained)
    for name, member in found["members"].items():  # on the images that the run itself has held out
        assert member["held_out_accuracy"] == pytest.approx(trained[name].validation_accuracy, abs=1e-6)
    other = tmp_path / "other"
    nc.train("lenet:bn", out=other, **(common | {"split_seed": 1, "epochs": 1}))
    with pytest.raises(UsageError, match=f"{other} held out different images from {runs[0]}"):
        build([runs[0], str(other)], tmp_path / "none.safetensors", 5, "numpy", str(where))
