"""The progress of a training: one line, which fits the terminal, and a line for each epoch that fits too."""

import re

import pytest
from helpers import columns, in_terminal, neoclassic

from neoclassic.base.progress import FittingBar
from neoclassic.insight.watching import _line
from neoclassic.train.run import Epoch

STATE = {"elapsed": 10.0, "prefix": "epoch 9/10: ", "unit": " images", "unit_scale": True, "rate": 741.2}


def row(epoch, validation=True):
    measured = (0.5123, 0.8512)
    parts = (*measured, None, None) if validation else (None, None, *measured)
    return Epoch(epoch, 0.1, 0.4567, 0.9012, *parts, 12.34, 4_863.2)


def bar(width, total=600_000):
    """The progress bar as it is drawn in a window of this width."""
    shown = {"postfix": "loss=0.512, accuracy=0.812", "ascii": False, **STATE}
    return FittingBar.format_meter(n=7_170, total=total, ncols=width, **shown)


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40, 24])
def test_the_bar_is_one_line_of_the_width_of_the_window(width):
    assert columns(bar(width)) == width
    assert bar(width).startswith("epoch 9/10:   1%|")
    assert ("accuracy=0.812" in bar(width)) == (width >= 80)
    assert ("left" in bar(width) or "<" in bar(width)) == (width >= 40)


def test_a_bar_without_a_known_end_fits_too():
    assert all(columns(bar(width, total=None)) <= width for width in (24, 40, 80))


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("epochs", [3, 10, 120])
@pytest.mark.parametrize("width", [200, 130, 100, 80, 60, 40, 20, 12])
def test_the_line_of_an_epoch_fits_the_window(validation, epochs, width):
    log = [row(epoch, validation) for epoch in range(1, epochs + 1)]
    line = _line(log, epochs, True, width)
    assert columns(line) <= width
    assert line.strip().startswith("epoch")
    if width >= 80:
        assert {"0.4567", "0.9012", "0.5123", "0.8512"} <= set(line.split())
        assert "best" in line or not validation
    if width >= 40:
        assert "0.85" in line


def test_a_file_gets_the_whole_line_and_all_epochs_of_it():
    line = _line([row(epoch) for epoch in range(1, 201)], 200, False, None)
    assert line.startswith("epoch 200/200  train loss 0.4567 accuracy 0.9012  validation loss 0.5123 accuracy 0.8512  ")
    assert len(line.split()[-1]) == 200


@pytest.mark.parametrize("width", [80, 50])
def test_training_in_a_terminal_never_wraps_its_progress(width, idx_folder, tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if width == 50 else {}
    line = ("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--epochs", 2, "--batch-size", 100)
    shown = in_terminal(width, *line, "--out", tmp_path / "run", env=ascii_only)
    progress = [part for part in re.split("[\r\n]", shown) if part.startswith("epoch")]
    assert any("100%|" in part for part in progress)
    assert sum("%|" not in part for part in progress) == 2
    assert max(map(columns, progress)) <= width
    assert "".join(progress).isascii() == bool(ascii_only)


def test_progress_into_a_file_has_no_bar(idx_folder, tmp_path):
    line = ("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--max-steps", 2, "--out", tmp_path / "run")
    done = neoclassic(*line)
    assert done.returncode == 0
    assert "%|" not in done.stderr
    assert "train loss" in done.stderr
