"""`train --head`, and the last layer first: from the command to the artefact, on both engines."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from helpers import fill_photos

import neoclassic as nc
from neoclassic import networks
from neoclassic.base.errors import UsageError
from neoclassic.data import cache, scan
from neoclassic.data.augmentation import Augmentation
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import create
from neoclassic.engines.weights import initial, shapes
from neoclassic.model import features
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import logits_of
from neoclassic.model.features import View, headless
from neoclassic.recipes import choose
from neoclassic.train import head
from neoclassic.train.loop import Interrupted, train
from neoclassic.train.run import Settings
from neoclassic.train.transfer import advice

NETWORK, SHAPE = "lenet:bn", (3, 28, 28)


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fill_photos(tmp_path_factory.mktemp("photos") / "pets", ("cat", "dog", "fox"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a network with seven classes, whose features are random but differ by colour."""
    path = tmp_path_factory.mktemp("weights") / "seven.safetensors"
    safetensors.numpy.save_file(initial(networks.network(NETWORK, 7), SHAPE, "he", 5), path)
    return path


def line(photos, weights, out, *more, engine="numpy"):
    common = ("--image-size", 28, "--engine", engine, "--out", out)
    return ("train", NETWORK, "--data", photos, "--weights", weights, *common, *more)


@pytest.fixture(scope="module")
def trained(photos, weights, tmp_path_factory):
    """A run of `train --head` on the NumPy engine."""
    from neoclassic.cli import main

    out = tmp_path_factory.mktemp("runs") / "head"
    assert main([str(a) for a in line(photos, weights, out, "--head")]) == 0
    return out


def test_only_the_last_layer_changes_and_every_command_takes_the_run(trained, photos, weights, run, run_json):
    given, model = safetensors.numpy.load_file(weights), Model.load(trained)
    changed = {key for key, array in model.weights.items() if not np.array_equal(array, given.get(key))}
    assert changed == {"fc3.weight", "fc3.bias"}
    assert model.data["images"] == len(scan(photos).splits["train"])
    assert model.calibration["n"] == model.data["images"]  # each was held out once
    assert model.metrics["test"]["accuracy"] > 0.8
    assert model.metrics["validation"]["n"] == model.data["images"]
    result = json.loads((trained / "result.json").read_text())
    assert result["test_accuracy"] == run_json("evaluate", trained)["accuracy"]
    assert run_json("predict", trained, photos / "cat" / "0.jpg")[0]["label"] == "cat"
    assert run("report", trained)[0] == run("compare", trained)[0] == 0
    told = (trained / "report.html").read_text("utf-8")
    assert "each by a last layer that was fitted without it" in told
    assert "the test set was evaluated after each epoch" not in told
    code, out, _ = run("train", "--resume", trained)
    assert code == 0
    assert f"test accuracy {result['test_accuracy']:.4f}" in out


def test_the_same_photos_give_the_same_bytes_under_other_names_and_from_the_cache(
    trained, photos, weights, tmp_path, run
):
    split = {name: [p.path for p in part] for name, part in scan(photos).splits.items()}
    for part, paths in split.items():
        for i, path in enumerate(reversed(paths)):
            target = tmp_path / "pets" / part / path.parent.name / f"{i:03}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    cache.clear("features")
    assert run(*line(tmp_path / "pets", weights, tmp_path / "renamed", "--head"))[0] == 0
    assert run(*line(tmp_path / "pets", weights, tmp_path / "cached", "--head"))[0] == 0
    first, renamed = Model.load(trained), Model.load(tmp_path / "renamed")
    for key in ("fc3.weight", "fc3.bias"):
        assert np.array_equal(first.weights[key], renamed.weights[key])
    assert (tmp_path / "renamed/model.safetensors").read_bytes() == (tmp_path / "cached/model.safetensors").read_bytes()


def test_a_head_needs_no_pytorch(trained, photos, weights, tmp_path):
    code = "import sys; sys.modules['torch'] = None; from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"
    words = map(str, line(photos, weights, tmp_path / "run", "--head", engine="auto"))
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["engine"] == "numpy"
    again, first = Model.load(tmp_path / "run"), Model.load(trained)
    assert all(np.array_equal(again.weights[key], array) for key, array in first.weights.items())


