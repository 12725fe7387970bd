"""Folders of photos: the first start of a training, how fast photos are decoded, and a folder as large as ImageNet.

    python benchmarks/photos.py start [--images 4000] [--rounds 3] [--from FOLDER]
    python benchmarks/photos.py feed [--images 1000] [--from FOLDER]
    python benchmarks/photos.py imagenet [--images 1281167] [--folder FOLDER]

start: the time from `neoclassic train` to its first step, on a folder that is new and on one that is known, beside the
time that a plain pool of as many processes takes to decode and resize the same files; alternating. feed: photos per
second of processor time, from file to 224×224 pixels, and per second with all cores. imagenet: as many links to a few
photos, in 1,000 classes, without room for them decoded: the first start, and the run resumed after `kill -9`. Memory is
the private memory of the command's own process at its peak, sampled every 20 ms.

Photos are 500×375 pixels, which is typical of ImageNet: those of FOLDER, each with some bytes added to make it another
file, or made up. Each part writes its key of results/photos.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parents[1] / "results" / "photos.json"
SIZE = 224
DISTINCT = 300  # photos that are made up
TRAINING = 1_281_167  # photos of ImageNet's training set; Russakovsky et al. 2015, arXiv 1409.0575
A100 = 2470  # images per second of ResNet-50 v1.5 in mixed precision on one A100, as published in NVIDIA's
# DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5/README.md
CHILD = """
import json, os, signal, sys, threading, time
from neoclassic.data import decode
from neoclassic.engines.torch import TorchEngine
from neoclassic.train import loop
peak, steps, started = [0], [0], float(os.environ["STARTED"])
def sample():
    while True:
        status = open("/proc/self/status").read()
        peak[0] = max(peak[0], int(status.split("RssAnon:")[1].split()[0]))
        time.sleep(0.02)
