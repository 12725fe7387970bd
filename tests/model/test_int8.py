"""8 bits: the file opens wherever the one in float32 does, and none is written that has lost more than a point."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers import fill_photos, needs
from PIL import Image
from starlette.testclient import TestClient

import neoclassic as nc
from neoclassic import networks
from neoclassic.base.errors import NeoclassicError, UsageError, install
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import onnx as onnx_engine
from neoclassic.engines import weights
from neoclassic.model.artefact import Model
from neoclassic.model.export import standalone
from neoclassic.model.opening import load_model, open_model
from neoclassic.tree import Flatten, Linear, ReLU, Sequential
from neoclassic.web.application import application
from neoclassic.web.service import Service

needs("onnx")
needs("onnxruntime")
LENET = "lenet@fashion-mnist"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """LeNet's file in 8 bits, and what the export returned."""
    path = tmp_path_factory.mktemp("int8") / "lenet.onnx"
    return path, nc.export(LENET, path, int8=True).quantization


def test_the_export_measures_both_models_on_the_test_images(made, run_json):
    path, found = made
    float32 = run_json("evaluate", LENET, "--engine", "onnx")
    int8 = run_json("evaluate", path)
    assert found.float32.evaluation.accuracy == float32["accuracy"]
    assert found.int8.evaluation.accuracy == int8["accuracy"]
    assert int8["accuracy"] > 0.88
    assert (found.calibrated, found.int8.evaluation.n) == (512, 10_000)
    assert 0.98 < found.agreement <= 1
    assert found.int8.bytes == path.stat().st_size < found.float32.bytes / 3
    assert min(found.float32.images_per_second, found.int8.images_per_second) > 0


