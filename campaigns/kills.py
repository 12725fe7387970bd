"""Trainings that are killed, resumed, and killed again: nothing half-written, nothing lost, the same bytes at the end.

A training of a second, on IDX files or photos, writes a checkpoint after every step. It is killed at its n-th opening,
writing (with half of the data in the file), fsync, rename, unlink or mkdir, or at a random moment; then it is resumed
in a process of another hash seed, sometimes with a clock that is wrong by up to a year, and perhaps killed again. Now
and then two processes resume it at once.

Failures: after a kill, a file of the run that is not whole, or a result that does not belong to the model; a resume
that does not end with exit code 0; at the end, a model of other bytes, another log or another result (times aside) than
of the training that was never killed, a temporary file or a lock that is left over; two writers at once.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from campaigns.common import Session
from campaigns.forks import Leg, Outcome, Parent, Point, leg
from campaigns.forks.calls import UNSYNCED
from campaigns.forks.runs import LONGER, NETWORKS, TRAINING, contents, difference, leftovers, make_data, unreadable

HASH_SEEDS = (0, 41)
KINDS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "chmod")
RESUMED = KINDS[:-2]  # what a resumed training always does
YEAR = 365 * 24 * 3600
PHOTOS_EVERY = 4  # trials
LONG = 600.0  # seconds from which a campaign also trains with PyTorch and on all cores, and draws pictures


@dataclass(frozen=True)
class Reference:
    """A training that was never killed.

    options    of its command line
    all_cores  whether it may use all cores, on which the bytes depend
    counts     of its calls that change files, by kind
    seconds    that it took
    contents   of its files
    """

    options: tuple[str, ...]
    all_cores: bool
    counts: dict[str, int]
    seconds: float
    contents: dict[str, Any]


def run(session: Session) -> None:
    """Kill trainings until the time is over."""
    with ExitStack() as stack:
        imports = ["torch"] if session.seconds >= LONG else []
        parents = [stack.enter_context(Parent(session.work, seed, imports)) for seed in HASH_SEEDS]
        make_data(session.work, session.rng)
        for parent in parents:  # they are ready after a first command line
            parent.run(leg(["--help"]))
        kill(session, parents, {})


def kill(session: Session, parents: list[Parent], references: dict[str, Reference]) -> None:
    """Kill trainings until the time is over. references: those of earlier sessions with the same data."""
    number, networks = 0, NETWORKS | (LONGER if session.seconds >= LONG else {})
    while session.goes_on():
        names = [name for name in networks if name.startswith("photos") == (number % PHOTOS_EVERY == 2)]
        name = str(session.rng.choice(names))
        if name not in references:
            references[name] = reference(session.work, parents[0], networks[name], name in LONGER)
        Trial(session, parents, references[name], session.work / f"run-{number}").run()
        number += 1


def reference(work: Path, parent: Parent, options: tuple[str, ...], all_cores: bool) -> Reference:
    """Train from start to end. RuntimeError if that fails, for then there is nothing to compare with."""
    shutil.rmtree(work / "cache", ignore_errors=True)
    folder = work / "reference"
    started = time.monotonic()
    done = parent.run(leg((*TRAINING, *options, "--out", folder), all_cores=all_cores))
    if done.code or leftovers(folder):
        raise RuntimeError(f"a training without a kill failed: {done.err} {leftovers(folder)}")
    seconds, found = time.monotonic() - started, contents(folder)
    shutil.rmtree(folder)
    return Reference(options, all_cores, done.counts, seconds, found)


@dataclass
class Trial:
    """One training with all its kills."""

    session: Session
    parents: list[Parent]
    reference: Reference
    folder: Path

    def run(self) -> None:
        """Kill it one to four times, then let it end, and compare."""
        shutil.rmtree(self.session.work / "cache", ignore_errors=True)  # so that decoding photos is killed too
        kills, result = range(int(self.session.rng.integers(1, 5))), self.folder / "result.json"
        story = ", ".join([self.kill() for _ in kills if not result.exists()])
        if (self.folder / "recipe.json").exists() and self.session.rng.random() < 0.2:
            self.two_at_once(story)
        else:
            self.end(story)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> str:
        """Kill it once, and look at its files. Returns how it was killed."""
        planned = self.disturbed()
        kind = f"killed at {planned.point.kind}" if planned.point else "killed at a random moment"
        done = self.parent().run(planned)
        how = str(planned.point or f"killed after {planned.seconds:.3f} s")
        for path in (self.session.work / "cache").rglob(".neoclassic-*"):  # it would be kept for an hour
            os.utime(path, (0, 0))
        if done.code is not None and done.code != 0:
            self.session.failed(kind, f"{how}: exit code {done.code}: {done.err[-300:]}", *self.kept())
        elif fault := unreadable(self.folder):
            self.session.failed(kind, f"{how}: {fault}", *self.kept())
        elif done.code is None:
            self.session.answered(kind)
        else:
            how += " (it ended before)"
        return how

    def disturbed(self) -> Leg:
        """The next command line, with a random end."""
        rng, counts = self.session.rng, self.reference.counts
        line = self.line()
        if rng.random() < 0.25:
            return replace(line, seconds=float(rng.uniform(0.002, self.reference.seconds)))
        if "--resume" in line.arguments:  # how much is left to do is not known
            return replace(line, point=Point(str(rng.choice(RESUMED)), int(rng.geometric(0.4))))
        kind = str(rng.choice([kind for kind in KINDS if counts.get(kind)]))
        return replace(line, point=Point(kind, 1 + int(rng.integers(counts[kind]))))

    def line(self) -> Leg:
        """The command line that begins or resumes the run."""
        rng = self.session.rng
        clock = float(rng.integers(-YEAR, YEAR)) if rng.random() < 0.2 else 0.0
        pictures = self.session.seconds >= LONG and rng.random() < 0.05
        how = {"clock": clock, "all_cores": self.reference.all_cores, "pictures": pictures}
        if (self.folder / "recipe.json").exists():
            return leg(("train", "--resume", self.folder), **how)
        return leg((*TRAINING, *self.reference.options, "--out", self.folder), **how)

    def end(self, story: str) -> None:
        """Let it end, and compare."""
        self.judge("resumed to the end", story, self.parent().run(self.line()))

    def two_at_once(self, story: str) -> None:
        """Let two processes resume it at the same time: one does, the other is told who does, or finds it finished."""
        kind = "two resumes at once"
        for parent in self.parents:
            parent.start(self.line())
        first, second = sorted((parent.outcome() for parent in self.parents), key=lambda outcome: outcome.code or 0)
        if second.code and not (second.one_line(2) and "is in use by " in second.err):
            self.session.failed(kind, f"{story}; then exit code {second.code}: {second.err[-300:]}", *self.kept())
        elif first.counts.get("rename") and second.counts.get("rename"):
            self.session.failed(kind, f"{story}; then both wrote the run", *self.kept())
        else:
            self.judge(kind, story, first)

    def judge(self, kind: str, story: str, done: Outcome) -> None:
        """Count a training that has ended."""
        if done.code or done.hung:
            what = f"exit code {done.code}{' (hung)' if done.hung else ''}: {done.err[-300:]}"
        elif done.counts.get(UNSYNCED):
            what = "a file replaced another before its contents were on the disk"
        else:
            what = difference(self.folder, self.reference.contents) or self.left_in_cache()
        if what:
            self.session.failed(kind, f"{story}; then {what}", *self.kept())
        else:
            self.session.answered(kind)

    def left_in_cache(self) -> str:
        """What is left over in the cache; "" if nothing is."""
        return ", ".join(f"{name} is left in the cache" for name in leftovers(self.session.work / "cache"))

    def parent(self) -> Parent:
        """One of the parents, and so a hash seed."""
        return self.parents[int(self.session.rng.integers(len(self.parents)))]

    def kept(self) -> Iterator[Path]:
        """What shows a failure: the run folder."""
        return iter([self.folder] if self.folder.exists() else [])
