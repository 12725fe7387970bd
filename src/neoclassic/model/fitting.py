"""Fit the arrays of a file to a network by their names; layers that the file lacks are initialised afresh."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines.contract import Array, Weights
from neoclassic.engines.weights import counts, shapes
from neoclassic.measure import Shape, by
from neoclassic.model.weight_files import as_array
from neoclassic.networks import Entry, entry

SHOWN = 4  # names of each kind in the list of what does not fit
WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def named(state: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a state_dict, without counters and without the prefixes that torch.compile and wrappers add."""
    kept = {key: value for key, value in state.items() if not counts(key)}
    return {WRAPPERS.sub("", key): as_array(value) for key, value in kept.items()}


def names_by_layer(ours: Iterable[str], layers: Mapping[str, str]) -> dict[str, str]:
    """The names of these arrays in another library. layers: its name of each layer, by our path."""
    return {key: f"{layers[path]}.{array}" for key in ours for path, _, array in [key.rpartition(".")]}


@dataclass(frozen=True)
class Reading:
    """Arrays whose names have lost a prefix; how many names and shapes match the network; notes for the user."""

    arrays: dict[str, Array]
    score: tuple[int, int]
    notes: tuple[str, ...] = ()


def unprefixed(found: Mapping[str, Array], wanted: Mapping[str, Shape]) -> Reading:
    """Remove the prefix under which most of the wanted names are found; none if the plain names match as well.

    Arrays under other prefixes belong to other modules and are left out. If two prefixes match equally well but the
    numbers differ, the averaged one counts ("ema" in its name). NeoclassicError if that does not decide either.
    """
    scores = {"": (0, 0)}
    for key, array in found.items():
        parts = key.split(".")
        for i in range(len(parts)):
            if (inner := ".".join(parts[i:])) in wanted:
                prefix = key.removesuffix(inner)
                names, fitting = scores.get(prefix, (0, 0))
                scores[prefix] = names + 1, fitting + (array.shape == wanted[inner])
    score = max(scores.values())
    prefixes = [prefix for prefix in scores if scores[prefix] == score]
    under = {p: {key.removeprefix(p): array for key, array in found.items() if key.startswith(p)} for p in prefixes}
    chosen = prefixes[0]
    if not all(_agree(under[chosen], under[prefix], wanted) for prefix in prefixes):
        averaged = [prefix for prefix in prefixes if "ema" in prefix.lower()]
        if len(averaged) == 1:
            (chosen,) = averaged
        elif 2 * score[0] > len(wanted):
            two = " and ".join(repr(prefix.rstrip(".")) for prefix in prefixes[:2])
            raise NeoclassicError(f"the file holds several such networks, {two} among them: save only one of them")
    others = [key for key in found if not key.startswith(chosen)]
    notes = (f"only the weights under {chosen.rstrip('.')!r} are used, not {others[0]}",) if others else ()
    return Reading(under[chosen], score, notes)


def _agree(one: Mapping[str, Array], other: Mapping[str, Array], keys: Iterable[str]) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in keys if key in one and key in other)


@cache
def heads(name: str | Entry) -> frozenset[str]:
    """The layers of a network that have one output for each class."""
    row = entry(name)
    try:
        one, other = (shapes(row.tree(n), row.input) for n in (row.classes, row.classes + 1))
    except UsageError:  # it has its own classes only
        return frozenset()
    return frozenset(key.rpartition(".")[0] for key in one if one[key] != other[key])


@dataclass(frozen=True)
class Fitted:
    """Weights by path, notes on what could not be used unchanged, and the paths that were initialised afresh."""

    weights: Weights
    notes: list[str]
    afresh: frozenset[str]


