"""Ctrl-C, SIGTERM and a closed terminal: training ends after the step, everything is saved, and what is said holds."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from helpers import TRAIN, fill_photos, neoclassic

from neoclassic.model.artefact import Model

STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def begin(idx_folder, out, *options, epochs=3000, before=""):
    """A training of one step an epoch, unless options say otherwise, that has logged its first epoch."""
    command = ["train", "lenet", "--data", idx_folder, "--engine", "numpy", "--epochs", epochs, "--batch-size", 1000]
    command = list(map(str, [*command, "--seed", 3, "--out", out, *options]))
    program = f"import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); {before}\n"
    program += "from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", program, *command], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (out / "log.csv").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_a_run_of_one_step_an_epoch_ends_after_the_step(how, idx_folder, tmp_path):
    process = begin(idx_folder, tmp_path / "run", epochs=400)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    line = err.splitlines()[-1]
    assert line.startswith("neoclassic: stopped in epoch ")
    assert line.endswith(f"resume with: neoclassic train --resume {tmp_path / 'run'}")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "run" / "result.json").exists()


def test_what_it_says_can_be_typed_and_ends_with_the_bytes_of_a_run_never_stopped(idx_folder, tmp_path):
    out = tmp_path / "a run's folder"
    process = begin(idx_folder, out, epochs=25)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, "it was faster than the signal"
    _, *arguments = shlex.split(err.splitlines()[-1].partition("resume with: ")[2])
    assert neoclassic(*arguments).returncode == 0
    whole = begin(idx_folder, tmp_path / "whole", epochs=25)
    whole.communicate(timeout=100)
    assert Model.load(out).checksum == Model.load(tmp_path / "whole").checksum


def test_a_run_under_nohup_ignores_a_closed_terminal(idx_folder, tmp_path):
    process = begin(idx_folder, tmp_path / "run", epochs=5, before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=100)
    assert process.returncode == 0
    assert (tmp_path / "run" / "result.json").exists()


def test_a_signal_after_the_last_step_loses_nothing(idx_folder, tmp_path):
    process = begin(idx_folder, tmp_path / "run", epochs=1)
    process.send_signal(signal.SIGTERM)  # before, between or after the evaluation, the result and the pictures
    process.communicate(timeout=60)
    assert neoclassic("train", "--resume", tmp_path / "run").returncode == 0
    for name in ("result.json", "model.safetensors", "curves.png", "confusion.png"):
        assert (tmp_path / "run" / name).exists()


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_between_the_steps_of_a_long_epoch_it_is_answered_too(how, idx_folder, tmp_path):
    process = begin(idx_folder, tmp_path / "run", "--batch-size", 8)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "resume with: neoclassic train --resume" in err.splitlines()[-1]


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_stopping_while_photos_are_decoded_removes_what_was_half_made(how, tmp_path):
    photos = fill_photos(tmp_path / "photos", ("cat", "dog"), n=300)
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [*TRAIN, "--image-size", "224", "--data", photos, "--out", tmp_path / "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, command)],
        env=os.environ | {"NEOCLASSIC_CACHE": str(tmp_path / "cache")},
        stderr=subprocess.PIPE,
        text=True,
    )
    decoded = tmp_path / "cache" / "decoded"
    until = time.monotonic() + 60
    while not list(decoded.glob(".making-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (1, "neoclassic: stopped")
    assert not list(decoded.iterdir())
    assert not (tmp_path / "run").exists()
