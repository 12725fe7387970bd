"""The parent of trials: python -m campaigns.forks FOLDER [MODULE …]. It reads a command line, as JSON, from each line
of its standard input, runs it in a forked child, and answers with a line of JSON that says what became of it.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from campaigns.forks import HANGS, Leg, Point
from campaigns.forks.calls import Calls

NOT_NEEDED = ("torch", "web", "compat", "__main__", "mnist")  # parts of names of modules


def serve(work: Path, *modules: str) -> None:
    """Answer every line of standard input."""
    import_all(*modules)
    if threading.active_count() > 1:
        raise RuntimeError("a process of several threads cannot be forked safely")
    if hasattr(os, "sched_setaffinity"):  # threads that share so small a batch mostly wait for each other
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(os.environ["PYTHONHASHSEED"]) % len(cores)]})
    os.chdir(work)
    print("{}", flush=True)
    for line in sys.stdin:
        described, plant = json.loads(line)
        print(json.dumps(outcome(Leg(**described), plant, work)), flush=True)


def import_all(*modules: str) -> None:
    """Import whatever a training on the NumPy engine, an export or a report needs, and these modules, so that no child
    has to."""
    import neoclassic
    from neoclassic.train import loop

    loop.CHECKPOINT_SECONDS = 0.0  # after every step
    for module in pkgutil.walk_packages(neoclassic.__path__, "neoclassic."):
        if not any(part in module.name for part in NOT_NEEDED):
            importlib.import_module(module.name)
    for name in ("PIL.PngImagePlugin", "PIL.JpegImagePlugin", "matplotlib.backends.backend_agg", *modules):
        importlib.import_module(name)


def outcome(leg: Leg, plant: str, work: Path) -> dict[str, Any]:
    """Run a command line in a forked child, and say what became of it: the fields of an `Outcome`."""
    reading, writing = os.pipe()  # closed by the end of the child, whatever that is
    streams = [work / leg.stdout, work / f"stderr-{os.getpid()}"]
    child = os.fork()
    if not child:
        os.close(reading)
        _be_child(leg, plant, work, streams, writing)
    os.close(writing)
    ended, report = _wait(reading, leg.seconds or HANGS)
    if not ended:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    asked = code == -signal.SIGKILL and (leg.seconds or (leg.point and not Point(**leg.point).error))
    out, err = (path.read_text("utf-8", "replace") if path.is_file() else "" for path in streams)
    return {
        "code": None if asked else code,
        "hung": not ended and not leg.seconds,
        "out": out,
        "err": err,
        "counts": json.loads(report or "{}"),
    }


def _wait(reading: int, seconds: float) -> tuple[bool, bytes]:
    """Read a pipe until it is closed. Return whether that happened in time, and what was read."""
    end, report = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        part = os.read(reading, 4096)
        if not part:
            return True, report
        report += part
    return False, report


def _be_child(leg: Leg, plant: str, work: Path, streams: list[Path], report: int) -> None:
    """Run the command line and end this process."""
    code = 99
    try:
        for number, path in enumerate([Path(os.devnull), *streams]):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if path.is_file() else 0), 0o666)
            os.dup2(handle, number)
            os.close(handle)
        exec(plant, {"__name__": "planted"})
        code = _command_line(leg, work, report)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _command_line(leg: Leg, work: Path, report: int) -> int:
    """What `main` returns."""
    from neoclassic.cli import main
    from neoclassic.insight import watching

    if not leg.pictures:
        watching.watchers = lambda progress=False: []
    if leg.all_cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    if leg.clock:
        right = time.time
        time.time = lambda: right() + leg.clock
    calls = Calls(work, Point(**leg.point) if leg.point else None)
    calls.watch()
    code = main(list(leg.arguments))
    os.write(report, json.dumps(calls.counts).encode())
    return code


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *sys.argv[2:])
