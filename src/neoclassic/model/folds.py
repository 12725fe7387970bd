"""A folder of runs, one for each fold: which models it holds. `train.cross_validation` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.records import whole

FOLDS = "folds.json"
MOST = 1000  # folds


def members(folder: str | Path) -> list[str]:
    """The paths of the runs in a folder of folds, finished or not; none for anything else.

    NeoclassicError for a damaged `folds.json`.
    """
    found = read(folder)
    return [str(Path(folder) / f"fold{i + 1}") for i in range(found["folds"])] if found else []


def trained(folder: str | Path) -> list[str]:
    """The same, where all of them are finished. NeoclassicError where they are not."""
    found = read(folder)
    if found is not None and not found.get("result"):
        raise NeoclassicError(f"{folder} is not finished: train the rest with neoclassic train --resume {folder}")
    return members(folder)


def read(folder: str | Path) -> dict[str, Any] | None:
    """What `folds.json` holds; None if there is none. NeoclassicError for a damaged one."""
    path = Path(folder) / FOLDS
    try:
        content = path.read_bytes()
    except (OSError, ValueError):  # or it is a name that no file can have
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NeoclassicError(f"{path}: damaged ({error})") from None
    if not (isinstance(found, dict) and whole(found.get("folds")) and 2 <= found["folds"] <= MOST):
        raise NeoclassicError(f"{path}: damaged (it does not say the number of folds)")
    return found
