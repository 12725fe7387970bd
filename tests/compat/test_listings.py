"""Listings as readers type them run unchanged, in a script without a display."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import write_idx

LISTINGS = Path(__file__).parents[1] / "listings"
PARAMETERS = {"resnet": 11_178_378, "mobilenet": 3_216_650}
FINISHED = re.compile(
    r"training on (cpu|cuda:0|mps|xpu:0)\n.*"
    r"loss \d+\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}\n[\d.]+ examples/sec on \1\n",
    re.DOTALL,
)


def names(generation):
    return sorted(path.stem for path in (LISTINGS / generation).glob("*.py"))


def run(generation, folder, **environment):
    """The output of each listing of an edition, by name; all run in one process without a display."""
    found = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    command = [
        sys.executable,
        LISTINGS / "run.py",
        folder,
        *(LISTINGS / generation / f"{n}.py" for n in names(generation)),
    ]
    done = subprocess.run(
        command,
        env={**found, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def printed(rows, name):
    assert rows[name]["error"] is None, rows[name]["error"]
    return rows[name]["printed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def earlier(folder):
    return run("earlier", folder, LISTINGS_FEW="1")


@pytest.fixture(scope="module")
def later(folder):
    return run("later", folder, LISTINGS_FEW="1")


@pytest.fixture(scope="module")
def dlfs(folder, fashion):
    """The outputs of the listings, with Fashion-MNIST in place of MNIST, which is not in the package."""
    place = folder / "cache" / "mnist"
    place.mkdir(parents=True)
    for role, part, n in (("train", fashion.train, 300), ("t10k", fashion.test, 130)):
        write_idx(place / f"{role}-images-idx3-ubyte.gz", part.images[:n, :, :, 0])
        write_idx(place / f"{role}-labels-idx1-ubyte.gz", part.labels[:n])
    return run("dlfs", folder, NEOCLASSIC_CACHE=str(folder / "cache"))


@pytest.mark.parametrize("name", names("earlier"))
def test_older_edition(earlier, name):
    said = printed(earlier, name)
    if name != "softmax":
        assert FINISHED.search(said), said
    if name in PARAMETERS:
        assert f"parameters: {PARAMETERS[name]}\n" in said


def test_the_older_edition_prints_a_line_per_point_and_saves_a_picture(earlier, folder):
    said = printed(earlier, "lenet")
    assert "Linear output shape: \t torch.Size([1, 10])\n" in said
    assert re.search(r"^epoch 10  train loss [\d.]+  train acc [\d.]+\nepoch 10  test acc [\d.]+$", said, re.MULTILINE)
    assert len(re.findall(r"^epoch \d+  test acc", said, re.MULTILINE)) == 10
    pictures = sorted((folder / "figures").glob("lenet-*.png"))
    assert pictures, "no picture"
    assert all(min(struct.unpack(">II", p.read_bytes()[16:24])) > 100 for p in pictures)


@pytest.mark.parametrize("name", names("later"))
def test_newer_edition(later, name):
    said = printed(later, name)
    if name != "regression":
        epochs = 10 if name in ("lenet", "batch_norm") else 1
        assert len(re.findall(r"^epoch \d+  val_acc [\d.]+$", said, re.MULTILINE)) == epochs
        assert re.search(r"^epoch [\d.]+  train_loss [\d.]+$", said, re.MULTILINE)
    if name == "resnet":
        assert "torch.Size([4, 3, 6, 6])\ntorch.Size([4, 6, 3, 3])\n" in said
    if name in PARAMETERS:
        assert f"parameters: {PARAMETERS[name]}\n" in said
    if name == "googlenet":
        assert "Sequential output shape:\t torch.Size([1, 832, 3, 3])\n" in said
    if name == "regression":
        assert "tensor([[19., 25.],\n        [37., 43.]])" in said
        assert float(re.search(r"error in estimating b: ([\d.]+)", said)[1]) < 0.5


def test_the_other_book_trains_and_keeps_its_network(dlfs, folder):
    said = printed(dlfs, "train_deepnet")
    assert len(re.findall(r"^train loss:", said, re.MULTILINE)) == 2 * 3
    accuracies = re.findall(r"^=== epoch:(\d), train acc:[\d.]+, test acc:([\d.]+) ===$", said, re.MULTILINE)
    assert [epoch for epoch, _ in accuracies] == ["1", "2"]
    final = re.search(r"test acc:([\d.]+)\n$", said)[1]
    assert final == accuracies[-1][1], "all 130 test images both times"
    assert np.isclose(float(final) * 130 % 1, 0, atol=1e-6) or np.isclose(float(final) * 130 % 1, 1, atol=1e-6)
    assert (folder / "accuracy.png").stat().st_size > 1000


@pytest.mark.parametrize("name", [name for name in names("dlfs") if name != "train_deepnet"])
def test_the_other_book(dlfs, name):
    said = printed(dlfs, name)
    assert ("gradient check:" in said) == (name == "typed_convnet")
