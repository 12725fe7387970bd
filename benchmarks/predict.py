"""`neoclassic predict` over a folder of photos, against its own parts: decoding alone and the engine alone.

    python benchmarks/predict.py [--photos 5000] [--rounds 1] [--engines onnx,numpy]

The photos are JPEG files of 500×400 pixels; the network is MobileNet V2 at 224×224 with its initial weights. Decoding
uses a thread for each core; the engine alone computes pixels that are decoded already. Prints the ratio of the two
parts together to the whole command, with its start and its CSV file: 1 if nothing is lost. On a machine that is in use,
CPU time is the more reliable number. Results are written to results/predict.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from neoclassic import networks
from neoclassic.base.machine import cores
from neoclassic.data.preprocessing import Preprocessing, read_pixels
from neoclassic.engines import weights
from neoclassic.model.artefact import Model
from neoclassic.model.predict import BATCH, probabilities
from neoclassic.train.run import machine, versions

RESULTS = Path(__file__).parent.parent / "results"
DISTINCT = 250  # photos; the others are copies, so that the folder is made quickly
KEPT = 1000  # decoded photos in memory, which the engine computes again and again


def photo(seed: int) -> bytes:
    """A JPEG file with edges and grain at all scales, about as many bytes as a photo of this size."""
    rng = np.random.default_rng(seed)
    total = np.zeros((400, 500, 3))
    for side in (2, 8, 32, 128):
        grain = rng.normal(0, 30, (side, side, 3)) + 32
        total += np.stack([Image.fromarray(g.astype("f")).resize((500, 400)) for g in grain.transpose(2, 0, 1)], -1)
    stream = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engines", default="onnx,numpy")
    arguments = parser.parse_args()
    p = Preprocessing((224, 224), 3, keep=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    tree, shape = networks.network("mobilenet-v2", 1000), (3, 224, 224)
    names = tuple(f"class {i}" for i in range(1000))
    model = Model("mobilenet-v2", tree, shape, names, p, weights.initial(tree, shape))
    results = {}
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "photos").mkdir()
        contents = [photo(seed) for seed in range(DISTINCT)]
        paths = [root / "photos" / f"{i:05}.jpg" for i in range(arguments.photos)]
        for i, path in enumerate(paths):
            path.write_bytes(contents[i % DISTINCT])
        model.save(root / "model.safetensors")
        for engine in arguments.engines.split(","):
            rounds = [one_round(model, engine, root, paths) for _ in range(arguments.rounds)]
            results[engine] = rounds[0] if len(rounds) == 1 else rounds
            print(json.dumps({engine: results[engine]}), flush=True)
        facts = {"date": time.strftime("%Y-%m-%d"), "machine": machine(model.engine("numpy")), **versions("numpy")}
    file = RESULTS / "predict.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | {engine: facts | row for engine, row in results.items()}, indent=1) + "\n")


def one_round(model: Model, engine: str, root: Path, paths: list[Path]) -> dict[str, float]:
    """Seconds and CPU seconds of decoding, of the engine and of the command; and the ratios of the parts to it."""
    n, p = len(paths), model.preprocessing
    times = [clocks()]
    with ThreadPoolExecutor(cores()) as pool:
        pixels = []
        for decoded in pool.map(lambda path: read_pixels(path, p), paths):
            if len(pixels) < KEPT:
                pixels.append(decoded)
    times.append(clocks())
    running, stack = model.engine(engine, "cpu"), np.stack(pixels)
    probabilities(model, running, stack[:BATCH])
    before = clocks()
    for start in range(0, n, BATCH):
        first = start % (len(stack) - len(stack) % BATCH or len(stack))
        probabilities(model, running, stack[first : first + min(BATCH, n - start)])
    computing = clocks() - before
    where = (root / "model.safetensors", root / "photos", "--csv", root / f"{engine}.csv")
    words = ["predict", *where, "--engine", engine, "--device", "cpu"]
    before = clocks()
    subprocess.run([sys.executable, "-m", "neoclassic", *words], check=True, stdout=subprocess.DEVNULL)
    whole, decoding = clocks() - before, times[1] - times[0]
    row = {}
    for i, name in enumerate(("seconds", "CPU seconds")):
        parts = {"decoding": decoding[i], "engine": computing[i], "command": whole[i]}
        row |= {f"{part}, {name}": round(float(value), 2) for part, value in parts.items()}
        row[f"ratio of {name}"] = round(float((decoding + computing)[i] / whole[i]), 3)
    return {"photos": n, "load": round(os.getloadavg()[0], 1)} | row | {"images per second": round(n / whole[0], 1)}


def clocks() -> np.ndarray:
    """Wall time, and CPU time of this process and its finished children."""
    t = os.times()
    return np.array([time.perf_counter(), t.user + t.system + t.children_user + t.children_system])


if __name__ == "__main__":
    main()
