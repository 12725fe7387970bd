"""The zoo: one file a family; a network is a row of its file's `NETWORKS`, and a row is an `Entry`."""

from __future__ import annotations

import inspect
from fnmatch import fnmatchcase

from neoclassic.errors import UsageError, unknown
from neoclassic.networks import deepconvnet, lenet
from neoclassic.networks.registry import Entry
from neoclassic.tree import Node

__all__ = ["Entry", "entry", "list_networks", "network"]

_FAMILIES: tuple[tuple[Entry, ...], ...] = (lenet.NETWORKS, deepconvnet.NETWORKS)
_ENTRIES = {row.name: row for family in _FAMILIES for row in family}


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
    row = entry(name)
    classes = row.classes if classes is None else classes
    if classes < 1:
        raise UsageError(f"a network needs at least 1 class, not {classes}")
    known = [p for p in inspect.signature(row.build).parameters if p != "classes"]
    for knob in knobs:
        if knob not in known:
            raise unknown(f"knob of {name}", knob, known, see="it has none" if not known else "")
    return row.build(classes, **knobs)
