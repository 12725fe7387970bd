"""A run says at once when its model is not worth using, and a slow one says so before it starts."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import fill_photos
from PIL import Image

import neoclassic as nc
from neoclassic.base.text import escape
from neoclassic.engines.weights import initial
from neoclassic.model.doubts import Guessing, only_answer
from neoclassic.model.evaluate import Evaluation
from neoclassic.recipes import choose
from neoclassic.train import pace
from neoclassic.train.doubtful import warnings

CHANCE = "the model is no better than chance, as far as these images show: "


# ── no better than chance ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shuffled(tmp_path, monkeypatch):
    """Photos in three colours, with labels that have nothing to do with them."""
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for i, label in enumerate(rng.permutation(np.arange(240) % 3)):
        pixels = rng.normal(120, 25, (32, 32, 3))
        pixels[..., i % 3] += 60
        folder = tmp_path / "shuffled" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "shuffled"


def test_a_run_on_shuffled_labels_says_that_nothing_was_learnt_and_what_to_try(shuffled, tmp_path, run_json, run):
    train = ("train", "lenet:bn", "--data", shuffled, "--engine", "numpy", "--image-size", "28", "--batch-size", "16")
    train += ("--validation", "0.15")
    result = run_json(*train, "--epochs", "2", "--out", tmp_path / "run")
    first = result["warnings"][0]
    assert first.startswith(CHANCE)
    assert "of 48 held-out images are predicted correctly" in first
    assert "labels are right" in first
    assert "pretrained weights" in first
    assert run("report", tmp_path / "run")[0] == 0
    assert escape(f"Warning: {first}.") in (tmp_path / "run" / "report.html").read_text("utf-8")
    _, _, err = run("train", "--resume", tmp_path / "run")  # which is finished, and told again
    assert f"neoclassic: {first}\n" in err
    photo = next(shuffled.rglob("*.png"))
    code, _, err = run("predict", tmp_path / "run", photo, "--threshold", "stored")
    assert (code, err.count("\n")) == (2, 1)
    assert "the model has no stored threshold: on its validation images, no probability reaches 95 %" in err
    assert ": unknown" not in run("predict", tmp_path / "run", photo)[1]


def test_fit_warns_of_it_and_of_a_calibration_at_its_bound():
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 256, (120, 28, 28), dtype=np.uint8), rng.integers(0, 2, 120)
    clf = nc.Classifier("lenet:bn", epochs=3, batch_size=16, learning_rate=0.02, validation=0.5, engine="numpy")
    with pytest.warns(nc.base.errors.NeoclassicWarning) as told:
        clf.fit(X, y)
    chance, bound = (str(each.message) for each in told)
    assert chance.startswith(CHANCE)
    assert bound.startswith("the calibration stopped at its bound, temperature 20: ")
    assert clf.model_.calibration.keys() == {"temperature", "n"}
    assert all(each.filename == __file__ for each in told)


def test_what_is_learnt_is_not_doubted(tmp_path, run_json, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    photos = fill_photos(tmp_path / "photos", ["red", "green"], 40)
    train = ("train", "lenet:bn", "--data", photos, "--engine", "numpy", "--image-size", "28", "--batch-size", "8")
    result = run_json(*train, "--epochs", "3", "--lr", "0.01", "--out", tmp_path / "run")
    assert result["test_accuracy"] > 0.9
    assert result["warnings"] == []


SCRATCH = choose("lenet", None).but(learning_rate=0.9)
GIVEN = SCRATCH.but(weights="weights.pth")
SURE = SimpleNamespace(temperature=1.0)


@pytest.mark.parametrize(
    ("recipe", "train_accuracy", "advice"),
    [
        (SCRATCH, 0.5, "try another learning rate (it was 0.9), more epochs or pretrained weights, and check that"),
        (SCRATCH, 0.9, "it did learn the training images, so check that their labels are right, add images, or st"),
        (GIVEN, 0.5, "try another learning rate (it was 0.9) or more epochs, and check that the labels are right"),
        (GIVEN, 0.9, "it did learn the training images, so check that their labels are right, or add images"),
        (GIVEN.but(head=True), 0.5, "10 of 20 held-out images are predicted correctly, and guessing gets 10 ± 2; ch"),
    ],
)
def test_the_advice_depends_on_what_was_learnt(recipe, train_accuracy, advice):
    test = Evaluation(0.5, 0.7, 20, ("a", "b"), np.full((2, 2), 5))
    (told,) = warnings(recipe, train_accuracy, test, SURE)
    assert advice in told
    (told,) = warnings(recipe, train_accuracy, replace(test, confusion=np.array([[10, 0], [10, 0]])), SURE)
    assert "it predicts 'a' for every image, and 10 of 20" in told


def answers(*rows):
    return Guessing.of(np.array(rows))


def test_what_counts_as_guessing():
    assert answers([50, 50], [50, 50]).likely
    assert answers([90, 0], [10, 0]).likely  # one class for everything, however frequent it is
    assert answers([81, 9], [9, 1]).likely  # as often as it occurs, at random
    assert answers([9, 3, 4], [2, 12, 2], [7, 6, 3]).likely  # with 240 shuffled labels
    assert not answers([80, 10], [2, 8]).likely
    assert not answers([2, 0], [0, 2]).likely  # all are right, if only four
    assert not answers([7, 3], [0, 0]).likely  # one class alone: nothing to guess
    assert answers([0, 10], [10, 0]).likely  # worse than chance
    assert not np.isnan(answers([1, 0], [0, 0]).deviation)
    assert only_answer(np.array([[5, 0], [5, 0]])) == 0
    assert only_answer(np.array([[5, 0], [4, 1]])) is None
    assert only_answer(np.array([[0, 0], [0, 9]])) is None


def test_expectation_and_deviation_are_those_of_answers_in_all_orders():
    rng = np.random.default_rng(0)
    labels, said = np.repeat([0, 1, 2], [30, 20, 10]), np.repeat([0, 1, 2], [5, 15, 40])
    right = [(labels == rng.permutation(said)).sum() for _ in range(20000)]
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, said), 1)
    guessing = Guessing.of(confusion)
    assert guessing.expected == pytest.approx(np.mean(right), abs=0.05)
    assert guessing.deviation == pytest.approx(np.std(right), rel=0.03)


# ── slow ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_run_says_before_it_starts_how_long_it_takes(idx_folder, tmp_path, run, monkeypatch):
    train = ("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--epochs", "1")
    plain = run(*train, "--out", tmp_path / "plain")
    assert "so this run will take about" not in plain[2]
    monkeypatch.setattr(pace, "SLOW", 0.0)
    monkeypatch.setattr(pace, "LEAST", 0)
    lines = run(*train, "--out", tmp_path / "slow")[2].splitlines()
    (told,) = (i for i, line in enumerate(lines) if "images a second here, so this run will take about" in line)
    assert lines[told].startswith("the NumPy engine trains lenet on ")
    assert lines[told].endswith(": the torch engine is installed, and much faster")
    assert lines[told + 1].startswith("epoch 1/1")
    one, other = (tmp_path / name / "model.safetensors" for name in ("plain", "slow"))
    assert nc.load(one).model_.checksum == nc.load(other).model_.checksum  # measuring changes nothing


@pytest.mark.parametrize("how", ["all", "head"])
def test_where_pytorch_is_missing_a_slow_run_says_what_to_install(monkeypatch, how):
    tree, shape = nc.network("mobilenet-v3-small", 2), (3, 32, 32)
    recipe = choose("mobilenet-v3-small", None).but(batch_size=2, head=how == "head")
    fresh = initial(tree, shape, recipe.initialisation, 0)
    monkeypatch.setattr(pace.importlib.util, "find_spec", lambda name: None)
    told = pace.advice(recipe, tree, shape, fresh, 10**8, 10**8)
    assert re.match(
        rf"the NumPy engine {'sees' if how == 'head' else 'trains mobilenet-v3-small on'} [\d.,]+ images a second", told
    )
    assert re.search(r"will take about \d[\d,]* (days|hours): install PyTorch, .*pip install torch\)$", told)
    assert pace.advice(recipe, tree, shape, fresh, 1, 1) is None


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 32, 500])
def test_the_time_of_a_batch_follows_from_two_smaller_ones(batch):
    asked = []
    assert pace._of_batch(lambda n: asked.append(n) or 3 + n / 2, batch) == pytest.approx(3 + batch / 2)
    assert 1 <= len(asked) <= 2
    assert max(asked) <= batch


def test_durations_and_rates_are_told_in_two_digits():
    assert [pace._few(rate) for rate in (0.1234, 3.14, 12.5, 1234.5)] == ["0.12", "3.1", "12", "1,234"]
    assert [pace._long(seconds) for seconds in (620, 7000, 7300, 98000, 900000)] == [
        "10 minutes",
        "117 minutes",
        "2 hours",
        "27 hours",
        "10 days",
    ]
