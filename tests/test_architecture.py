"""Imports point one way; the README and CONTRIBUTING say what is true."""

import ast
import doctest
import re
import shlex
from pathlib import Path

import pytest

import neoclassic

ROOT = Path(__file__).parents[1]
SOURCE = Path(neoclassic.__file__).parent

# Each room may import those on lines above it, and itself.
ROOMS = [
    {"errors", "files", "machine", "progress", "records", "text"},
    {"tree"},
    {"measure"},
    {"networks", "engines", "torchvision_weights", "data"},
    {"artefact"},
    {"views", "provenance"},
    {"train"},
    {"recipes", "predict", "export", "explain", "review", "compare"},
    {"report", "classifier", "ensemble", "bench"},
    {"cli", "web", "compat", "__main__"},
]
FLOOR = {room: n for n, rooms in enumerate(ROOMS) for room in rooms}


def imports(file):
    """The rooms that a file imports when it is imported: not inside functions, not for types only."""
    todo = list(ast.parse(file.read_text()).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Try | ast.With):
            todo += node.body
        elif isinstance(node, ast.ImportFrom) and node.module == "neoclassic":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neoclassic."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_point_one_way(file):
    room = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    upward = {other for other in imports(file) if other in FLOOR and FLOOR[other] > FLOOR[room]}
    sideways = {o for o in imports(file) if o in FLOOR and FLOOR[o] == FLOOR[room] and o != room}
    assert not upward, f"{room} may not import {upward}"
    assert room not in ("networks", "data") or not sideways


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"^(make .*\S) *# tests$", (ROOT / "README.md").read_text(), re.M)
    assert len(commands) == 1
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
    assert set(shlex.split(commands[0])[1:]) <= targets


def test_the_annotated_tree_of_the_readme_is_the_package():
    tree = (ROOT / "README.md").read_text().partition("src/neoclassic/\n")[2].partition("```")[0]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("    ") and line.strip()}
    there = {p.name for p in SOURCE.iterdir() if not p.name.startswith("__") and p.name != "py.typed"}
    assert named == there


def test_the_example_of_the_readme_prints_what_it_says():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert (failed, tried > 5) == (0, True)