threading.Thread(target=sample, daemon=True).start()
train = TorchEngine.step
def step(self, *arguments, **options):
    if not steps[0]:
        print(json.dumps({"seconds": time.time() - started, "MB": peak[0] / 1000}), flush=True)
    steps[0] += 1
    if steps[0] > int(os.environ["STEPS"]):
        print(json.dumps({"seconds": time.time() - started, "MB": peak[0] / 1000}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return train(self, *arguments, **options)
TorchEngine.step = step
if "NO_ROOM" in os.environ:
    decode.shutil.disk_usage = lambda path: type("Usage", (), {"free": 1})
    loop.CHECKPOINT_SECONDS = 0.0
from neoclassic.cli import main
sys.exit(main(sys.argv[1:]))
"""


def photos_of(source: str | None) -> list[bytes]:
    """The content of some photos: those of a folder, or made up."""
    if source:
        files = sorted(Path(source).rglob("*.jpg"))
        return [file.read_bytes() for file in files if readable(file)]
    return [made(i, (500, 375)) for i in range(DISTINCT)]


def readable(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.format == "JPEG" and bool(image.load())
    except OSError:
        return False


def made(seed: int, size: tuple[int, int]) -> bytes:
    """A JPEG with coarse and fine structure."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.normal(0, 14, (size[1], size[0], 1))
    file = BytesIO()
    Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def fill(root: Path, n: int, contents: list[bytes]) -> list[Path]:
    """Write n files in ten classes, no two of which are equal."""
    files = [root / f"class{i % 10}" / f"{i:06}.jpg" for i in range(n)]
    for i, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[i % len(contents)] + i.to_bytes(8, "little"))
    time.sleep(3)  # nothing about files that have just been written is kept
    return files


def processor_seconds() -> float:
    """Processor time of this process and of all that it has waited for."""
    return sum(os.times()[:4])


def command(cache: Path, steps: int, *words: object, **environment: str) -> list[dict[str, float]]:
    """Seconds and peak memory at the first step of a command, and when it is killed before step `steps` + 1.

    The last row has the processor time of all of it.
    """
    values = {"NEOCLASSIC_CACHE": str(cache), "STARTED": str(time.time()), "STEPS": str(steps), **environment}
    child, before = [sys.executable, "-c", CHILD, *map(str, words)], processor_seconds()
    done = subprocess.run(child, capture_output=True, text=True, env={**os.environ, **values})
    if done.returncode != -signal.SIGKILL:
        sys.exit(done.stderr)
    *rows, last = [json.loads(line) for line in done.stdout.splitlines()]
    return [*rows, {**last, "processor seconds": processor_seconds() - before}]


def resized(file: Path) -> bytes:
    """A photo, decoded and resized as plain Pillow does it."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    scale = SIZE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    return image.crop((left, top, left + SIZE, top + SIZE)).tobytes()


def plain(files: list[Path]) -> tuple[float, float]:
    """Seconds, and processor time, that a pool with a process for each core takes to decode and resize the photos."""
    from multiprocessing import get_context

    started, before = time.perf_counter(), processor_seconds()
    with tempfile.TemporaryFile() as file, get_context("spawn").Pool(os.cpu_count()) as pool:
        for pixels in pool.imap(resized, files, chunksize=16):
            file.write(pixels)
    return time.perf_counter() - started, processor_seconds() - before


def start(n: int, rounds: int, source: str | None, work: Path) -> dict[str, Any]:
    """The first start and a later one, beside plain decoding."""
    contents, root = photos_of(source), work / "photos"
    files, rows = fill(root, n, contents), []
    words = ("train", "mobilenet-v2", "--image-size", SIZE, "--engine", "torch", "--data")
    for i in range(rounds):
        decoding, decoding_cpu = plain(files)
        (first, one), (later, two) = (
            command(work / f"cache{i}", 0, *words, root, "--out", work / f"{i}{k}") for k in "ab"
        )
        shutil.rmtree(work / f"cache{i}")
        cpu = one["processor seconds"], two["processor seconds"], decoding_cpu
        rows.append((first["seconds"], later["seconds"], decoding, *cpu, one["MB"]))
        print(*(f"{value:.1f}" for value in rows[-1]), flush=True)
    _, small = command(
        work / "few-cache", 0, *words, fill(work / "few", n // 4, contents)[0].parents[1], "--out", work / "few-run"
    )
    firsts, laters, plains, first_cpu, later_cpu, plain_cpu, memory = zip(*rows, strict=True)

    def ratio(numerators: Iterable[float], denominators: Iterable[float]) -> float:
        return round(median(a / b for a, b in zip(numerators, denominators, strict=True)), 2)

    added = [[a - b for a, b in zip(*pair, strict=True)] for pair in ((firsts, laters), (first_cpu, later_cpu))]
    return {
        "images": n,
        "pixels": SIZE,
        "photos": "of a folder" if source else "made up",
        "first start, seconds": [round(value, 1) for value in firsts],
        "later starts, seconds": [round(value, 1) for value in laters],
        "plain decoding, seconds": [round(value, 1) for value in plains],
        "first start over plain decoding": ratio(firsts, plains),
        "what the first start adds, over plain decoding": ratio(added[0], plains),
        "the same in processor time": ratio(added[1], plain_cpu),
        "peak memory, MB": round(median(memory)),
        "peak memory of a quarter of the images, MB": round(small["MB"]),
    }


def feed(n: int, source: str | None, work: Path) -> dict[str, Any]:
    """How fast photos become pixels."""
    from neoclassic.data.preprocessing import Preprocessing, read_pixels
    from neoclassic.data.undecoded import Undecoded

    files, p = fill(work / "photos", n, photos_of(source)), Preprocessing((SIZE, SIZE), 3, keep=0.875)
    began = time.process_time()
    for file in files:
        read_pixels(file, p)
    alone = n / (time.process_time() - began)
    from hashlib import sha256

    images = Undecoded([(str(file), sha256(file.read_bytes()).hexdigest()) for file in files], p)
    images[:32]  # its processes start
    started = time.perf_counter()
    for first in range(32, n, 256):
        images[first : first + 256]
    return {
        "images": n,
        "pixels": SIZE,
        "photos": "of a folder" if source else "made up",
        "kilobytes a photo": round(sum(file.stat().st_size for file in files) / n / 1000),
        "photos per second of processor time": round(alone),
        "photos per second, all cores": round((n - 32) / (time.perf_counter() - started)),
        "ImageNet": {
            "training photos": TRAINING,
            "decoded, GB": round(TRAINING * SIZE**2 * 3 / 1e9, 1),
            "processor hours to decode all of them once": round(TRAINING / alone / 3600, 2),
            f"cores that decode {A100:,} photos per second": round(A100 / alone, 1),
            f"hours of 90 epochs at {A100:,} photos per second": round(90 * TRAINING / A100 / 3600, 1),
        },
    }


def imagenet(n: int, work: Path) -> dict[str, Any]:
    """The first start on n links, without room for decoded photos, and a run resumed after `kill -9`."""
    root = work / "links"
    classes = min(1000, n // 100)
    links(root / "train", n, classes)
    links(root / "val", n // 25, classes)
    time.sleep(3)
    words = ("train", "lenet", "--data", root, "--image-size", 28, "--engine", "torch", "--no-standardise")
    run, row = work / "run", {"images": n + n // 25}
    ways = {"first start": (*words, "--mean", 0.5, "--std", 0.25, "--out"), "resumed": ("train", "--resume")}
    for name, arguments in ways.items():
        first, killed = command(work / "cache", 20, *arguments, run, NO_ROOM="1")
        row |= {f"{name}, seconds": round(first["seconds"]), f"{name}, peak memory, MB": round(killed["MB"])}
        print(name, first, killed, flush=True)
    return row


def links(root: Path, n: int, classes: int) -> None:
    """n hard links to small photos, in classes of equal sizes."""
    for i in range(n):
        folder = root / f"n{i % classes:08}"
        if i < classes:
            folder.mkdir(parents=True)
        file = folder / f"{root.name}_{i:08}.jpg"
        if i < DISTINCT:
            file.write_bytes(made(i, (48, 36)))
        else:
            file.hardlink_to(root / f"n{i % DISTINCT % classes:08}" / f"{root.name}_{i % DISTINCT:08}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("start", "feed", "imagenet"))
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--from", dest="source", metavar="FOLDER", help="photos to use, instead of made-up ones")
    parser.add_argument("--folder", help="where to make the files, instead of the usual place for temporary ones")
    parser.add_argument("--dry", action="store_true", help="do not write results/photos.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.part == "start":
            found = start(given.images or 4000, given.rounds, given.source, Path(folder))
        elif given.part == "feed":
            found = feed(given.images or 1000, given.source, Path(folder))
        else:
            found = imagenet(given.images or TRAINING, Path(folder))
    found |= {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "processor": platform.machine(),
        "versions": " ".join(f"{name} {version(name)}" for name in ("neoclassic", "pillow", "torch")),
        "date": date.today().isoformat(),
    }
    print(json.dumps(found, indent=1))
    if not given.dry:
        every = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**every, given.part: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
