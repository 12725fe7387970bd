"""Fashion-MNIST and small tensors in batches, from memory and without worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import data

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.parameters import HyperParameters
from neoclassic.compat.d2l.plots import show_images
from neoclassic.data import SOURCES, Splits, load

LABELS = SOURCES["fashion-mnist"].classes
CACHE_LIMIT = 4 << 30  # the most bytes of resized images to keep

# ── images ───────────────────────────────────────────────────────────────────────────────────────────


class Images(data.Dataset):
    """A PyTorch data set: item i is an image, float32 1×H×W in [0, 1], and its label.

    `data` is uint8 N×h×w, `targets` int64 N, `classes` the names of the labels. An image is resized when it is first
    used, antialiased and bilinear as torchvision resizes Pillow images, and kept as bytes.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str], size: tuple[int, int]) -> None:
        self.classes = list(classes)
        self._pixels, self._labels, self.size = np.array(pixels[..., 0]), labels, size
        self.data, self.targets = torch.from_numpy(self._pixels), torch.from_numpy(labels)
        self._resized = self._kept = None
        if size != self._pixels.shape[1:] and len(pixels) * math.prod(size) <= CACHE_LIMIT:
            self._resized = np.empty((len(pixels), *size), np.uint8)
            self._kept = np.zeros(len(pixels), bool)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        X, y = self.batch(torch.tensor([range(len(self))[i]]))
        return X[0], int(y)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images N×1×H×W, float32 in [0, 1], and the labels N at these indices."""
        rows = indices.numpy()
        X = self._sized(rows)[:, None].astype(np.float32)  # by NumPy: a batch is too small for torch's threads
        X /= np.float32(255)
        return torch.from_numpy(X), torch.from_numpy(self._labels[rows])

    def _sized(self, rows: np.ndarray) -> np.ndarray:
        images: np.ndarray
        if self.size == self._pixels.shape[1:]:
            images = self._pixels[rows]
        elif self._resized is None or self._kept is None:
            images = self._resize(rows)
        else:
            new = rows[~self._kept[rows]]
            if len(new):
                self._resized[new] = self._resize(new)
                self._kept[new] = True
            images = self._resized[rows]
        return images

    def _resize(self, rows: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(self._pixels[rows]).unsqueeze(1)
        resized: np.ndarray = functional.interpolate(pixels, self.size, mode="bilinear", antialias=True)[:, 0].numpy()
        return resized


class Loader:
    """Batches of images and labels; the last one may be smaller. With `shuffle`, every pass draws a new order.

    dataset    an `Images`
    generator  draws the order; by default torch's global generator, which torch.manual_seed seeds
    """

    def __init__(
        self, dataset: Images, batch_size: int, shuffle: bool = False, generator: torch.Generator | None = None
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size must be a whole number, at least 1, not {batch_size!r}")
        self.dataset, self.batch_size, self.shuffle, self.generator = dataset, batch_size, shuffle, generator

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        n = len(self.dataset)
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        for indices in order.split(self.batch_size):
            yield list(self.dataset.batch(indices))


@cache
def _splits() -> Splits:
    return load("fashion-mnist")


@cache
def _images(train: bool, size: tuple[int, int]) -> Images:
    split = _splits().train if train else _splits().test
    return Images(split.images, split.labels, LABELS, size)


def _size(resize: int | Sequence[int] | None) -> tuple[int, int]:
    """Height and width, as torchvision's `Resize(resize)` makes them for square images."""
    sides = (28,) if resize is None else (resize,) if isinstance(resize, int) else tuple(resize)
    if len(sides) not in (1, 2) or not all(isinstance(side, int) and 1 <= side <= 4096 for side in sides):
        raise UsageError(f"resize must be a number of pixels from 1 to 4096, or (height, width), not {resize!r}")
    return sides[0], sides[-1]


# ── the older edition ────────────────────────────────────────────────────────────────────────────────


