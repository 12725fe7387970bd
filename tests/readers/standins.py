"""What the chapters download, in small: data sets, archives and pretrained weights, made here and not of the books."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils import data

from neoclassic.data import SOURCES, Splits
from neoclassic.data import load as whole

TRAIN, TEST, BATCH = 36, 18, 6
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BREEDS = ("beagle", "boxer", "collie", "dingo", "pug", "saluki", "vizsla", "whippet")


def few(name: str, data_dir: object = None) -> Splits:
    """`neoclassic.data.load` with a few images."""
    splits = whole(name, data_dir)
    return Splits(splits.train.subset(np.arange(TRAIN)), splits.test.subset(np.arange(TEST)))


class _Pictures(data.Dataset):
    """The interface of torchvision's data sets that the chapters use."""

    def __init__(self, root="", train=True, transform=None, target_transform=None, download=False):
        self.transform, self.target_transform = transform, target_transform
        self.data, self.targets = self.arrays(train)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        image, label = Image.fromarray(np.asarray(self.data[i])), int(self.targets[i])
        return self.transform(image) if self.transform else image, label


class FashionMNIST(_Pictures):
    classes = [*SOURCES["fashion-mnist"].classes]  # noqa: RUF012 — as torchvision's

    def arrays(self, train):
        part = few("fashion-mnist").train if train else few("fashion-mnist").test
        return torch.from_numpy(np.array(part.images[..., 0])), torch.from_numpy(np.array(part.labels))


class CIFAR10(_Pictures):
    classes = [*CIFAR]  # noqa: RUF012

    def arrays(self, train):
        n = TRAIN if train else TEST
        return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8), [i % 10 for i in range(n)]


class DataLoader(data.DataLoader):
    """torch's loader, with batches small enough that an epoch has more than five, and without processes."""

    def __init__(self, dataset, batch_size=1, *args, **kwargs):
        kwargs["num_workers"] = 0
        super().__init__(dataset, smaller(batch_size), *args[:2], **kwargs)


def smaller(batch_size: int) -> int:
    return min(batch_size, BATCH) if batch_size >= 32 else batch_size


# ── downloads ────────────────────────────────────────────────────────────────────────────────────────


def _png(i: int, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _zipped(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _hotdog() -> bytes:
    parts = (("train", 18), ("test", 8))
    return _zipped(
        {f"hotdog/{p}/{c}/{i}.png": _png(i) for p, n in parts for c in ("hotdog", "not-hotdog") for i in range(n)}
    )


def _kaggle(folder: str, table: str, classes: tuple[str, ...], each: int) -> bytes:
    labels = [(str(i + 1), classes[i % len(classes)]) for i in range(each * len(classes))]
    files: dict[str, bytes | str] = {f"{folder}/train/{name}.png": _png(i) for i, (name, _) in enumerate(labels)}
    files |= {f"{folder}/test/{i + 1}.png": _png(i) for i in range(5)}
    return _zipped(files | {f"{folder}/{table}": "id,label\n" + "".join(f"{a},{b}\n" for a, b in labels)})


def _houses(train: bool) -> bytes:
    rows = ["Id,MSSubClass,MSZoning,LotFrontage,LotArea,SaleType,SaleCondition" + ",SalePrice" * train]
    for i in range(40):
        row = f"{i},{20 + i % 7},{'RL' if i % 3 else 'RM'},{'NA' if i % 5 == 0 else 60 + i},{8000 + i},WD,Normal"
        rows.append(row + f",{100000 + 1000 * i}" * train)
    return "\n".join(rows).encode()


def pickled_mnist() -> bytes:
    """The file of four arrays in which *Deep Learning from Scratch* keeps MNIST, with images of Fashion-MNIST."""
    whole_set = whole("fashion-mnist")
    arrays = {}
    for name, part, n in (("train", whole_set.train, 1200), ("test", whole_set.test, 200)):
        arrays |= {f"{name}_img": part.images[:n].reshape(n, 784), f"{name}_label": part.labels[:n].astype(np.uint8)}
    return pickle.dumps(arrays)


def download(url: str) -> bytes:
    """The stand-in for the file at a URL."""
    name = url.rpartition("/")[2]
    makers = {
        "hotdog.zip": _hotdog,
        "kaggle_cifar10_tiny.zip": lambda: _kaggle("kaggle_cifar10_tiny", "trainLabels.csv", CIFAR, 5),
        "kaggle_dog_tiny.zip": lambda: _kaggle("kaggle_dog_tiny", "labels.csv", BREEDS, 6),
        "kaggle_house_pred_train.csv": lambda: _houses(True),
        "kaggle_house_pred_test.csv": lambda: _houses(False),
    }
    if name not in makers:
        raise OSError(f"there is no network, and no stand-in for {url}")
    return makers[name]()


class _Response:
    def __init__(self, content: bytes) -> None:
        self.content, self.ok, self.status_code = content, True, 200

    def raise_for_status(self) -> None:
        pass


def weights(url: str, *_: object, **__: object) -> dict[str, torch.Tensor]:
    """Fresh weights of the network that a file of torchvision's is named for."""
    return getattr(torchvision.models, url.rpartition("/")[2].partition("-")[0])(weights=None).state_dict()


def put_in_place() -> None:
    """Replace what would need the network, or much time, before any of the book's code runs."""
    from neoclassic import data as ours

    ours.load = few
    torchvision.datasets.FashionMNIST, torchvision.datasets.CIFAR10 = FashionMNIST, CIFAR10
    data.DataLoader = DataLoader
    torch.hub.load_state_dict_from_url = weights
    from torchvision.models import _api

    _api.load_state_dict_from_url = weights
    try:
        import requests
    except ImportError:
        return
    requests.get = lambda url, **_: _Response(download(url))


def put_in_neoclassic() -> None:
    """The same for what neoclassic's own names fetch and load."""
    from neoclassic.compat.d2l import downloads, loaders

    begin = loaders.Loader.__init__

    def smaller_batches(self, dataset, batch_size, *args, **kwargs):
        begin(self, dataset, smaller(batch_size), *args, **kwargs)

    loaders.Loader.__init__ = smaller_batches

    def fetched(name: str, mirrors: tuple[str, ...], folder: Path, *_: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(download(mirrors[0] + name))
        return folder / name

    downloads.fetch = fetched
