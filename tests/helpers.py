"""Functions that several tests share."""

import gzip
import importlib.util
import os
import re
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def write_data_set(folder: Path, given: Any, train: int, test: int) -> Path:
    """Make a folder with the first training and test images of a data set of grey images, as IDX files."""
    folder.mkdir()
    for role, part, n in (("train", given.train, train), ("t10k", given.test, test)):
        write_idx(folder / f"{role}-images-idx3-ubyte.gz", part.images[:n, :, :, 0])
        write_idx(folder / f"{role}-labels-idx1-ubyte.gz", part.labels[:n])
    return folder


def model_bytes(run: Path) -> bytes:
    """The model of a run folder, byte by byte."""
    return (run / "model.safetensors").read_bytes()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of bytes as a compressed IDX file."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def save(path: Path, image: Image.Image, **options) -> Path:
    """Write an image file, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **{"quality": 90, **options})
    return path


def fill_photos(root: Path, names, n: int = 14, first: int = 0, ending: str = "jpg") -> Path:
    """Write n small photos per class: each class has its own colour, and no two photos are equal."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(n):
            rng = np.random.default_rng([first, k, i])
            pixels = np.full((36, 48, 3), 40, np.int64)
            pixels[..., k % 3] = 200
            pixels += rng.integers(-30, 30, pixels.shape)
            top, left = rng.integers(0, 24, 2)
            pixels[top : top + 12, left : left + 12] = rng.integers(0, 255, 3)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{i}.{ending}")
    return root


TRAIN = ("train", "lenet", "--engine", "numpy", "--image-size", "28", "--epochs", "1")  # on photos, takes a second


def neoclassic(*arguments, env=None, **how) -> subprocess.CompletedProcess:
    """Run a command line in a new process. `env` changes environment variables; None removes one."""
    variables = {k: v for k, v in (os.environ | (env or {})).items() if v is not None}
    command = [sys.executable, "-m", "neoclassic", *map(str, arguments)]
    return subprocess.run(command, env=variables, **{"capture_output": True, "text": True, "timeout": 120, **how})


def in_terminal(width: int, *arguments, env=None) -> str:
    """What a command line shows in a terminal of this width: standard output and standard error, as they come."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = {"TERM": "xterm", "COLUMNS": None, "NO_COLOR": None, **(env or {})}
    variables = {k: v for k, v in (os.environ | variables).items() if v is not None}
    command = [sys.executable, "-m", "neoclassic", *map(str, arguments)]
    running = subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
        code = running.wait(60)
    text = shown.decode("utf-8", "replace").replace("\r\n", "\n")
    assert code == 0, text
    return text


def columns(line: str) -> int:
    """The columns that a line takes in a terminal: 2 for each wide character, 0 for each that combines."""
    line = re.sub(r"\x1b\[[\d;]*m", "", line)
    marks = [unicodedata.category(c) in ("Mn", "Me", "Cf") for c in line]
    wide = [unicodedata.east_asian_width(c) in "WF" for c in line]
    return sum(0 if mark else 2 if double else 1 for mark, double in zip(marks, wide, strict=True))


def golden(name: str, text: str) -> None:
    """Compare a text with the golden file; NEOCLASSIC_ACCEPT=1 writes it instead."""
    path = Path(__file__).parent / "golden" / f"{name}.txt"
    if os.environ.get("NEOCLASSIC_ACCEPT"):
        path.write_text(text, "utf-8", newline="\n")
    assert text == path.read_text("utf-8")


def needs(module: str) -> None:
    """Skip the test if a package of the test extra is not installed; with CI=true, fail."""
    if importlib.util.find_spec(module) is None:
        missing(f"needs {module}: pip install '.[test]'")


def missing(what: str) -> None:
    """Skip the test because something is missing; with CI=true, where nothing may be missing, fail."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def torchvision_module(name: str, **options):
    """torchvision's network of one of our names, on the meta device: without weights, which the caller fills in."""
    import torch
    from torchvision import models

    if name.startswith("googlenet"):
        options |= {"init_weights": False, "aux_logits": True}
    constructor = getattr(models, name.removesuffix(":torchvision").replace(":", "_").replace("-", "_"))
    with torch.device("meta"):
        return constructor(**options)


def cut_after(step: int, monkeypatch) -> list[int]:
    """Stop a training once, after the checkpoint of this step. Returns a list that then holds the step."""
    from neoclassic.train.loop import Training

    save, cut = Training.save, []

    def save_and_die(training):
        save(training)
        if training.state.step == step and not cut:
            cut.append(step)
            raise KeyboardInterrupt

    monkeypatch.setattr("neoclassic.train.loop.CHECKPOINT_SECONDS", 0.0)  # a checkpoint after every step
    monkeypatch.setattr(Training, "save", save_and_die)
    return cut
