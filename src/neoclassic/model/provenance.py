"""Find the data that a model was trained on.

Data that the caller names come first. Otherwise it is the data set with the recipe's name, the place that the run
folder remembers, or the recipe's path as seen from the current folder. A path is used only if it contains the model's
own data, so another folder with the same name is never mistaken for it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data.dataset import Splits
from neoclassic.data.folders import Folder
from neoclassic.data.sources import SOURCES, open_dataset
from neoclassic.model.artefact import Model


def data_of(model: Model, data: str | None = None, data_dir: str | None = None, **division: Any) -> Splits | Folder:
    """The data of a model, or the data that `data` names. division: further arguments of `data.open_dataset`.

    NeoclassicError, one line, if the model's own data are not found.
    """
    run = _run_of(model)
    data_dir = data_dir or run.get("data_dir")
    name = files.on_disk(str(data or model.recipe.get("data") or model.data.get("name", "")))
    if data or name in SOURCES:
        return open_dataset(name, data_dir, model.classes, **division)
    other = None
    for path in dict.fromkeys((path_of(name, run.get("place")), name)):
        if files.expanded(path).absolute().exists():
            found = open_dataset(path, data_dir, model.classes, **division)
            if _same(found, model):
                return found
            other = other or path
    if other:
        raise NeoclassicError(f"{other} does not hold the data that the model was trained on: name them with --data")
    raise NeoclassicError(f"the data that the model was trained on, {name!r}, were not found: name them with --data")


def path_of(name: str, place: str | None) -> str:
    """The path of data called `name` that are at `place`: the name as it was typed, if it leads there."""
    return name if place is None or files.expanded(name).absolute() == Path(place) else place


def _run_of(model: Model) -> dict[str, str]:
    """What the run folder of a model says about the place of the data; nothing if the model is not in a run folder."""
    if model.source is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            run = json.loads((model.source.parent / "recipe.json").read_text("utf-8"))["run"]
            return {name: files.on_disk(run[name]) for name in ("place", "data_dir") if run.get(name)}
    return {}


def _same(found: Splits | Folder, model: Model) -> bool:
    """Whether the folder has a photo of the model's training or validation set, or the data set is the same.

    True if the model does not record either.
    """
    if isinstance(found, Folder):
        known = {mark for marks in model.data.get("photos", {}).values() for mark in marks}
        return not known or any(mark in known for marks in found.digests.values() for mark in marks)
    return model.data.get("fingerprint") in (None, found.train.fingerprint)
