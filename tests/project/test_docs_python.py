"""The pages about Python, run as a reader would: docs/own.md and docs/python.md."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import fill_photos, needs
from PIL import Image
from serving import Running

from neoclassic import verbs

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def here(tmp_path, monkeypatch, fashion):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    Image.fromarray(fashion.test.images[12, :, :, 0]).save("shoe.png")
    return tmp_path


def test_a_network_of_ones_own_is_trained_exported_and_served(here, run, idx_folder):
    page = (DOCS / "own.md").read_text("utf-8")
    files = {name: code for code, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", page, re.S)}
    assert files.keys() == {"my_networks.py", "residual.py"}
    for name, code in files.items():
        Path(name).write_text(code, "utf-8")
    commands = [line for line in re.search(r"```sh\n(.*?)```", page, re.S)[1].splitlines() if "serve" not in line]
    assert [line.split()[1] for line in commands] == ["show", "train", "predict", "export"]
    for line in commands:
        few = ["--data", idx_folder] if "train" in line else []  # instead of all of Fashion-MNIST
        code, _, err = run(*shlex.split(line)[1:], *few)
        assert code == 0, err
        if "train" in line:
            Path("my_networks.py").unlink()
    server = Running("../runs/tiny", here)
    try:
        assert server.predict(Path("shoe.png").read_bytes())[0] == 200
    finally:
        server.end()
    assert run("show", "residual.py:residual", "--classes", 3)[0] == 0


def test_trees_work_in_python_as_the_page_says(here, idx_folder):
    needs("torch")
    page = (DOCS / "own.md").read_text("utf-8")
    first, last = (
        re.search(rf"```python\n({start}.*?)```", page, re.S)[1] for start in ("# my_", "import neoclassic as nc\nfrom")
    )
    Path("my_networks.py").write_text(first, "utf-8")
    Path("script.py").write_text(last.replace('"fashion-mnist"', repr(str(idx_folder))), "utf-8")
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert Path("tiny.onnx").is_file()


@pytest.mark.filterwarnings("ignore::neoclassic.base.errors.NeoclassicWarning")
def test_the_examples_of_the_functions_print_what_they_say(here):
    needs("onnx")
    fill_photos(here / "photos", ["cat", "dog"], n=3)
    failed, tried = doctest.testfile(str(DOCS / "python.md"), module_relative=False)
    assert (failed, tried > 15) == (0, True)
    of_functions = doctest.DocTestFinder().find(verbs, globs={"nc": __import__("neoclassic")})
    runner = doctest.DocTestRunner()
    shown = {test.name.rpartition(".")[2] for test in of_functions if test.examples}
    assert shown >= set(verbs.__all__) - {"list_recipes", "recipe"}
    for test in of_functions:
        assert runner.run(test).failed == 0
