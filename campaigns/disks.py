"""Disks that are full, over quota, broken or read-only: a command says so in one line, and nothing is lost.

Each trial runs one command that writes, with an error at its n-th opening, writing (with half of the data in the
file), fsync, rename, unlink or mkdir: at that call alone, or at all later ones too. Where it writes, files of before
stand. Then the same command runs undisturbed; a training that has begun is resumed.

Failures: an exit code other than 0 and 1; an exit code 1 without exactly one line that says why; an exit code 0 with
other files than of a command that was never disturbed; a file that is neither as before nor as it should be; a
temporary file or lock that is left over, unless it was its removal that failed; an undisturbed command that does not
make the right files afterwards.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.common import Session
from campaigns.forks import Leg, Outcome, Parent, Point, leg
from campaigns.forks.runs import NETWORKS, TRAINING, contents, leftovers, make_data, unreadable

KINDS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "chmod")
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EACCES", "EROFS")
BEFORE = b"what stood here before"
OUT, RUN, HALF, CACHED = Path("out"), Path("finished"), Path("half"), Path("cached")


@dataclass(frozen=True)
class Command:
    """A command line that writes into `out`.

    files   that it replaces, if anything stood there
    weight  how often it is tried
    grows   whether its file is written bit by bit
    """

    name: str
    arguments: tuple[str, ...]
    files: tuple[str, ...] = ()
    stdout: str = "stdout"
    weight: float = 1.0
    grows: bool = False

    @property
    def trains(self) -> bool:
        """Whether `out` is a run."""
        return self.arguments[0] == "train"

    @property
    def clears(self) -> bool:
        """Whether it removes the cache."""
        return self.arguments[0] == "cache"


COMMANDS = (
    Command("train", (*TRAINING, *NETWORKS["IDX"], "--out", "out")),
    Command("train on photos", (*TRAINING, *NETWORKS["photos"], "--out", "out")),
    Command("resume", ("train", "--resume", "out")),
    Command("export", ("export", "finished", "out/model.onnx"), ("model.onnx",)),
    Command("predict --csv", ("predict", "finished", "photos/dog", "--csv", "out/p.csv"), ("p.csv",), grows=True),
    Command("predict --json", ("predict", "finished", "photos/dog", "--json"), (), "out/p.json"),
    Command("report", ("report", "finished", "--out", "out/report.html"), ("report.html",), weight=0.2),
    Command("evaluate", ("evaluate", "finished", "--out", "out"), ("confusion.png",), weight=0.2),
    Command("show", ("show", "lenet", "--svg", "out/lenet.svg"), ("lenet.svg",)),
    Command("cache --clear", ("cache", "--clear", "*")),
)


def run(session: Session) -> None:
    """Disturb commands until the time is over."""
    with Parent(session.work, 0) as parent:
        make_data(session.work, session.rng)
        disturb(session, parent, make_runs(parent))


def make_runs(parent: Parent) -> dict[str, tuple[Any, dict[str, int]]]:
    """Make a finished run, one that was killed halfway, and a cache. Returns room for what `expected` finds."""
    line = leg((*TRAINING, *NETWORKS["IDX"], "--out"))
    done = parent.run(replace(line, arguments=(*line.arguments, str(RUN))))
    killed = Point("rename", 1 + done.counts["rename"] // 2)
    parent.run(replace(line, arguments=(*line.arguments, str(HALF)), point=killed))
    parent.run(leg((*TRAINING, *NETWORKS["photos"], "--out", OUT)))
    (parent.work / "cache").rename(parent.work / CACHED)
    return {}


def disturb(session: Session, parent: Parent, known: dict[str, tuple[Any, dict[str, int]]]) -> None:
    """Disturb commands until the time is over. known: what undisturbed ones made and called, by name."""
    weights = np.array([command.weight for command in COMMANDS])
    while session.goes_on():
        command = COMMANDS[int(session.rng.choice(len(COMMANDS), p=weights / weights.sum()))]
        trial = Trial(session, parent, command)
        if command.name not in known:
            known[command.name] = trial.undisturbed()
        trial.run(*known[command.name])


@dataclass
class Trial:
    """One command, disturbed and then not."""

    session: Session
    parent: Parent
    command: Command

    def undisturbed(self) -> tuple[Any, dict[str, int]]:
        """What the command makes, and its calls. RuntimeError if it fails."""
        self.prepare()
        done = self.parent.run(self.line())
        if done.code:
            raise RuntimeError(f"{self.command.name} failed undisturbed: {done.err}")
        return self.made(), done.counts

    def run(self, expected: Any, counts: dict[str, int]) -> None:
        """Disturb the command at a random call, look at what it left, and run it again."""
        rng, command = self.session.rng, self.command
        self.prepare()
        kinds = [kind for kind in KINDS if counts.get(kind)]
        full = sys.platform == "linux" and command.stdout != "stdout"  # Python's own buffers write standard output
        if not kinds and not full:
            return
        kind = str(rng.choice(kinds)) if kinds else ""
        n, error, lasting = int(rng.integers(counts.get(kind, 1))), str(rng.choice(ERRORS)), bool(rng.random() < 0.5)
        point = Point(kind, 1 + n, error, lasting)
        line = replace(self.line(), stdout="/dev/full") if full else replace(self.line(), point=point)
        done = self.parent.run(line)
        kept = kind == "unlink"  # what could not be removed
        what = self.wrong(done, expected, kept) or self.wrong_again(expected, kept)
        if what:
            story = f"{'/dev/full' if full else point}: {what}; it said {done.err[-300:]!r}"
            self.session.failed(command.name, story, *([self.out] if self.out.exists() else []))
        elif done.code:
            self.session.refused(command.name)
        else:
            self.session.answered(command.name)

    def wrong(self, done: Outcome, expected: Any, kept: bool) -> str:
        """What is wrong after the disturbance; "" if nothing is."""
        if done.hung or done.code not in (0, 1):
            return f"exit code {done.code}{' (hung)' if done.hung else ''}"
        if "Traceback" in done.err or (done.code and not done.one_line(1)):
            return f"{len(done.lines)} lines"
        if done.code == 0:
            return self.wrong_files(done, expected)
        if (left := leftovers(self.out)) and not kept:
            return f"{left[0]} is left"
        if self.command.trains:
            return unreadable(self.out)
        for name in self.command.files:
            now = (self.out / name).read_bytes() if (self.out / name).is_file() else b""
            whole = expected.get(name, b"")
            if now not in (BEFORE, whole) and not (self.command.grows and whole.startswith(now)):
                return f"{name} was lost"
        return ""

    def wrong_files(self, done: Outcome, expected: Any) -> str:
        """What is wrong with the files of a command that succeeded. It may lack pictures, if it says which."""
        try:
            made = self.made()
        except (OSError, ValueError) as error:
            return f"exit code 0, but {error}"
        lacking = {name for name in expected if f"/{name} could not be made" in done.err}
        others = [name for name in expected if made.get(name) != expected[name] and name not in lacking]
        spoilt = [name for name in lacking if made.get(name) not in (None, BEFORE)]
        return f"exit code 0, but {(others + spoilt)[0]} is not as it should be" if others + spoilt else ""

    def wrong_again(self, expected: Any, kept: bool) -> str:
        """What is wrong after the same command without a disturbance; "" if nothing is."""
        line = self.line()
        if self.command.trains and (self.out / "recipe.json").exists():
            line = leg(("train", "--resume", OUT))
        done = self.parent.run(line)
        if done.code and not (self.command.clears and "nothing in" in done.err):
            return f"afterwards, exit code {done.code}: {done.err[-300:]}"
        if what := self.wrong_files(done, expected):
            return f"afterwards, {what}"
        left = [path for place in (OUT, "cache") for path in leftovers(self.session.work / place)]
        return f"afterwards, {left[0]} is left" if left and not kept else ""

    def prepare(self) -> None:
        """The folder as it is before the command."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.rmtree(self.session.work / "cache", ignore_errors=True)
        if self.command.clears:
            shutil.copytree(self.session.work / CACHED, self.session.work / "cache")
        if self.command.name == "resume":
            shutil.copytree(self.session.work / HALF, self.out)
        elif not self.command.trains:
            self.out.mkdir()
            for name in self.command.files:
                (self.out / name).write_bytes(BEFORE)

    def made(self) -> Any:
        """What the command made: of a run, what does not change from time to time."""
        if self.command.trains:
            return contents(self.out)
        made = self.session.work / "cache" if self.command.clears else self.out
        found = (path for path in sorted(made.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return {path.name: path.read_bytes() for path in found}

    def line(self) -> Leg:
        """The command line, undisturbed."""
        return leg(self.command.arguments, stdout=self.command.stdout)

    @property
    def out(self) -> Path:
        """Where the command writes."""
        return self.session.work / OUT