def test_both_engines_agree_to_rounding(trained, photos, weights, tmp_path, run):
    pytest.importorskip("torch")
    assert run(*line(photos, weights, tmp_path / "torch", "--head", "--device", "cpu", engine="torch"))[0] == 0
    numpy, torch = Model.load(trained), Model.load(tmp_path / "torch")
    assert numpy.weights["fc3.weight"] == pytest.approx(torch.weights["fc3.weight"], abs=1e-3)
    assert numpy.recipe["head"]
    assert torch.metrics["test"]["accuracy"] == numpy.metrics["test"]["accuracy"]


def test_features_come_from_the_cache_until_weights_or_photos_change(photos, weights, tmp_path, run, monkeypatch):
    computed = []
    compute = features.compute
    monkeypatch.setattr(features, "compute", lambda *given: computed.append(given[3]) or compute(*given))
    cache.clear("features")
    for seed in (0, 1):
        assert run(*line(photos, weights, tmp_path / f"seed{seed}", "--head", "--seed", seed))[0] == 0
    assert len(computed) == 4  # plain, mirrored and two crops, once
    (entry,) = (entry for entry in cache.entries() if entry.path.name == "features")
    (kept,) = entry.files
    kept.write_bytes(kept.read_bytes()[:-8] + bytes(8))
    code, _, err = run(*line(photos, weights, tmp_path / "damaged", "--head"))
    assert code == 0
    assert "damaged: computing them again" in err
    assert len(computed) == 8
    changed = safetensors.numpy.load_file(weights)
    changed["conv1.bias"] += 1
    safetensors.numpy.save_file(changed, tmp_path / "other.safetensors")
    assert run(*line(photos, tmp_path / "other.safetensors", tmp_path / "other", "--head"))[0] == 0
    assert len(computed) == 12


def test_a_cache_that_cannot_be_written_costs_time_only(trained, photos, weights, tmp_path, run, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(blocked))
    assert run(*line(photos, weights, tmp_path / "run", "--head"))[0] == 0
    again, first = Model.load(tmp_path / "run"), Model.load(trained)
    assert again.weights["fc3.weight"] == pytest.approx(first.weights["fc3.weight"], abs=1e-6)


def test_a_stopped_run_starts_again(photos, weights, tmp_path, run, monkeypatch):
    def stop(*_given):
        raise Interrupted("stopped")

    recipe = choose(NETWORK, None, str(photos), str(weights), "head").but(weights=str(weights), image_size=28)
    with monkeypatch.context() as patch:
        patch.setattr(head, "fit", stop)
        with pytest.raises(Interrupted):
            train(recipe, Settings("numpy"), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    assert run("train", "--resume", tmp_path / "run")[0] == 0
    assert Model.load(tmp_path / "run").metrics["test"]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--epochs", 3), "leave out --epochs"),
        (("--lr", 0.1), "leave out --lr"),
        (("--head-first",), "leave out --head-first"),
    ],
)
def test_options_of_gradient_descent_are_refused(photos, weights, tmp_path, run, more, says):
    code, _, err = run(*line(photos, weights, tmp_path / "run", "--head", *more))
    assert code == 2
    assert says in err
    assert not (tmp_path / "run").exists()


def test_what_a_head_needs(photos, weights, tmp_path, run):
    code, _, err = run("train", NETWORK, "--data", photos, "--head", "--out", tmp_path / "run")
    assert (code, "give --weights" in err) == (2, True)
    nin = initial(networks.network("nin:cifar", 10), (3, 32, 32), "he", 0)
    safetensors.numpy.save_file(nin, tmp_path / "nin.safetensors")
    nin_line = ("train", "nin:cifar", "--data", photos, "--weights", tmp_path / "nin.safetensors", "--head")
    code, _, err = run(*nin_line, "--engine", "numpy", "--image-size", 32, "--out", tmp_path / "nin")
    assert (code, "does not end in a linear layer" in err) == (2, True)
    assert not (tmp_path / "nin").exists()


