"""Training from loading to metrics, against the course's loop.

    python benchmarks/training.py lenet resnet18 --seconds 10 --rounds 3

The course's loop has a DataLoader with 4 workers that resize and convert image by image, trains in eager float32 with
plain SGD, and reads loss and accuracy after every batch. Ours trains the same network with the same batches and
learning rate through neoclassic's feed and engines, as `neoclassic train` does on this machine. All loops alternate and
take the same number of steps; a step includes loading, training and metrics. The DataLoader's workers are started in
every round, and its time is measured after the first batch, so neither counts. The time that ours takes to resize the
images before the first step is divided among the steps of ten epochs. With `--epochs`, a round is a whole epoch as a
user experiences it: starting the workers, every batch, and the accuracy on the 10,000 test images. The rates are still
training images per second.

`plain` is what a page of PyTorch code reaches: it has the resized images in memory, and uses channels-last and bfloat16
autocast if the CPU supports it. The time for resizing is not counted. The plain loop and the course's loop run in their
own processes, so that neoclassic's engines cannot change them. Prints the medians over the rounds and the ratios to the
course's loop, and writes them to results/training.json, or results/training-gpu.json on a GPU, where networks that were
measured before keep their rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
import warnings
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn

from neoclassic import data, engines, networks
from neoclassic.base.machine import cores
from neoclassic.data.dataset import batches
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.data.resizing import resize
from neoclassic.engines import Speed
from neoclassic.engines import torch as torch_engine
from neoclassic.engines.weights import initial
from neoclassic.measure import measure
from neoclassic.model.evaluate import Evaluation, logits_of
from neoclassic.recipes import recipe
from neoclassic.train.feed import feed
from neoclassic.train.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results"
ROWS = {name: f"d2l-zh:{name}" for name in ("lenet", "lenet-bn", "alexnet", "vgg11-quarter", "nin", "googlenet")}
ROWS |= {"resnet18": "d2l-zh:resnet18", "densenet": "d2l-zh:densenet", "mobilenet-v1": "notes:mobilenet-v1"}
EPOCHS = 10
SETTLE = 9  # steps until our engine seldom trims its heap: see `engines.torch.cpu.memory.TRIM_EVERY`
REST = 0.1  # seconds before each run, until the other loop's threads have stopped spinning


class Images(torch.utils.data.Dataset):
    """Images one at a time through the transforms, as in torchvision's FashionMNIST."""

    def __init__(self, dataset: data.Dataset, side: int) -> None:
        resize = [torchvision.transforms.Resize(side)] if side != dataset.images.shape[1] else []
        self.transform = torchvision.transforms.Compose([*resize, torchvision.transforms.ToTensor()])
        self.images, self.labels = dataset.images, dataset.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i, :, :, 0])), int(self.labels[i])


class Loop:
    """A loop that trains a network, with two ways to measure it: `steps` and `epoch`."""

    def __init__(self, chosen: Recipe, splits: data.Splits, device: torch.device, weights: Any) -> None:
        tree, self.shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        self.net = torch_engine.build(tree, self.shape)
        torch_engine.load(self.net, weights)
        self.net.to(device).train()
        self.device, self.batch_size = device, chosen.batch_size
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=chosen.learning_rate)
        self.prepare(splits)

    def prepare(self, splits: data.Splits) -> None:
        """Prepare the images for the loop."""
        raise NotImplementedError

    def steps(self, steps: int) -> float:
        """The mean seconds per step over this many steps."""
        raise NotImplementedError

    def epoch(self) -> float:
        """The seconds of a whole epoch, including the accuracy on the test set after it."""
        raise NotImplementedError


