"""Keras 3 on JAX and on PyTorch beside neoclassic: training and inference on two cores.

    python -m venv peers && peers/bin/pip install '.[torch,onnx]' keras 'jax[cpu]'
    peers/bin/python benchmarks/peers.py [lenet deepconvnet resnet18] [--rounds 5]

Every way is a process of its own, limited to the same cores, which waits while another one is measured: a round is one
window of each. All train the same layers on the same arrays in memory with the same batches, by SGD with momentum, and
count loss and accuracy; in float32, and neoclassic also in bfloat16 if the processor has units for it. Keras's networks
are written below with its own layers, ResNet-18 too, because keras.applications has none. Only the padding of its
strides differs, which Keras puts to the right and below.

Keras trains by `model.fit` and answers by `model.predict`, from float32 arrays; by its own defaults JAX compiles both
and PyTorch runs eagerly. neoclassic trains by the loop that `nc.train` runs, and answers by the `predict_proba` of
`nc.load`, from uint8 arrays. A window of training is an epoch; what comes before and after the epoch is not counted.
One epoch before it has compiled and allocated.

Prints the median images a second, and neoclassic's ratio to the fastest peer. Writes results/peers.json; six minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

CLASSES, RATE, MOMENTUM = 10, 0.01, 0.9
ANSWERED = 256  # images in a batch of inference, as in `nc.evaluate`
REST = 0.1  # seconds before each window, until the threads of the process before it have stopped spinning
MODES = ("training", "inference")


# ── the networks, in Keras ───────────────────────────────────────────────────────────────────────────


def lenet(keras: Any) -> Any:
    k = keras.layers
    return keras.Sequential(
        [
            *(k.Conv2D(6, 5, padding="same", activation="sigmoid"), k.AveragePooling2D(2)),
            *(k.Conv2D(16, 5, activation="sigmoid"), k.AveragePooling2D(2)),
            k.Flatten(),
            *(k.Dense(120, activation="sigmoid"), k.Dense(84, activation="sigmoid"), k.Dense(CLASSES)),
        ]
    )


def deepconvnet(keras: Any) -> Any:
    k = keras.layers

    def conv(width: int, padding: str = "same") -> Any:
        return k.Conv2D(width, 3, padding=padding, activation="relu")

    return keras.Sequential(
        [
            *(conv(16), conv(16), k.MaxPooling2D(2)),
            *(conv(32), k.ZeroPadding2D(2), conv(32, "valid"), k.MaxPooling2D(2)),
            *(conv(64), conv(64), k.MaxPooling2D(2)),
            *(k.Flatten(), k.Dense(50, activation="relu"), k.Dropout(0.5), k.Dense(CLASSES), k.Dropout(0.5)),
        ]
    )


def resnet18(keras: Any) -> Any:
    k = keras.layers

    def conv(x: Any, width: int, size: int, stride: int = 1) -> Any:
        return k.BatchNormalization()(k.Conv2D(width, size, stride, padding="same", use_bias=False)(x))

    image = keras.Input((96, 96, 3))
    x = k.MaxPooling2D(3, 2, padding="same")(k.ReLU()(conv(image, 64, 7, 2)))
    for width, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        shortcut = x if stride == 1 else conv(x, width, 1, stride)
        path = conv(k.ReLU()(conv(x, width, 3, stride)), width, 3)
        x = k.ReLU()(k.Add()([path, shortcut]))
    return keras.Model(image, k.Dense(CLASSES)(k.GlobalAveragePooling2D()(x)))


@dataclass(frozen=True)
class Work:
    """What is measured of a network: it is trained on this many images a window, and answers for as many."""

    keras: Callable[..., Any]
    side: int  # pixels
    channels: int
    batch: int
    images: int  # a multiple of the batch and of CLASSES

    def arrays(self) -> tuple[Any, Any]:
        """Random images, uint8 N×H×W×C, and labels, int64 N, with all classes equally often."""
        import numpy as np

        shape = (self.images, self.side, self.side, self.channels)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.arange(self.images) % CLASSES


WORK = {
    "lenet": Work(lenet, 28, 1, 256, 11_520),
    "deepconvnet": Work(deepconvnet, 28, 1, 100, 2_000),
    "resnet18": Work(resnet18, 96, 3, 32, 160),
}


# ── the ways ─────────────────────────────────────────────────────────────────────────────────────────


class Keras:
    """Keras on a backend, as it is by default."""

    def __init__(self, network: str, backend: str) -> None:
        os.environ["KERAS_BACKEND"] = backend
        import keras

        self.work, (images, self.labels) = WORK[network], WORK[network].arrays()
        self.images = images.astype("float32") / 255
        self.model = self.work.keras(keras)
        self.model.build((None, *self.images.shape[1:]))
        self.parameters = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        self.model.compile(
            keras.optimizers.SGD(RATE, MOMENTUM),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        self.marks: list[float] = []
        self.clock = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.mark(),
            on_epoch_end=lambda epoch, logs: self.mark(float(logs["loss"])),  # waits for the device
        )
        self.training()  # compiles
        self.inference()

    def mark(self, _loss: float = 0.0) -> None:
        self.marks.append(time.perf_counter())

    def training(self) -> float:
        self.marks.clear()
        self.model.fit(self.images, self.labels, self.work.batch, verbose=0, callbacks=[self.clock])
        started, ended = self.marks
        return len(self.images) / (ended - started)

    def inference(self) -> float:
        started = time.perf_counter()
        self.model.predict(self.images, ANSWERED, verbose=0)
        return len(self.images) / (time.perf_counter() - started)


class Ours:
    """neoclassic on an engine. The ONNX engine only answers."""

    def __init__(self, network: str, engine: str, precision: str) -> None:
        import neoclassic as nc
        from neoclassic.data.dataset import Dataset, Splits
        from neoclassic.engines import Optimizer, Speed
        from neoclassic.train.recipe import Recipe
        from neoclassic.train.run import Settings

        work = WORK[network]
        self.images, labels = work.arrays()
        rule, size = Optimizer("sgd", momentum=MOMENTUM), {"image_size": work.side, "channels": work.channels}
        recipe = Recipe("peers", network, "random", **size, batch_size=work.batch, optimizer=rule, learning_rate=RATE)
        self.recipe = recipe.but(epochs=2)
        train = Dataset.from_arrays(self.images, labels, name="random")
        few = train.subset(labels[:CLASSES])
        self.splits = Splits(train, test=few, validation=few)
        self.settings = Settings("torch" if engine == "onnx" else engine, "cpu", Speed(precision, "off"))
        self.parameters = nc.measure(nc.network(network, CLASSES), (work.channels, work.side, work.side)).parameters
        with tempfile.TemporaryDirectory() as folder:
            self.train(Path(folder))
            self.classifier = nc.load(folder, engine=engine, device="cpu")
        self.inference()  # allocates

    def train(self, folder: Path) -> float:
        """Train two epochs; return the images a second of the second one."""
        from neoclassic.train.loop import train
        from neoclassic.train.run import Run

        train(self.recipe, self.settings, folder, self.splits)
        return Run(folder).log()[1].images_per_second

    def training(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return self.train(Path(folder))

    def inference(self) -> float:
        started = time.perf_counter()
        self.classifier.predict_proba(self.images)
        return len(self.images) / (time.perf_counter() - started)


WAYS: dict[str, tuple[type[Keras | Ours], tuple[str, ...], tuple[str, ...]]] = {
    "keras, jax": (Keras, ("jax",), MODES),
    "keras, torch": (Keras, ("torch",), MODES),
    "neoclassic, torch": (Ours, ("torch", "32"), MODES),
    "neoclassic, torch, bf16": (Ours, ("torch", "bf16"), ("training",)),
    "neoclassic, numpy": (Ours, ("numpy", "32"), MODES),
    "neoclassic, onnx": (Ours, ("onnx", "32"), ("inference",)),
}
PEERS = [way for way, (kind, _, _) in WAYS.items() if kind is Keras]


class Worker:
    """A way in a process of its own, which waits between windows."""

    def __init__(self, way: str, network: str, cores: list[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self.way, (self.pipe, remote) = way, context.Pipe()
        context.Process(target=serve, args=(remote, way, network, cores), daemon=True).start()
        remote.close()
        self.parameters = int(self.answer())

    def answer(self) -> float:
        try:
            found: float = self.pipe.recv()
        except EOFError:
            sys.exit(f"{self.way} failed: see above")
        return found

    def window(self, mode: str) -> float:
        """Images a second."""
        time.sleep(REST)
        self.pipe.send(mode)
        return self.answer()

    def end(self) -> None:
        self.pipe.close()


def serve(pipe: Any, way: str, network: str, cores: list[int]) -> None:
    """Prepare a way, send the number of parameters, and answer each mode with images a second."""
    os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(len(cores))
    kind, arguments, _ = WAYS[way]
    running = kind(network, *arguments)
    pipe.send(running.parameters)
    while True:
        try:
            mode = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(running, mode)())


# ── the measurement ──────────────────────────────────────────────────────────────────────────────────


def measured(network: str, ways: list[str], cores: list[int], rounds: int) -> dict[str, Any]:
    """The windows of a network in images a second, by mode and way, and its number of parameters."""
    workers = [Worker(way, network, cores) for way in ways]
    if len(parameters := {worker.parameters for worker in workers}) > 1:
        sys.exit(f"{network}: the ways have networks of {parameters} parameters")
    windows: dict[str, dict[str, list[float]]] = {}
    for mode in MODES:
        able = [worker for worker in workers if mode in WAYS[worker.way][2]]
        windows[mode] = {worker.way: [] for worker in able}
        for _ in range(rounds):
            for worker in able:
                windows[mode][worker.way].append(round(worker.window(mode), 1))
    for worker in workers:
        worker.end()
    return {"parameters": parameters.pop(), "windows": windows}


def compared(windows: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Each way's median, and its ratio to the fastest peer."""
    medians = {way: median(rates) for way, rates in windows.items()}
    fastest = max(medians[way] for way in PEERS)
    return {way: {"images_per_second": rate, "ratio": round(rate / fastest, 2)} for way, rate in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Keras 3 on JAX and on PyTorch beside neoclassic.")
    parser.add_argument("networks", nargs="*", default=list(WORK), help=", ".join(WORK))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "peers.json")
    given = parser.parse_args()
    if missing := [name for name in ("keras", "jax", "torch", "onnxruntime") if importlib.util.find_spec(name) is None]:
        sys.exit(f"{', '.join(missing)} not installed: the first lines of this file say how")
    cores = sorted(os.sched_getaffinity(0))[: given.cores]
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # neoclassic sets variables that a peer must not inherit
        fast = pool.apply(bfloat16)
    ways = [way for way in WAYS if fast or not way.endswith("bf16")]
    networks, load = {}, [round(os.getloadavg()[0], 1)]
    for network in given.networks:
        found = measured(network, ways, cores, given.rounds)
        networks[network] = found | {mode: compared(found["windows"][mode]) for mode in MODES}
        for mode in MODES:
            for way, row in networks[network][mode].items():
                print(
                    f"{network:12} {mode:10} {way:24} {row['images_per_second']:10,.1f}  {row['ratio']:.2f}", flush=True
                )
    load.append(round(os.getloadavg()[0], 1))
    report = {
        "benchmark": "peers",
        "networks": networks,
        "how": f"medians of {given.rounds} windows of each way, alternating, on {len(cores)} cores",
        "machine": {"processor": platform.machine(), "cores": len(cores), "load, before and after": load},
        "versions": {n: version(n) for n in ("neoclassic", "keras", "jax", "torch", "numpy", "onnxruntime")},
        "date": date.today().isoformat(),
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")


def bfloat16() -> bool:
    """Whether the processor has units for it."""
    from neoclassic.engines import Speed, decide

    return decide("torch", "cpu", Speed("auto", "off"), 0).precision == "bf16"


if __name__ == "__main__":
    main()
