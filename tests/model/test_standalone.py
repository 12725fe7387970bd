"""What docs/standalone_predict.py opens is what predict opens, and no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from neoclassic import networks
from neoclassic.data import Preprocessing
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.export import export

SCRIPT = Path(__file__).parents[2] / "docs" / "standalone_predict.py"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tree, path = networks.network("lenet", 2), tmp_path_factory.mktemp("model") / "model.onnx"
    p = Preprocessing((28, 28), 1)
    export(Model("lenet", tree, (1, 28, 28), ("a", "b"), p, initial(tree, (1, 28, 28))), path)
    return path


def predict(model, photo, path=()):
    env = {**os.environ, "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]])}
    return subprocess.run([sys.executable, SCRIPT, model, photo], env=env, capture_output=True, text=True, check=False)


def ghostscript(folder):
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\necho ran > {folder}/ran\nexit 1\n")
    (folder / "gs").chmod(0o755)
    return folder


def test_no_foreign_program_is_started(model, tmp_path, run):
    (tmp_path / "photo.jpg").write_bytes(EPS)
    programs = ghostscript(tmp_path / "bin")
    done = predict(model, tmp_path / "photo.jpg", [programs])
    assert done.returncode != 0
    assert "cannot identify image file" in done.stderr
    assert not (programs / "ran").exists()
    code, _, err = run("predict", model, tmp_path / "photo.jpg")
    assert code == 1
    assert "is not an image" in err


@pytest.mark.parametrize("kind", ["TGA", "PCX", "SGI", "ICO", "JPEG2000"])
def test_what_predict_does_not_open_it_does_not_open(kind, model, tmp_path, run):
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png", kind)
    assert predict(model, tmp_path / "photo.png").returncode != 0
    assert run("predict", model, tmp_path / "photo.png")[0] == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_what_predict_opens_it_opens(kind, model, tmp_path, run):
    Image.new("RGB", (32, 32)).save(tmp_path / "photo", kind)
    done = predict(model, tmp_path / "photo")
    assert (done.returncode, done.stderr) == (0, "")
    assert run("predict", model, tmp_path / "photo")[0] == 0


def test_every_failure_is_one_line(model, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    for given in [(model, "missing.png"), (model, tmp_path / "cut.png"), (tmp_path / "no.onnx", "a.png"), ("no", "a")]:
        done = predict(*given)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "model.onnx photo.jpg" in done.stderr
    assert "Traceback" not in done.stderr
