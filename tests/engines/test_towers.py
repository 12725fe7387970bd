"""A network of towers on a list of devices trains as it does on one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers import cut_after, fill_photos  # noqa: E402

import neoclassic as nc  # noqa: E402
from neoclassic.base.errors import UsageError  # noqa: E402
from neoclassic.engines import Optimizer, Speed, create  # noqa: E402
from neoclassic.engines.towers import plan  # noqa: E402
from neoclassic.engines.weights import initial  # noqa: E402
from neoclassic.model.artefact import Model  # noqa: E402
from neoclassic.networks import network  # noqa: E402

SMALL = nc.Sequential(  # every kind of layer that AlexNet has, and seven classes, which two towers cannot halve
    *(nc.Conv2d(8, 5, stride=2), nc.ReLU(), nc.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2), nc.MaxPool2d(3, 2)),
    *(nc.Conv2d(12, 3, padding=1, groups=4), nc.ReLU(), nc.LocalResponseNorm(4, alpha=0.5), nc.Conv2d(8, 3)),
    *(nc.ReLU(), nc.Flatten(), nc.Linear(9), nc.ReLU(), nc.Dropout(0.5), nc.Linear(7)),
)
FILE = """
import neoclassic as nc
small = nc.Sequential(
    nc.Conv2d(8, 5, stride=2), nc.ReLU(), nc.MaxPool2d(3, 2), nc.Conv2d(8, 3, groups=2), nc.ReLU(),
    nc.LocalResponseNorm(3), nc.Flatten(), nc.Dropout(0.5), nc.Linear(3),
)
"""
RULES = (
    Optimizer("sgd", momentum=0.9, nesterov=True, weight_decay=5e-4, clip=0.5, average=0.99),
    Optimizer("adamw", weight_decay=0.01, decay_all=False),
    Optimizer("rmsprop", momentum=0.5),
    Optimizer("adam"),
)


def engines(tree, shape, devices, precise=True):
    """The network on one device and on several, and a batch."""
    weights, rng = initial(tree, shape, "he", 0), np.random.default_rng(0)
    if precise:
        weights = {key: array.astype(np.float64) for key, array in weights.items()}
    images = rng.normal(size=(6, *shape)).astype(np.float32)
    made = [create("torch", tree, shape, weights, device) for device in ("cpu", devices)]
    return *made, images, rng.integers(0, 7, 6)


def furthest(some, others):
    assert some.keys() == others.keys()
    return max(float(np.abs(array - others[key]).max()) for key, array in some.items())


@pytest.mark.parametrize("devices", ["cpu,cpu", "cpu,cpu,cpu,cpu"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_ten_steps_on_several_devices_are_those_on_one(rule, devices):
    one, several, images, labels = engines(SMALL, (3, 29, 29), devices)
    masks = {"dropout": np.array([[1, 0, 1, 1, 0, 1, 0, 1, 1]] * 6, np.float32)}
    a, b = (each.gradients(images, labels, masks) for each in (one, several))
    assert abs(a.loss - b.loss) < 1e-12
    assert np.abs(a.logits - b.logits).max() < 1e-12
    assert furthest(a.weights, b.weights) < 1e-12
    for each in (one, several):
        each.optimize(rule, {"conv1.weight": 0.0, "fc2.weight": 10.0})
        for i in range(10):
            each.step(images, labels, 0.01, seed=i)
    assert furthest(one.weights(), several.weights()) < 1e-9
    assert np.array_equal(several.weights()["conv1.weight"], initial(SMALL, (3, 29, 29), "he", 0)["conv1.weight"])
    assert furthest(one.optimizer_state(), several.optimizer_state()) < 1e-9
    assert np.abs(one.logits(images) - several.logits(images)).max() < 1e-9
    assert one.metrics().loss == pytest.approx(several.metrics().loss, rel=1e-9)
    several.load_optimizer_state(one.optimizer_state())
    for each in (one, several):
        each.step(images, labels, 0.01, seed=10)
        each.swap_average()
    assert furthest(one.weights(), several.weights()) < 1e-9
    assert furthest(one.features(images, ["conv2"]), several.features(images, ["conv2"])) < 1e-9


def test_alexnet_in_float32():
    one, several, images, labels = engines(network("alexnet", 7), (3, 67, 67), "cpu,cpu", precise=False)
    for each in (one, several):
        each.optimize(Optimizer("sgd", momentum=0.9))
        for i in range(10):
            each.step(images, labels, 1e-4, seed=i)
    assert np.abs(one.logits(images) - several.logits(images)).max() < 1e-5 * np.abs(one.logits(images)).max()
    assert furthest(one.weights(), several.weights()) < 1e-5
    assert furthest(one.weights(), initial(network("alexnet", 7), (3, 67, 67), "he", 0)) > 1e-4


def test_what_has_no_towers_is_refused():
    for name, shape, why in (
        ("resnet18", (3, 64, 64), "on several devices, start one process for each with torchrun"),
        ("alexnet:taught", (1, 96, 96), "such as alexnet: to train another network"),
        ("mobilenet-v2", (3, 64, 64), "such as alexnet: to train another network"),
    ):
        with pytest.raises(UsageError, match=why):
            plan(network(name, 10), shape, 2)
    with pytest.raises(UsageError, match="conv2 has 2 towers, which cannot be divided among 3 devices"):
        plan(network("alexnet", 10), (3, 227, 227), 3)
    with pytest.raises(UsageError, match="not compiled"):
        create("torch", SMALL, (3, 29, 29), {}, "cpu,cpu", Speed("32", "on"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, a file with a network, and its run on one device."""
    folder = tmp_path_factory.mktemp("towers")
    fill_photos(folder / "photos", ["cat", "dog", "eel"])
    (folder / "own.py").write_text(FILE)
    return folder


def command(out, devices):
    options = "--image-size 28 --epochs 2 --batch-size 10 --engine torch --precision 32 --optimizer sgd --momentum 0.9"
    return ["train", "own.py:small", "--data", "photos", *options.split(), "--device", devices, "--out", out]


def trained(folder, out):
    return Model.load(folder / out).weights


def test_a_run_on_two_devices_is_cut_resumed_and_predicts(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(*command("one", "cpu"))[0] == 0
    with monkeypatch.context() as patch:
        cut_after(4, patch)
        assert run(*command("two", "cpu,cpu"))[0] == 1
    code, _, err = run("train", "--resume", "two")
    assert code == 0, err
    assert furthest(trained(folder, "one"), trained(folder, "two")) < 1e-5
    assert run("predict", "two", "photos/cat/0.jpg")[0] == 0
    code, _, err = run("train", "lenet", "--data", "photos", "--engine", "torch", "--device", "cpu,cpu", "--out", "no")
    assert (code, Path("no").exists()) == (2, False)
    assert "torchrun" in err


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_have_a_tower_each(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "neoclassic"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    line = [sys.executable, *launcher, *command("each", "cpu,cpu")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-9000:]
    if not Path("one").exists():
        assert run(*command("one", "cpu"))[0] == 0
    assert furthest(trained(folder, "one"), trained(folder, "each")) < 1e-5
