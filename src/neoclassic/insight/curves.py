"""The pictures of a run: its curves and its confusion matrix. matplotlib is imported when one is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from neoclassic.views import lettering
from neoclassic.views.picture import GREY, INK, SERIES, TRAIN, WATCHED, figure, import_matplotlib, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_log(
    log: Sequence[Mapping[str, Any]], path: Path | BytesIO, title: str, panels: Sequence[str] = ("loss", "accuracy")
) -> None:
    """Loss and accuracy over the epochs: two panels, training against what was watched, ends labelled."""
    import_matplotlib()
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    watched = "test" if log[0]["validation_loss"] is None else "validation"
    epochs = [row["epoch"] for row in log]
    panel = figure(4.2 * len(panels), 3.6, title)
    for axes, what in zip(panel.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        plain(axes)
        ends = {}
        for name, colour in (("train", TRAIN), (watched, WATCHED)):
            values = [row[f"{name}_{what}"] for row in log]
            axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=3, label=name)
            ends[name] = (values[-1], colour)
        _label_ends(axes, epochs[-1], ends, what)
        axes.set_xlabel("epoch", fontsize=9, color=INK)
        axes.set_title("cross-entropy (nats)" if what == "loss" else what, fontsize=9, color=INK, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if what == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    save(panel, path)


def _label_ends(axes: Axes, x: float, ends: Mapping[str, tuple[float, str]], what: str) -> None:
    """The name and the last value of each line, right of it; pushed apart where they would touch."""
    low, high = axes.get_ylim()
    gap = 0.11 * (high - low)
    above = -np.inf
    for name, (value, colour) in sorted(ends.items(), key=lambda item: item[1][0]):
        y = above = max(value, above + gap)
        text = f"{name}\n{value:.3f}" if what == "loss" else f"{name}\n{value:.1%}"
        axes.annotate(
            text, (x, value), (8, 0), textcoords="offset points", va="center", fontsize=8, color=colour
        ).set_position((8, (y - value) / (high - low) * axes.bbox.height * 72 / axes.figure.dpi))


def draw_confusion(
    confusion: np.ndarray, classes: Sequence[str], path: Path | BytesIO, title: str, counts: bool = True
) -> None:
    """Each row is a true class, shaded by the share that was called each name; up to 30 classes with the numbers."""
    n, names = len(classes), [lettering.name(each) for each in classes]
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = min(3.4 + 0.42 * n, 14)
    panel = figure(side + 0.6, side, title)
    axes = panel.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if n <= 60:
        axes.set_xticks(range(n), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n), names)
    axes.tick_params(labelsize=8 if n <= 30 else 5, length=0, colors=INK)
    axes.set_xlabel("the network said", fontsize=9, color=INK)
    axes.set_ylabel("it was", fontsize=9, color=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2 if n <= 30 else 0.4)
    axes.tick_params(which="minor", length=0)
    if n <= 30:
        for (row, column), count in np.ndenumerate(confusion):
            if count if counts else share[row, column] >= 0.005:
                colour = "white" if share[row, column] > 0.55 else INK
                said = f"{count}" if counts else f"{share[row, column]:.0%}"
                axes.text(column, row, said, ha="center", va="center", fontsize=7.5, color=colour)
    save(panel, path)


class Bin(Protocol):
    """Answers of about the same probability."""

    @property
    def confidence(self) -> float: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def n(self) -> int: ...


def draw_reliability(bins: Sequence[Bin], error: float, path: Path | BytesIO, title: str) -> None:
    """How often the network is right against how sure it is; the area of a point is the number of its answers."""
    import_matplotlib()
    from matplotlib.ticker import PercentFormatter

    panel = figure(4.6, 4.4, title)
    axes = panel.subplots()
    plain(axes)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        "as sure as right", (0.04, 0.04), (0, 9), textcoords="offset points", fontsize=7.5, color=GREY, rotation=45
    )
    total = sum(b.n for b in bins)
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    axes.vlines(x, x, y, color=TRAIN, linewidth=2)
    axes.scatter(x, y, [20 + 380 * b.n / total for b in bins], color=WATCHED, alpha=0.85, zorder=3, linewidth=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
    axes.set_xlabel("probability of the answer", fontsize=9, color=INK)
    axes.set_ylabel("share of right answers", fontsize=9, color=INK)
    axes.set_title(f"expected calibration error {error:.1%}", fontsize=9, color=INK, loc="left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    save(panel, path)


# ── several runs ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Curve:
    """A run in a comparison: its name, its log, its accuracy at the end, and seconds it took."""

    name: str
    log: Sequence[Mapping[str, Any]]
    accuracy: float
    seconds: float


def watched(row: Mapping[str, Any], what: str) -> float:
    """Loss or accuracy after an epoch: of the validation images, or of the test set where that was watched."""
    value = row[f"validation_{what}"]
    return float(row[f"test_{what}"] if value is None else value)


def draw_runs(runs: Sequence[Curve], path: Path | BytesIO, title: str) -> None:
    """Accuracy over the epochs and over the seconds, training loss over the epochs: a colour each, named at its end."""
    import_matplotlib()
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    panel = figure(12.4, 4.2, title)
    for place, axes in enumerate(panel.subplots(1, 3)):
        plain(axes)
        for run, colour in zip(runs, cycle(SERIES), strict=False):
            x = list(accumulate(row["seconds"] for row in run.log)) if place == 1 else [r["epoch"] for r in run.log]
            y = [row["train_loss"] if place == 2 else watched(row, "accuracy") for row in run.log]
            axes.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=2.5, label=lettering.name(run.name))
        axes.set_xlabel("seconds, training and evaluation" if place == 1 else "epoch", fontsize=9, color=INK)
        axes.set_title("training loss (nats)" if place == 2 else "accuracy", fontsize=9, color=INK, loc="left")
        if place != 1:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if place != 2:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    handles, names = panel.axes[0].get_legend_handles_labels()
    panel.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)
    save(panel, path)


def draw_costs(
    names: Sequence[str],
    accuracies: Sequence[float],
    costs: Mapping[str, Sequence[float]],
    path: Path | BytesIO,
    title: str,
) -> None:
    """Accuracy against each cost, which grows by decades; every point has its name."""
    import_matplotlib()
    from matplotlib.ticker import PercentFormatter

    panel = figure(4.1 * len(costs) + 0.2, 4.2, title)
    for axes, (what, values) in zip(panel.subplots(1, len(costs), squeeze=False)[0], costs.items(), strict=True):
        plain(axes)
        axes.set_xscale("log")
        axes.scatter(values, accuracies, 42, [c for _, c in zip(names, cycle(SERIES), strict=False)], zorder=3)
        margin = (max(values) / min(values)) ** 0.15 * 1.6
        axes.set_xlim(min(values) / margin, max(values) * margin)
        span = max(max(accuracies) - min(accuracies), 0.01)
        axes.set_ylim(min(accuracies) - 0.2 * span, max(accuracies) + 0.2 * span)
        axes.set_xlabel(what, fontsize=9, color=INK)
        axes.set_title("accuracy", fontsize=9, color=INK, loc="left")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        _name_points(axes, names, values, accuracies)
    save(panel, path)


# where a name may stand: right of its point, left, above, below, and at the corners; in widths and heights of the name
_SIDES = (
    (0.5, 0.0),
    (-0.5, 0.0),
    (0.0, 1.0),
    (0.0, -1.0),
    (0.5, 1.0),
    (-0.5, 1.0),
    (0.5, -1.0),
    (-0.5, -1.0),
    (0.0, 2.0),
    (0.0, -2.0),
)


def _name_points(axes: Axes, names: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Each name beside its point, on the side where it hides the least: other points, other names, the rim."""
    left, right = np.log(axes.get_xlim())
    low, high = axes.get_ylim()
    points = [((np.log(a) - left) / (right - left), (b - low) / (high - low)) for a, b in zip(x, y, strict=True)]
    taken: list[tuple[float, float, float, float]] = [(a - 0.02, b - 0.025, a + 0.02, b + 0.025) for a, b in points]
    for name, (across, up) in sorted(zip(names, points, strict=True), key=lambda point: point[1]):
        wide, tall = 0.02 * len(name) + 0.01, 0.05
        best, place = np.inf, (0.0, 0.0, 0.0, 0.0)
        for right_by, up_by in _SIDES:
            centre = across + right_by * (wide + 0.045), up + up_by * tall
            box = centre[0] - wide / 2, centre[1] - tall / 2, centre[0] + wide / 2, centre[1] + tall / 2
            outside = max(0, -box[0]) + max(0, box[2] - 1) + max(0, -box[1]) + max(0, box[3] - 1)
            if (hidden := sum(_common(box, other) for other in taken) + 10 * outside) < best:
                best, place = hidden, box
        taken.append(place)
        middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        axes.annotate(
            lettering.name(name), middle, xycoords="axes fraction", ha="center", va="center", fontsize=8, color=INK
        )


def _common(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """The part of the smaller of two boxes that the other hides."""
    wide, tall = (min(one[i + 2], two[i + 2]) - max(one[i], two[i]) for i in (0, 1))
    least = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return wide * tall / least if min(wide, tall) > 0 else 0.0
