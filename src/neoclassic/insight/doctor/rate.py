"""The range test of a run's learning rate, and its picture."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.progress import progress_bar
from neoclassic.insight.doctor.case import Case
from neoclassic.insight.doctor.trial import RANGE_STEPS, RateRange, rate_range
from neoclassic.views.picture import GREY, INK, TRAIN, VALIDATION, figure, save, style_axes


@dataclass(frozen=True)
class RateTest:
    """A range test of a run.

    run      its folder
    network  its name
    own      the learning rate of its recipe
    found    what the test found
    next     the command that trains the run again at the recommended rate; "" without one
    """

    run: str
    network: str
    own: float
    found: RateRange
    next: str

    @classmethod
    def of(cls, folder: str | Path) -> RateTest:
        """Make the test, which takes some seconds to minutes. UsageError for a run without steps to make again."""
        case = Case.open(folder)
        if case.recipe.head:
            raise UsageError(f"{folder} fitted the last layer alone, without gradient descent: it has no learning rate")
        if case.recipe.weights:
            raise UsageError(f"{folder} started from weights: the range test is for runs from scratch")
        if case.job is None:
            raise NeoclassicError(f"the data of {folder} cannot be read: {case.problem}")
        if case.steps is None:
            raise UsageError(f"{case.recipe.network} is too large for a range test on the NumPy engine")
        with progress_bar(total=RANGE_STEPS, desc="learning rates", unit=" steps", leave=False) as bar:
            found = rate_range(case.steps, lambda: bar.update(1))
        again = case.again(learning_rate=found.best) if found.best else ""
        return cls(str(folder), case.recipe.network, case.recipe.learning_rate, found, again)

    @property
    def line(self) -> str:
        """What was found."""
        if self.found.best is None:
            return f"the loss does not fall at any rate: neoclassic doctor {self.run} may say why"
        good = f"the loss falls up to a rate of about {self.found.highest:g}: try a tenth of it, {self.found.best:g}"
        return f"{good}; the recipe's rate is {self.own:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        f = self.found
        rows = zip(f.rates, f.losses, f.smoothed, strict=True)
        points = [{"rate": rate, "loss": loss, "smoothed": smoothed} for rate, loss, smoothed in rows]
        return {
            "run": self.run,
            "own": self.own,
            "best": f.best,
            "highest": f.highest,
            "points": points,
            "next": self.next,
        }

    def draw(self, path: Path | BytesIO) -> None:
        """Draw the loss against the rate, with the rate of the recipe and the recommended one."""
        f = self.found
        fig = figure(5.6, 3.8, f"{self.network}: loss at rising learning rates")
        axes = fig.subplots()
        style_axes(axes)
        axes.set_xscale("log")
        axes.plot(f.rates, f.losses, color=GREY, linewidth=0.8, label="each step")
        axes.plot(f.rates, f.smoothed, color=TRAIN, linewidth=1.8, label="smoothed")
        low, high = min(f.smoothed), max(f.smoothed[0], min(f.smoothed)) * 1.3
        axes.set_ylim(0.8 * low, high)
        marks = [(self.own, INK, "recipe")] + ([(f.best, VALIDATION, "recommended")] if f.best else [])
        for rate, colour, name in marks:
            axes.axvline(rate, color=colour, linewidth=1.2, linestyle="--", label=f"{name}: {rate:g}")
        axes.set_xlabel("learning rate", fontsize=9, color=INK)
        axes.set_title("training loss (nats)", fontsize=9, color=INK, loc="left")
        axes.legend(fontsize=8, frameon=False)
        save(fig, path)