class Course(Loop):
    """The course's loop."""

    def prepare(self, splits: data.Splits) -> None:
        self.training, self.test = Images(splits.train, self.shape[1]), Images(splits.test, self.shape[1])

    def loader(self, images: torch.utils.data.Dataset, shuffle: bool) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(images, self.batch_size, shuffle=shuffle, num_workers=4)

    def train(self, images: torch.utils.data.Dataset) -> float:
        """Train, and return the time at which the first batch was done."""
        self.net.train()
        loss, metrics, first = nn.CrossEntropyLoss(), [0.0, 0.0, 0.0], 0.0
        for x, y in self.loader(images, shuffle=True):
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
            first = first or time.perf_counter()
        return first

    def steps(self, steps: int) -> float:
        first = self.train(torch.utils.data.Subset(self.training, range((steps + 1) * self.batch_size)))
        return (time.perf_counter() - first) / steps

    def epoch(self) -> float:
        started, right = time.perf_counter(), 0.0
        self.train(self.training)
        self.net.eval()
        with torch.no_grad():
            for x, y in self.loader(self.test, shuffle=False):
                x, y = x.to(self.device), y.to(self.device)
                right += float((self.net(x).argmax(1) == y).sum())
        return time.perf_counter() - started


class Plain(Loop):
    """A better loop in a page of PyTorch code."""

    def prepare(self, splits: data.Splits) -> None:
        self.net.to(memory_format=torch.channels_last)
        self.bfloat16 = torch_engine.takes_bfloat16(self.device)
        p = Preprocessing(self.shape[1:], self.shape[0])
        self.training, self.test = (
            (
                torch.from_numpy(np.asarray(resize(each.images, p))).movedim(3, 1).to(self.device),
                torch.from_numpy(each.labels).long().to(self.device),
            )
            for each in (splits.train, splits.test)
        )

    def train(self, steps: int | None = None) -> None:
        images, labels = self.training
        self.net.train()
        order = torch.randperm(len(labels), device=self.device)
        loss_sum, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for chosen in order.split(self.batch_size)[:steps]:
            x = (images[chosen].float() / 255).contiguous(memory_format=torch.channels_last)
            y = labels[chosen]
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

    def steps(self, steps: int) -> float:
        started = time.perf_counter()
        self.train(steps)
        return (time.perf_counter() - started) / steps

    def epoch(self) -> float:
        started, right = time.perf_counter(), torch.zeros((), device=self.device)
        self.train()
        self.net.eval()
        with torch.no_grad():
            for x, y in zip(*(each.split(self.batch_size) for each in self.test), strict=True):
                right += (self.net(x.float() / 255).argmax(1) == y).sum()
        right.item()
        return time.perf_counter() - started


class Remote:
    """A loop in its own process, which waits between measurements."""

    def __init__(self, loop: type[Loop], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, remote = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(remote, multiprocessing.get_start_method(), loop, arguments)
        )
        self.process.start()

    def steps(self, steps: int) -> float:
        return self._ask("steps", steps)

    def epoch(self) -> float:
        return self._ask("epoch")

    def _ask(self, *what: Any) -> float:
        self.pipe.send(what)
        seconds: float = self.pipe.recv()
        return seconds

    def end(self) -> None:
        self.pipe.send(())
        self.process.join()


def _serve(pipe: Any, start: str, loop: type[Loop], arguments: tuple[Any, ...]) -> None:
    multiprocessing.set_start_method(start, force=True)  # for the workers, which would otherwise be spawned too
    warnings.filterwarnings("ignore", "This DataLoader will create")  # the course uses 4 workers
    run = loop(*arguments)
    while asked := pipe.recv():
        what, *numbers = asked
        pipe.send(getattr(run, what)(*numbers))


