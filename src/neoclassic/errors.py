"""The one exception that users see: a clear line, and whether the call or the work was wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NeoclassicError(Exception):
    """A failure of the work: bad data, a full disk, a diverged run. Exit code 1. The message is one line."""

    exit_code = 1


class UsageError(NeoclassicError):
    """A wrong call: a name, option or value that cannot be. Exit code 2."""

    exit_code = 2


def unknown(kind: str, name: str, known: Iterable[str], see: str = "") -> UsageError:
    """The error for a name that is not there, naming the nearest right one.

    >>> str(unknown("network", "lenett", ["lenet", "alexnet"]))
    "unknown network 'lenett': did you mean 'lenet'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else see or f"known: {', '.join(known)}"
    return UsageError(f"unknown {kind} {name!r}: {hint}")
