"""Steering a run while it trains: hold it, end it, change its learning rate.

The steps from which on another rate applied are kept in the run folder. Together with the recipe they determine the
run, so a resumed one repeats them. A run that nobody steers has no such file, and is exactly what its recipe says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.base.records import csv_rows
from neoclassic.base.text import csv_table

FILE = "rates.csv"
HEAD = ("step", "factor")


class Control:
    """What the loop asks between two steps. This one never interferes.

    look_seconds  the time between two readings of the loss, each of which may wait for the device
    factor        of the learning rate that the recipe gives for a step; None: as it is
    ending        whether the run should save its state and stop, as after Ctrl-C
    holding       whether `hold` would wait now
    """

    look_seconds: float = 1.0

    @property
    def factor(self) -> float | None:
        return None

    @property
    def ending(self) -> bool:
        return False

    @property
    def holding(self) -> bool:
        return False

    def hold(self) -> float:
        """Wait as long as the run should rest, or until it should end. Return the seconds that it took."""
        return 0.0


UNSTEERED = Control()


@dataclass
class Changes:
    """The steps from which on a factor applied to the learning rate, in ascending order, and where they are kept."""

    path: Path
    rows: list[tuple[int, float]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Changes:
        """Those of a run folder. NeoclassicError for a damaged file."""
        path = folder / FILE
        rows = csv_rows(path, lambda row: (int(row["step"]), float(row["factor"]))) or []
        if rows != sorted(rows) or not all(step >= 0 and 0 < factor < math.inf for step, factor in rows):
            raise NeoclassicError(f"{path}: damaged (steps must ascend, and factors be above 0)")
        return cls(path, rows)

    def factor(self, step: int, wish: float | None = None) -> float:
        """The factor of a step, which counts from 0. A wish replaces what was kept from this step on."""
        now = next((factor for first, factor in reversed(self.rows) if first <= step), 1.0)
        if wish is None or wish == now:
            return now
        self.rows = [row for row in self.rows if row[0] < step] + [(step, wish)]
        files.write(self.path, csv_table(HEAD, self.rows))
        return wish

    def lines(self) -> list[str]:
        """What there is to tell at the end of a run."""
        if not self.rows:
            return []
        return [f"the learning rate was changed by hand, see {FILE}: the recipe alone does not reproduce this run"]
