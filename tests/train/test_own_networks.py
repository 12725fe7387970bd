"""A network of one's own from its file to its answers; the file is deleted as soon as training has begun."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import cut_after, fill_photos, needs
from serving import Running

import neoclassic as nc
from neoclassic.model.artefact import Model

PAGE = (Path(__file__).parents[2] / "docs" / "own.md").read_text("utf-8")
FILE = re.search(r"```python\n(# residual\.py\n.*?)```", PAGE, re.S)[
    1
]  # a residual sum, squeeze-and-excite, a side head


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fill_photos(tmp_path_factory.mktemp("own") / "photos", ["cat", "dog", "<b>fox"], n=12)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "residual.py").write_text(FILE, "utf-8")
    return tmp_path


def arguments(photos, engine, out):
    options = ("--epochs", 2, "--batch-size", 8, "--image-size", 24, "--engine", engine)
    return "train", "residual.py:residual", "--data", photos, *options, "--out", out


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_a_run_that_was_cut_ends_with_the_same_bytes_without_the_file(engine, photos, here, run, monkeypatch):
    needs("torch")
    assert run(*arguments(photos, engine, "whole"))[0] == 0
    with monkeypatch.context() as patch:
        cut = cut_after(5, patch)
        code, _, err = run(*arguments(photos, engine, "cut"))
    assert (code, cut) == (1, [5]), err
    (here / "residual.py").unlink()
    assert run("train", "--resume", "cut")[0] == 0
    whole, again = (Path(folder, "model.safetensors").read_bytes() for folder in ("whole", "cut"))
    assert whole == again


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "residual.py").write_text(FILE, "utf-8")
    from neoclassic.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([str(a) for a in arguments(photos, "numpy", "run")]) == 0
    (folder / "residual.py").unlink()
    return folder / "run"


def test_a_model_holds_its_tree_and_its_recipe_does_too(trained):
    model, recipe = Model.load(trained), json.loads((trained / "recipe.json").read_text("utf-8"))
    assert model.network == recipe["network"] == "residual.py:residual"
    assert model.header()["tree"] == recipe["tree"]
    assert model.tree.children[-1][1] == nc.Linear(3)


def test_every_verb_works_without_the_file(trained, photos, tmp_path, monkeypatch, run, run_json):
    monkeypatch.chdir(tmp_path)
    photo = next((photos / "dog").iterdir())
    assert {row["label"] for row in run_json("predict", trained, photo)} <= {"cat", "dog", "<b>fox"}
    assert run_json("evaluate", trained)["n"] == 6
    assert set(run_json("explain", trained, photo)["files"]) >= {"cam", "occlusion", "features", "filters"}
    assert run_json("export", trained, "m.onnx", "--verify", 6)["verification"]["agreement"] == 1
    assert run_json("compare", trained)["runs"][0]["network"] == "residual.py:residual"
    assert run("report", trained, "--out", "r.html")[0] == 0
    assert "a network of your own" in Path("r.html").read_text("utf-8")
    assert run("export", trained, "hub", "--hub")[0] == 0
    assert "residual.py:residual" in Path("hub/README.md").read_text("utf-8")


def test_it_is_served(trained, photos, tmp_path):
    server = Running(trained, tmp_path)
    try:
        status, answer = server.predict((next((photos / "cat").iterdir())).read_bytes())
    finally:
        server.end()
    assert status == 200
    assert answer[0]["label"] in {"cat", "dog", "<b>fox"}


def test_a_run_starts_from_the_weights_of_another_though_the_classes_differ(trained, here, run):
    fill_photos(here / "two", ["a", "b"], n=12)
    options = ("--epochs", 1, "--engine", "numpy", "--out", "tuned", "--weights", trained)
    code, _, err = run("train", "residual.py:residual", "--data", "two", *options)
    assert code == 0, err
    assert "the last layer starts afresh: the file has 3 classes, the network 2" in err


@pytest.mark.filterwarnings("ignore::neoclassic.base.errors.NeoclassicWarning")
def test_opening_what_names_a_file_does_not_run_it(trained, photos, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    Path("residual.py").write_text("raise SystemExit('it was run')", "utf-8")
    Path("evil").mkdir()
    recipe = json.loads((trained / "recipe.json").read_text("utf-8"))
    del recipe["tree"]
    Path("evil/recipe.json").write_text(json.dumps(recipe), "utf-8")
    code, _, err = run("train", "--resume", "evil")
    assert code == 2
    assert "unknown network 'residual.py:residual'" in err
    classifier = nc.load(trained, engine="numpy").set_params(epochs=1)
    classifier.fit(np.random.default_rng(0).integers(0, 256, (20, 24, 24, 3), dtype=np.uint8), [0, 1] * 10)
    assert run("report", trained, "--out", "r.html")[0] == 0


@pytest.mark.filterwarnings("ignore::neoclassic.base.errors.NeoclassicWarning")
def test_arrays_train_a_tree_in_a_classifier_and_the_file_of_it_comes_back(tmp_path):
    tree = nc.Sequential(nc.Conv2d(4, 3), nc.ReLU(), nc.AdaptiveAvgPool2d(), nc.Flatten(), nc.Linear(9))
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 9), dtype=np.uint8), np.arange(60) % 3
    classifier = nc.Classifier(tree, epochs=1, engine="numpy").fit(images, labels)
    assert classifier.model_.input == (1, 8, 9)
    classifier.save(tmp_path / "m.safetensors")
    again = nc.load(tmp_path / "m.safetensors", engine="numpy")
    assert again.network == nc.Sequential(*[node for _, node in tree.children[:-1]], nc.Linear(3))
    np.testing.assert_array_equal(again.predict_proba(images), classifier.predict_proba(images))


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (nc.Sequential(nc.Conv2d(10, 3)), r"own gives 10×26×26 for an image, not one number for each class: end it"),
        (
            nc.Sequential(side=nc.Auxiliary(nc.Conv2d(3, 1)), flat=nc.Flatten(), fc=nc.Linear(3)),
            r"the auxiliary head side of own gives .*×28×28",
        ),
        (nc.Sequential(nc.Select((2,)), nc.Flatten(), nc.Linear(10)), r"own does not fit images of 1×28×28: select: "),
    ],
)
def test_what_does_not_fit_is_one_line(tree, says, idx_folder, tmp_path):
    with pytest.raises(nc.UsageError, match=says) as error:
        nc.train(tree, idx_folder, out=tmp_path / "run", engine="numpy", verbose=False)
    assert "\n" not in str(error.value)


def test_names_of_weights_belong_to_the_zoo(idx_folder, tmp_path):
    tree = nc.Sequential(nc.Flatten(), nc.Linear(10))
    with pytest.raises(nc.UsageError, match="imagenet is for networks of the zoo, not for own: name a file or a run"):
        nc.train(tree, idx_folder, weights="imagenet", out=tmp_path / "run")


def test_a_module_of_a_tree_has_its_paths_as_names():
    torch = pytest.importorskip("torch")
    tree = nc.Sequential(nc.Conv2d(4, 3), nc.AdaptiveAvgPool2d(), nc.Flatten(), head=nc.Linear(5))
    module = nc.torch.create(tree, (3, 16, 16))
    assert [name for name, _ in module.named_parameters()] == ["conv.weight", "conv.bias", "head.weight", "head.bias"]
    assert module(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert nc.torch.create(tree, classes=7, in_channels=1)(torch.zeros(1, 1, 28, 28)).shape == (1, 7)


def test_a_classifier_continues_the_training_of_a_tree_that_was_stopped(monkeypatch):
    tree = nc.Sequential(nc.Flatten(), nc.Linear(9))
    images, labels = np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8), np.arange(64) % 2
    images[labels == 1, :4] = 255
    options = {"epochs": 2, "batch_size": 16, "engine": "numpy"}
    whole = nc.Classifier(tree, **options).fit(images, labels)
    stopped = nc.Classifier(tree, **options)
    cut_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(images, labels)
    stopped.fit(images, labels, resume=True)
    assert stopped.model_.checksum == whole.model_.checksum
