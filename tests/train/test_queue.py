"""The queue of trainings whose results are committed: what was killed goes on, what is done is left alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import write_data_set

from benchmarks.trainings import QUEUE, Training, main
from neoclassic import data
from neoclassic.recipes import recipe
from neoclassic.train.run import Run, Settings

ROOT = Path(__file__).parents[2]
TINY = {"epochs": 3, "warmup_epochs": 0.0, "batch_size": 20}
QUEUED = (Training("neoclassic:lenet", 2, "numpy", "tiny", TINY), Training("dlfs:deepconvnet", 1, "numpy"))
SCRIPT = """
import os, signal, sys
from benchmarks import trainings
from test_queue import QUEUED

class Killed(trainings.Load):
    def epoch_ended(self, log, best, last):
        super().epoch_ended(log, best, last)
        if self.file.parent.name.endswith("-1") and len(log) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

if sys.argv.pop(1) == "kill":
    trainings.Load = Killed
trainings.main(None, QUEUED)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("queue")
    write_data_set(made / "data", data.load("fashion-mnist"), 400, 100)
    return made


def options(folder, *others):
    named = ("runs", "results", "data")
    return [f"--{name}{'-dir' * (name == 'data')}={folder / name}" for name in named] + list(others)


def started(folder, fate):
    command = [sys.executable, "-c", SCRIPT, fate, *options(folder, "--only", "*lenet*")]
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'train'}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=paths, capture_output=True, text=True, timeout=600)


@pytest.fixture
def states(folder, capsys):
    """What --list says of each run."""

    def now():
        main(options(folder, "--list"), QUEUED)
        return [line.split("  ")[-1].strip() for line in capsys.readouterr().out.splitlines()[1:]]

    return now


def test_a_queue_that_was_killed_goes_on_and_leaves_alone_what_is_done(folder, states):
    assert states() == ["waits", "waits", "waits"]
    assert started(folder, "kill").returncode == -9
    first, second = (folder / f"runs/neoclassic-lenet+tiny-numpy-{seed}" for seed in (0, 1))
    made = (first / "result.json").stat().st_mtime_ns
    assert [states()[0][:16], *states()[1:]] == ["test accuracy 0.", "stopped after 2 epochs", "waits"]

    done = started(folder, "live")
    assert done.returncode == 0, done.stderr
    assert (first / "result.json").stat().st_mtime_ns == made
    assert [state[:16] for state in states()] == ["test accuracy 0.", "test accuracy 0.", "waits"]
    written = json.loads((folder / "results/neoclassic-lenet+tiny-numpy.json").read_text())
    runs = [Run(each).result() for each in (first, second)]
    assert (written["recipe"]["name"], written["seeds"]) == ("neoclassic:lenet+tiny", [0, 1])
    assert written["test_accuracy"]["runs"] == [run.test_accuracy for run in runs]
    assert written["seconds"]["runs"] == [run.seconds for run in runs]
    assert all(load >= 0 for load in written["load"]["runs"])
    assert {"versions", "machine", "finished", "published"} <= set(written)


def test_a_run_of_other_settings_is_not_taken_for_one_of_the_recipe(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    run = Run(tmp_path / "runs/dlfs-deepconvnet-numpy-0")
    run.folder.mkdir()
    run.save_recipe(recipe("dlfs:deepconvnet").but(learning_rate=0.5), Settings("numpy"))
    main(options(tmp_path, "--list", "--only", "dlfs:*"), QUEUED)
    assert capsys.readouterr().out.splitlines()[1].endswith("is a run of other settings")


def test_a_name_that_nothing_has_is_said(tmp_path):
    with pytest.raises(SystemExit, match="no recipe in the queue is called 'resnet': --list shows them"):
        main(options(tmp_path, "--only", "resnet"), QUEUED)


def test_the_queue_holds_recipes_that_can_be_run_and_results_with_names_of_their_own():
    assert all(each.chosen.checked() for each in QUEUE)
    assert len({(each.chosen.name, each.engine) for each in QUEUE}) == len(QUEUE)
    assert all(each.label for each in QUEUE if each.changes)
