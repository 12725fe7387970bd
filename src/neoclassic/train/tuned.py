"""What `neoclassic bench --tune` measured on this machine and remembered, for runs that leave the choice to us."""

from __future__ import annotations

import json
from pathlib import Path

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data import cache
from neoclassic.engines import Speed


def file() -> Path:
    """Where it is remembered, by network, device and version of torch."""
    return cache.folder() / "tuned.json"


def remembered(network: str, device: str) -> Speed | None:
    """The fastest choice; None where nothing was measured, or not with this torch."""
    found = _read().get(_key(network, device))
    return Speed(**found) if found else None


def remember(network: str, device: str, speed: Speed) -> None:
    """For the runs to come."""
    known = _read() | {_key(network, device): {"precision": speed.precision, "compile": speed.compile}}
    files.make_folder(file().parent)
    files.write(file(), json.dumps(known, indent=1, sort_keys=True) + "\n")


def _key(network: str, device: str) -> str:
    import torch

    from neoclassic.engines.torch import device_name

    return f"{network} on {device_name(device)}, torch {torch.__version__}"


def _read() -> dict[str, dict[str, str]]:
    try:
        found = json.loads(file().read_text("utf-8"))
    except (OSError, ValueError, NeoclassicError):  # nothing remembered, or nothing that can be used
        return {}
    return found if isinstance(found, dict) else {}
