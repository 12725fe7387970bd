"""The server as users start it, in a process of its own, and what the system says of that process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from neoclassic import networks
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights
from neoclassic.model.artefact import Model

COMMAND = (sys.executable, "-c", "import sys; from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))")
TIMEOUT = 2.0  # --timeout, in seconds
MAX_BODY = 1 << 20  # --max-body, in bytes
CLASSES = ("ant", "bee", "cat", "dog")


class Server:
    """`neoclassic serve` on the loopback. port 0: any free one."""

    def __init__(self, model: Path, home: Path, port: int = 0) -> None:
        self.home = home
        for name in ("tmp", "here"):
            (home / name).mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(home / "tmp"), "HOME": str(home), "OMP_NUM_THREADS": "1"}
        options = ["--engine", "numpy", "--timeout", f"{TIMEOUT:g}", "--max-body", "1", "--max-pixels", "1"]
        self.errors = home / "stderr"
        self.errors.unlink(missing_ok=True)
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", str(model), "--port", str(port), *options],
                cwd=home / "here",
                env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        self.port = self._wait_for_port()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def _wait_for_port(self, seconds: float = 60.0) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.match(r"http://127\.0\.0\.1:(\d+) answers", self.said()):
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the server did not start: {self.said()[:300]}")

    def said(self) -> str:
        """What it wrote on standard output and standard error."""
        return self.errors.read_text("utf-8", "replace")

    def complaint(self) -> str:
        """What it wrote beyond the line with its address: nothing, if all is well."""
        return self.said().partition("\n")[2]

    def written(self) -> list[Path]:
        """The files that it made, besides its standard error. It should make none."""
        return [path for path in self.home.rglob("*") if path.is_file() and path != self.errors]

    def descriptors(self) -> int:
        """Its open files and sockets; 0 if it has ended."""
        try:
            return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        except OSError:
            return 0

    def memory(self) -> int:
        """Its resident memory in MB; 0 if it has ended."""
        try:
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        except OSError:
            return 0
        return int(found[1]) // 1024 if found else 0

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self, seconds: float) -> int | None:
        """The exit code, or None if the process has not ended after these seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self.process.kill()
        self.process.wait(30)


def make_model(seed: int, infinite: bool = False) -> Model:
    """A LeNet with random weights whose answers to different images differ; or one whose answers are not numbers."""
    tree, shape = networks.network("lenet:bn", len(CLASSES)), (3, 32, 32)
    arrays = dict(weights.initial(tree, shape, seed=seed))
    arrays = {path: values * np.float32(4 if values.ndim > 1 else 1) for path, values in arrays.items()}
    if infinite:
        arrays = {path: np.full_like(values, 3e38) for path, values in arrays.items()}
    preprocessing = Preprocessing((32, 32), 3, mean=(0.4,), std=(0.2,))
    calibration = {"temperature": 4.0, "threshold": 0.9, "n": 10}
    return Model("lenet:bn", tree, shape, CLASSES, preprocessing, arrays, calibration=calibration)
