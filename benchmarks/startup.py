"""How long the first commands take, each as a process: python benchmarks/startup.py

Prints the median of several runs in milliseconds, and that of an empty Python process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import neoclassic": ["-c", "import neoclassic"],
    "neoclassic --version": ["-m", "neoclassic", "--version"],
    "neoclassic show lenet": ["-m", "neoclassic", "show", "lenet"],
    "neoclassic list": ["-m", "neoclassic", "list"],
}


def main(runs: int = 9) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    for name, found in seconds.items():
        print(f"{name:24} {1000 * statistics.median(found):6.0f} ms   (minimum of {runs}: {1000 * min(found):.0f})")


if __name__ == "__main__":
    main()
