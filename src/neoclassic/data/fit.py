"""Choosing how photos of different shapes become images of one size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neoclassic.data.file_info import FileInfo

MAX_CROP_LOSS = 0.35  # of a photo's area: a 3:2 photo loses a third to a square
SAME_SHAPE = 1.1  # largest aspect ratio over smallest


def choose_fit(infos: Sequence[FileInfo], size: tuple[int, int]) -> tuple[str, str]:
    """Choose the fit for photos of these shapes at a height and width, and say why.

    "crop" if nine in ten photos lose at most MAX_CROP_LOSS of their area; otherwise "stretch" if all have about the
    same shape, because it distorts them alike; otherwise "pad".
    """
    if not infos:
        return "crop", "there are no images that can be read"
    ratios = np.array([info.width / info.height for info in infos])
    typical, tenth = np.quantile(crop_loss(ratios, size), (0.5, 0.9))
    if tenth <= MAX_CROP_LOSS:
        return "crop", f"a centre crop cuts {typical:.0%} off a typical image, and {tenth:.0%} or more off one in ten"
    low, high = np.quantile(ratios, (0.05, 0.95))
    if high <= SAME_SHAPE * low:
        shape = f"all images are about {np.median(ratios):.2f} times as wide as high"
        return "stretch", f"{shape}, and a centre crop would cut {typical:.0%} off them"
    shapes = f"images are {low:.2f} to {high:.2f} times as wide as high"
    return "pad", f"{shapes}, and a centre crop would cut {tenth:.0%} or more off one in ten"


def crop_loss(ratios: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the fraction of the area that a centre crop to a height and width cuts off, for each width/height."""
    relative = ratios * size[0] / size[1]
    return 1 - np.minimum(relative, 1 / relative)
