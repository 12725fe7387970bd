"""Command lines of neoclassic in forked processes, which start in milliseconds, and what became of them.

A `Parent` is a process that has imported everything and serves one command line after the other: it forks, and the
child runs. Hash seeds are of whole interpreters, so there is one parent for each. The child can be killed or disturbed
at one `Point`: its n-th call of a kind that changes a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

HANGS = 60.0  # seconds after which a child counts as hung
NOTES = ("lenet on ", "epoch ", "cannot use the cache at ")  # how lines begin that say how a training goes


@dataclass(frozen=True)
class Point:
    """The n-th call of a kind, from 1.

    kind     "open" (for writing), "write", "fsync", "rename", "unlink", "mkdir" …
    error    a name in `errno`, such as "ENOSPC", with which the call fails; without one, the process is killed there
    lasting  whether all later calls of every kind but "unlink" fail too, as on a disk that stays full
    """

    kind: str
    n: int
    error: str = ""
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.error or 'killed'} at {self.kind} {self.n}{' and all later ones' if self.lasting else ''}"


@dataclass(frozen=True)
class Leg:
    """One command line and what is done to it.

    seconds    after which it is killed
    clock      seconds by which the clock is wrong
    pictures   whether a training also draws its curves, which takes longer than a small training
    all_cores  whether it may use all cores, on which a small training is slower
    stdout     the file that its standard output goes to
    """

    arguments: tuple[str, ...]
    point: Point | None = None
    seconds: float | None = None
    clock: float = 0.0
    pictures: bool = False
    all_cores: bool = False
    stdout: str = "stdout"


@dataclass(frozen=True)
class Outcome:
    """What became of a command line.

    code    the exit code; None for one that was killed, as was asked
    hung    whether it was killed because it did not end
    counts  of its calls, by kind, and of renames of files that were not on the disk yet; empty for one that was killed
    """

    code: int | None
    hung: bool
    out: str = field(repr=False)
    err: str
    counts: dict[str, int]

    @property
    def lines(self) -> list[str]:
        """The lines of its standard error that say why it failed, and any others that are no notes or warnings."""
        lines = (line for line in self.err.splitlines() if not line.startswith(NOTES))
        return [line for line in lines if " could not be made (" not in line]

    def one_line(self, *codes: int) -> bool:
        """Whether it ended with one of these exit codes and told why in one line that is no bug report."""
        lines = self.lines
        said = len(lines) == 1 and lines[0].startswith("neoclassic: ") and "unexpected" not in lines[0]
        return self.code in codes and said and not self.hung


class Parent:
    """A process that forks a child for each command line.

    work       the current folder of the children; only calls that change files in it are counted
    hash_seed  PYTHONHASHSEED
    imports    modules that it imports in addition to what a training on the NumPy engine needs
    plant      Python source that every child executes first: the fault that a test plants in the library
    """

    def __init__(self, work: Path, hash_seed: int, imports: Sequence[str] = ()) -> None:
        self.work, self.plant, self._ready = work, "", False
        own = {"PYTHONHASHSEED": str(hash_seed), "NEOCLASSIC_CACHE": str(work / "cache"), "TMPDIR": str(work / "tmp")}
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # a parent of one thread can be forked
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MPLBACKEND": "agg"}
        (work / "tmp").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(work), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | own | one | path,
            text=True,
        )

    def start(self, leg: Leg) -> None:
        """Start a command line; `outcome` must be called before the next one."""
        assert self.process.stdin
        if not self._ready:
            self._said()
            self._ready = True
        print(json.dumps([asdict(leg), self.plant]), file=self.process.stdin, flush=True)

    def outcome(self) -> Outcome:
        """Wait for the command line that was started."""
        return Outcome(**self._said())

    def run(self, leg: Leg) -> Outcome:
        """Start a command line and wait for it."""
        self.start(leg)
        return self.outcome()

    def _said(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the parent of the trials has ended ({self.process.wait(5)})")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def leg(arguments: Sequence[object], **how: Any) -> Leg:
    """A leg, with arguments of any type."""
    return replace(Leg(tuple(map(str, arguments))), **how)