def test_few_photos_with_weights_fit_the_last_layer_first(photos, weights, tmp_path, run):
    more = ("--epochs", 1, "--warmup-epochs", 0, "--lr", 1e-30)
    code, _, err = run(*line(photos, weights, tmp_path / "first", *more, "--head-first"))
    assert code == 0
    assert "the last layer by logistic regression" in err
    model = Model.load(tmp_path / "first")
    assert model.recipe["head_first"]
    assert model.metrics["test"]["accuracy"] > 0.8  # after a step of no length
    default = choose(NETWORK, None, str(photos), str(weights))
    assert default.head_first
    assert default.rate_decay < 1
    assert not choose(NETWORK, None, str(photos), str(weights), "all").head_first
    assert not choose(NETWORK, None, str(photos)).head_first
    code, _, err = run(*line(photos, weights, tmp_path / "all", *more))  # a rate of the user's own: no default applies
    assert code == 0
    assert "logistic" not in err


def test_a_classifier_fits_a_head_to_arrays(weights, photos):
    found = scan(photos).split("all", scan(photos).preprocessing((28, 28)))
    names = np.array(found.classes)[found.labels]
    fitted = nc.Classifier(NETWORK, weights=str(weights), head=True, image_size=28, engine="numpy")
    assert fitted.fit(np.asarray(found.images), names).score(np.asarray(found.images), names) > 0.9
    with pytest.raises(UsageError, match="leave out epochs"):
        nc.Classifier(NETWORK, weights=str(weights), head=True, epochs=2).fit(str(photos))


@pytest.mark.parametrize("name", ["lenet", "deepconvnet", "mobilenet-v3-small", "googlenet:taught", "resnet20"])
@pytest.mark.parametrize("engine", ["numpy", "torch", "onnx"])
def test_the_last_layer_on_the_features_gives_the_logits(name, engine):
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    entry = networks.entry(name)
    size = 64 if "mobilenet" in name or "googlenet" in name else entry.input[1]
    shape = (entry.input[0], size, size)
    tree = networks.network(name, 5)
    weights = initial(tree, shape, "he", 1)
    assert weights.keys() == shapes(tree, shape).keys()
    network = headless(name, tree, shape, weights)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, shape[0]), np.uint8)
    p = Preprocessing((size, size), shape[0])
    found = features.compute(create(engine, network.tree, shape, network.weights, "cpu"), pixels, p)
    expected = logits_of(create("numpy", tree, shape, weights), pixels, p)
    logits = found @ weights[f"{network.path}.weight"].T + weights[f"{network.path}.bias"]
    assert logits == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_views_are_those_that_the_augmentation_allows():
    every = Augmentation(flip=True, scale=0.2)
    assert len(head.views(every, 100)) == 4
    assert len(head.views(every, head.FEW + 1)) == 2
    assert head.views(Augmentation(), 100) == (View(),)
    assert not any(view.mirrored for view in head.views(Augmentation(shift=0.1), 100))


def test_a_cropped_view_is_the_corner_enlarged():
    pixels = np.zeros((1, 21, 21, 1), np.uint8)
    pixels[0, :11, :11] = 255
    p = Preprocessing((21, 21), 1)
    corner = features.augment(pixels, View(keep=0.5, row=0, column=0).draw(1, (21, 21)), p, np, np.asarray)
    assert corner.min() == 1
    mirrored = features.augment(pixels, View(mirrored=True).draw(1, (21, 21)), p, np, np.asarray)
    assert np.array_equal(mirrored[0, :, ::-1, 0] * 255, pixels[0, :, :, 0])


def test_few_photos_from_scratch_are_told_before_training(photos, tmp_path, run):
    start = ("--data", photos, "--engine", "numpy", "--image-size", 32, "--epochs", 1, "--out")
    _, _, err = run("train", "lenet", *start, tmp_path / "run")
    told = [line for line in err.splitlines() if "few for training a network from scratch" in line]
    assert len(told) == 1
    assert "10 photos per class" in told[0]
    assert "mobilenet-v2, with --weights imagenet" in told[0]
    assert err.index(told[0]) < err.index("epoch 1/1")
    assert advice("resnet18", [199, 150, 4000]) == (
        "199 photos per class (the median) are few for training a network from scratch: "
        "add --weights imagenet to start from weights trained on a million photos"
    )
    assert advice("resnet18", [200, 200]) is None
    assert "for vgg11," in advice("vgg11:taught", [10])