def test_the_file_carries_what_the_one_in_float32_carries(made):
    path, found = made
    model, engine = open_model(path)
    assert (engine.name, model.weights) == ("onnx", {})
    assert replace(model, weights={}, metrics={}) == replace(load_model(LENET), weights={}, metrics={})
    assert model.metrics["test"] == found.int8.evaluation.summary
    bent = bytearray(path.read_bytes())
    bent[len(bent) // 2] ^= 1
    path.with_name("bent.onnx").write_bytes(bent)
    with pytest.raises(NeoclassicError, match="altered or damaged"):
        open_model(path.with_name("bent.onnx"))


def test_it_answers_through_every_door(made, fashion, tmp_path, run_json):
    path, _ = made
    image = tmp_path / "a.png"
    Image.fromarray(fashion.test.images[0, ..., 0]).save(image)
    (told,) = run_json("predict", path, image, "--top", "0")
    expected = {row["label"]: row["probability"] for row in told["top"]}
    assert told["label"] == fashion.classes[fashion.test.labels[0]]
    assert nc.load(path).predict([image]) == [told["label"]]
    alone = standalone(path, [str(image)])[0]
    assert dict(zip(fashion.classes, alone, strict=True)) == pytest.approx(expected, abs=1e-6)
    (measured,) = run_json("bench", path, "--seconds", 0)
    assert (measured["network"], measured["engine"]) == (str(path), "onnx")
    with TestClient(application(Service(*open_model(path))), "http://127.0.0.1") as client:
        (answer,) = client.post("/predict", content=image.read_bytes()).json()
    assert answer["label"] == told["label"]


def test_weights_have_a_scale_for_each_channel_and_the_logits_are_not_rounded(made):
    graph = onnx.load(made[0]).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            values, scale = (arrays[name] for name in makers[node.input[1]].input[:2])
            assert values.dtype == np.int8
            assert scale.shape == values.shape[:1]
            assert np.abs(values.astype(int)).max() <= 64  # 7 bits: no processor overflows
    node = makers["logits"]
    while node.op_type == "Identity":
        node = makers[node.input[0]]
    assert node.op_type == "Gemm"


def spoiled(fashion):
    """A model that 8 bits spoil: large weights, of a unit that is always 0, leave no bits for the others."""
    train, labels = fashion.train.images[:6000].reshape(6000, -1) / 255, fashion.train.labels[:6000]
    means = np.stack([train[labels == k].mean(0) for k in range(10)])
    tree, shape = Sequential(Flatten(), Linear(11), ReLU(), Linear(10)), (1, 28, 28)
    found = {
        "fc1.weight": np.vstack([means, 0 * means[:1]]),
        "fc1.bias": np.append(100 - (means**2).sum(1) / 2, -1),
        "fc2.weight": np.hstack([np.eye(10), np.full((10, 1), 1e4)]),
        "fc2.bias": np.zeros(10),
    }
    found = {path: array.astype(np.float32) for path, array in found.items()}
    p, data = Preprocessing((28, 28), 1, mean=(0.0,), std=(1.0,)), {"name": "fashion-mnist"}
    return Model("linear", tree, shape, fashion.classes, p, found, data=data)


def test_no_file_is_written_that_has_lost_more_than_a_point(fashion, tmp_path, run):
    model = spoiled(fashion)
    model.save(tmp_path / "m.safetensors")
    code, out, err = run("export", tmp_path / "m.safetensors", tmp_path / "m.onnx", "--int8")
    assert (code, out) == (1, "")
    assert err.startswith("neoclassic: 8 bits lower the accuracy on 10,000 test images from 6")
    assert err.endswith(f"more than one point: {tmp_path}/m.onnx is not written; export it without --int8\n")
    assert not (tmp_path / "m.onnx").exists()


def test_photos_are_calibrated_on_those_that_are_not_tested(tmp_path, run, run_json):
    photos = fill_photos(tmp_path / "photos", ("ant", "bee"))
    train = ("train", "lenet", "--data", photos, "--engine", "numpy", "--image-size", "28", "--epochs", "2")
    assert run(*train, "--out", tmp_path / "run")[0] == 0
    told = run_json("export", tmp_path / "run", tmp_path / "m.onnx", "--int8")["quantization"]
    tested = run_json("evaluate", tmp_path / "m.onnx", "--data", photos)
    assert told["int8"]["accuracy"] == tested["accuracy"]
    assert told["calibrated"] + told["int8"]["n"] <= 28
    photos.rename(tmp_path / "elsewhere")
    code, _, err = run("export", tmp_path / "run", tmp_path / "again.onnx", "--int8")
    assert code == 1
    assert "name them with --data" in err


def test_wrong_calls_are_told_in_one_line(tmp_path, run, monkeypatch):
    file = tmp_path / "m.onnx"
    for arguments, reason in (
        ((tmp_path / "folder", "--hub"), "for --int8, export to a FILE.onnx"),
        (("-",), "not standard output"),
        ((file, "--verify", "8"), "leave --verify out"),
        ((tmp_path / "m.pt",), "must end in .onnx"),
    ):
        code, out, err = run("export", LENET, *arguments, "--int8")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert reason in err
    for how, reason in (({"verify": 8}, "leave verify out"), ({"hub": True}, "FILE.onnx for int8")):
        with pytest.raises(UsageError, match=reason):
            nc.export(LENET, file, int8=True, **how)
    found = importlib.util.find_spec
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name, lost=package: None if name == lost else found(name)
        )
        told = run("export", LENET, file, "--int8")
        assert told == (2, "", f"neoclassic: --int8 needs {package}: {install(package)}\n")


SMALL = """
import hashlib, numpy as np
from neoclassic import networks
from neoclassic.engines import onnx, weights
tree, shape = networks.network("mobilenet-v3-small", 10), (3, 32, 32)
content = onnx.write(tree, shape, weights.initial(tree, shape))
images = np.random.default_rng(0).standard_normal((4, *shape), np.float32)
print(hashlib.sha256(onnx.quantize(content, [images])).hexdigest())
"""


def test_the_bytes_do_not_depend_on_the_hash_seed():
    ran = [
        subprocess.run(
            [sys.executable, "-c", SMALL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert ran[0].stdout == ran[1].stdout != ""
    assert [each.stderr for each in ran] == ["", ""]


@pytest.mark.parametrize("name", ["lenet:1998", "mobilenet-v3-small"])
def test_other_kinds_of_networks_stay_near_float32(name):
    tree = networks.network(name, 10)
    shape = networks.entry(name).input if name == "lenet:1998" else (3, 64, 64)
    content = onnx_engine.write(tree, shape, weights.initial(tree, shape))
    images = np.random.default_rng(0).standard_normal((8, *shape), np.float32)
    quantised = onnx_engine.quantize(content, [images])
    onnx_engine.check(quantised)
    float32, int8 = (onnx_engine.OnnxEngine(tree, shape, each).logits(images) for each in (content, quantised))
    assert np.corrcoef(float32.ravel(), int8.ravel())[0, 1] > 0.97
