"""The zoo: one file a family; a network is a row of its file's `NETWORKS`, and a row is an `Entry`."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase
from types import ModuleType

from neoclassic.base.errors import UsageError, unknown
from neoclassic.networks import (
    alexnet,
    deepconvnet,
    densenet,
    googlenet,
    lenet,
    mnist,
    mobilenet,
    nin,
    resnet,
    vgg,
)
from neoclassic.networks.registry import Entry
from neoclassic.tree import Node

__all__ = ["Entry", "differences", "entry", "list_networks", "network"]

_FAMILIES: tuple[ModuleType, ...] = (
    lenet,
    alexnet,
    nin,
    vgg,
    googlenet,
    mnist,
    resnet,
    deepconvnet,
    densenet,
    mobilenet,
)
_ENTRIES: dict[str, Entry] = {row.name: row for family in _FAMILIES for row in family.NETWORKS}


def list_networks(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, by year, then as their file lists them."""
    return [e.name for e in sorted(_ENTRIES.values(), key=lambda e: e.year) if fnmatchcase(e.name, pattern)]


def entry(name: str) -> Entry:
    """The row of a network: how it is built, and its published input and classes. UsageError if unknown."""
    if name in _ENTRIES:
        return _ENTRIES[name]
    family, _, variant = name.partition(":")
    variants = [e.name for e in _ENTRIES.values() if e.family == family]
    if variant and variants:
        raise UsageError(f"unknown variant {variant!r} of {family!r}: there is {', '.join(variants)}")
    raise unknown("network", name, _ENTRIES, see="'neoclassic list' shows them all")


def network(name: str, classes: int | None = None, **knobs: object) -> Node:
    """The tree of a network of the zoo.

    classes: outputs of the last layer; the published number when omitted. knobs: what the paper's own
    tables vary, as keyword arguments. UsageError for a name, a number or a knob that cannot be.
    """
    return entry(name).tree(classes, **knobs)


def differences(name: str) -> str:
    """How a network departs from its paper, and why: what the top of its family file says of it."""
    family = next(f for f in _FAMILIES if entry(name) in f.NETWORKS)
    _, _, section = (inspect.getdoc(family) or "").partition("Differences\n")
    for point in re.split(r"^- ", section, flags=re.MULTILINE)[1:]:
        names, _, text = point.partition("` — ")
        if any(fnmatchcase(name, pattern) for pattern in re.findall(r"`([^`]+)", names + "`")):
            return " ".join(text.split())
    return ""
