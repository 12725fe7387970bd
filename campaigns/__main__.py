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
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from campaigns.common import Counts, Session

NAMES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in ("__init__", "__main__", "common"))
LIBRARIES = ("neoclassic", "numpy", "pillow", "safetensors", "onnxruntime", "torch")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}; all by default"
    )
    parser.add_argument("--minutes", type=float, default=2.5, help="for all of them together (default: 2.5)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of everything random (default: the time)")
    parser.add_argument("--keep", type=Path, default=Path("campaigns-failed"), help="folder for inputs that fail")
    parser.add_argument(
        "--out", type=Path, help="add the counts to a JSON file, to be committed as results/campaign.json"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown campaign {sorted(unknown)[0]!r}: choose from {', '.join(NAMES)}")
    print(f"seed {arguments.seed}", flush=True)
    counts: list[Counts] = []
    for name in arguments.names:
        with tempfile.TemporaryDirectory(prefix=f"campaign-{name}-", ignore_cleanup_errors=True) as work:
            os.environ["NEOCLASSIC_CACHE"] = str(Path(work) / "cache")
            seconds = arguments.minutes * 60 / len(arguments.names)
            session = Session(name, seconds, arguments.seed, Path(work), arguments.keep.absolute())
            import_module(f"campaigns.{name}").run(session)
            took = time.monotonic() - session.started
            counts += session.counts.values()
            for kind, each in session.counts.items():
                print(line(name, kind, each), flush=True)
            if arguments.out:
                add(arguments.out, summary(session, took))
    failed = sum(each.failed for each in counts)
    print(f"{sum(each.tried for each in counts):,} tried, {failed} failed")
    return 1 if failed or not counts else 0


def line(name: str, kind: str, counts: Counts) -> str:
    """One row of the table that is printed."""
    tried = f"{counts.tried:>9,} tried {counts.answered:>9,} answered {counts.refused:>9,} refused"
    return f"{name:<9} {kind:<28} {tried} {counts.failed:>4} failed"


def summary(session: Session, seconds: float) -> dict[str, object]:
    """One session of a campaign, as it is committed under results/."""
    return {
        "campaign": session.name,
        "seed": session.seed,
        "seconds": round(seconds, 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {each: version(each) for each in LIBRARIES},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "counts": {kind: asdict(counts) | session.figures.get(kind, {}) for kind, counts in session.counts.items()},
    }


def add(path: Path, session: dict[str, object]) -> None:
    """Add a session to a file of results, which need not be there yet."""
    found = json.loads(path.read_text("utf-8")) if path.exists() else {"benchmark": "campaign", "sessions": []}
    found["sessions"].append(session)
    path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
