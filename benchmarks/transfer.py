"""From a few hundred photos and pretrained weights to a classifier: neoclassic's ways, and a plain page of PyTorch.

    python benchmarks/transfer.py photos/ --weights mobilenet_v2.pth [--network mobilenet-v2] [--mean 0.5 --std 0.5]

photos/ has the folders train/<class>/ and val/<class>/; val is the test set, and is used once, at the end. Every way
runs in a process of its own and starts with an empty cache, one way after the other for each seed. Prints accuracy and
seconds, which count from the command to its end, and saves both to results/transfer.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]
PLAIN = "plain PyTorch"
WAYS = {
    PLAIN: None,
    "--head, torch": ("--head", "--engine", "torch"),
    "--head, numpy": ("--head", "--engine", "numpy"),
    "default, torch": ("--engine", "torch"),
}
SIZE, BATCH, RATE = 224, 16, 3e-4


def plain(given: argparse.Namespace, seed: int) -> float:
    """The accuracy after the training that a tutorial would write: all layers, Adam, cosine, random crops, mirrors."""
    import torch
    import torchvision
    from torch import nn
    from torchvision import datasets, transforms

    from neoclassic.model.weight_files import read

    torch.manual_seed(seed)
    normalise = transforms.Normalize(given.mean or (0.485, 0.456, 0.406), given.std or (0.229, 0.224, 0.225))
    random = [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
    centre = [transforms.Resize(SIZE * 8 // 7), transforms.CenterCrop(SIZE)]
    parts = {}
    for name, views in (("train", random), ("val", centre)):
        way = transforms.Compose([*views, transforms.ToTensor(), normalise])
        folder = datasets.ImageFolder(os.fspath(given.folder / name), way)
        workers = os.cpu_count() or 1
        parts[name] = torch.utils.data.DataLoader(folder, BATCH, shuffle=name == "train", num_workers=workers)

    model = getattr(torchvision.models, given.network.replace("-", "_"))(weights=None)
    model.load_state_dict({k: torch.from_numpy(w.copy()) for k, w in read(given.weights).arrays.items()}, strict=False)
    path, last = [(path, each) for path, each in model.named_modules() if isinstance(each, nn.Linear)][-1]
    fresh = nn.Linear(last.in_features, len(parts["train"].dataset.classes))
    setattr(model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2], fresh)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, given.epochs * len(parts["train"]))
    for _ in range(given.epochs):
        model.train()
        for x, y in parts["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x.to(device)), y.to(device)).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(x.to(device)).argmax(1).cpu() == y).sum()) for x, y in parts["val"])
    return right / len(parts["val"].dataset)


def ours(given: argparse.Namespace, options: tuple[str, ...], seed: int, folder: Path) -> float:
    """The accuracy of `neoclassic train` with these options. folder: an empty one, for the cache and the run."""
    command = ["train", given.network, "--data", given.folder, "--weights", given.weights, "--seed", seed]
    for name in ("mean", "std"):
        if numbers := getattr(given, name):
            command += [f"--{name}", ",".join(map(str, numbers))]
    environment = {**os.environ, "NEOCLASSIC_CACHE": os.fspath(folder / "cache")}
    child = [sys.executable, "-m", "neoclassic", *map(str, command), *options, "--out", os.fspath(folder / "run")]
    subprocess.run(child, check=True, env=environment, stdout=sys.stderr)
    return float(json.loads((folder / "run" / "result.json").read_text())["test_accuracy"])


def measured(given: argparse.Namespace, way: str, seed: int) -> dict[str, float]:
    """Accuracy and seconds of one way."""
    options, started = WAYS[way], time.perf_counter()
    if options is None:
        child = [sys.executable, *sys.argv, "--child", str(seed)]
        accuracy = float(subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout)
    else:
        with tempfile.TemporaryDirectory() as folder:
            accuracy = ours(given, options, seed, Path(folder))
    return {"accuracy": round(accuracy, 4), "seconds": round(time.perf_counter() - started, 1)}


def report(given: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """What is saved."""
    packages = ("neoclassic", "numpy", "torch", "torchvision")
    return {
        "network": given.network,
        "folder": given.folder.resolve().name,
        "weights": given.weights.name,
        "plain": f"{given.epochs} epochs at {SIZE} pixels, batches of {BATCH}, Adam at {RATE}, cosine",
        "ways": found,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "versions": {name: version(name) for name in packages},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> None:
    numbers = {"type": lambda text: tuple(map(float, text.split(","))), "metavar": "NUMBERS"}
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="mobilenet-v2")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--mean", **numbers)
    parser.add_argument("--std", **numbers)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8, help="of the plain page")
    parser.add_argument("--way", action="append", choices=WAYS, help="measure only this one; repeatable")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "transfer.json")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.mean, given.std = (value and (value * 3 if len(value) == 1 else value) for value in (given.mean, given.std))
    if given.child is not None:
        print(plain(given, given.child))
        return
    ways = given.way or list(WAYS)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for seed in range(given.seeds):
        for way in ways:
            found[way].append(measured(given, way, seed))
            print(f"seed {seed}  {way:16} {found[way][-1]}", flush=True)
    for way, runs in found.items():
        accuracies = [run["accuracy"] for run in runs]
        took = mean(run["seconds"] for run in runs)
        print(
            f"{way:16} mean {mean(accuracies):.4f}, from {min(accuracies):.4f} to {max(accuracies):.4f}, {took:.0f} s"
        )
    given.out.write_text(json.dumps(report(given, found), indent=1) + "\n")


if __name__ == "__main__":
    main()
