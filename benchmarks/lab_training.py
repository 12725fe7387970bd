"""The speed of a training in the lab, with its page open in Chromium, and of the same training by the command line.

    python benchmarks/lab_training.py [--times 3] [--epochs 1]

LeNet on Fashion-MNIST with the NumPy engine. The two alternate, each in a process of its own. Prints images a second,
training and evaluation together, and their ratio, and writes results/lab_training.json. On a machine that does other
work, too, the processor time, which includes that of Chromium, says more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import sync_playwright

RESULTS = Path(__file__).parent.parent / "results"
COMMAND = [sys.executable, "-m", "neoclassic"]


def speed(run: Path, images: int = 54_000) -> float:
    """Images a second of a finished run."""
    result = json.loads((run / "result.json").read_text())
    return float(images * result["epochs"] / result["seconds"])


def processor_seconds() -> float:
    """Of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def by_command(folder: Path, epochs: int) -> float:
    """The training of the command line."""
    knobs = ["--data", "fashion-mnist", "--engine", "numpy", "--epochs", str(epochs), "--out", str(folder / "run")]
    subprocess.run([*COMMAND, "train", "lenet", *knobs], check=True, capture_output=True)
    return speed(folder / "run")


def in_lab(folder: Path, epochs: int) -> float:
    """The training of the lab, started on its page, which stays open."""
    lab = subprocess.Popen([*COMMAND, "lab"], stderr=subprocess.PIPE, text=True, cwd=folder)
    assert lab.stderr is not None
    address = re.match(r"\S+", lab.stderr.readline())[0]  # type: ignore[index]
    with sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{address}#/train")
        page.fill("#knob-epochs", str(epochs))
        page.click("#start")
        page.wait_for_selector("#training[data-phase=finished]", timeout=3_600_000)
        browser.close()
    lab.terminate()
    lab.wait(60)
    return speed(folder / "runs" / "lenet-fashion-mnist-1")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"command line": [], "lab": []}
    spent: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(options.times):
        for name, train in (("command line", by_command), ("lab", in_lab)):
            with tempfile.TemporaryDirectory() as folder:
                before = processor_seconds()
                found[name].append(train(Path(folder), options.epochs))
                spent[name].append(processor_seconds() - before)
                print(f"{name:14} {found[name][-1]:9,.0f} images/s {spent[name][-1]:7.1f} s of processors", flush=True)
    ratio = median(there / here for here, there in zip(*found.values(), strict=True))
    print(f"ratio {ratio:.2f}")
    result = {
        "benchmark": "lab_training",
        "what": "images a second, LeNet on Fashion-MNIST, numpy engine; ratio: lab to command line, median of pairs",
        "epochs": options.epochs,
        **{name: [round(one, 1) for one in each] for name, each in found.items()},
        "ratio": round(ratio, 3),
        "processor_seconds": {name: [round(one, 1) for one in each] for name, each in spent.items()},
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": f"numpy {np.__version__}",
    }
    (RESULTS / "lab_training.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
