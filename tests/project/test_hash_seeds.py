"""Whatever is written has the same bytes in every process: nothing follows the order of a set or of a folder."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import safetensors.numpy
from helpers import TRAIN, fill_photos

from neoclassic import networks
from neoclassic.engines.weights import initial

pytest.importorskip("onnx")
SEEDS = ("0", "42")
LINES = (
    (*TRAIN, "--data", "photos", "--out", "r", "--epochs", "2", "--batch-size", "16"),
    ("train", "resnet20", *TRAIN[2:], "--data", "photos", "--out", "t", "--engine", "torch", "--max-steps", "2"),
    ("evaluate", "r", "--out", "e", "--json"),
    ("check", "photos", "--json"),
    ("train", "lenet", *TRAIN[2:6], "--data", "photos", "--weights", "../../w.safetensors", "--head", "--out", "h"),
    ("embed", "r", "photos", "--out", "f.npz", "--engine", "numpy"),
    ("similar", "r", "photos/cat/0.jpg", "photos", "--out", "s.html", "--engine", "numpy"),
    ("export", "r", "m.onnx"),
    ("explain", "r", "photos/cat/0.jpg", "--out", "x", "--json"),
    ("show", "googlenet", "--svg", "g.svg"),
    ("diff", "alexnet", "alexnet:taught", "--json"),
)
ALL = """
import json, os
from neoclassic.cli import main
for line in json.loads(os.environ["LINES"]):
    print(line)
    assert main(line) == (line[0] == "check"), line
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Checksums of all that two processes wrote, each with another hash seed, and what they said, by seed."""
    root, found = tmp_path_factory.mktemp("seeds"), {}
    weights = initial(networks.network("lenet", 7), (3, 28, 28))
    safetensors.numpy.save_file(weights, root / "w.safetensors")
    for seed in SEEDS:
        work = root / seed / "here"
        names = ("cat", "dog", "eel")
        if seed == SEEDS[0]:
            first = fill_photos(work / "photos", names)
            shutil.copy(first / "cat" / "1.jpg", first / "eel" / "twin.jpg")
        for name in reversed(names):  # made in another order
            if seed != SEEDS[0]:
                shutil.copytree(first / name, work / "photos" / name)
        env = {"PYTHONHASHSEED": seed, "NEOCLASSIC_CACHE": str(root / seed / "cache"), "LINES": json.dumps(LINES)}
        done = subprocess.run(
            [sys.executable, "-c", ALL], env=os.environ | env, cwd=work, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout
        timed = {"result.json", "log.csv", "recipe.json", "checkpoint.safetensors"}
        written = sorted(p for p in work.rglob("*") if p.is_file() and p.name not in timed and "photos" not in p.parts)
        sums = {str(p.relative_to(work)): hashlib.sha256(p.read_bytes()).hexdigest() for p in written}
        found[seed] = sums, said
    return found


def test_models_of_both_engines_have_the_same_bytes(outcomes):
    for name in ("r/model.safetensors", "t/model.safetensors", "h/model.safetensors"):
        assert len({sums[name] for sums, _ in outcomes.values()}) == 1, name


def test_so_has_every_picture_table_export_and_drawing(outcomes):
    first, *others = (sums for sums, _ in outcomes.values())
    assert len(first) > 15
    for sums in others:
        assert sums == first


def test_so_has_whatever_is_said(outcomes):
    first, *others = (re.sub(r"trained for .*", "", said) for _, said in outcomes.values())
    assert len(first) > 1000
    assert others == [first] * (len(SEEDS) - 1)


@pytest.mark.skipif(sys.platform == "win32", reason="os.listdir is replaced by its reverse")
def test_photos_come_in_the_order_of_their_names_however_the_folder_lists_them(tmp_path, monkeypatch):
    import os

    from neoclassic.data import scan

    fill_photos(tmp_path / "p", ("cat", "dog"))
    forward = scan(tmp_path / "p").splits
    real = os.scandir

    class Reversed:
        def __init__(self, path):
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return iter(self.entries)

    monkeypatch.setattr(os, "scandir", Reversed)
    assert scan(tmp_path / "p").splits == forward
