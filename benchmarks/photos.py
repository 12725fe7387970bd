"""How long it takes until training starts on a folder of 10,000 small JPEGs: the first time, and later.

    python benchmarks/photos.py [--images 10000]

Measures the time from the command to the first step, including the start of Python and PyTorch and the check of the
folder. For comparison, it measures how long torchvision's ImageFolder and DataLoader take to resize the same photos,
which they do in every epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 96
CHILD = """
import os, sys, time
from neoclassic.engines.torch import TorchEngine
def step(self, *arguments, **options):
    print(time.time() - float(os.environ["STARTED"]))
    sys.stdout.flush()
    os._exit(0)
TorchEngine.step = step
from neoclassic.cli import main
sys.exit(main(sys.argv[1:]))
"""


def make(root: Path, n: int) -> None:
    """Write n photos of 160×128 pixels in ten classes."""

    def one(i: int) -> None:
        pixels = np.random.default_rng(i).integers(0, 256, (8, 10, 3), np.uint8)
        Image.fromarray(pixels).resize((160, 128), Image.Resampling.BICUBIC).save(root / f"class{i % 10}/{i:05}.jpg")

    for label in range(10):
        (root / f"class{label}").mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(one, range(n)))


def start(root: Path, cache: Path) -> float:
    """Seconds from the command to its first step."""
    command = ["train", "mobilenet-v2", "--data", str(root), "--image-size", str(SIZE), "--engine", "torch"]
    environment = {**os.environ, "NEOCLASSIC_CACHE": str(cache), "STARTED": str(time.time())}
    child = [sys.executable, "-c", CHILD, *command, "--out", str(cache / f"run{time.time_ns()}")]
    done = subprocess.run(child, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def torchvision_epoch(root: Path) -> float:
    """Seconds of one pass over all photos."""
    import torch
    from torchvision import datasets, transforms

    way = [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()]
    photos = datasets.ImageFolder(str(root), transforms.Compose(way))
    started = time.perf_counter()
    for _ in torch.utils.data.DataLoader(photos, batch_size=32, shuffle=True, num_workers=os.cpu_count() or 1):
        pass
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    n = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "photos", Path(folder) / "cache"
        make(root, n)
        time.sleep(3)  # the cache does not trust files that have just been written
        first, *later = [start(root, cache) for _ in range(4)]
        peer = torchvision_epoch(root)
    found = {
        "images": n,
        "first start, seconds": round(first, 2),
        "later starts, seconds": [round(seconds, 2) for seconds in later],
        "torchvision, one epoch of decoding, seconds": round(peer, 2),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
