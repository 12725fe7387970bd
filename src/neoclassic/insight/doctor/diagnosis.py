"""The findings about a run, in order."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoclassic.base import display
from neoclassic.base.finding import GRADES, WRONG, Finding
from neoclassic.insight.doctor import answers, course, setting, stuck
from neoclassic.insight.doctor.case import Case
from neoclassic.train import doubtful
from neoclassic.train.job import Job

BRIEF = 3  # names of findings in one line
NOTHING = "no problems were found in its files, its data or its network"


@dataclass(frozen=True, repr=False)
class Diagnosis(display.Displayed):
    """What is wrong or doubtful about a run. The repr is the report for people.

    run       its folder
    about     what it trained, in a line
    findings  the most severe first; those of one grade from the cause to what follows from it
    unread    why the data could not be read, so that the network was not looked into; "" if they could
    """

    run: str
    about: str
    findings: tuple[Finding, ...]
    unread: str = ""

    @property
    def worst(self) -> str | None:
        """The most severe grade; None if nothing was found."""
        return self.findings[0].grade if self.findings else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the findings."""
        return tuple(finding.name for finding in self.findings)

    def __repr__(self) -> str:
        lines = [f"{self.run}: {self.about}"]
        if self.unread:
            lines.append(f"  only its files were examined: {self.unread}")
        for finding in self.findings:
            lines += ["", f"{finding.grade}: {finding.text} ({finding.confidence})"]
            lines += [f"    {evidence}" for evidence in finding.evidence]
            lines += [f"    → {finding.advice}"] if finding.advice else []
            lines += [f"    next: {finding.next}"] if finding.next else []
        if not self.findings:
            lines += ["", NOTHING]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": self.run,
            "about": self.about,
            "unread": self.unread,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def diagnose(folder: str | os.PathLike[str], job: Job | None = None, quick: bool = False) -> Diagnosis:
    """Examine a run, finished or not.

    job: the run as it was prepared, if it is in memory. quick: only what costs little, at the end of a training.
    UsageError for a folder without a run; NeoclassicError for a damaged one. Data that cannot be read are no error.
    """
    case = Case.open(folder, job, quick)
    found = [*stuck.findings(case), *course.findings(case), *answers.findings(case), *setting.findings(case)]
    found = list({finding.name: finding for finding in reversed(found)}.values())[::-1]  # the first of each name
    found.sort(key=lambda finding: GRADES.index(finding.grade))
    return Diagnosis(str(Path(folder)), _about(case), tuple(found), case.problem)


def _about(case: Case) -> str:
    """What was trained, and how far."""
    recipe, result = case.recipe, case.result
    what = f"{recipe.network} on {recipe.data}, recipe {recipe.name}"
    if case.diverged and not result:
        return f"{what}, diverged in epoch {case.diverged.epoch}"
    if result is None:
        return f"{what}, {len(case.log)} of {recipe.epochs} epochs"
    low, high = case.evaluation.interval if case.evaluation else (0.0, 1.0)
    of = f"{result.evaluation['n']:,} test images"
    return f"{what}: {result.test_accuracy:.2%} of {of} ({low:.1%} to {high:.1%})"


def brief(found: Diagnosis) -> list[str]:
    """A few lines for the end of a training: the gravest finding if it is wrong, and the names of the others.

    Without the doubts that the run warns of anyway.
    """
    findings = [finding for finding in found.findings if finding.name not in doubtful.NAMES]
    if not findings:
        return []
    first = [finding for finding in findings[:1] if finding.grade == WRONG]
    rest = findings[len(first) :]
    named = ", ".join(f"{finding.name} ({finding.grade})" for finding in rest[:BRIEF])
    named += f" and {len(rest) - BRIEF} more" if len(rest) > BRIEF else ""
    what = f"doctor: {named}" if named else "doctor"
    details = f"{what}; for details: neoclassic doctor {shlex.quote(found.run)}"
    return [*(f"{finding.grade}: {finding.line}" for finding in first), details]
