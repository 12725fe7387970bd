"""Names of classes: which are probably one class that is spelled in several ways, and two classes of one name."""

from __future__ import annotations

from collections.abc import Sequence

from neoclassic.data.user_text import nfc

SHOWN = 5  # groups of names in a warning


def doubtful(names: Sequence[str]) -> list[str]:
    """A warning if some names differ only in capitals, spaces or underscores, such as `Cat`, `cat` and `cat `."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(name.casefold().replace("_", " ").split()), []).append(name)
    alike = [", ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    shown = "; ".join(alike[:SHOWN]) + (f"; and {len(alike) - SHOWN:,} more" if alike[SHOWN:] else "")
    return [f"the names of classes differ only in capitals or spaces: {shown}: merge them if they are one class"]


def repeated(names: Sequence[str]) -> tuple[str, int, int] | None:
    """The first name that two classes have, in either Unicode form, and the indices of both; None if there is none."""
    first: dict[str, int] = {}
    for i, name in enumerate(map(nfc, names)):
        if first.setdefault(name, i) != i:
            return name, first[name], i
    return None


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of them once: a name that came before gets the first number from 2 that makes it another one.

    ImageNet's list has "crane" twice, the bird and the machine.

    >>> told_apart(["crane", "hen", "crane"])
    ('crane', 'hen', 'crane (2)')
    """
    taken = set(map(nfc, names))
    seen: set[str] = set()
    apart = []
    for name in names:
        number, other = 2, name
        while nfc(other) in seen or (other != name and nfc(other) in taken):
            other, number = f"{name} ({number})", number + 1
        seen.add(nfc(other))
        apart.append(other)
    return tuple(apart)
