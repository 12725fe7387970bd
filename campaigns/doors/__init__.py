"""Doors: what the library opens, each with a valid file, and the watch over one call."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from campaigns.common import mutated
from neoclassic.base.errors import NeoclassicError

SECONDS = 5.0  # of processor time for one call
MEMORY = 1 << 30  # bytes by which one call may raise the peak of this process
HANGS = 30.0  # seconds after which a call is interrupted

Change = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Door:
    """One kind of file, and how it is opened.

    kind     its name in the counts
    file     where a trial writes it; other files that it needs stand beside it
    content  a valid one
    open     reads the file as users do, and returns what it holds
    damages  changes after which the file must be refused, or hold exactly what it held, if `proves`
    proves   whether the file has a checksum of its own
    edits    changes that leave a file of the right form: it may hold something else, and must not fail raw
    every    it is tried once in so many rounds
    """

    kind: str
    file: Path
    content: bytes
    open: Callable[[Path], Any]
    damages: tuple[Change, ...] = (mutated,)
    proves: bool = False
    edits: tuple[Change, ...] = ()
    every: int = 1


# ── one call ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outcome:
    """How a call ended: with a value, refused in one line, or with a fault."""

    value: Any = None
    refusal: str = ""
    fault: str = ""


class Hang(BaseException):
    """A call took too long. No `except Exception` catches it."""


def attempt(call: Callable[[], Any], seconds: float = SECONDS) -> Outcome:
    """Call, and say how it ended. Any exception but a NeoclassicError of one line is a fault; so are more than
    `seconds` of processor time and a peak of memory that rises by more than MEMORY."""
    _forget_peak()
    peak, start = _peak(), time.process_time()
    try:
        with _interrupted(HANGS), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            outcome = Outcome(call())
    except NeoclassicError as error:
        text = str(error)
        one_line = text.strip() and len(text.splitlines()) == 1
        outcome = Outcome(refusal=text) if one_line else Outcome(fault=f"not one line: {text[:200]!r}")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # also a panic of safetensors, which is no Exception
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
        return Outcome(fault=fault)
    took, grown = time.process_time() - start, _peak() - peak
    if took > seconds:
        return Outcome(fault=f"took {took:.1f} s of processor time")
    return Outcome(fault=f"took {grown >> 20} MiB") if grown > MEMORY else outcome


def _forget_peak() -> None:
    """Let `_peak` begin anew, where the system can: after one large call, it would not see another."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The largest memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@contextmanager
def silent() -> Iterator[None]:
    """Discard what libraries in C write to standard error, such as libtiff."""
    sys.stderr.flush()
    before, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    """Raise Hang in the main thread after this time."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"still running after {seconds:.0f} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ── what a file holds ────────────────────────────────────────────────────────────────────────────────


def fingerprint(value: Any) -> str:
    """Equal for equal contents: plain values, records, arrays, and collections of them."""
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, dict):
        for key in sorted(value):
            yield repr(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield str(len(value)).encode()
        for each in value:
            yield from _parts(each)
    else:
        yield repr(value).encode("utf-8", "backslashreplace")


# ── changes of JSON values ───────────────────────────────────────────────────────────────────────────

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 1024, 65_536, 1 << 31, 1 << 63, -(1 << 63), 10**30, 10**400),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")),
    *("", "a", "1", "\0", "\n", "\ud800", "x" * 5000, "../..", "/dev/null", "\x1b[31m", "numpy", "lenet", "ReLU"),
    *([], [[]], [1], [1, 2], [None], ["a"], [0] * 1000, {}, {"a": 1}, {"type": "ReLU"}, {"type": "Node"}),
    *({"type": "Sequential", "children": {}}, {"type": "Conv2d", "out_channels": 1 << 20, "kernel_size": 1}),
)


def changed(value: Any, rng: np.random.Generator) -> Any:
    """A copy of JSON values in which one or two entries are replaced by odd ones, left out, doubled or added."""
    value = {"root": copy.deepcopy(value)}
    for _ in range(int(rng.integers(1, 3))):
        holder, key = _entry(value, rng)
        odd, way = copy.deepcopy(ODD[rng.integers(len(ODD))]), rng.random()
        if way < 0.15 and holder is not value:
            del holder[key]
        elif way < 0.25 and isinstance(holder, list):
            holder.insert(key, odd)
        elif way < 0.3 and isinstance(holder, dict) and holder is not value:
            holder[str(odd)[:20]] = copy.deepcopy(holder[key])
        else:
            holder[key] = odd
    return value["root"]


def _entry(value: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """One entry of nested dicts and lists, as its holder and its key there. Deep ones are as likely as others."""
    entries: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 20))
        for key in keys:
            entries.append((holder, key))
            if isinstance(holder[key], dict | list):
                pending.append(holder[key])
    return entries[rng.integers(len(entries))]
