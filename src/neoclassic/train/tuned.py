"""The fastest speed settings that `neoclassic bench --tune` has measured on this machine.

A run uses them where its options leave the choice open, and its recipe.json records what was used, so that a resumed
run does not change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data import cache
from neoclassic.engines import Speed


def file() -> Path:
    """The file that holds them, in the cache folder."""
    return cache.folder() / "tuned.json"


def remembered(network: str, size: tuple[int, ...], batch: int, device: str) -> Speed | None:
    """The fastest choice that was measured with all of this; None where nothing was.

    size: height and width of the images. batch: images in a step. device: as `--device` names it.
    """
    known = _read().get(_key(network, size, batch, device))
    if not isinstance(known, dict) or known.keys() != {"precision", "compile"}:
        return None
    speed = Speed(known["precision"], known["compile"])
    return speed if speed.precision in ("32", "bf16") and speed.compile in ("on", "off") else None


def remember(network: str, size: tuple[int, ...], batch: int, device: str, speed: Speed) -> None:
    """Keep a choice for later runs."""
    known = _read() | {_key(network, size, batch, device): {"precision": speed.precision, "compile": speed.compile}}
    files.make_folder(file().parent)
    files.write(file(), json.dumps(known, indent=1, sort_keys=True) + "\n")


def _key(network: str, size: tuple[int, ...], batch: int, device: str) -> str:
    """Everything that the measurement depends on."""
    import torch

    from neoclassic import __version__
    from neoclassic.engines.torch import device_name

    images = "×".join(map(str, size))
    versions = f"torch {torch.__version__}, neoclassic {__version__}"
    return f"{network}, batches of {batch}, images of {images}, on {device_name(device)}, {versions}"


def _read() -> dict[str, Any]:
    try:
        known = json.loads(file().read_text("utf-8"))
    except (OSError, ValueError, NeoclassicError):  # nothing is remembered, or nothing that can be used
        return {}
    return known if isinstance(known, dict) else {}
