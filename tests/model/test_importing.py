"""`neoclassic import`: a model from a file of weights, or one line that says what is missing."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import neoclassic as nc
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.torchvision import to_torchvision
from neoclassic.networks import network

SHAPE = (1, 28, 28)


def lenet(classes=10, shape=SHAPE):
    return initial(network("lenet", classes), shape, seed=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with weights of LeNet under our names and the names of ten classes."""
    monkeypatch.chdir(tmp_path)
    save_file(lenet(), "weights.safetensors")
    (tmp_path / "names.txt").write_text("\ufeff zero \r\none\n\n" + "".join(f"{i}\n" for i in range(2, 10)), "utf-8")
    return tmp_path


def test_the_model_is_an_ordinary_one(folder, run):
    code, out, err = run("import", "weights.safetensors", "--network", "lenet", "--classes", "names.txt")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("lenet.safetensors: 2")
    model = Model.load("lenet.safetensors")
    assert model.classes[:3] == ("zero", "one", "2")
    assert (model.preprocessing.mean, model.preprocessing.std, model.preprocessing.keep) == ((0.0,), (1.0,), 1.0)
    assert all(np.array_equal(model.weights[key], array) for key, array in lenet().items())
    Image.new("L", (28, 28)).save("a.png")
    assert nc.load("lenet.safetensors").predict(["a.png"])[0] in model.classes
    code, out, err = run(*("import", "weights.safetensors", "--network", "lenet", "--classes", "names.txt", "--json"))
    assert code == 2
    assert "lenet.safetensors exists: choose another name with --out" in err


def test_options_say_what_the_file_does_not(folder, run):
    options = ("--mean", "0.3", "--std", "0.4", "--fit", "pad", "--out", "m.safetensors", "--json")
    code, out, err = run("import", "weights.safetensors", "--network", "lenet", "--classes", "names.txt", *options)
    assert code == 0, err
    p = Model.load("m.safetensors").preprocessing
    assert (p.mean, p.std, p.fit) == ((0.3,), (0.4,), "pad")
    assert json.loads(out)["preprocessing"]["mean"] == [0.3]


def test_classes_and_channels_are_read_from_the_file(folder, run):
    (folder / "two.txt").write_text("cat\ndog\n")
    save_file(lenet(2, (3, 28, 28)), "colour.safetensors")
    code, _, err = run("import", "colour.safetensors", "--network", "lenet", "--classes", "two.txt")
    assert code == 0, err
    model = Model.load("lenet.safetensors")
    assert (model.input, model.classes) == ((3, 28, 28), ("cat", "dog"))
    shape = (1, 32, 32)
    grey = to_torchvision("mobilenet-v2", initial(network("mobilenet-v2", 2), shape))
    save_file(grey, "grey.safetensors")
    options = ("--network", "mobilenet-v2", "--image-size", 32)
    code, _, err = run("import", "grey.safetensors", *options, "--classes", "two.txt", "--out", "g.safetensors")
    assert code == 0, err
    model = Model.load("g.safetensors")
    assert (model.input, model.preprocessing.mean, model.preprocessing.keep) == (shape, (0.449,), 0.875)


def test_a_name_works_too(folder, run, monkeypatch):
    code, _, err = run("import", "imagenet", "--network", "lenet")
    assert code == 2
    assert "no ImageNet weights are published for lenet" in err


def without_head(weights):
    return {key: array for key, array in weights.items() if not key.startswith("fc3")}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("weights.safetensors", "--network", "lenet"), "the names of its 10 classes are not in it: give --classes"),
        (("weights.safetensors", "--network", "lenet", "--classes", "two.txt"), "2 names are given, but it has 10"),
        (("weights.safetensors", "--network", "lenet", "--classes", "twice.txt"), "twice.txt has 'a' twice"),
        (("weights.safetensors", "--network", "lenet", "--classes", "no.txt"), "cannot read no.txt: No such file"),
        (("weights.safetensors", "--network", "lenet", "--classes", "latin.txt"), "latin.txt is not text in UTF-8"),
        (("weights.safetensors", "--network", "lenett"), "did you mean 'lenet'?"),
        (("weights.safetensors", "--network", "lenet:bn", "--classes", "names.txt"), "missing"),
        (("weights.safetensors", "--network", "vgg11"), "are not the weights of a whole vgg11"),
        (("weights.safetensors", "--network", "lenet", "--classes", "names.txt", "--image-size", 64), "fc1.weight is"),
        (("weights.safetensors", "--network", "lenet", "--classes", "names.txt", "--mean", "1,2"), "1 number"),
        (("weights.safetensors", "--network", "lenet", "--classes", "names.txt", "--fit", "x"), "unknown fit 'x'"),
        (("weights.safetensors", "--network", "lenet", "--out", "m.pth"), "must end in .safetensors"),
        (("features.safetensors", "--network", "lenet"), "not the weights of a whole lenet: fc3.weight is missing"),
        (("mobile.safetensors", "--network", "resnet18"), "torchvision's weights of mobilenet-v2: they do not fit"),
        (("nothing.safetensors", "--network", "lenet"), "no weights at nothing.safetensors"),
        (("model.safetensors", "--network", "lenet", "--classes", "names.txt"), "is a model already"),
    ],
)
def test_what_is_missing_is_one_line(arguments, reason, folder, run):
    (folder / "two.txt").write_text("a\nb\n")
    (folder / "twice.txt").write_text("a\nb\na\n")
    (folder / "latin.txt").write_bytes("é\n".encode("latin1"))
    save_file(without_head(lenet()), "features.safetensors")
    if "mobile" in arguments[0]:
        save_file(to_torchvision("mobilenet-v2", initial(network("mobilenet-v2"), (3, 32, 32))), "mobile.safetensors")
    if "model" in arguments[0]:
        run(
            "import",
            "weights.safetensors",
            "--network",
            "lenet",
            "--classes",
            "names.txt",
            "--out",
            "model.safetensors",
        )
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = run("import", *arguments)
    assert code in (1, 2)
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before
