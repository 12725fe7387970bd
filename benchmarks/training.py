"""Training, end to end, beside the course's loop: python benchmarks/training.py lenet resnet18 --seconds 10 --rounds 3

The course's loop: a DataLoader with 4 workers that resize and convert image by image, eager float32, plain SGD, loss
and accuracy read after every batch. Ours: the same network, batches and rate through neoclassic's own feed and engines,
as `neoclassic train` runs them here. All take the same number of steps, alternating; a step is loading, training and
metrics. The course's loop has a process of its own, which nothing of neoclassic's engines changes. The workers of the
DataLoader live for a round, and its clock starts when the first batch is there: neither they nor that batch are
charged. What ours resizes before the first step is charged to each step as its share of ten epochs. `plain` is what a
page of PyTorch reaches: the resized images in memory, channels-last, bfloat16 by autocast where the processor has it,
in a process of its own, too, and charged nothing for the resizing. Prints the medians over the rounds and the ratios to
the course's loop, and keeps them in results/training.json, on a GPU in results/training-gpu.json, with the networks
that were measured before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn

from neoclassic import data, engines, networks
from neoclassic.data.dataset import batches
from neoclassic.data.preprocessing import Preprocessing, resized
from neoclassic.engines import Speed
from neoclassic.engines import torch as torch_engine
from neoclassic.engines.weights import initial
from neoclassic.machine import cores
from neoclassic.measure import measure
from neoclassic.recipes import recipe
from neoclassic.train.feed import feed
from neoclassic.train.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results"
ROWS = {name: f"d2l-zh:{name}" for name in ("lenet", "lenet-bn", "alexnet", "vgg11-quarter", "nin", "googlenet")}
ROWS |= {"resnet18": "d2l-zh:resnet18", "densenet": "d2l-zh:densenet", "mobilenet-v1": "notes:mobilenet-v1"}
EPOCHS = 10
SETTLE = 9  # steps until our engine seldom gives memory back: see `engines.torch.engine.KEPT`
REST = 0.1  # seconds before each run: the other's threads wait in a loop for a while before they sleep


class Images(torch.utils.data.Dataset):
    """What torchvision's FashionMNIST is: an image at a time, through the transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, side: int) -> None:
        resize = [torchvision.transforms.Resize(side)] if side != images.shape[1] else []
        self.transform = torchvision.transforms.Compose([*resize, torchvision.transforms.ToTensor()])
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i, :, :, 0])), int(self.labels[i])


class Course:
    """The course's loop."""

    def __init__(self, chosen: Recipe, train: data.Dataset, device: torch.device, weights: Any) -> None:
        tree, shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        self.net = torch_engine.build(tree, shape)
        torch_engine.load(self.net, weights)
        self.net.to(device).train()
        self.device, self.batch_size = device, chosen.batch_size
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=chosen.learning_rate)
        self.images = Images(train.images, train.labels, shape[1])

    def __call__(self, steps: int) -> float:
        """Seconds of a step, the mean of so many."""
        some = torch.utils.data.Subset(self.images, range((steps + 1) * self.batch_size))
        loader = torch.utils.data.DataLoader(some, self.batch_size, shuffle=True, num_workers=4)
        loss, metrics, started = nn.CrossEntropyLoss(), [0.0, 0.0, 0.0], 0.0
        for step, (x, y) in enumerate(loader):
            if step == 1:
                started = time.perf_counter()
            self.optimizer.zero_grad()
            x, y = x.to(self.device), y.to(self.device)
            y_hat = self.net(x)
            value = loss(y_hat, y)
            value.backward()
            self.optimizer.step()
            with torch.no_grad():
                metrics[0] += float(value * len(x))
                metrics[1] += float((y_hat.argmax(1) == y).sum())
                metrics[2] += len(x)
        return (time.perf_counter() - started) / steps


class Plain:
    """What a page of PyTorch does better than the course's loop."""

    def __init__(self, chosen: Recipe, train: data.Dataset, device: torch.device, weights: Any) -> None:
        tree, shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        self.net = torch_engine.build(tree, shape)
        torch_engine.load(self.net, weights)
        self.net.to(device, memory_format=torch.channels_last).train()
        self.bfloat16 = torch_engine.takes_bfloat16(device)
        self.device, self.batch_size = device, chosen.batch_size
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=chosen.learning_rate)
        images = np.asarray(resized(train.images, Preprocessing(shape[1:], shape[0])))
        self.images = torch.from_numpy(images).movedim(3, 1).to(device)
        self.labels = torch.from_numpy(train.labels).long().to(device)

    def __call__(self, steps: int) -> float:
        """Seconds of a step, the mean of so many."""
        order = torch.randperm(len(self.labels), device=self.device)
        loss_sum, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        started = time.perf_counter()
        for chosen in order.split(self.batch_size)[:steps]:
            x = (self.images[chosen].float() / 255).contiguous(memory_format=torch.channels_last)
            y = self.labels[chosen]
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                y_hat = self.net(x)
                loss = nn.functional.cross_entropy(y_hat, y)
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                loss_sum += loss.detach() * len(y)
                correct += (y_hat.argmax(1) == y).sum()
        loss_sum.item(), correct.item()  # wait for the device
        return (time.perf_counter() - started) / steps


