"""The campaign of kills finds the faults that are planted in the library, and none without them."""

import re
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from planted import IN_PLACE, Short, failed

from campaigns import kills
from campaigns.forks import Parent, leg
from campaigns.forks.runs import make_data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PLANTS = {  # Python source, and what is said of it
    "files are written in place": (
        IN_PLACE,
        "truncated|damaged|not a neoclassic",
    ),
    "files replace others before they are on the disk": (
        """
import os
from neoclassic.base import files
def replace(target, data):
    handle, temporary = files._temporary(target)
    with os.fdopen(handle, "wb") as file:
        file.writelines(data)
    temporary.replace(target)
files._replace = replace
""",
        "before its contents were on the disk",
    ),
    "temporary files are not swept": (
        "from neoclassic.base import files; files.sweep = lambda folder, age=0: None",
        "neoclassic-.* is left",
    ),
    "there is no lock": (
        """
from contextlib import nullcontext
from neoclassic.train import run
run.locked = lambda folder, what: nullcontext()
""",
        "both wrote the run",
    ),
    "the checkpoint comes before the model that it refers to": (
        """
from neoclassic.train.loop import Training
save, save_best = Training.save, Training.save_best
def late(self):
    Training.save_best = lambda self: None
    save(self)
    Training.save_best = save_best
    save_best(self)
Training.save = late
""",
        "start a new run|differs|no model",
    ),
    "random numbers follow the hash seed": (
        "from neoclassic.train import loop; loop.AUGMENTATION = hash('augmentation') & 0xFFFF",
        "differs",
    ),
    "a resumed run forgets its optimizer": (
        """
from neoclassic.engines.numpy import NumpyEngine
NumpyEngine.load_optimizer_state = lambda self, state: None
""",
        "differs",
    ),
}


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    work = tmp_path_factory.mktemp("kills")
    with ExitStack() as stack:
        parents = [stack.enter_context(Parent(work, seed)) for seed in kills.HASH_SEEDS]
        make_data(work, np.random.default_rng(0))
        for parent in parents:
            parent.run(leg(["--help"]))
        yield parents


@pytest.fixture(scope="module")
def references():
    return {}


def attempt(parents, references, plant, seed, seconds, tmp_path):
    for parent in parents:
        parent.plant = plant
    session = Short("kills", seconds, seed, parents[0].work, tmp_path / "kept")
    kills.kill(session, parents, references)
    return session


def test_no_fault_no_failure(parents, references, tmp_path):
    session = attempt(parents, references, "", 5, 4, tmp_path)
    assert sum(counts.answered for counts in session.counts.values()) > 3
    assert not failed(session)


@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_found(fault, parents, references, tmp_path):
    source, said = PLANTS[fault]
    assert failed(attempt(parents, references, source, 6, 90, tmp_path))
    told = [what.read_text("utf-8") for what in (tmp_path / "kept").rglob("what.txt")]
    assert any(re.search(said, what) for what in told), told
