"""Fashion-MNIST as the d2l listings read it: neoclassic.compat.d2l against torchvision with a DataLoader of 4 workers.

    python benchmarks/d2l_loader.py [--rounds 3] [--resize 96] [--epochs 0]

Measures wall time and CPU time of passes over the training set, alternating between both, and prints the ratios of the
medians. neoclassic's first pass, in which it resizes, is reported separately. On a machine that is in use, CPU time is
the more reliable number. With --epochs N, both also train the LeNet listing for N epochs: neoclassic with its
`train_ch6`, torchvision with the loop that the book describes. Results are written to results/d2l_loader.json.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader

from neoclassic.compat import d2l
from neoclassic.data.sources import PACKAGE

RESULTS = Path(__file__).parent.parent / "results"


def torchvisions(folder: str, batch_size: int, resize: int | None) -> tuple[DataLoader, DataLoader]:
    """The book's loaders: 4 processes read one image at a time with Pillow."""
    steps = [torchvision.transforms.Resize(resize)] if resize else []
    pipeline = torchvision.transforms.Compose([*steps, torchvision.transforms.ToTensor()])
    sets = [torchvision.datasets.FashionMNIST(folder, train, pipeline) for train in (True, False)]
    train, test = (DataLoader(s, batch_size, shuffle=i == 0, num_workers=4) for i, s in enumerate(sets))
    return train, test


def place(folder: str) -> None:
    """Put the package's files where torchvision looks for them."""
    raw = Path(folder) / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (PACKAGE / "fashion_mnist").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))


def clocks() -> np.ndarray:
    """Wall time, and CPU time of this process and its finished children."""
    t = os.times()
    return np.array([time.perf_counter(), t.user + t.system + t.children_user + t.children_system])


def seconds(batches: Iterable) -> np.ndarray:
    """Wall time and CPU time of one pass."""
    start, n = clocks(), 0
    for X, _ in batches:
        n += len(X)
    assert n == 60_000
    return clocks() - start


def lenet() -> nn.Module:
    """The network of the listing."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2)),
        *(nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2)),
        nn.Flatten(),
        *(nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
    )


def printed(net: nn.Module, train_iter: Iterable, test_iter: Iterable, epochs: int, lr: float) -> float:
    """Train with the loop that the book describes, which reads metrics after every batch; return the test accuracy."""
    net.apply(d2l.init_cnn)
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=lr), nn.CrossEntropyLoss()
    for _ in range(epochs):
        net.train()
        sums = d2l.Accumulator(3)
        for X, y in train_iter:
            optimizer.zero_grad()
            y_hat = net(X)
            value = loss(y_hat, y)
            value.backward()
            optimizer.step()
            sums.add(value.detach() * len(y), d2l.accuracy(y_hat, y), len(y))
        right = d2l.evaluate_accuracy(net, test_iter)
    return right


def train(loaders: tuple, epochs: int, ours: bool) -> tuple[np.ndarray, float]:
    """Wall time and CPU time of the LeNet listing, and its test accuracy."""
    torch.manual_seed(0)
    net, out, start = lenet(), io.StringIO(), clocks()
    if not ours:
        right = printed(net, *loaders, epochs, 0.9)
        return clocks() - start, right
    with contextlib.redirect_stdout(out):
        d2l.train_ch6(net, *loaders, epochs, 0.9, d2l.cpu())
    found = re.search(r"test acc ([\d.]+)\n[\d.]+ examples", out.getvalue())
    assert found
    return clocks() - start, float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resize", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=0)
    options = parser.parse_args()
    result: dict = {"benchmark": "d2l_loader", "passes": {}}
    with TemporaryDirectory() as folder:
        place(folder)
        for batch_size, resize in ((256, None), (128, options.resize)):
            ours, _ = d2l.load_data_fashion_mnist(batch_size, resize)
            theirs, _ = torchvisions(folder, batch_size, resize)
            first = seconds(ours)
            passes: dict[str, list[np.ndarray]] = {"neoclassic": [], "torchvision": []}
            for _ in range(options.rounds):
                for name, batches in (("neoclassic", ours), ("torchvision", theirs)):
                    passes[name].append(seconds(batches))
            medians = {name: np.median(values, 0) for name, values in passes.items()}
            wall, processor = medians["torchvision"] / medians["neoclassic"]
            title = f"{batch_size} images of {resize or 28}×{resize or 28}"
            result["passes"][title] = {
                "wall, processor seconds": {k: np.round(v, 3).tolist() for k, v in passes.items()},
                "first": np.round(first, 3).tolist(),
                "ratio": {"wall": round(wall, 1), "processor": round(processor, 1)},
            }
            for name, (w, c) in (*medians.items(), ("neoclassic, first", first)):
                print(f"{title:<26}{name:<20}{w:7.2f} s, CPU time {c:7.2f} s")
            print(f"{'':<26}{wall:.1f}× in wall time, {processor:.1f}× in CPU time", flush=True)
        keep(result)
        if options.epochs:
            ours, theirs = d2l.load_data_fashion_mnist(256), torchvisions(folder, 256, None)
            (a, accuracy), (b, peer) = train(ours, options.epochs, True), train(theirs, options.epochs, False)
            result["lenet"] = {
                "epochs": options.epochs,
                "wall, processor seconds": {
                    "neoclassic": np.round(a, 1).tolist(),
                    "torchvision": np.round(b, 1).tolist(),
                },
                "test_accuracy": {"neoclassic": accuracy, "torchvision": peer},
                "ratio": {"wall": round(b[0] / a[0], 2), "processor": round(b[1] / a[1], 2)},
            }
            print(
                f"LeNet, {options.epochs} epochs: {a[0]:.1f} s and {b[0]:.1f} s wall time, {b[0] / a[0]:.1f}×;",
                end=" ",
            )
            print(f"{b[1] / a[1]:.1f}× in CPU time; test accuracy {accuracy:.3f} and {peer:.3f}")
            keep(result)


def keep(result: dict) -> None:
    """Write the results so far."""
    result["machine"] = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    result["threads"], result["load"] = torch.get_num_threads(), round(os.getloadavg()[0], 1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "d2l_loader.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
