"""Images a second over HTTP, sent as arrays, beside the same engine without a server: `neoclassic bench`'s measurement.

    python benchmarks/serving_batches.py [--rounds 5] [--seconds 2] [--only lenet]

In each round, a window of requests to `neoclassic serve` and a window of `engine.logits` in this process alternate,
with batches of the same size; the ratio is the median over the rounds. Eight clients on 127.0.0.1 send a batch as soon
as they have the answer to the last one. The weights are random. Writes results/serving-batches.json, and fails if an
answer is wrong.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic import networks
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines import Engine
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model
from neoclassic.model.predict import probabilities

RESULTS = Path(__file__).parent.parent / "results" / "serving-batches.json"
CASES = (
    *(("lenet", 28, 1, batch) for batch in (32, 256, 1024)),
    ("mobilenet-v2", 96, 3, 32),
    ("mobilenet-v2", 224, 3, 32),
)
ENGINES = ("numpy", "onnx")
CLIENTS = 8
NPY = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}


def random_model(network: str, size: int, channels: int) -> Model:
    """A model with initial weights."""
    tree, shape = networks.network(network, 10), (channels, size, size)
    p = Preprocessing((size, size), channels, mean=(0.5,), std=(0.25,))
    return Model(network, tree, shape, tuple("abcdefghij"), p, arrays.initial(tree, shape))


@contextmanager
def serving(model: Model, engine: str, batch: int) -> Any:
    """A running server; yields its port."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.safetensors")
        command = [sys.executable, "-m", "neoclassic", "serve", f"{folder}/model.safetensors", "--port", "0"]
        command += ["--engine", engine, "--batch", str(batch), "--queue", str((CLIENTS + 1) * batch)]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            yield int(re.search(r":(\d+) ", server.stderr.readline())[1])  # type: ignore[index, union-attr]
        finally:
            server.terminate()
            server.wait(30)


def ask(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    """The answer to a batch."""
    connection.request("POST", "/predict", body, NPY)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {content[:200]!r}")
    return content


def over_http(port: int, body: bytes, batch: int, seconds: float) -> float:
    """Images a second that the clients have answers for."""
    counts = [0] * CLIENTS
    start = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.perf_counter() < start + seconds:
            ask(connection, body)
            counts[number] += batch
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def alone(engine: Engine, images: np.ndarray, seconds: float) -> float:
    """Images a second of the engine, as `neoclassic bench` measures them."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        engine.logits(images)
        count += len(images)
    return count / (time.perf_counter() - start)


def measured(case: tuple[str, int, int, int], name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """One row of the results."""
    network, size, channels, batch = case
    model = random_model(network, size, channels)
    engine = model.engine(name, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, channels), np.uint8)
    images, stream = to_input(pixels, model.preprocessing), io.BytesIO()
    np.save(stream, pixels)
    body = stream.getvalue()
    with serving(model, name, batch) as port:
        answer = np.load(io.BytesIO(ask(http.client.HTTPConnection("127.0.0.1", port), body)))
        if np.abs(answer - probabilities(model, engine, pixels)).max() > 1e-4:
            sys.exit(f"{network} on {name}: the server gives other probabilities")
        rates = [(over_http(port, body, batch, seconds), alone(engine, images, seconds)) for _ in range(rounds)]
    served, own = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(a / b for a, b in rates)
    about = {"network": network, "size": size, "batch": batch, "engine": name}
    return {**about, "http": round(served, 1), "bench": round(own, 1), "ratio": round(ratio, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", help="only networks whose names begin so; nothing is written")
    options = parser.parse_args()
    rows = []
    for case in CASES:
        for engine in ENGINES if case[0].startswith(options.only) else ():
            row = measured(case, engine, options.rounds, options.seconds)
            rows.append(row)
            speeds = f"{row['http']:>9,.0f} over HTTP {row['bench']:>9,.0f} alone   ratio {row['ratio']:.2f}"
            print(f"{case[0]:13} {case[1]:3} batch {case[3]:3} {engine:5} {speeds}", flush=True)
    if options.only:
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    result = {"benchmark": "serving-batches", "rounds": options.rounds, "seconds": options.seconds, "rows": rows}
    RESULTS.write_text(json.dumps({**result, "machine": machine}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
