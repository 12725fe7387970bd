"""FILE.py:NAME on the command line: what NAME may be, and one line for everything else."""

import re

import numpy as np
import pytest
from helpers import write_idx

from neoclassic.model.artefact import Model
from neoclassic.tree import Flatten, Linear, Sequential

FILE = """
import neoclassic as nc
from parts import width

print("a file may print")
tree = nc.Sequential(nc.Conv2d(width, 3), nc.AdaptiveAvgPool2d(), nc.Flatten(), nc.Linear(5))

def without(): return tree
def of_classes(classes):
    print("and so may a function", classes, {10: "ten", 4: "four"}[classes])
    return nc.Sequential(nc.Flatten(), nc.Linear(2 * classes), nc.Linear(classes))
def of_width(width): return tree
def none(classes=3): pass
def fails(): raise KeyError("x")
def invalid(): return nc.Sequential(nc.Conv2d(0, 3))
def deep(): return nc.Sequential(nc.Conv2d(4, 3), nc.Linear(2))

number = 5
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FILE, "utf-8")
    (tmp_path / "parts.py").write_text("width = 6", "utf-8")
    return tmp_path


@pytest.mark.parametrize(("name", "outputs"), [("tree", 5), ("without", 5), ("of_classes", 10)])
def test_a_tree_or_a_function_is_shown(name, outputs, here, run_json):
    shown = run_json("show", f"nets.py:{name}")
    assert (shown["network"], shown["classes"]) == (f"nets.py:{name}", outputs)
    assert {path.name for path in here.iterdir()} <= {"nets.py", "parts.py", "__pycache__"}


def test_a_function_gets_the_number_of_classes_of_the_data(here, run, idx_folder):
    for file in idx_folder.iterdir():
        (here / file.name).write_bytes(file.read_bytes())
    for role in ("train", "t10k"):
        write_idx(here / f"{role}-labels-idx1-ubyte.gz", np.arange({"train": 1000, "t10k": 300}[role]) % 4)
    options = ("--data", ".", "--epochs", 1, "--max-steps", 1, "--engine", "numpy", "--out", "run")
    code, _, err = run("train", "nets.py:of_classes", *options)
    assert code == 0, err
    assert Model.load(here / "run").tree == Sequential(Flatten(), Linear(8), Linear(4))


def test_it_is_measured_drawn_and_compared_with_others(here, run, run_json):
    assert run_json("diff", "lenet", "nets.py:tree")["networks"] == ["lenet", "nets.py:tree"]
    code, out, _ = run("show", "nets.py:tree", "lenet", "--compare", "--input", "1x32x32")
    assert code == 0
    assert "nets.py:tree" in out
    assert run("show", "nets.py:tree", "--svg", "net.svg")[0] == 0
    assert run_json("bench", "nets.py:tree", "--seconds", 0, "--engine", "numpy")[0]["network"] == "nets.py:tree"


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("nets.py", 2, r"name one of the networks in nets\.py: nets\.py:tree, nets\.py:without, nets\.py:of_classes"),
        ("nets.py:treee", 2, r"unknown network of nets\.py 'treee': did you mean 'tree'\?"),
        ("nets.py:number", 2, r"nets\.py:number: it is of type int, not a network: give a tree"),
        ("nets.py:of_width", 2, r"nets\.py:of_width: it needs 'width': name a tree, or a function that has no arg"),
        ("nets.py:none", 2, r"nets\.py:none.*: it is of type NoneType, not a network"),
        ("nets.py:fails", 1, r"nets\.py:fails fails: line \d+: KeyError: 'x'"),
        ("nets.py:invalid", 2, r"nets\.py:invalid, line \d+: Conv2d: out_channels must be at least 1, not 0"),
        ("nets.py:deep", 2, r"nets\.py:deep: fc: needs a flat input"),
        ("none.py:tree", 2, r"no file 'none\.py'"),
        ("broken.py:tree", 1, r"broken\.py fails: SyntaxError: .*line 1"),
        ("raises.py:tree", 1, r"raises\.py fails: line 2: ZeroDivisionError"),
        ("exits.py:tree", 1, r"exits\.py fails: line 1: SystemExit: 3"),
    ],
)
def test_anything_else_is_one_line(given, code, says, here, run):
    (here / "broken.py").write_text("def f(:", "utf-8")
    (here / "raises.py").write_text("x = 0\n1 / x", "utf-8")
    (here / "exits.py").write_text("raise SystemExit(3)", "utf-8")
    got, out, err = run("show", given)
    assert (got, out) == (code, "")
    line = err.splitlines()[-1]
    assert re.match(f"neoclassic: {says}", line), line


def test_a_function_that_fails_for_other_classes_is_one_line(here, run):
    code, _, err = run("show", "nets.py:of_classes", "--classes", 3)
    assert code == 1
    assert re.match(r"neoclassic: nets\.py:of_classes fails: line \d+: KeyError: 3", err.splitlines()[-1])


@pytest.mark.parametrize("verb", ["export", "predict", "evaluate", "serve"])
def test_a_network_is_no_model(verb, here, run):
    more = {"export": ["m.onnx"], "predict": ["parts.py"]}.get(verb, [])
    code, _, err = run(verb, "nets.py:tree", *more)
    assert code == 2
    assert "nets.py:tree is a network, not a model: train it first" in err
