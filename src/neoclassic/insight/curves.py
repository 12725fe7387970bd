"""Pictures of runs: learning curves, confusion matrices, reliability, and comparisons of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neoclassic.views import lettering
from neoclassic.views.picture import GREY, INK, SERIES, TRAIN, VALIDATION, figure, import_matplotlib, save, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_NAMES = 120  # classes whose names stand at a confusion matrix


def draw_log(
    log: Sequence[Mapping[str, Any]], path: Path | BytesIO, title: str, panels: Sequence[str] = ("loss", "accuracy")
) -> None:
    """Draw loss and accuracy over the epochs: training and validation, or test if there was no validation."""
    save(log_figure(log, title, panels), path)


def log_figure(log: Sequence[Mapping[str, Any]], title: str, panels: Sequence[str] = ("loss", "accuracy")) -> Figure:
    """The figure that `draw_log` saves. In SVG, the line of the training loss has the id `train-loss`, and so on."""
    import_matplotlib()
    from matplotlib.ticker import PercentFormatter

    held_out = "test" if log[0]["validation_loss"] is None else "validation"
    epochs = [row["epoch"] for row in log]
    fig = figure(4.2 * len(panels), 3.6, title)
    for axes, what in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        style_axes(axes)
        ends = {}
        for name, colour in (("train", TRAIN), (held_out, VALIDATION)):
            values = [row[f"{name}_{what}"] for row in log]
            (line,) = axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=3, label=name)
            line.set_gid(f"{name}-{what}")
            ends[name] = (values[-1], colour)
        _epoch_axis(axes, len(log))
        if len(log) == 1:  # the whole scale, as two points span none
            axes.set_ylim(0, 1.05 if what == "accuracy" else 1.25 * max(value for value, _ in ends.values()) or 1)
        _label_ends(axes, epochs[-1], ends, what)
        axes.set_xlabel("epoch", fontsize=9, color=INK)
        axes.set_title("cross-entropy (nats)" if what == "loss" else what, fontsize=9, color=INK, loc="left")
        if what == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    return fig


def _epoch_axis(axes: Axes, epochs: int) -> None:
    """Ticks at whole epochs, also for a single one."""
    from matplotlib.ticker import MaxNLocator

    if epochs == 1:
        axes.set_xlim(0.5, 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _label_ends(axes: Axes, x: float, ends: Mapping[str, tuple[float, str]], what: str) -> None:
    """Write the name and the last value of each line to its right, moved up where labels would overlap."""
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
    """Draw a confusion matrix, shaded by the share of the true class.

    Up to 30 classes get numbers too, and up to 120 get names; the picture grows with them.

    confusion  classes×classes counts: a row for each true class, a column for each predicted class
    counts     whether the numbers are counts or shares
    """
    n, names = len(classes), [lettering.name(each) for each in classes]
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 3.4 + 0.42 * n if n <= 25 else 14 if n > MOST_NAMES else max(14, 3.4 + 0.17 * n)
    fig = figure(side + 0.6, side, title)
    axes = fig.subplots()
    axes.imshow(share if n <= 30 else share**0.5, cmap="Blues", vmin=0, vmax=1)  # no numbers: rare ones must be seen
    if n <= MOST_NAMES:
        axes.set_xticks(range(n), names, rotation=40 if n <= 30 else 90, ha="right", rotation_mode="anchor")
        if n > 30:
            for label in axes.get_xticklabels():
                label.set_verticalalignment("center")
        axes.set_yticks(range(n), names)
    axes.tick_params(labelsize=8 if n <= 30 else 7, length=0, colors=INK)
    axes.set_xlabel("predicted class", fontsize=9, color=INK)
    axes.set_ylabel("true class", fontsize=9, color=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2 if n <= 30 else 0.4)
    axes.tick_params(which="minor", length=0)
    if n <= 30:
        for (row, column), count in np.ndenumerate(confusion):
            if count if counts else share[row, column] >= 0.005:
                colour = "white" if share[row, column] > 0.55 else INK
                text = f"{count}" if counts else f"{share[row, column]:.0%}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    save(fig, path)


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence.

    low         the lower edge of the bin
    confidence  mean probability of the predicted class
    accuracy    share of correct predictions
    n           how many predictions
    """

    low: float
    confidence: float
    accuracy: float
    n: int


