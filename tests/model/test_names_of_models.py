"""NETWORK@DATA wherever a model stands: published weights, and models in the package."""

import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import fill_photos
from PIL import Image

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import SOURCES
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.weights import initial
from neoclassic.model import pretrained, published
from neoclassic.model.artefact import Model
from neoclassic.model.ensemble import open_models
from neoclassic.model.opening import open_model
from neoclassic.model.published import PUBLISHED
from neoclassic.networks import network

NAME = "lenet@fashion-mnist"


def tiny(name, seed=0):
    """A model of a network for Fashion-MNIST, not trained."""
    tree = network(name)
    classes, p = SOURCES["fashion-mnist"].classes, Preprocessing((28, 28), 1, "pad")
    data, metrics = {"name": "fashion-mnist"}, {"test": {"accuracy": 0.25}}
    return Model(name, tree, (1, 28, 28), classes, p, initial(tree, (1, 28, 28), seed=seed), metrics, data=data)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of models in place of the package's."""
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(pretrained, "PACKAGE", folder)
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    tiny("lenet").save(folder / "lenet@fashion-mnist.safetensors")
    tiny("lenet:bn", 1).save(folder / "lenet-bn@fashion-mnist.safetensors")
    return folder


@pytest.fixture
def shirt(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 28), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "shirt.png")
    return tmp_path / "shirt.png"


# ── in the package ───────────────────────────────────────────────────────────────────────────────────


def test_the_models_in_the_package_are_those_in_its_folder(package):
    assert [name for name, model in pretrained.known().items() if model.file] == ["lenet:bn@fashion-mnist", NAME]
    (package / "lenet-bn@fashion-mnist.safetensors").unlink()
    assert [name for name, model in pretrained.known().items() if model.file] == [NAME]


def test_every_verb_takes_the_name(package, shirt, idx_folder, tmp_path, run, run_json):
    path = package / "lenet@fashion-mnist.safetensors"
    said = run_json("predict", NAME, shirt)
    assert said == run_json("predict", path, shirt)
    assert run_json("explain", NAME, shirt, "--out", tmp_path / "e")["said"]["label"] == said[0]["label"]
    options = ("--data", "fashion-mnist", "--data-dir", idx_folder)
    assert run_json("evaluate", NAME, *options)["n"] == 300
    code, out, err = run("export", NAME, tmp_path / "m.onnx")
    assert code == 0, err
    assert "lenet, 10 classes" in out
    both = run_json("predict", NAME, "lenet:bn@fashion-mnist", shirt)  # an ensemble
    one, other = (nc.load(name).predict_proba(shirt) for name in (NAME, "lenet:bn@fashion-mnist"))
    assert both[0]["probability"] == pytest.approx(float(((one + other) / 2).max()), abs=1e-5)
    assert both[0]["path"] == str(shirt)


def test_python_takes_the_name(package, shirt):
    classifier = nc.load(NAME, engine="numpy")
    assert classifier.predict([shirt])[0] in SOURCES["fashion-mnist"].classes
    model, engine = open_model(NAME, "numpy")
    assert (model.network, engine.name) == ("lenet", "numpy")


def test_the_server_serves_it(package, shirt, monkeypatch, run):
    pytest.importorskip("starlette")
    served = []
    monkeypatch.setattr("neoclassic.web.server.serve", lambda service, *_: served.append(service.model.network))
    code, _, err = run("serve", NAME)
    assert code == 0, err
    assert served == ["lenet"]


def test_training_starts_from_it(package, tmp_path, run, idx_folder):
    options = ("--data-dir", idx_folder, "--max-steps", 1, "--engine", "numpy", "--out", tmp_path / "r")
    code, _, err = run("train", "lenet", "--weights", NAME, "--lr", 1e-30, *options)
    assert code == 0, err
    found, expected = Model.load(tmp_path / "r").weights, tiny("lenet").weights
    assert all(np.abs(found[key] - expected[key]).max() < 1e-20 for key in expected)
    assert json.loads((tmp_path / "r" / "recipe.json").read_text())["weights"] == NAME
    code, _, err = run("train", "lenet:bn", "--weights", NAME, *options)
    assert code == 2
    assert f"{NAME} holds 'lenet': train that, not 'lenet:bn'" in err


