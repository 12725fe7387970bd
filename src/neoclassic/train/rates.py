"""How fast each parameter learns, and from which epoch on.

The factor of a parameter's learning rate follows from the recipe in this order:

1. `rate_decay` to the power of the layer's depth: 0 for the head, one more for each level below it.
2. If the layer starts afresh beside weights that were given, `fresh_rate` times that.
3. If a pattern of `rates` matches, the number of the last one that does, instead of 1 and 2.
4. 0 in the epochs before the one that `unfreeze` names, and always if `freeze` matches.

A level is a child of the network's tree that has a convolution or a linear layer, with the norms that follow it.
Auxiliary heads are on the level of the head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from neoclassic.base.errors import UsageError
from neoclassic.measure import Shape
from neoclassic.train.recipe import Recipe

Plan = dict[int, dict[str, float]]
MANY = 8  # layers; of more, the first and the last are told


def plan(recipe: Recipe, shapes: Mapping[str, Shape], afresh: Collection[str] = ()) -> Plan:
    """The factors of the learning rates, by the epoch, from 0, in which they begin to apply.

    A parameter that is not named has the factor 1; 0 freezes it. shapes: of every parameter by its key, in the order
    of the network. afresh: keys that start afresh beside given weights. UsageError for a pattern that matches nothing,
    or if an epoch has nothing to train.
    """
    factors = {key: recipe.rate_decay**depth for key, depth in depths(shapes).items()}
    factors |= {key: factors[key] * recipe.fresh_rate for key in shapes if key in afresh}
    for pattern, rate in (*recipe.rates, *((pattern, 0.0) for pattern in recipe.freeze)):
        factors |= dict.fromkeys(_matching(pattern, shapes), rate)
    begins = dict.fromkeys(shapes, 0)
    for epoch, pattern in recipe.unfreeze:
        begins |= dict.fromkeys(_matching(pattern, shapes), epoch - 1)
    if not any(factors.values()):
        raise UsageError("every parameter is frozen: there is nothing to train")
    first = min(begins[key] for key in shapes if factors[key])
    if first:
        name = list(shapes)[-1].partition(".")[0]
        raise UsageError(f"every parameter is frozen before epoch {first + 1}: add --unfreeze '1={name}', for example")
    starts = sorted({begins[key] for key in shapes if factors[key]})
    rates = {start: {k: factors[k] if begins[k] <= start else 0.0 for k in shapes} for start in starts}
    return {start: {key: rate for key, rate in phase.items() if rate != 1} for start, phase in rates.items()}


def depths(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The depth of each parameter below the head, in levels."""
    opening = {_top(key) for key, shape in shapes.items() if len(shape) > 1}
    levels, level = {}, 0
    for name in dict.fromkeys(_top(key) for key in reversed(list(shapes))):  # from the head down
        side = name.startswith("auxiliary")
        levels[name] = 0 if side else level
        level += name in opening and not side
    return {key: levels[_top(key)] for key in shapes}


def lines(recipe: Recipe, shapes: Mapping[str, Shape], plan: Plan) -> list[str]:
    """What there is to tell of a plan: the factors from the head down, and what begins to learn when."""
    told = []
    final = plan[max(plan)]
    layers = dict.fromkeys(_top(key) for key in sorted(shapes, key=depths(shapes).__getitem__))
    factors = {name: {final.get(key, 1.0) for key in shapes if _top(key) == name} - {0.0} for name in layers}
    if recipe.rate_decay != 1 or any(found - {1.0} for found in factors.values()):
        shown = [f"{name} ×{_range(found)}" for name, found in factors.items() if found]
        if len(shown) > MANY:
            shown[3:-1] = ["…"]
        told.append(f"learning rates: {', '.join(shown)}")
    if len(plan) > 1:
        seen = set[str]()
        parts = []
        for start, rates in plan.items():
            new = {key for key in shapes if rates.get(key, 1.0)} - seen
            seen |= new
            names = ", ".join(name for name in layers if any(_top(key) == name for key in new))
            parts.append(f"from epoch {start + 1} also {names}" if start else f"epoch 1 trains {names}")
        told.append("; ".join(parts))
    return told


def _top(key: str) -> str:
    return key.partition(".")[0]


def _range(values: Iterable[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to ×{high:.3g}"


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The keys that a pattern matches, as a whole or as a path above them. UsageError if there are none."""
    names = list(names)
    matched = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
    if not matched:
        raise UsageError(
            f"no parameter matches {pattern!r}: the paths begin with {', '.join(dict.fromkeys(map(_top, names)))}"
        )
    return matched
