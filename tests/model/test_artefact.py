"""One file: what goes in comes out, on either engine; one that is not right is refused in its own words."""

import json

import numpy as np
import pytest
import safetensors.numpy

from neoclassic import network
from neoclassic.base.errors import NeoclassicError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import FORMAT, Model, read
from neoclassic.model.evaluate import softmax


@pytest.fixture(scope="module")
def model():
    tree = network("lenet:bn")
    return Model(
        network="lenet:bn",
        tree=tree,
        input=(1, 28, 28),
        classes=tuple("0123456789"),
        preprocessing=Preprocessing(size=(28, 28), channels=1, mean=(0.13,), std=(0.31,)),
        weights=initial(tree, (1, 28, 28), seed=5),
        metrics={"epoch": 3},
        data={"name": "mnist"},
    )


@pytest.fixture
def file(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_what_goes_in_comes_out(model, file):
    loaded = Model.load(file)
    assert loaded.tree == model.tree
    assert (loaded.classes, loaded.preprocessing, loaded.metrics) == (model.classes, model.preprocessing, model.metrics)
    assert loaded.weights.keys() == model.weights.keys()
    assert all(np.array_equal(loaded.weights[k], model.weights[k]) for k in model.weights)


def test_equal_models_are_equal_files(model, file, tmp_path):
    Model.load(file).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_plain_safetensors_opens_it(model, file):
    assert safetensors.numpy.load_file(file)["conv1.weight"].shape == (6, 1, 5, 5)


def test_both_engines_give_the_same_probabilities(file):
    images = np.random.default_rng(0).random((32, 1, 28, 28), np.float32)
    a, b = (softmax(Model.load(file).engine(name).logits(images)) for name in ("numpy", "torch"))
    assert np.array_equal(a.argmax(1), b.argmax(1))
    assert np.abs(a - b).max() < 1e-5


def rewritten(data, change):
    """The file with its neoclassic header changed, and the checksum left as it was."""
    size = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + size])
    header = json.loads(entries["__metadata__"]["neoclassic"])
    change(header)
    entries["__metadata__"]["neoclassic"] = json.dumps(header)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: b"", "not a neoclassic model (not a .safetensors file)"),
        (lambda d: b"PK\x03\x04" + d, "not a neoclassic model (not a .safetensors file)"),
        (lambda d: d[: len(d) // 2], "truncated"),
        (lambda d: d[:-1], "truncated"),
        (lambda d: d[:100], "truncated"),
        (lambda d: flip(d, len(d) - 3), "altered or damaged"),
        (lambda d: rewritten(d, lambda h: h["classes"].reverse()), "altered or damaged"),
        (lambda d: rewritten(d, lambda h: h.update(format=FORMAT + 1)), "made by a newer neoclassic"),
        (lambda d: rewritten(d, lambda h: h.update(kind="checkpoint")), "a neoclassic checkpoint, not a model"),
        (lambda d: rewritten(d, lambda h: h.update(kind="\n")), "a neoclassic \\u000a, not a model"),
        (lambda d: safetensors.numpy.save({"w": np.zeros(3)}), "without our header"),
        (lambda d: d[:8] + b"{" + b"\xff" * 50 + d[59:], "its header cannot be read"),
    ],
)
def test_a_file_that_is_not_right_is_refused_in_its_own_words(file, damage, message):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(NeoclassicError) as error:
        Model.load(file)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_header_that_lies_about_its_weights_is_refused(model, tmp_path):
    from dataclasses import replace

    replace(model, classes=("a", "b")).save(tmp_path / "m.safetensors")
    with pytest.raises(NeoclassicError, match="2 class names for outputs"):
        Model.load(tmp_path / "m.safetensors")
    replace(model, tree=network("lenet")).save(tmp_path / "m.safetensors")
    with pytest.raises(NeoclassicError, match="the weights do not fit the network"):
        Model.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("side", [10**400, 10**4000, -1, 0])
def test_a_header_with_an_impossible_input_is_refused(model, side):
    with pytest.raises(NeoclassicError, match="damaged header"):
        Model.of({**model.header(), "input": [1, side, 28]}, model.weights)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NeoclassicError, match="No such file"):
        Model.load(tmp_path / "nothing.safetensors")
    with pytest.raises(NeoclassicError, match=r"no model\.safetensors in this folder"):
        Model.load(tmp_path)


def test_nothing_is_left_behind_when_a_file_cannot_be_written(model, file, monkeypatch):
    import os

    before = file.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NeoclassicError, match="No space left on device"):
        model.save(file)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_checkpoint_is_no_model(file):
    with pytest.raises(NeoclassicError, match="a neoclassic model, not a checkpoint"):
        read(file, "checkpoint")