def fitted(
    name: str | Entry,
    keys: Mapping[str, str],
    found: Mapping[str, Array],
    wanted: Mapping[str, Shape],
    fresh: Callable[[], Weights],
    whose: str,
) -> Fitted:
    """The weights by path for a network of the zoo, or for an `Entry`.

    keys: the name of each path in the file. wanted: its shape. fresh: draws initial weights for layers that the file
    lacks: the last layer, if the file has other classes or another classifier, and missing auxiliary heads. The first
    kernels are summed over their channels for grey images, and spread over three channels if they are for grey ones.
    NeoclassicError for anything else that is missing, surplus or of another shape: it begins with `whose`, and says in
    a short list what fits and what does not.
    """
    afresh, notes, ignored = _afresh(name, keys, found, wanted)
    known = ignored.union(keys.values())
    first = next((key for key, shape in wanted.items() if len(shape) == 4), "")
    weights: Weights = {}
    missing, misshapen = [], []
    for key, shape in wanted.items():
        array = found.get(keys[key])
        if key in afresh:
            continue
        if array is None:
            missing.append(keys[key])
        elif array.shape == shape:
            weights[key] = array
        elif key == first and (fitting := _other_channels(array, shape)):
            weights[key] = fitting[0]
            notes.append(fitting[1])
        else:
            misshapen.append(f"{keys[key]} is {by(array.shape)}, not {by(shape)}")
    surplus = [key for key in found if key not in known]
    if missing or surplus or misshapen:
        parts = [f"{len(weights)} of {len(wanted)} arrays fit"]
        parts += [f"missing {_some(missing)}"] * bool(missing) + [f"surplus {_some(surplus)}"] * bool(surplus)
        raise NeoclassicError(f"{whose}: {'; '.join(parts + [_some(misshapen)] * bool(misshapen))}")
    drawn = fresh() if afresh else {}
    return Fitted({k: drawn[k] if k in afresh else weights[k] for k in wanted}, notes, frozenset(afresh))


def _some(names: list[str]) -> str:
    """The first names, and how many there are beyond them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _other_channels(kernels: Array, shape: Shape) -> tuple[Array, str] | None:
    """First kernels for images with other channels, and what to say of that; None if more than that is different.

    Grey images, in one channel or alike in three, give the same answers afterwards.
    """
    n = kernels.shape[1] if kernels.ndim == 4 else 0
    if not n or kernels.shape != (shape[0], n, *shape[2:]):
        return None
    if shape[1] == 1:
        return kernels.sum(axis=1, keepdims=True), f"the first kernels are summed over their {n} channels"
    if n == 1:
        spread = np.repeat(kernels / np.float32(shape[1]), shape[1], axis=1)
        return spread, f"the first kernels, which are for grey images, are spread over {shape[1]} channels"
    return None


def _afresh(
    name: str | Entry, keys: Mapping[str, str], found: Mapping[str, Array], wanted: Mapping[str, Shape]
) -> tuple[set[str], list[str], set[str]]:
    """Paths to initialise afresh, notes about them, and the file's names of another kind of last layer."""
    afresh, notes, ignored = set[str](), [], set[str]()
    missing = {key for key in wanted if keys[key] not in found}
    last = {key for key in wanted if key.rpartition(".")[0] in heads(name)}
    side = {key for key in wanted if key.startswith("auxiliary")}
    changed = [key for key in wanted if key in last - missing and found[keys[key]].shape[:1] != wanted[key][:1]]
    if changed:
        theirs, here = (shape[0] if shape else 1 for shape in (found[keys[changed[0]]].shape, wanted[changed[0]]))
        notes.append(f"the last layer starts afresh: the file has {theirs} classes, the network {here}")
        afresh |= last
    if side and side <= missing:
        notes.append("the file has no auxiliary heads: they start afresh")
        afresh |= side
    if last and last - side <= missing:
        top = {keys[key].partition(".")[0] for key in last - side}
        ignored = {key for key in found if key.partition(".")[0] in top and key not in keys.values()}
        notes.append(f"the file has {'a different' if ignored else 'no'} {', '.join(sorted(top))}: it starts afresh")
        afresh |= {key for key in missing if keys[key].partition(".")[0] in top}
    return afresh, notes, ignored
