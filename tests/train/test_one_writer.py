"""A run has one writer at a time, and a finished run's result and model belong together."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from helpers import TRAIN, fill_photos, neoclassic

from neoclassic.base import files, locks
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines import Optimizer, create
from neoclassic.model import artefact
from neoclassic.model.artefact import Model
from neoclassic.train.run import Epoch, Run
from neoclassic.tree import Flatten, Linear, Sequential

HOLD = "import sys, time; from pathlib import Path; from neoclassic.base.locks import locked\n"
HOLD += "with locked(Path(sys.argv[1]), 'it'): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_who_holds_the_lock(holder, tmp_path):
    with pytest.raises(UsageError, match=f"^it is in use by process {holder.pid}: wait"), locks.locked(tmp_path, "it"):
        pytest.fail("two hold it")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process(number, holder, tmp_path):
    holder.send_signal(number)
    holder.wait()
    assert (tmp_path / ".lock").exists()  # it had no chance to remove it
    with locks.locked(tmp_path, "it"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_stopped_process_still_holds_its_lock(holder, tmp_path):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(UsageError, match="in use"), locks.locked(tmp_path, "it"):
        pytest.fail("two hold it")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 3}', "\0" * 2000])
def test_whoever_holds_it_need_not_have_written_it_down(content, holder, tmp_path):
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(UsageError, match="in use by another process"), locks.locked(tmp_path, "it"):
        pytest.fail("two hold it")


def test_many_processes_take_turns(tmp_path):
    """Each counts one up, which loses counts if two are inside at once."""
    (tmp_path / "count").write_text("0")
    code = (
        "import sys, time; from pathlib import Path; from neoclassic.base.errors import UsageError\n"
        "from neoclassic.base.locks import locked\n"
        "folder = Path(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    while True:\n"
        "        try:\n"
        "            with locked(folder, 'it'):\n"
        "                n = int((folder / 'count').read_text()); time.sleep(0.001)\n"
        "                (folder / 'count').write_text(str(n + 1))\n"
        "            break\n"
        "        except UsageError: time.sleep(0.001)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "80"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    photos = fill_photos(tmp_path_factory.mktemp("writers") / "two", ("cat", "dog"))
    done = neoclassic(*TRAIN, "--data", photos, "--out", photos.parent / "run", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    return photos.parent / "run"


def test_a_run_that_is_being_written_is_not_resumed(trained):
    with Run(trained).held():
        done = neoclassic("train", "--resume", trained)
    assert done.returncode == 2
    assert done.stderr == (
        f"neoclassic: the run in {trained} is in use by process {os.getpid()}: wait until it ends, or stop it\n"
    )
    assert neoclassic("train", "--resume", trained).returncode == 0
    assert not (trained / ".lock").exists()


def test_a_model_of_another_epoch_is_no_finished_run(trained, run):
    before = (trained / "model.safetensors").read_bytes()
    model = Model.load(trained)
    try:
        other = {**model.metrics, "epoch": 3 - model.metrics["epoch"]}
        Model(**{**vars(model), "metrics": other}).save(trained / "model.safetensors")
        code, _, err = run("train", "--resume", trained)
        assert code == 1
        assert "result.json does not belong to model.safetensors; remove result.json" in err
    finally:
        (trained / "model.safetensors").write_bytes(before)
    (trained / "model.safetensors").write_bytes(before[:-7])
    with pytest.raises(NeoclassicError, match="truncated"):
        Run(trained).finished()
    (trained / "model.safetensors").write_bytes(before)
    assert Run(trained).finished().checksum == model.checksum


def test_results_of_before_have_no_checksum_and_are_believed_by_their_epoch(trained):
    file = trained / "result.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in before.items() if key != "checksum"}))
    assert Run(trained).finished().best_epoch == before["best_epoch"]
    file.write_text(json.dumps(before))


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = tmp_path / f".neoclassic-{os.getpid()}-abcd"
    dead = tmp_path / f".neoclassic-{gone.pid}-abcd"
    other = tmp_path / ".neoclassic-notes"
    for path in (mine, dead, other):
        path.write_text("")
    (tmp_path / f".neoclassic-{gone.pid}-folder").mkdir()
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [mine.name, other.name, f".neoclassic-{gone.pid}-folder"]
    )


def test_a_resumed_run_sweeps_its_folder(trained):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (trained / f".neoclassic-{gone.pid}-0").write_text("half")
    assert neoclassic("train", "--resume", trained).returncode == 0
    assert not list(trained.glob(".neoclassic-*"))


@pytest.mark.parametrize("state", [None, {}, {"log": 3}, {"log": [{"epoch": 1}]}, {"log": [], "step": "x"}])
def test_a_checkpoint_without_a_state_is_refused_in_one_line(tmp_path, state):
    run = Run(tmp_path)
    artefact.write(run.checkpoint, "checkpoint", {}, {"state": state, "data": ""})
    with pytest.raises(NeoclassicError, match=r"damaged .*; remove it, and train --resume"):
        run.load_checkpoint()


def test_a_log_with_an_infinite_epoch_is_refused_in_one_line(tmp_path):
    names = ",".join(field.name for field in fields(Epoch))
    (tmp_path / "log.csv").write_text(names + "\n" + "inf," + ",".join("1" * 9) + "\n")
    with pytest.raises(NeoclassicError, match="damaged"):
        Run(tmp_path).log()


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("key", "array"),
    [
        ("fc.weight.momentum_buffer", np.zeros(7)),
        ("nowhere.momentum_buffer", np.zeros(3)),
        ("fc.bias.step", np.array(np.inf)),
        ("step", np.array(1.0)),
    ],
)
def test_the_state_of_another_optimizer_is_refused_in_one_line(engine, key, array):
    running = create(engine, Sequential(Flatten(), Linear(3)), (1, 2, 2), WEIGHTS, "cpu")
    running.optimize(Optimizer(momentum=0.9))
    with pytest.raises(NeoclassicError, match=f"the state of the optimizer does not fit the network: {key}"):
        running.load_optimizer_state({key: array})


WEIGHTS = {"fc.weight": np.zeros((3, 4), np.float32), "fc.bias": np.zeros(3, np.float32)}


def test_a_lock_holds_on_a_full_disk_without_naming_its_holder(tmp_path, monkeypatch):
    def full(handle, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        lock = locks.locked(tmp_path, "it")
        lock.__enter__()
    with pytest.raises(UsageError, match="it is in use by another process"), locks.locked(tmp_path, "it"):
        pass
    lock.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
