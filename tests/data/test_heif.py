"""HEIC wherever pillow-heif can be imported, and told where it cannot. A toy stands for pillow-heif here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import needs
from PIL import Image

from neoclassic.base.errors import NeoclassicError, install
from neoclassic.data import open_image
from neoclassic.model.artefact import Model
from neoclassic.model.export import export

TOY = '''
"""Reads files of HEIF's first bytes, followed by a PNG."""
import io

from PIL import Image, ImageFile

__version__ = "{version}"


class Toy(ImageFile.ImageFile):
    format = "HEIF"

    def _open(self):
        content = self.fp.read()[24:]
        if not content:
            raise SyntaxError("no picture")
        self._whole = Image.open(io.BytesIO(content)).convert("RGB")
        self._size, self._mode = self._whole.size, "RGB"

    def load(self):
        self._whole.load()
        self._im = self._whole.im
        return Image.Image.load(self)


def register_heif_opener():
    Image.register_open("HEIF", Toy, lambda start: start[4:8] == b"ftyp")
'''
BRANDS = (b"heic", b"heix", b"mif1", b"msf1")


def heic(path, seed=0, hue=0, brand=b"heic"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 120, (24, 24, 3), np.uint8)
    pixels[..., hue] += 120
    Image.fromarray(pixels).save(path, "PNG")
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + path.read_bytes())
    return path


@pytest.fixture
def plugin(tmp_path):
    """Install the toy, or another version of it, for processes that are started from now on; give back its folder."""

    def install(version="1.0"):
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / "pillow_heif.py").write_text(TOY.replace("{version}", version))
        return tmp_path / "site"

    return install


@pytest.fixture
def command(tmp_path):
    """Run Python in a process of its own; give back what it did."""

    def call(*words, site=None):
        source = Path(__file__).parents[2] / "src"
        blocked = tmp_path / "blocked"  # this machine may have pillow-heif
        blocked.mkdir(exist_ok=True)
        (blocked / "pillow_heif.py").write_text("raise ImportError('not installed')\n")
        path = os.pathsep.join([str(site or blocked), str(source)])
        env = {**os.environ, "PYTHONPATH": path, "NEOCLASSIC_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, *map(str, words)]
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    return call


def garden(root, n=12, kinds=("heic",)):
    for k, name in enumerate(("ants", "bees")):
        for i in range(n):
            for kind in kinds:
                path = heic(root / name / f"{i:03}.{kind}", 1000 * k + i, k)
                if kind != "heic":
                    path.write_bytes(path.read_bytes()[24:])
    return root


def train(command, root, out, site=None):
    words = ("--engine", "numpy", "--image-size", 28, "--max-steps", 1, "--out", out, "--json")
    done = command("-m", "neoclassic", "train", "lenet", "--data", root, *words, site=site)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def skipped(command, root, site=None):
    """How many photos a folder leaves out."""
    code = "import sys; from neoclassic.data import *; p = Preprocessing((28, 28), 3); "
    done = command("-c", code + "print(len(scan(sys.argv[1]).split('all', p).skipped))", root, site=site)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("n", [12, 100])  # few are decoded in the process itself, many by several others
def test_heic_is_trained_on_from_the_command_line(n, command, plugin, tmp_path):
    result = train(command, garden(tmp_path / "garden", n), tmp_path / "run", plugin())
    assert result["skipped"] == 0


def test_heic_is_predicted_and_checked(command, plugin, tmp_path):
    root = garden(tmp_path / "garden")
    train(command, root, tmp_path / "run", plugin())
    photo = heic(tmp_path / "new.jpg", brand=b"mif1")
    done = command("-m", "neoclassic", "predict", tmp_path / "run", photo, "--engine", "numpy", site=plugin())
    assert (done.returncode, done.stderr) == (0, "")
    done = command("-m", "neoclassic", "check", root, "--json", "--image-size", 28, site=plugin())
    assert "unreadable" not in {finding["kind"] for finding in json.loads(done.stdout)["findings"]}


def test_every_verb_that_reads_photos_reads_heic_or_names_the_package(command, plugin, tmp_path):
    root, run = garden(tmp_path / "garden"), tmp_path / "run"
    train(command, root, run, plugin())
    photo = root / "ants" / "000.heic"
    numpy = ("--engine", "numpy")
    for words in (
        ("evaluate", run, "--data", root, *numpy),
        ("embed", run, root, "--out", tmp_path / "features.npz", *numpy),
        ("similar", run, photo, root, *numpy),
        ("explain", run, photo, "--out", tmp_path / "explained", *numpy),
    ):
        done = command("-m", "neoclassic", *words, site=plugin())
        assert done.returncode == 0, done.stderr
    for words in (
        ("evaluate", run, "--data", root, *numpy),
        ("check", root),
        ("explain", run, photo, "--out", tmp_path / "e", *numpy),
    ):
        done = command("-m", "neoclassic", *words)
        assert done.returncode == 1
        assert "pip install pillow-heif" in done.stdout + done.stderr


def test_the_stand_alone_predictor_reads_heic_or_names_the_package(command, plugin, tmp_path):
    needs("onnxruntime")
    train(command, garden(tmp_path / "garden"), tmp_path / "run", plugin())
    export(Model.load(tmp_path / "run"), tmp_path / "model.onnx")
    photo = heic(tmp_path / "a.heic")
    script = Path(__file__).parents[2] / "docs" / "standalone_predict.py"
    said = [command(script, tmp_path / "model.onnx", photo, site=site) for site in (plugin(), None)]
    assert [done.returncode for done in said] == [0, 1]
    assert said[1].stderr == f"{photo}: HEIC images need pillow-heif: pip install pillow-heif\n"


@pytest.mark.parametrize("brand", BRANDS)
def test_without_the_plugin_one_line_names_it(brand, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    path = heic(tmp_path / "a.jpg", brand=brand)
    with pytest.raises(NeoclassicError) as told:
        open_image(path)
    assert str(told.value) == f"{path}: is a HEIC image: run '{install('pillow-heif')}' to read it"


def test_a_plugin_that_does_not_load_is_as_none(tmp_path, monkeypatch):
    (tmp_path / "pillow_heif.py").write_text("raise OSError('libheif.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(NeoclassicError, match=r"is a HEIC image: run '.*pip install pillow-heif' to read it"):
        open_image(heic(tmp_path / "a.heic"))


def test_a_damaged_heic_is_not_blamed_on_a_plugin_that_is_missing(tmp_path, plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin())
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    path = heic(tmp_path / "a.heic")
    assert open_image(path).size == (24, 24)
    path.write_bytes(path.read_bytes()[:24])
    with pytest.raises(NeoclassicError, match=r"a\.heic: is a HEIC image that is damaged"):
        open_image(path)
    monkeypatch.delitem(sys.modules, "pillow_heif")


def test_what_was_skipped_is_read_once_the_plugin_is_there(command, plugin, tmp_path):
    root = garden(tmp_path / "garden", kinds=("jpg", "heic"))
    assert skipped(command, root) == 24
    assert skipped(command, root, plugin()) == 0
    assert skipped(command, root) == 24


def test_what_another_version_decoded_is_decoded_anew(command, plugin, tmp_path):
    root, cache = garden(tmp_path / "garden"), tmp_path / "cache" / "decoded"
    for version, new in (("1.0", True), ("1.0", False), ("2.0", True)):
        before = {path: path.stat().st_mtime_ns for path in cache.glob("*/images.npy")}
        assert skipped(command, root, plugin(version)) == 0
        after = {path: path.stat().st_mtime_ns for path in cache.glob("*/images.npy")}
        assert (before != after) == new


def test_a_jpeg_never_loads_the_plugin(tmp_path, plugin):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    code = (
        "import sys, neoclassic; from neoclassic.data.preprocessing import *; "
        f"read_pixels({str(tmp_path / 'a.jpg')!r}, Preprocessing((8, 8), 3)); print('pillow_heif' in sys.modules)"
    )
    path = os.pathsep.join([str(plugin()), str(Path(__file__).parents[2] / "src")])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert done.stdout == b"False\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "is a Git LFS pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is an HTML page"),
        (b"\xef\xbb\xbf<html lang='en'>", "is an HTML page"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "is an AVIF image"),
    ],
)
def test_what_is_no_image_is_named(content, what, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(NeoclassicError, match=rf"a\.jpg: {what}"):
        open_image(tmp_path / "a.jpg")
