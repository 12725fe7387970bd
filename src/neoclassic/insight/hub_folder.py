"""A folder that can be pushed to the Hugging Face Hub as it is: the model, its card, and what other programs need."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

from neoclassic import __version__
from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.text import json_text
from neoclassic.insight.card import Card
from neoclassic.model.artefact import Model
from neoclassic.model.export import SCRIPT, export, script
from neoclassic.model.hub import CONFIG, WEIGHTS
from neoclassic.model.opening import load_model
from neoclassic.train.run import Run

CARD, ONNX = "README.md", "model.onnx"


def write(model: str | Path, folder: str | Path) -> list[Path]:
    """Write the folder of a model, whole or not at all. Return its files.

    model: a run folder, an artefact, or an address; only a finished run knows its accuracy of each class. Without the
    extra `onnx` there is no ONNX file. UsageError if the folder exists and is not empty; NeoclassicError for a model
    that cannot be read or a folder that cannot be written.
    """
    folder = Path(folder)
    check(folder)
    loaded = published(load_model(model))
    run = Run(Path(model))
    result = run.finished() if Path(model).is_dir() else None
    target = folder.absolute()
    making = target.parent / f".neoclassic-{os.getpid()}-{secrets.token_hex(4)}"
    files.make_folder(making)
    try:
        loaded.save(making / WEIGHTS)
        if find_spec("onnx"):
            export(loaded, making / ONNX)
            files.write(making / SCRIPT, script().read_bytes())
        files.write(making / CONFIG, json_text(config(loaded), indent=2) + "\n")
        sizes = {path.name: path.stat().st_size for path in sorted(making.iterdir())}
        files.write(making / CARD, Card(loaded, result, target.name, sizes).text())
        making.replace(target)
    except OSError as error:
        raise NeoclassicError(f"cannot make {folder}: {error.strerror or error}; choose another place") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return [folder / name for name in sorted([*sizes, CARD])]


def check(folder: Path) -> None:
    """Check, before the work begins, that the folder can be made. UsageError if it is not empty."""
    files.check_folder(folder)
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a new folder")


def published(model: Model) -> Model:
    """The same model without the paths of this machine, of which only the last part is kept."""
    recipe = {**model.recipe}
    for name in ("data", "weights"):
        if "/" in str(recipe.get(name, "")) and not str(recipe[name]).startswith("hf:"):
            recipe[name] = PurePath(recipe[name]).name
    return replace(model, recipe=recipe, data={**model.data, "name": PurePath(str(model.data.get("name", ""))).name})


def config(model: Model) -> dict[str, Any]:
    """What `config.json` says, as plain JSON values."""
    return {
        "library_name": "neoclassic",
        "neoclassic_version": __version__,
        "network": model.network,
        "input": list(model.input),
        "num_classes": len(model.classes),
        "id2label": {str(i): name for i, name in enumerate(model.classes)},
        "preprocessing": json.loads(json.dumps(model.preprocessing.to_dict())),
        "temperature": model.temperature,
        "metrics": model.metrics,
        "checksum": model.checksum,
    }