class Ours:
    """neoclassic's loop."""

    def __init__(self, engine: str, chosen: Recipe, splits: data.Splits, device: str, weights: Any) -> None:
        tree, shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        self.p = Preprocessing(shape[1:], shape[0])
        started = time.perf_counter()
        train, self.test = (
            data.Dataset(each.name, resize(each.images, self.p), each.labels, each.classes)
            for each in (splits.train, splits.test)
        )
        self.n, self.recipe, self.number = len(train), chosen, 0
        self.share = (time.perf_counter() - started) / EPOCHS  # seconds per epoch
        work = measure(tree, shape).macs * self.n * EPOCHS
        speed = engines.decide(engine, device, Speed("auto", "auto"), work)
        self.engine = engines.create(engine, tree, shape, weights, device, speed)
        self.engine.optimize(chosen.optimizer)
        self.feed = feed(self.engine, train, self.p, chosen)

    def train(self, steps: int | None = None) -> None:
        self.number += 1
        for step, index in enumerate(batches(self.n, self.recipe.batch_size, 0, self.number)[:steps]):
            rng = np.random.default_rng([0, self.number, step])
            self.engine.step(*self.feed.batch(index, rng), self.recipe.learning_rate, seed=step)
        self.engine.metrics()  # wait for the device

    def steps(self, steps: int) -> float:
        started = time.perf_counter()
        self.train(steps)
        return (time.perf_counter() - started) / steps + self.share * self.recipe.batch_size / self.n

    def epoch(self) -> float:
        started = time.perf_counter()
        self.train()
        logits = logits_of(self.engine, self.test.images, self.p, exact=False)
        Evaluation.of(logits, self.test.labels, self.test.classes)
        return time.perf_counter() - started + self.share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--seconds", type=float, default=10, help="approximate duration of the course's rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000, help="training images to use")
    parser.add_argument("--epochs", action="store_true", help="measure whole epochs, with the accuracy on the test set")
    parser.add_argument("--device", default="auto", help="torch's device")
    parser.add_argument("--engines", nargs="+", default=["torch", "numpy"])
    options = parser.parse_args()
    device = torch_engine.pick_device(options.device)
    splits = data.load("fashion-mnist")
    if options.images < len(splits.train):
        splits = replace(splits, train=splits.train.subset(np.arange(options.images)))
    n = len(splits.train)
    for name in options.networks:
        chosen = recipe(ROWS[name])
        tree, shape = networks.network(chosen.network, 10), networks.entry(chosen.network).input
        weights = initial(tree, shape, chosen.initialisation)
        course = Remote(Course, chosen, splits, device, weights)
        loops: dict[str, Remote | Ours] = {"course": course, "plain": Remote(Plain, chosen, splits, device, weights)}
        for engine in options.engines:
            where = options.device if engine == "torch" else "auto"
            loops[engine] = Ours(engine, chosen, splits, where, weights)
        for loop in loops.values():
            loop.steps(1 if loop is course else SETTLE)  # warm up: allocate memory, choose kernels, record graphs
        if options.epochs:
            steps, images = -(-n // chosen.batch_size), n
        else:
            steps = min(max(2, round(options.seconds / course.steps(1))), n // chosen.batch_size - 1)
            images = steps * chosen.batch_size
        seconds: dict[str, list[float]] = {which: [] for which in loops}
        for _ in range(options.rounds):
            for which, loop in loops.items():
                time.sleep(REST)
                seconds[which].append(loop.epoch() / steps if options.epochs else loop.steps(steps))
        for loop in loops.values():
            if isinstance(loop, Remote):
                loop.end()
        medians = {which: statistics.median(values) for which, values in seconds.items()}
        ratios = {which: round(medians["course"] / medians[which], 2) for which in loops if which != "course"}
        rates = {which: round(images / steps / median, 1) for which, median in medians.items()}
        row = {
            "recipe": chosen.name,
            "images_per_second": rates,
            "ratio": ratios,
            "steps": steps * options.rounds,
            "whole_epochs": options.epochs,
            "date": date.today().isoformat(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "cores": cores(),
            "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__},
        }
        keep(name, row, RESULTS / f"training{'' if device.type == 'cpu' else '-gpu'}.json")
        compared = "  ".join(f"{which} {rates[which]:9,.1f}  {ratio:5.2f}×" for which, ratio in ratios.items())
        print(f"{name:14} course {rates['course']:9,.1f} images/s  {compared}", flush=True)


def keep(name: str, row: dict[str, Any], path: Path) -> None:
    """Write a network's row to the file."""
    RESULTS.mkdir(exist_ok=True)
    networks = json.loads(path.read_text())["networks"] if path.exists() else {}
    networks[name] = row
    found = {"benchmark": "training", "networks": {name: networks[name] for name in ROWS if name in networks}}
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
