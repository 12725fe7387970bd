"""The book's functions for fine-tuning and for Kaggle's image data: training on several devices, folders of images."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.curves import Animator
from neoclassic.compat.d2l.devices import try_all_gpus
from neoclassic.compat.d2l.figures import shown_in_full
from neoclassic.compat.d2l.loops import Batches, Timer, accuracy, evaluate_accuracy_gpu, to_device

Devices = Sequence[torch.device | str]

# ── training on several devices ──────────────────────────────────────────────────────────────────────


def split_batch(X: Tensor, y: Tensor, devices: Devices) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Divide a batch over devices: (parts of X, parts of y), each on its device. Parts may differ by one image."""
    if len(X) != len(y):
        raise UsageError(f"split_batch takes as many labels as images, not {len(y)} for {len(X)}")
    shards = [tensor.tensor_split(len(devices)) for tensor in (X, y)]
    X_shards, y_shards = (tuple(p.to(d) for p, d in zip(parts, devices, strict=True)) for parts in shards)
    return X_shards, y_shards


def train_batch_ch13(
    net: nn.Module,
    X: Tensor | list[Tensor],
    y: Tensor,
    loss: Callable[..., Tensor],
    trainer: torch.optim.Optimizer,
    devices: Devices,
) -> tuple[Tensor, float]:
    """Take one step on a batch. Return (the sum of the losses, on the device; the number of correct predictions).

    The gradient is that of the sum of what `loss` returns: one value per image in the book, `reduction="none"`. If it
    returns their mean, the gradient is the mean's, and the sum that is returned is still that over the images.
    """
    X, y = to_device(X, devices[0]), to_device(y, devices[0])
    net.train()
    trainer.zero_grad()
    y_hat = net(X)
    losses = loss(y_hat, y)
    losses.sum().backward()
    trainer.step()
    return losses.detach().mean() * len(y), accuracy(y_hat, y)


@shown_in_full()
def train_ch13(
    net: nn.Module,
    train_iter: Any,
    test_iter: Batches,
    loss: Callable[..., Tensor],
    trainer: torch.optim.Optimizer,
    num_epochs: int,
    devices: Devices | None = None,
) -> None:
    """Train on one device, or on several with `nn.DataParallel`, and print the loss, the accuracies and examples/sec.

    devices: by default all accelerators, or the CPU. Five points are drawn in an epoch, or one per batch if there are
    fewer than five. examples/sec counts the steps, without loading and evaluation.
    """
    devices, num_batches = devices or try_all_gpus(), len(train_iter)
    if not num_batches or num_epochs < 1:
        raise UsageError(f"there is nothing to train: {num_batches} batches, {num_epochs} epochs")
    legend = ["train loss", "train acc", "test acc"]
    animator = Animator(xlabel="epoch", xlim=[1, num_epochs], ylim=[0, 1], legend=legend)
    timer, every, seen = Timer(), max(num_batches // 5, 1), 0
    net = net.to(devices[0]) if len(devices) == 1 else nn.DataParallel(net, device_ids=list(devices)).to(devices[0])
    for epoch in range(num_epochs):
        total, correct, n = torch.zeros((), device=devices[0]), 0.0, 0
        for i, (X, y) in enumerate(train_iter):
            timer.start()
            batch_loss, batch_correct = train_batch_ch13(net, X, y, loss, trainer, devices)
            timer.stop()
            total, correct, n = total + batch_loss, correct + batch_correct, n + len(y)
            if (i + 1) % every == 0 or i == num_batches - 1:
                animator.add(epoch + (i + 1) / num_batches, (float(total) / n, correct / n, None))
        seen += n
        test_acc = evaluate_accuracy_gpu(net, test_iter)
        animator.add(epoch + 1, (None, None, test_acc))
    print(f"loss {float(total) / n:.3f}, train acc {correct / n:.3f}, test acc {test_acc:.3f}")
    print(f"{seen / timer.sum():.1f} examples/sec on {list(devices)}")


# ── Kaggle's folders ─────────────────────────────────────────────────────────────────────────────────


def mkdir_if_not_exist(path: str | Sequence[str]) -> None:
    """Make a folder unless it exists. path: its name, or the parts of it."""
    parts = [path] if isinstance(path, str) else path
    Path(*parts).mkdir(parents=True, exist_ok=True)


def read_csv_labels(fname: str) -> dict[str, str]:
    """The labels of images by the names of their files, from a CSV with a header and two columns."""
    with Path(fname).open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    for i, row in enumerate(rows, 2):
        if len(row) != 2:
            raise UsageError(f"{fname}, row {i}: a name and a label are needed, not {len(row)} columns")
    return dict(rows)


def copyfile(filename: str | os.PathLike[str], target_dir: str | os.PathLike[str]) -> None:
    """Copy a file into a folder, which is made if it does not exist."""
    Path(target_dir).mkdir(parents=True, exist_ok=True)
    shutil.copy(filename, target_dir)


def reorg_train_valid(data_dir: str, labels: Mapping[str, str], valid_ratio: float) -> int:
    """Copy the images of `data_dir/train` into one folder per label, and return how many of each are for validation.

    In `data_dir/train_valid_test`, the folder `train_valid` has all of them; `valid` has as many of every label as make
    `valid_ratio` of the rarest one, at least one; `train` has the others. Files are taken in the order of their names.
    """
    rarest = min(Counter(labels.values()).values())
    n_valid_per_label = max(1, math.floor(rarest * valid_ratio))
    target, taken = Path(data_dir, "train_valid_test"), Counter[str]()
    for path in sorted(Path(data_dir, "train").iterdir()):
        name = path.name.split(".")[0]
        if name not in labels:
            raise UsageError(f"{path} has no label: the table of labels has no row for {name!r}")
        label = labels[name]
        part = "valid" if taken[label] < n_valid_per_label else "train"
        taken[label] += part == "valid"
        copyfile(path, target / "train_valid" / label)
        copyfile(path, target / part / label)
    return n_valid_per_label


def reorg_test(data_dir: str) -> None:
    """Copy the images of `data_dir/test` into `data_dir/train_valid_test/test/unknown`."""
    for path in sorted(Path(data_dir, "test").iterdir()):
        copyfile(path, Path(data_dir, "train_valid_test", "test", "unknown"))
