"""What is missing is told in one line, with a command that works for the install at hand."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import neoclassic
from neoclassic.base.errors import install

REQUIRES = [
    *("numpy>=1", "torch>=2; extra == 'torch'", "onnx>=1; extra == 'onnx'", "onnxruntime; extra == 'onnx'"),
    *("torch>=2; extra == 'test'", "onnx; extra == 'test'", "pytest; extra == 'test'"),
    *("uvicorn; extra == 'serve'", "Python-Multipart[x]>=0.0.18; extra == 'serve'"),
]


@pytest.fixture
def here(monkeypatch):
    """Requirements of an installed neoclassic, beside whose Python there is a pip."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr("shutil.which", lambda name: str(Path(sys.executable).parent / name) if name == "pip" else None)
    return monkeypatch


@pytest.mark.parametrize(
    ("packages", "command"),
    [
        (("torch",), "pip install torch"),
        (("onnx",), "pip install onnx onnxruntime"),
        (("onnx", "onnxruntime"), "pip install onnx onnxruntime"),
        (("onnx", "torch"), "pip install torch onnx pytest"),
        (("python_multipart",), "pip install uvicorn python_multipart"),
        (("pillow-heif",), "pip install pillow-heif"),
    ],
)
def test_the_packages_are_those_of_the_smallest_extra(packages, command, here):
    assert install(*packages) == command


def test_a_tree_that_was_never_installed_names_the_packages_alone(here):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    here.setattr(importlib.metadata, "requires", missing)
    assert install("onnx", "onnxruntime") == "pip install onnx onnxruntime"


@pytest.mark.parametrize("pip", [None, "/usr/bin/pip"])
def test_another_pythons_pip_is_not_advised(pip, here):
    here.setattr("shutil.which", lambda name: pip if name == "pip" else None)
    here.setattr(sys, "executable", "/home/a b/.venv/bin/python3")
    assert install("torch") == "'/home/a b/.venv/bin/python3' -m pip install torch"


def test_uv_is_advised_where_it_made_the_environment(here):
    here.setattr("shutil.which", lambda name: "/usr/bin/uv" if name == "uv" else None)
    here.setattr("importlib.util.find_spec", lambda name: None)
    assert install("torch") == f"uv pip install --python {sys.executable} torch"


def test_no_message_advises_an_install_from_the_index():
    """Which works once neoclassic is published there, and then only."""
    for path in Path(neoclassic.__file__).parent.rglob("*.py"):
        assert not re.search(r"install [^\n]*neoclassic\[", path.read_text("utf-8")), path


# ── nc.torch ─────────────────────────────────────────────────────────────────────────────────────────


def without_torch(code):
    start = "import sys; sys.modules['torch'] = None\nimport neoclassic as nc\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("code", ["nc.torch", "nc.torch.create('resnet18', classes=10)", "nc.torch.build"])
def test_without_pytorch_its_engine_says_what_to_install(code):
    done = without_torch(code)
    *frames, last = done.stderr.splitlines()
    assert last.endswith(f"nc.torch needs PyTorch, which is not installed here: {install('torch')}")
    assert len([line for line in frames if line.startswith("  File")]) <= 2
    assert "During handling" not in done.stderr


def test_without_pytorch_it_is_an_attribute_that_is_not_there():
    done = without_torch(
        "print(hasattr(nc, 'torch'), getattr(nc, 'torch', None), hasattr(nc, 'Classifier'))\n"
        "try:\n    nc.torch\nexcept nc.UsageError as error:\n    print(type(error).__mro__[1].__name__)\n"
        "try:\n    from neoclassic import torch\nexcept ImportError as error:\n    print('ImportError')"
    )
    assert done.stdout.split() == ["False", "None", "True", "UsageError", "ImportError"], done.stderr
