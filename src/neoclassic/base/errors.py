"""What users see of failures: one exception, a clear line; and one warning, for what the work does not depend on."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager

from neoclassic.base.text import printable


class NeoclassicError(Exception):
    """A failure of the work: bad data, a full disk, a diverged run. Exit code 1. The message is one line."""

    exit_code = 1


class UsageError(NeoclassicError):
    """A wrong call: a name, option or value that cannot be. Exit code 2."""

    exit_code = 2


class MissingAttribute(UsageError, AttributeError):
    """An attribute that an object lacks here. `hasattr` is False, and `getattr` returns its default."""


class NeoclassicWarning(UserWarning):
    """Something is not as wished, and the work goes on without it. The message is one line."""


class Ornament(AbstractContextManager[None, bool]):
    """Do what the work does not depend on, such as a picture: where it fails, a warning says so and the work goes on.

    what: the subject of the warning's sentence.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):  # nothing failed, or Ctrl-C
            return False
        reason = str(error) if isinstance(error, NeoclassicError) else f"{type(error).__name__}: {error}"
        warnings.warn(f"{self.what} could not be made ({printable(reason)})", NeoclassicWarning, stacklevel=2)
        return True


def unknown(kind: str, name: str, known: Iterable[str], see: str = "") -> UsageError:
    """The error for a name that is not there, naming the nearest right one.

    >>> str(unknown("network", "lenett", ["lenet", "alexnet"]))
    "unknown network 'lenett': did you mean 'lenet'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else see or f"known: {', '.join(known)}"
    return UsageError(f"unknown {kind} {name!r}: {hint}")


def install(*packages: str) -> str:
    """The command that installs packages for the Python that runs, with what else their extra lists.

    The extra is the smallest of neoclassic's own that has them all, so `install("onnx")` names onnxruntime too.
    """
    import importlib.metadata  # only an error needs these: `import neoclassic` stays quick
    import importlib.util
    import shlex
    import shutil
    import sys
    from pathlib import Path

    extras: dict[str, list[str]] = {}
    try:
        required = importlib.metadata.requires("neoclassic") or []
    except importlib.metadata.PackageNotFoundError:  # a source tree that was never installed
        required = []
    for line in required:
        if found := re.fullmatch(r"([\w.-]+)[^;]*;\s*extra == ['\"](.+)['\"]", line):
            extras.setdefault(found[2], []).append(found[1])
    given = {_plain(name): name for name in packages}
    fitting = [names for names in extras.values() if given.keys() <= {_plain(name) for name in names}]
    names = " ".join(given.get(_plain(name), name) for name in min(fitting, key=len, default=list(packages)))
    python, pip = Path(sys.executable), shutil.which("pip")
    if pip and Path(pip).parent == python.parent:
        return f"pip install {names}"
    if shutil.which("uv") and importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(str(python))} {names}"
    return f"{shlex.quote(str(python))} -m pip install {names}"


def _plain(name: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