def get_dataloader_workers() -> int:
    """The number of processes that load data: 0, since the data is in memory."""
    return 0


def get_fashion_mnist_labels(labels: Iterable[Any]) -> list[str]:
    """The names of labels 0 … 9."""
    return [LABELS[int(label)] for label in labels]


def load_data_fashion_mnist(batch_size: int, resize: int | Sequence[int] | None = None) -> tuple[Loader, Loader]:
    """Fashion-MNIST in batches: (training set, shuffled; test set).

    A batch is [images float32 N×1×H×W in [0, 1], labels int64 N]. H and W are 28, or `resize`.
    """
    size = _size(resize)
    return Loader(_images(True, size), batch_size, shuffle=True), Loader(_images(False, size), batch_size)


def load_array(data_arrays: Sequence[Tensor], batch_size: int, is_train: bool = True) -> data.DataLoader:
    """Batches of tensors with the same first axis; shuffled for training."""
    return data.DataLoader(data.TensorDataset(*data_arrays), batch_size, shuffle=is_train)


def synthetic_data(w: Tensor, b: float, num_examples: int) -> tuple[Tensor, Tensor]:
    """X, normal, num_examples × len(w), and the column y = Xw + b + noise with standard deviation 0.01."""
    X = torch.randn(num_examples, len(w))
    y = X @ w.reshape(-1, 1) + b
    return X, y + 0.01 * torch.randn(y.shape)


# ── the newer edition ────────────────────────────────────────────────────────────────────────────────


class DataModule(HyperParameters):
    """A source of batches. A subclass overrides `get_dataloader`, or both `train_dataloader` and `val_dataloader`."""

    batch_size: int

    def __init__(self, root: str = "../data", num_workers: int = 0) -> None:
        self.save_hyperparameters()

    def get_dataloader(self, train: bool) -> Any:
        raise NotImplementedError("a DataModule defines get_dataloader(self, train), which returns batches")

    def train_dataloader(self) -> Any:
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Any:
        return self.get_dataloader(train=False)

    def get_tensorloader(
        self, tensors: Sequence[Tensor], train: bool, indices: slice | Tensor = slice(0, None)
    ) -> data.DataLoader:
        """Batches of the rows of tensors at `indices`; shuffled for training."""
        return load_array([tensor[indices] for tensor in tensors], self.batch_size, train)


class FashionMNIST(DataModule):
    """Fashion-MNIST. `train` and `val` (the test set) are `Images`; the loaders make batches of them."""

    def __init__(self, batch_size: int = 64, resize: int | Sequence[int] = (28, 28)) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.train, self.val = (_images(train, _size(resize)) for train in (True, False))

    def text_labels(self, indices: Iterable[Any]) -> list[str]:
        """The names of labels 0 … 9."""
        return get_fashion_mnist_labels(indices)

    def get_dataloader(self, train: bool) -> Loader:
        return Loader(self.train if train else self.val, self.batch_size, shuffle=train)

    def visualize(
        self, batch: Sequence[Tensor], nrows: int = 1, ncols: int = 8, labels: Sequence[str] | None = None
    ) -> None:
        """Draw the first images of a batch with their class names."""
        X, y = batch
        show_images(X.squeeze(1), nrows, ncols, titles=labels or self.text_labels(y))


class SyntheticRegressionData(DataModule):
    """y = Xw + b + noise: `num_train` rows for training, then `num_val` for validation."""

    X: Tensor
    y: Tensor
    num_train: int

    def __init__(
        self,
        w: Tensor,
        b: float,
        noise: float = 0.01,
        num_train: int = 1000,
        num_val: int = 1000,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.randn(num_train + num_val, len(w))
        self.y = self.X @ w.reshape(-1, 1) + b + noise * torch.randn(num_train + num_val, 1)

    def get_dataloader(self, train: bool) -> data.DataLoader:
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)
