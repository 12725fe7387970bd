"""The zoo: one file per family of networks. Each network is an `Entry` in its file's `NETWORKS`."""

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
from neoclassic.networks.entries import Entry
from neoclassic.networks.own import NAME as OWN
from neoclassic.networks.own import made_entry, own_entry, size_for
from neoclassic.tree import Node

__all__ = [
    "OWN",
    "Entry",
    "differences",
    "entry",
    "in_zoo",
    "list_networks",
    "made_entry",
    "network",
    "own_entry",
    "size_for",
]

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
_ENTRIES: dict[str, Entry] = {entry.name: entry for family in _FAMILIES for entry in family.NETWORKS}


def list_networks(pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern, by year, then in the order of their files.

    >>> nc.list_networks("lenet*")
    ['lenet', 'lenet:1998', 'lenet:bn']
    """
    return [e.name for e in sorted(_ENTRIES.values(), key=lambda e: e.year) if fnmatchcase(e.name, pattern)]


def in_zoo(name: str) -> bool:
    """Return whether the zoo has a network of this name."""
    return name in _ENTRIES


def entry(name: str | Node | Entry) -> Entry:
    """Return the `Entry` of a network: how it is built, its published input and classes. UsageError if unknown.

    A tree gets an entry of its own; see `networks.own`.
    """
    if isinstance(name, Entry):
        return name
    if isinstance(name, Node):
        return own_entry(name)
    if name in _ENTRIES:
        return _ENTRIES[name]
    if re.search(r"\.py(:\w*)?$", name):
        raise UsageError(
            f"unknown network {name!r}: only the command line takes a file; in Python, give the tree itself"
        )
    family, _, variant = name.partition(":")
    variants = [e.name for e in _ENTRIES.values() if e.family == family]
    if variant and variants:
        raise UsageError(f"unknown variant {variant!r} of {family!r}: choose one of {', '.join(variants)}")
    raise unknown("network", name, _ENTRIES, see="'neoclassic list' shows them all")


def network(name: str, classes: int | None = None, **knobs: object) -> Node:
    """Return the tree of a network of the zoo.

    classes: outputs of the last layer; by default the published number. knobs: what the paper's tables vary, as keyword
    arguments. UsageError for an unknown name or knob, and for an invalid value.

        >>> nc.measure(nc.network("mobilenet-v1", classes=10, width=0.5), (3, 224, 224)).parameters
        823722
    """
    return entry(name).tree(classes, **knobs)


def differences(name: str) -> str:
    """Return how a network differs from its paper, and why: its entry under "Differences" in its family's file.

    It is empty for a network that is not of the zoo."""
    if not in_zoo(name):
        return ""
    family = next(f for f in _FAMILIES if entry(name) in f.NETWORKS)
    _, _, section = (inspect.getdoc(family) or "").partition("Differences\n")
    for point in re.split(r"^- ", section, flags=re.MULTILINE)[1:]:
        names, _, text = point.partition("` — ")
        if any(fnmatchcase(name, pattern) for pattern in re.findall(r"`([^`]+)", names + "`")):
            return " ".join(text.split())
    return ""
