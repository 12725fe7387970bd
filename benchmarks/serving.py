"""`neoclassic serve` under load from many clients, with every answer compared with `predict`.

    python benchmarks/serving.py [--network mobilenet-v2] [--size 96] [--clients 32] [--seconds 30] [--engine numpy]

The weights are random, with running statistics that fit them. The images are generated JPEG photos of 80 to 400 pixels.
Each client sends its next request as soon as it has an answer, on 127.0.0.1. Prints latencies, images per second and
the server's memory, and writes results/serving.json. Fails if an answer is wrong, a request fails, or memory grows.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from neoclassic import engines, networks
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Optimizer
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model
from neoclassic.model.predict import predict

RESULTS = Path(__file__).parent.parent / "results"
PHOTOS = 200
GROWTH = 1.1  # allowed growth of the server's memory after the first third of the time


def photo(rng: np.random.Generator) -> bytes:
    """A JPEG of a few coloured waves."""
    h, w = rng.integers(80, 400, 2)
    y, x = np.mgrid[:h, :w] / 40
    waves = [np.sin(rng.uniform(-2, 2) * x + rng.uniform(-2, 2) * y + rng.uniform(0, 6)) for _ in range(3)]
    stream = io.BytesIO()
    Image.fromarray((127 * np.stack(waves, 2) + 128).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def model(network: str, size: int) -> Model:
    """A model with random weights, and running statistics that fit them, from steps with a learning rate of 0."""
    tree, shape, classes = networks.network(network, 10), (3, size, size), tuple("abcdefghij")
    p = Preprocessing((size, size), 3, mean=(0.5,), std=(0.25,))
    engine = engines.create("numpy", tree, shape, arrays.initial(tree, shape))
    engine.optimize(Optimizer("sgd"))
    rng = np.random.default_rng(0)
    for step in range(20):
        images = rng.standard_normal((8, 3, size // 8, size // 8), np.float32).repeat(8, 2).repeat(8, 3)
        engine.step(images, np.arange(8), 0.0, seed=step)
    return Model(network, tree, shape, classes, p, engine.weights())


def memory(pid: int) -> float:
    """The resident memory of a process, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def client(port: int, photos: list[bytes], wanted: list[dict[str, float]], number: int, end: float, out: dict) -> None:
    """Send requests until `end`; append each one's seconds or failure to `out`."""
    connection, rng = http.client.HTTPConnection("127.0.0.1", port, timeout=60), np.random.default_rng(number)
    while time.monotonic() < end:
        i = int(rng.integers(len(photos)))
        start = time.perf_counter()
        try:
            connection.request("POST", "/predict?top=10", photos[i])
            answer = connection.getresponse()
            (found,), status = json.loads(answer.read()), answer.status
        except (OSError, ValueError, http.client.HTTPException) as error:
            out["failed"].append(repr(error))
            connection.close()
            continue
        out["seconds"].append(time.perf_counter() - start)
        rows = {row["label"]: row["probability"] for row in found["top"]}
        same = status == 200 and found["label"] == max(wanted[i], key=wanted[i].__getitem__)
        if not same or max(abs(rows[name] - p) for name, p in wanted[i].items()) > 1e-4:
            out["wrong"].append(f"{status} {found['label']} for photo {i}")
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--network", default="mobilenet-v2")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--engine", default="numpy")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        made = model(options.network, options.size)
        made.save(Path(folder) / "model.safetensors")
        photos, paths = [photo(rng) for _ in range(PHOTOS)], [Path(folder) / f"{i}.jpg" for i in range(PHOTOS)]
        for path, content in zip(paths, photos, strict=True):
            path.write_bytes(content)
        expected = predict(made, made.engine("numpy"), paths, top=10)
        wanted = [dict(prediction.top) for prediction in expected]
        command = [sys.executable, "-m", "neoclassic", "serve", f"{folder}/model.safetensors", "--port", "0"]
        server = subprocess.Popen([*command, "--engine", options.engine], stderr=subprocess.PIPE, text=True)
        try:
            port = int(re.search(r":(\d+) ", server.stderr.readline())[1])  # type: ignore[index, union-attr]
            out: dict[str, list] = {"seconds": [], "failed": [], "wrong": []}
            start = time.monotonic()
            threads = [
                threading.Thread(target=client, args=(port, photos, wanted, n, start + options.seconds, out))
                for n in range(options.clients)
            ]
            for thread in threads:
                thread.start()
            time.sleep(options.seconds / 3)
            early = memory(server.pid)
            for thread in threads:
                thread.join()
            took, late = time.monotonic() - start, memory(server.pid)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read().decode()
            connection.close()
        finally:
            server.terminate()
            code = server.wait(30)
    batches = [float(re.search(rf"batch_images_{what} (.*)", metrics)[1]) for what in ("sum", "count")]  # type: ignore[index]
    p50, p95, p99 = np.percentile(out["seconds"], (50, 95, 99)) * 1000
    labels = len({max(row, key=row.__getitem__) for row in wanted})
    result = {
        "benchmark": "serving",
        "what": f"{options.network} at {options.size}×{options.size}, {options.engine} engine",
        "clients": options.clients,
        "seconds": round(took, 1),
        "requests": len(out["seconds"]),
        "images_per_second": round(len(out["seconds"]) / took, 1),
        "latency_ms": {"p50": round(p50, 1), "p95": round(p95, 1), "p99": round(p99, 1)},
        "images_per_batch": round(batches[0] / batches[1], 1),
        "failed": len(out["failed"]),
        "wrong": len(out["wrong"]),
        "labels": labels,
        "memory_mb": {"after a third": round(early), "at the end": round(late)},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    RESULTS.mkdir(exist_ok=True)
    name = "serving" if options.engine == "numpy" else f"serving-{options.engine}"
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"{result['what']}: {options.clients} clients, {took:.0f} s, {len(out['seconds']):,} requests")
    print(f"{result['images_per_second']} images/s   p50 {p50:.0f} ms   p95 {p95:.0f} ms   p99 {p99:.0f} ms")
    print(f"{result['images_per_batch']} images per batch   memory {early:.0f} → {late:.0f} MB   {labels} labels")
    print(f"{len(out['failed'])} failed   {len(out['wrong'])} wrong   the server ended with {code}")
    for line in (out["failed"] + out["wrong"])[:3]:
        print(line)
    if out["failed"] or out["wrong"] or code or late > GROWTH * early:
        sys.exit(1)


if __name__ == "__main__":
    main()
