"""What users see when something fails: an exception whose message is one clear line, or a warning."""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from neoclassic.base.text import printable


class NeoclassicError(Exception):
    """The work failed: bad data, a full disk, a diverged run. Exit code 1.

    The message is one line: control characters in it, of a file name or another library's error, are escaped.

        >>> nc.load("missing.safetensors")
        Traceback (most recent call last):
        ...
        neoclassic.base.errors.NeoclassicError: cannot read missing.safetensors: No such file or directory
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class UsageError(NeoclassicError):
    """The call was wrong: an invalid name, option or value. Exit code 2.

    >>> nc.network("lenett")
    Traceback (most recent call last):
    ...
    neoclassic.base.errors.UsageError: unknown network 'lenett': did you mean 'lenet'?
    """

    exit_code = 2


class InvalidType(UsageError, TypeError):
    """An argument of the wrong type, which Python's users expect to be a TypeError."""


class InvalidValue(UsageError, ValueError):
    """An argument out of its range, which Python's users expect to be a ValueError."""


class MissingAttribute(UsageError, AttributeError):
    """An attribute that an object lacks here. `hasattr` is False, and `getattr` returns its default."""


class MissingPackage(UsageError, ImportError):
    """A module that needs a package which is not installed here."""


class NeoclassicWarning(UserWarning):
    """Something failed that the work does not depend on, and the work continues. The message is one line."""


class Ornament(AbstractContextManager[None, bool]):
    """A context for things that the work does not depend on, such as pictures: an exception becomes a warning.

    what: the subject of the warning's sentence.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):  # no error, or Ctrl-C
            return False
        reason = str(error) if isinstance(error, NeoclassicError) else f"{type(error).__name__}: {error}"
        warnings.warn(f"{self.what} could not be made ({printable(reason)})", NeoclassicWarning, stacklevel=2)
        return True


Failure = TypeVar("Failure", bound=NeoclassicError)


def one_line(error: Failure) -> Failure:
    """Let Python and IPython print an error that nothing catches as one line, without a traceback.

    It is for errors whose whole reason is in the message, such as a package that is not installed.
    """
    error.__dict__["_render_traceback_"] = lambda: [f"{type(error).__name__}: {error}"]  # IPython calls it
    if sys.excepthook is not _hook:
        _before.append(sys.excepthook)
        sys.excepthook = _hook
    return error


_before: list[Callable[..., Any]] = []  # the hooks that other errors go to, the last one first


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if "_render_traceback_" not in vars(error):
        _before[-1](kind, error, trace)
        return
    import importlib
    from pathlib import Path

    frames = []
    while trace:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    passed = str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<frozen"
    where = [f"{file}, line {line}: " for file, line in frames if not file.startswith(passed)]
    print(f"{where[-1] if where else ''}{error}", file=sys.stderr)


def unknown(kind: str, name: str, known: Iterable[str], see: str = "") -> UsageError:
    """Return the error for an unknown name. It suggests the most similar known name, else `see`, else lists all.

    >>> str(unknown("network", "lenett", ["lenet", "alexnet"]))
    "unknown network 'lenett': did you mean 'lenet'?"
    """
    known = list(known)
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {similar[0]!r}?" if similar else see or f"known: {', '.join(known)}"
    return UsageError(f"unknown {kind} {name!r}: {hint}")


def install(*packages: str) -> str:
    """Return the command that installs packages for the running Python, with the rest of their extra.

    The extra is the smallest one of neoclassic's that contains all of them: `install("onnx")` also names onnxruntime.
    """
    import importlib.metadata  # only errors need these, and `import neoclassic` should be fast
    import importlib.util
    import shlex
    import shutil
    from pathlib import Path

    extras: dict[str, list[str]] = {}
    try:
        required = importlib.metadata.requires("neoclassic") or []
    except importlib.metadata.PackageNotFoundError:  # a source tree that was never installed
        required = []
    for line in required:
        if match := re.fullmatch(r"([\w.-]+)[^;]*;\s*extra == ['\"](.+)['\"]", line):
            extras.setdefault(match[2], []).append(match[1])
    given = {_normalised(name): name for name in packages}
    complete = [names for names in extras.values() if given.keys() <= {_normalised(name) for name in names}]
    names = " ".join(given.get(_normalised(name), name) for name in min(complete, key=len, default=list(packages)))
    python, pip = Path(sys.executable), shutil.which("pip")
    if pip and Path(pip).parent == python.parent:
        return f"pip install {names}"
    if shutil.which("uv") and importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(str(python))} {names}"
    return f"{shlex.quote(str(python))} -m pip install {names}"


def _normalised(name: str) -> str:
    """The name of a distribution in the form in which packaging compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
