"""The picture of a search: the accuracy of its trials over time, and over the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoclassic.base.errors import Ornament
from neoclassic.train.listener import Listener
from neoclassic.train.run import Result, Run
from neoclassic.train.search.plan import found
from neoclassic.train.search.trials import COMPLETE, Trial
from neoclassic.views import lettering
from neoclassic.views.picture import GREY, INK, SERIES, figure, import_matplotlib, save, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "search.png"
LOWEST = 0.25  # accuracies that are more than this below the best are drawn at the lower edge


class PictureOfTrials(Listener):
    """Draws `search.png` when the winner of a search is finished, unless it is there. Failure is a warning."""

    def finished(self, run: Run, result: Result) -> None:
        path = run.folder / PICTURE
        with Ornament(str(path)):
            if not path.exists() and (ended := found(run.folder)):
                draw(*ended, path, f"search on {result.data}")


def draw(trials: Sequence[Trial], winner: int, path: Path | BytesIO, title: str) -> None:
    """Draw the trials: complete ones as full points with their intervals, others as rings.

    The colour is the network's if there are several, else the augmentation's. winner: the number of the best one.
    """
    import_matplotlib()
    ends = accumulate(each.seconds / 60 for each in trials if each.ours)
    shown = [(each, end) for each, end in zip((each for each in trials if each.ours), ends, strict=True) if each.n]
    by = "network" if len({each.network for each, _ in shown}) > 1 else "augmentation"
    names = list(dict.fromkeys(getattr(each, by) for each, _ in shown))
    colours = dict(zip(names, cycle(SERIES), strict=False))
    points = [Point(each, end, colours[getattr(each, by)], each.number == winner) for each, end in shown]
    rated = any(each.learning_rate for each, _ in shown)
    fig = figure(9.4 if rated else 5.4, 4.2, title)
    over_time, *over_rate = fig.subplots(1, 1 + rated, sharey=True, squeeze=False)[0]
    _panel(over_time, points, [point.minutes for point in points], "minutes")
    over_time.set_xlim(left=0)
    over_time.set_title("validation accuracy", fontsize=9, color=INK, loc="left")
    complete = [point for point in points if point.trial.outcome == COMPLETE]
    so_far = [*accumulate((point.trial.accuracy for point in complete), max)]
    if complete:
        minutes = [*(point.minutes for point in complete), points[-1].minutes]
        over_time.step(minutes, [*so_far, so_far[-1]], where="post", color=GREY, linewidth=1.2, zorder=1)
    for axes in over_rate:
        axes.set_xscale("log")
        _panel(axes, points, [point.trial.learning_rate or 1.0 for point in points], "learning rate")
        _rate_axis(axes)
    handles = [over_time.scatter([], [], 30, colour) for colour in colours.values()]
    handles.append(over_time.scatter([], [], 30, "none", edgecolors=GREY, linewidths=1.4))
    words = [*map(lettering.name, names), "ended early"]
    fig.legend(handles, words, loc="outside lower center", ncols=min(6, len(words)), fontsize=8, frameon=False)
    save(fig, path)


@dataclass(frozen=True)
class Point:
    """A trial in the picture."""

    trial: Trial
    minutes: float
    colour: str
    wins: bool


def _panel(axes: Axes, points: Sequence[Point], x: Sequence[float], what: str) -> None:
    """The accuracies over x."""
    from matplotlib.ticker import PercentFormatter

    style_axes(axes)
    bottom = max(point.trial.accuracy for point in points) - LOWEST
    for point, at in zip(points, x, strict=True):
        trial, complete = point.trial, point.trial.outcome == COMPLETE
        y = max(trial.accuracy, bottom)
        if complete:
            axes.vlines(at, *(max(end, bottom) for end in trial.interval), color=point.colour, linewidth=1, alpha=0.5)
        look: dict[str, Any] = {"marker": "o" if y == trial.accuracy else "v", "edgecolors": point.colour}
        face = point.colour if complete else "white"
        axes.scatter([at], [y], s=34, color=face, linewidths=1.4, zorder=3, **look)
        if label := "winner" if point.wins else "default" if trial.number == 1 else "":
            axes.annotate(label, (at, y), (6, 6), textcoords="offset points", fontsize=8, color=INK, zorder=4)
    axes.margins(x=0.1, y=0.1)
    axes.set_xlabel(what, fontsize=9, color=INK)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _rate_axis(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 of each power of ten, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