class Apart:
    """A loop in a process of its own, which waits while it is not asked."""

    def __init__(self, loop: type[Course | Plain], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=_apart, args=(there, multiprocessing.get_start_method(), loop, arguments))
        self.process.start()

    def __call__(self, steps: int) -> float:
        """As `Course`."""
        self.pipe.send(steps)
        seconds: float = self.pipe.recv()
        return seconds

    def end(self) -> None:
        self.pipe.send(0)
        self.process.join()


def _apart(pipe: Any, start: str, loop: type[Course | Plain], arguments: tuple[Any, ...]) -> None:
    multiprocessing.set_start_method(start, force=True)  # of the workers; else they would be spawned too
    warnings.filterwarnings("ignore", "This DataLoader will create")  # 4 workers are the course's
    run = loop(*arguments)
    while steps := pipe.recv():
        pipe.send(run(steps))


class Ours:
    """neoclassic's."""

    def __init__(self, engine: str, chosen: Recipe, train: data.Dataset, device: str, weights: Any) -> None:
        tree, shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        p = Preprocessing(shape[1:], shape[0])
        started = time.perf_counter()
        training = data.Dataset(train.name, resized(train.images, p), train.labels, train.classes)
        self.share = (time.perf_counter() - started) * chosen.batch_size / len(train) / EPOCHS
        work = measure(tree, shape).macs * len(train) * EPOCHS
        speed = engines.decide(engine, device, Speed("auto", "auto"), work)
        self.engine = engines.create(engine, tree, shape, weights, device, speed)
        self.engine.optimize(chosen.optimizer)
        self.feed, self.recipe, self.n, self.epoch = feed(self.engine, training, p, chosen), chosen, len(train), 0

    def __call__(self, steps: int) -> float:
        """Seconds of a step, the mean of so many."""
        self.epoch += 1
        started = time.perf_counter()
        for step, index in enumerate(batches(self.n, self.recipe.batch_size, 0, self.epoch)[:steps]):
            rng = np.random.default_rng([0, self.epoch, step])
            self.engine.step(*self.feed.batch(index, rng), self.recipe.learning_rate, seed=step)
        self.engine.metrics()  # waits for the device
        return (time.perf_counter() - started) / steps + self.share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=10, help="that the course's loop lasts in a round, about")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000, help="of the training set")
    parser.add_argument("--device", default="auto", help="of torch")
    parser.add_argument("--engines", nargs="+", default=["torch", "numpy"])
    options = parser.parse_args()
    device = torch_engine.pick_device(options.device)
    everything = data.load("fashion-mnist").train
    train = everything.subset(np.arange(options.images)) if options.images < len(everything) else everything
    for name in options.networks:
        chosen = recipe(ROWS[name])
        tree, shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        weights = initial(tree, shape, chosen.initialisation)
        course = Apart(Course, chosen, train, device, weights)
        loops: dict[str, Apart | Ours] = {"course": course, "plain": Apart(Plain, chosen, train, device, weights)}
        for engine in options.engines:
            where = options.device if engine == "torch" else "auto"
            loops[engine] = Ours(engine, chosen, train, where, weights)
        for loop in loops.values():
            loop(1 if loop is course else SETTLE)  # the first steps allocate, choose kernels, record graphs
        steps = min(max(2, round(options.seconds / course(1))), options.images // chosen.batch_size - 1)
        seconds: dict[str, list[float]] = {which: [] for which in loops}
        for _ in range(options.rounds):
            for which, loop in loops.items():
                time.sleep(REST)
                seconds[which].append(loop(steps))
        for loop in loops.values():
            if isinstance(loop, Apart):
                loop.end()
        medians = {which: statistics.median(values) for which, values in seconds.items()}
        ratios = {which: round(medians["course"] / medians[which], 2) for which in loops if which != "course"}
        rates = {which: round(chosen.batch_size / median, 1) for which, median in medians.items()}
        row = {
            "recipe": chosen.name,
            "images_per_second": rates,
            "ratio": ratios,
            "steps": steps * options.rounds,
            "date": date.today().isoformat(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "cores": cores(),
            "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__},
        }
        keep(name, row, RESULTS / f"training{'' if device.type == 'cpu' else '-gpu'}.json")
        compared = "  ".join(f"{which} {rates[which]:9,.1f}  {ratio:5.2f}×" for which, ratio in ratios.items())
        print(f"{name:14} course {rates['course']:9,.1f} images/s  {compared}", flush=True)


def keep(name: str, row: dict[str, Any], path: Path) -> None:
    """Put a network's row into the file."""
    RESULTS.mkdir(exist_ok=True)
    networks = json.loads(path.read_text())["networks"] if path.exists() else {}
    networks[name] = row
    found = {"benchmark": "training", "networks": {name: networks[name] for name in ROWS if name in networks}}
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