def test_a_file_or_folder_of_that_name_wins(package, shirt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tiny("lenet", seed=5)
    other.save(NAME)
    assert np.array_equal(nc.load(NAME).model_.weights["conv1.weight"], other.weights["conv1.weight"])
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    other.save(tmp_path / NAME / "model.safetensors")
    assert np.array_equal(nc.load(NAME).model_.weights["conv1.weight"], other.weights["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lenett@fashion-mnist", "did you mean 'lenet@fashion-mnist'?"),
        ("lenet@mnist", "known for lenet: lenet@fashion-mnist"),
        ("resnet5@imagenet", "did you mean 'resnet50@imagenet'?"),
        ("resnet50@imagenett", "known for resnet50: resnet50@imagenet"),
        ("resnet50@imagenet:v3", "known: imagenet, imagenet:v1, imagenet:v2"),
        ("lenet@imagenet", "no ImageNet weights are published for lenet"),
        ("x@y", "'neoclassic list --models' shows them all"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_closest_known_ones(name, reason, package, shirt, run):
    code, _, err = run("predict", name, shirt)
    assert code == 2
    assert reason in err
    assert err.count("\n") == 1


def test_a_photo_with_an_at_sign_is_a_photo(package, shirt, tmp_path, run_json, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(shirt, "shirt@2x.png")
    shutil.copy(shirt, "lenet@home")
    assert [p["path"] for p in run_json("predict", NAME, "shirt@2x.png", "lenet@home")] == [
        "shirt@2x.png",
        "lenet@home",
    ]


def test_they_are_listed(package, run, run_json, tmp_path):
    code, out, _ = run("list", "--models")
    assert code == 0
    assert "lenet:bn@fashion-mnist" in out
    rows = {row["model"]: row for row in run_json("list", "--models")}
    assert rows[NAME]["place"] == "in the package"
    assert rows[NAME]["accuracy"] == 0.25
    assert rows[NAME]["bytes"] == (package / "lenet@fashion-mnist.safetensors").stat().st_size
    assert rows["resnet50@imagenet"]["place"] == "to be downloaded"
    assert rows["resnet50@imagenet"]["accuracy"] == 0.80858
    assert rows["resnet50@imagenet"]["accuracy_interval"] == pytest.approx([0.8051, 0.8120], abs=1e-4)  # of 50,000
    assert re.search(r"resnet50@imagenet +0\.8086 +0\.805–0\.812 ", out)
    assert len(rows) == 2 + 22
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / next(row.file for row in PUBLISHED if row.network == "resnet18")).touch()
    (row,) = run_json("list", "resnet18", "--models")
    assert row["place"] == "on this machine"


@pytest.mark.parametrize("file", sorted(pretrained.PACKAGE.glob("*@*")), ids=lambda file: file.name)
def test_the_models_of_the_package_are_whole_and_say_how_accurate_they_are(file):
    """The files themselves, without a fixture."""
    (name,) = [name for name, model in pretrained.known().items() if model.file == file]
    model = Model.load(file)
    assert name == f"{model.network}@{model.data['name']}"
    assert 0.9 < model.metrics["test"]["accuracy"] < 1


# ── published ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def on_imagenet(package, tmp_path, monkeypatch):
    """torchvision's mobilenet-v3-small with random weights, under the name of the published file."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    from torchvision import models

    module, rng = models.mobilenet_v3_small().eval(), torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.dim() > 1:
            tensor.normal_(generator=rng).mul_(tensor[0].numel() ** -0.5)
        elif tensor.dim():
            tensor.uniform_(0.5, 1.5, generator=rng)
    module.classifier[3].bias.data.mul_(3)
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    torch.save(module.state_dict(), folder / "file-00000000.pth")
    row = next(row for row in PUBLISHED if row.network == "mobilenet-v3-small")
    monkeypatch.setattr(published, "PUBLISHED", (replace(row, file="file-00000000.pth"),))
    monkeypatch.setattr(published, "intact", lambda *_: True)
    return module, models.MobileNet_V3_Small_Weights.IMAGENET1K_V1


def test_an_answer_without_training_is_torchvisions(on_imagenet, tmp_path, run_json, monkeypatch):
    import torch

    module, theirs = on_imagenet
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)).save(tmp_path / "photo.png")
    with torch.inference_mode(), Image.open(tmp_path / "photo.png") as photo:
        expected = module(theirs.transforms()(photo)[None]).softmax(1)[0].numpy()
    best = np.argsort(-expected)[:3]
    for engine in ("torch", "numpy"):
        with monkeypatch.context() as without:
            if engine == "numpy":  # nor is PyTorch needed to read the file
                without.setitem(sys.modules, "torch", None)
            for name in ("mobilenet-v3-small@imagenet", "mobilenet-v3-small@imagenet:v1"):
                (said,) = run_json("predict", name, tmp_path / "photo.png", "--engine", engine, "--top", 3)
                assert [top["label"] for top in said["top"]] == [theirs.meta["categories"][i] for i in best]
                assert [top["probability"] for top in said["top"]] == pytest.approx(expected[best].tolist(), rel=1e-3)


def test_it_is_an_ordinary_model(on_imagenet, tmp_path, run):
    model = nc.load("mobilenet-v3-small@imagenet").model_
    assert len(model.classes) == 1000
    assert model.metrics == {"published": {"accuracy": 0.67668, "n": 50_000}}
    model.save(tmp_path / "m.safetensors")
    assert Model.load(tmp_path / "m.safetensors").checksum == model.checksum
    code, _, err = run("evaluate", "mobilenet-v3-small@imagenet")
    assert code == 1
    assert "'imagenet', were not found: name them with --data" in err
    photos = fill_photos(tmp_path / "photos", ("hen", "bee"), 2)
    code, out, err = run("evaluate", "mobilenet-v3-small@imagenet", "--data", photos)
    assert code == 0
    assert "there are no images of tench, goldfish, " in err
    assert err.endswith(" and 978 more\n")
    assert "over 4 test images of photos" in out


def test_an_ensemble_needs_the_same_crop(on_imagenet, package, tmp_path):
    model = nc.load("mobilenet-v3-small@imagenet").model_
    replace(model, preprocessing=replace(model.preprocessing, keep=1.0)).save(tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match=r"needs different images from .* \(keep 0\.875 and 1\.0\): an ensemble needs"):
        open_models(["mobilenet-v3-small@imagenet", str(tmp_path / "m.safetensors")])


def test_a_file_that_does_not_fit_names_itself(on_imagenet, tmp_path):
    import torch

    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "cache" / "weights" / "file-00000000.pth")
    with pytest.raises(NeoclassicError, match=r"file-00000000\.pth: .* missing stem\.conv"):
        nc.load("mobilenet-v3-small@imagenet")
    with pytest.raises(UsageError, match="lenet"):
        nc.load("lenett@fashion-mnist")
