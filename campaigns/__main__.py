"""Run campaigns and print what they tried: python -m campaigns [--minutes M] [--seed N] [--keep FOLDER] [NAME …]

Each campaign gets an equal share of the time. The exit code is 1 if anything failed; the inputs that failed are kept,
and the same seed tries the same again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from campaigns.common import Counts, Session

NAMES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in ("__init__", "__main__", "common"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}; all by default"
    )
    parser.add_argument("--minutes", type=float, default=2.5, help="for all of them together (default: 2.5)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of everything random (default: the time)")
    parser.add_argument("--keep", type=Path, default=Path("campaigns-failed"), help="folder for inputs that fail")
    parser.add_argument("--out", type=Path, help="write the counts as JSON, to be committed under results/")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown campaign {sorted(unknown)[0]!r}: choose from {', '.join(NAMES)}")
    print(f"seed {arguments.seed}", flush=True)
    rows: list[tuple[str, str, Counts, float]] = []
    for name in arguments.names:
        with tempfile.TemporaryDirectory(prefix=f"campaign-{name}-", ignore_cleanup_errors=True) as work:
            os.environ["NEOCLASSIC_CACHE"] = str(Path(work) / "cache")
            seconds = arguments.minutes * 60 / len(arguments.names)
            session = Session(name, seconds, arguments.seed, Path(work), arguments.keep.absolute())
            import_module(f"campaigns.{name}").run(session)
            took = time.monotonic() - session.started
            rows += [(name, kind, counts, took) for kind, counts in session.counts.items()]
            for row in rows[-len(session.counts) :]:
                print(line(*row), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(summary(rows, arguments.seed), indent=1) + "\n", "utf-8")
    failed = sum(counts.failed for _, _, counts, _ in rows)
    print(f"{sum(counts.tried for _, _, counts, _ in rows):,} tried, {failed} failed")
    return 1 if failed or not rows else 0


def line(name: str, kind: str, counts: Counts, seconds: float) -> str:
    """One row of the table that is printed."""
    tried = f"{counts.tried:>9,} tried {counts.answered:>9,} answered {counts.refused:>9,} refused"
    return f"{name:<9} {kind:<28} {tried} {counts.failed:>4} failed"


def summary(rows: list[tuple[str, str, Counts, float]], seed: int) -> dict[str, object]:
    """What is committed under results/."""
    return {
        "benchmark": "campaign",
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "neoclassic": version("neoclassic")},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.platform()},
        "counts": [
            {"campaign": name, "kind": kind, "tried": c.tried, "answered": c.answered, "refused": c.refused}
            | {"failed": c.failed, "seconds": round(seconds, 1)}
            for name, kind, c, seconds in rows
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
