"""The campaign of disks finds the faults that are planted in the library, and none without them."""

import re
import sys
import time

import numpy as np
import pytest
from planted import IN_PLACE, Short, failed

from campaigns import disks
from campaigns.forks import Parent
from campaigns.forks.runs import make_data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PLANTS = {  # Python source, and what is said of it
    "files are written in place": (
        IN_PLACE,
        "was lost|truncated|damaged|not a neoclassic",
    ),
    "temporary files are left": (
        """
import os
from neoclassic.base import files
def replace(target, data):
    handle, temporary = files._temporary(target)
    with os.fdopen(handle, "wb") as file:
        file.writelines(data)
        os.fsync(file.fileno())
    temporary.replace(target)
files._replace = replace
""",
        "is left",
    ),
    "an error is raised as it comes": (
        "from neoclassic.base import files; files._cannot_write = lambda path, error: RuntimeError(error)",
        "1 lines",
    ),
    "an error is passed over": (
        """
from contextlib import suppress
from neoclassic.base import files
write = files.write
def quiet(path, content):
    with suppress(files.NeoclassicError):
        write(path, content)
files.write = quiet
""",
        "exit code 0, but ",
    ),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    work = tmp_path_factory.mktemp("disks")
    with Parent(work, 0) as parent:
        make_data(work, np.random.default_rng(0))
        yield parent, disks.make_runs(parent)


class Patient(Short):
    """A session that takes longer on a slow machine: until four trials were refused."""

    def goes_on(self):
        enough = time.monotonic() - self.started >= 4 and refused(self) > 3
        return super().goes_on() and not enough


def refused(session):
    return sum(counts.refused for counts in session.counts.values())


def attempt(prepared, plant, tmp_path, kind=Short):
    parent, known = prepared
    parent.plant = plant
    session = kind("disks", 20, 5, parent.work, tmp_path / "kept")
    disks.disturb(session, parent, known)
    return session


def test_no_fault_no_failure(prepared, tmp_path):
    session = attempt(prepared, "", tmp_path, Patient)
    assert refused(session) > 3
    assert not failed(session)


@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_found(fault, prepared, tmp_path):
    source, said = PLANTS[fault]
    assert failed(attempt(prepared, source, tmp_path)) == 1
    (what,) = (tmp_path / "kept").rglob("what.txt")
    assert re.search(said, what.read_text("utf-8"))
