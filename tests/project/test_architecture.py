"""Imports point one way; the README and CONTRIBUTING say what is true."""

import ast
import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "neoclassic"

# Each room may import those before it and no others, wherever in a file the import stands.
ORDER = ["base", "tree", "measure", "networks", "views", "data", "engines", "model", "torch", "train", "recipes"]
ORDER += ["insight", "classifier", "verbs", "web", "compat", "cli", "__main__"]


def imports(file):
    """The rooms that a file imports: at its head, inside functions, and for types only."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "neoclassic":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neoclassic."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (each.name.split(".")[1] for each in node.names if each.name.startswith("neoclassic."))


def rooms_of(file):
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_point_one_way(file):
    room, others = rooms_of(file), set(imports(file)) - {"__version__"}
    if room == "__init__":  # what users call stands at the root; a type checker sees what is imported later
        assert others <= {"base", "tree", "measure", "networks"} | {"torch", "classifier", "verbs"}
        return
    before = ORDER[: ORDER.index(room) + 1]
    assert others <= set(before), f"{room} may not import {sorted(others - set(before))}"


def test_a_model_is_opened_and_asked_without_training_pictures_or_torch():
    code = (
        "import sys, neoclassic.model.opening, neoclassic.model.predict, neoclassic.model.ensemble\n"
        "from neoclassic.engines.numpy import NumpyEngine\n"
        "loaded = {name for name in sys.modules for room in ROOMS if (name + '.').startswith(room + '.')}\n"
        "assert not loaded, loaded"
    ).replace("ROOMS", "('neoclassic.train', 'neoclassic.recipes', 'neoclassic.insight', 'matplotlib', 'torch')")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_order_that_contributing_states_is_this_one():
    stated = re.search(r"`(base, tree, [^`]*)`", (ROOT / "CONTRIBUTING.md").read_text())[1]
    assert stated.split(", ") == ORDER[:-1]


def test_the_walks_and_checklists_of_contributing_lead_to_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = re.findall(r"`([\w/]+/(?:\w+\.py)?)`(?:, `([\w.]+)`)?", text)
    assert len(places) > 25
    for path, name in places:
        place = next((base / path for base in (SOURCE, SOURCE / "engines", ROOT) if (base / path).exists()), None)
        assert place is not None, path
        for part in name.split(".") if name else ():
            assert re.search(rf"^ *(def|class) {part}\b", place.read_text(), re.M), f"{path} has no {part}"


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"^(make .*\S) *# tests$", (ROOT / "README.md").read_text(), re.M)
    assert len(commands) == 1
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
    assert set(shlex.split(commands[0])[1:]) <= targets


def test_the_annotated_tree_of_contributing_is_the_package():
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("src/neoclassic/\n")[2].partition("```")[0]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("    ") and line.strip()}
    there = {p.name for p in SOURCE.iterdir() if not p.name.startswith("__") and p.name != "py.typed"}
    assert named == there


def test_the_example_of_the_readme_prints_what_it_says():
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert (failed, tried > 5) == (0, True)
