"""Where the data are that a model was trained on.

The rule: data that are named count; else, for a data set with a name, that data set; else the place that the model's
run folder remembers; else the path that the recipe says, as seen from here. A path counts only if it holds the model's
own data, so that another folder of the same name is never taken for it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data.dataset import Splits
from neoclassic.data.folders import Folder
from neoclassic.data.sources import SOURCES, open_dataset
from neoclassic.model.artefact import Model


def data_of(
    model: Model, data: str | None = None, data_dir: str | None = None, validation: float = 0.0, seed: int = 0
) -> Splits | Folder:
    """The data of a model, or those named `data`; the other arguments are those of `open_dataset`.

    NeoclassicError, one line, where the model's own data are not found."""
    run = _run_of(model)
    data_dir = data_dir or run.get("data_dir")
    name = files.on_disk(str(data or model.recipe.get("data") or model.data.get("name", "")))
    if data or name in SOURCES:
        return open_dataset(name, data_dir, model.classes, validation, seed)
    other = None
    for path in dict.fromkeys((where(name, run.get("place")), name)):
        if files.expanded(path).absolute().exists():
            found = open_dataset(path, data_dir, model.classes, validation, seed)
            if _same(found, model):
                return found
            other = other or path
    if other:
        raise NeoclassicError(f"{other} does not hold the data that the model was trained on: name them with --data")
    raise NeoclassicError(f"the data that the model was trained on, {name!r}, are not there: name them with --data")


def where(name: str, place: str | None) -> str:
    """The path of data that were called `name` and were at `place`: the name as it was typed, if it leads there."""
    return name if place is None or files.expanded(name).absolute() == Path(place) else place


def _run_of(model: Model) -> dict[str, str]:
    """The places of the data that the run folder of a model remembers; nothing where the model lies elsewhere."""
    if model.source is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            run = json.loads((model.source.parent / "recipe.json").read_text("utf-8"))["run"]
            return {name: files.on_disk(run[name]) for name in ("place", "data_dir") if run.get(name)}
    return {}


def _same(found: Splits | Folder, model: Model) -> bool:
    """Whether it holds a photo that the model was trained or chosen with; of arrays, whether it is the same data set.

    True where the model does not say."""
    if isinstance(found, Folder):
        known = {mark for marks in model.data.get("photos", {}).values() for mark in marks}
        return not known or any(mark in known for marks in found.digests.values() for mark in marks)
    return model.data.get("fingerprint") in (None, found.train.fingerprint)
