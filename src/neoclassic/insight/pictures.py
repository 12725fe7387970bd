"""The pictures in a run's folder. They are drawn after the result is saved, and none of them is needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neoclassic.base.errors import Ornament
from neoclassic.insight import curves
from neoclassic.model.artefact import Model
from neoclassic.train.run import Epoch, Run


def draw(run: Run, result: dict[str, Any], again: bool = True) -> None:
    """Those of a finished run, or only those that are missing; a warning where one cannot be drawn.

    result: what `result.json` holds."""
    found = result["evaluation"]
    title = f"{result['network']} on {result['data']}: {found['accuracy']:.2%} of {found['n']:,} test images"
    if again or not (run.folder / "curves.png").exists():
        with Ornament("curves.png"):
            draw_curves(run, run.log(), title)
    if again or not (run.folder / "confusion.png").exists():
        with Ornament("confusion.png"):
            classes = Model.load(run.model).classes
            curves.draw_confusion(np.array(found["confusion"]), classes, run.folder / "confusion.png", title)


def draw_curves(run: Run, log: Sequence[Epoch], title: str) -> None:
    """Of a run so far; a warning where they cannot be drawn."""
    with Ornament("curves.png"):
        curves.draw_log([vars(row) for row in log], run.folder / "curves.png", title)
