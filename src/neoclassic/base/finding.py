"""A finding: one thing that is wrong or doubtful, with its evidence and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

WRONG, DOUBTFUL, NOTE = "wrong", "doubtful", "note"
GRADES = (WRONG, DOUBTFUL, NOTE)
CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"


@dataclass(frozen=True)
class Finding:
    """One finding about a run.

    name        one or two words, for programs: "dead-relu"
    grade       "wrong": something is broken; "doubtful": do not rely on the model or its number; "note": it could be
                better
    text        what is the case
    evidence    the measurements behind it, a sentence each
    confidence  "certain" (measured), "likely" or "possible"
    advice      what to do
    next        the command to run next; "" if there is none
    """

    name: str
    grade: str
    text: str
    evidence: tuple[str, ...] = ()
    confidence: str = CERTAIN
    advice: str = ""
    next: str = ""

    @property
    def line(self) -> str:
        """The finding and the advice in one line."""
        return "; ".join(filter(None, (self.text, self.advice)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "evidence": list(self.evidence)}