def draw_reliability(bins: Sequence[Bin], error: float, path: Path | BytesIO, title: str) -> None:
    """Draw a reliability diagram: accuracy against confidence. The area of a point is the size of its bin.

    error: the expected calibration error.
    """
    import_matplotlib()
    from matplotlib.ticker import PercentFormatter

    fig = figure(4.6, 4.4, title)
    axes = fig.subplots()
    style_axes(axes)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        "perfect calibration", (0.04, 0.04), (0, 9), textcoords="offset points", fontsize=7.5, color=GREY, rotation=45
    )
    total = sum(b.n for b in bins)
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    axes.vlines(x, x, y, color=TRAIN, linewidth=2)
    axes.scatter(x, y, [20 + 380 * b.n / total for b in bins], color=VALIDATION, alpha=0.85, zorder=3, linewidth=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
    axes.set_xlabel("confidence", fontsize=9, color=INK)
    axes.set_ylabel("accuracy", fontsize=9, color=INK)
    axes.set_title(f"expected calibration error {error:.1%}", fontsize=9, color=INK, loc="left")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    save(fig, path)


# ── several runs ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Curve:
    """A run in a comparison: its name, its log, its final accuracy, and its seconds."""

    name: str
    log: Sequence[Mapping[str, Any]]
    accuracy: float
    seconds: float


def validation(row: Mapping[str, Any], what: str) -> float:
    """Validation loss or accuracy after an epoch; that of the test set if there was no validation."""
    value = row[f"validation_{what}"]
    return float(row[f"test_{what}"] if value is None else value)


def draw_runs(runs: Sequence[Curve], path: Path | BytesIO, title: str) -> None:
    """Draw accuracy over the epochs, accuracy over the seconds, and training loss over the epochs, a colour per run."""
    import_matplotlib()
    from matplotlib.ticker import PercentFormatter

    fig = figure(12.4, 4.2, title)
    for i, axes in enumerate(fig.subplots(1, 3)):
        style_axes(axes)
        for run, colour in zip(runs, cycle(SERIES), strict=False):
            x = list(accumulate(row["seconds"] for row in run.log)) if i == 1 else [r["epoch"] for r in run.log]
            y = [row["train_loss"] if i == 2 else validation(row, "accuracy") for row in run.log]
            axes.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=2.5, label=lettering.name(run.name))
        axes.set_xlabel("seconds, training and evaluation" if i == 1 else "epoch", fontsize=9, color=INK)
        axes.set_title("training loss (nats)" if i == 2 else "accuracy", fontsize=9, color=INK, loc="left")
        if i != 1:
            _epoch_axis(axes, max(len(run.log) for run in runs))
        if i != 2:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    handles, names = fig.axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)
    save(fig, path)


def draw_costs(
    names: Sequence[str],
    accuracies: Sequence[float],
    costs: Mapping[str, Sequence[float]],
    path: Path | BytesIO,
    title: str,
) -> None:
    """Draw accuracy against each cost, on a logarithmic axis. Each point is labelled with its name."""
    import_matplotlib()
    from matplotlib.ticker import PercentFormatter

    fig = figure(4.1 * len(costs) + 0.2, 4.2, title)
    for axes, (what, values) in zip(fig.subplots(1, len(costs), squeeze=False)[0], costs.items(), strict=True):
        style_axes(axes)
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
    save(fig, path)


# candidate positions of a label relative to its point, in label widths and heights
_LABEL_OFFSETS = (
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
    """Label each point where the label overlaps the least with points, other labels and the border."""
    left, right = np.log(axes.get_xlim())
    low, high = axes.get_ylim()
    points = [((np.log(a) - left) / (right - left), (b - low) / (high - low)) for a, b in zip(x, y, strict=True)]
    taken: list[tuple[float, float, float, float]] = [(a - 0.02, b - 0.025, a + 0.02, b + 0.025) for a, b in points]
    for name, (across, up) in sorted(zip(names, points, strict=True), key=lambda point: point[1]):
        wide, tall = 0.02 * len(name) + 0.01, 0.05
        least, best = np.inf, (0.0, 0.0, 0.0, 0.0)
        for right_by, up_by in _LABEL_OFFSETS:
            centre = across + right_by * (wide + 0.045), up + up_by * tall
            box = centre[0] - wide / 2, centre[1] - tall / 2, centre[0] + wide / 2, centre[1] + tall / 2
            outside = max(0, -box[0]) + max(0, box[2] - 1) + max(0, -box[1]) + max(0, box[3] - 1)
            overlap = sum(_overlap(box, other) for other in taken) + 10 * outside
            if overlap < least:
                least, best = overlap, box
        taken.append(best)
        middle = (best[0] + best[2]) / 2, (best[1] + best[3]) / 2
        axes.annotate(
            lettering.name(name), middle, xycoords="axes fraction", ha="center", va="center", fontsize=8, color=INK
        )


def _overlap(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """The area that two boxes share, as a fraction of the smaller one."""
    wide, tall = (min(one[i + 2], two[i + 2]) - max(one[i], two[i]) for i in (0, 1))
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return wide * tall / smaller if min(wide, tall) > 0 else 0.0
