"""The campaign of kills finds the faults that are planted in the library, and none without them."""

import sys
from contextlib import ExitStack

import numpy as np
import pytest

from campaigns import kills
from campaigns.common import Session
from campaigns.forks import Parent
from campaigns.forks.runs import make_data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PLANTS = {
    "files are written in place": """
from neoclassic.base import files
def replace(target, data):
    with target.open("wb") as file:
        file.write(data)
files._replace = replace
""",
    "files are not on the disk before they replace others": """
import os
os.fsync = lambda file: None
from campaigns.forks import calls
calls.os = type("os", (), {**vars(os), "fsync": os.fsync})
""",
    "temporary files are not swept": """
from neoclassic.base import files
files.sweep = lambda folder: None
""",
    "there is no lock": """
from contextlib import nullcontext
from neoclassic.train import run
run.locked = lambda folder, what: nullcontext()
""",
    "the checkpoint comes before the model that it refers to": """
from neoclassic.train.loop import Training
class Late(Training):
    def save(self):
        best, self.best = self.best, None
        Training.__mro__[0]._save(self)
        self.best = best
        self.save_best()
Training._save = Training.save
Training.save = Late.save
""",
    "random numbers follow the hash seed": """
from neoclassic.train import feed, loop
loop.AUGMENTATION = hash("augmentation") & 0xFFFF
""",
    "a resumed run forgets its optimizer": """
from neoclassic.engines.numpy import NumpyEngine
NumpyEngine.load_optimizer_state = lambda self, state: None
""",
}


class Short(Session):
    """A session that ends with the first failure."""

    def goes_on(self):
        return super().goes_on() and not failed(self)


def failed(session):
    return sum(counts.failed for counts in session.counts.values())


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    work = tmp_path_factory.mktemp("kills")
    with ExitStack() as stack:
        parents = [stack.enter_context(Parent(work, seed)) for seed in kills.HASH_SEEDS]
        make_data(work, np.random.default_rng(0))
        yield parents


@pytest.fixture(scope="module")
def references():
    return {}


def attempt(parents, references, plant, seconds, tmp_path):
    for parent in parents:
        parent.plant = plant
    session = Short("kills", seconds, 4, parents[0].work, tmp_path / "kept")
    kills.kill(session, parents, references)
    return session


def test_no_fault_no_failure(parents, references, tmp_path):
    session = attempt(parents, references, "", 4, tmp_path)
    assert sum(counts.answered for counts in session.counts.values()) > 3
    assert not failed(session)


@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_found(fault, parents, references, tmp_path):
    assert failed(attempt(parents, references, PLANTS[fault], 20, tmp_path)) == 1
    assert list((tmp_path / "kept").rglob("what.txt"))
