"""The ImageNet weights that torchvision publishes: where they are, what they expect, and how accurate they are.

`imagenet:v1` names the first weights of a network, `imagenet:v2` the later ones that some networks have, and `imagenet`
the latest. A file is taken from neoclassic's cache, from the folder in which torchvision keeps what it has downloaded,
or from its address; it is used only if its SHA-256 begins with the digits in its name.

The accuracies are those that torchvision 0.29 states for the 50,000 validation images of ImageNet 2012 (Russakovsky et
al. 2015, arXiv 1409.0575), one view an image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.files import intact
from neoclassic.data import cache as store
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.networks import entry

DATA = "imagenet"
HOST = "https://download.pytorch.org/models/"
FOLDER = "weights"  # in the cache
CLASSES = Path(__file__).parents[1] / "pretrained" / "imagenet-classes.txt"

Pixels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation, each a number a channel
IMAGENET: Pixels = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what torchvision's weights expect
HALF: Pixels = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # what its googlenet expects


@dataclass(frozen=True)
class Published:
    """One file of weights.

    network     of the zoo
    version     1 or 2
    file        its name, which ends with the first digits of its SHA-256
    size        in MiB
    top1        per cent of ImageNet's validation images that are classified correctly
    resize      pixels of the short side before the crop
    pixels      mean and standard deviation of each channel
    crop        pixels of the input's sides
    filter      of the resize
    """

    network: str
    version: int
    file: str
    size: float
    top1: float
    resize: int = 256
    pixels: Pixels = IMAGENET
    crop: int = 224
    filter: str = "bilinear"

    @property
    def name(self) -> str:
        """Such as `imagenet:v1`."""
        return f"{DATA}:v{self.version}"

    @property
    def address(self) -> str:
        return HOST + self.file

    @property
    def sha256(self) -> str:
        """The first hexadecimal digits of the file's SHA-256."""
        return Path(self.file).stem.rpartition("-")[2]

    @property
    def preprocessing(self) -> Preprocessing:
        """Resize, crop and normalisation, as in torchvision's own preset."""
        mean, std = self.pixels
        return Preprocessing((self.crop, self.crop), 3, "crop", self.filter, mean, std, keep=self.crop / self.resize)


PUBLISHED = (
    Published("alexnet:torchvision", 1, "alexnet-owt-7be5be79.pth", 233.1, 56.522),
    Published("vgg11", 1, "vgg11-8a719046.pth", 506.8, 69.02),
    Published("vgg11:bn", 1, "vgg11_bn-6002323d.pth", 506.9, 70.37),
    Published("vgg13", 1, "vgg13-19584684.pth", 507.5, 69.928),
    Published("vgg13:bn", 1, "vgg13_bn-abd245e5.pth", 507.6, 71.586),
    Published("vgg16", 1, "vgg16-397923af.pth", 527.8, 71.592),
    Published("vgg16:bn", 1, "vgg16_bn-6c64b313.pth", 527.9, 73.36),
    Published("vgg19", 1, "vgg19-dcbb9e9d.pth", 548.1, 72.376),
    Published("vgg19:bn", 1, "vgg19_bn-c79401a0.pth", 548.1, 74.218),
    Published("googlenet:torchvision", 1, "googlenet-1378be20.pth", 49.7, 69.778, pixels=HALF),
    Published("resnet18", 1, "resnet18-f37072fd.pth", 44.7, 69.758),
    Published("resnet34", 1, "resnet34-b627a593.pth", 83.3, 73.314),
    Published("resnet50", 1, "resnet50-0676ba61.pth", 97.8, 76.13),
    Published("resnet50", 2, "resnet50-11ad3fa6.pth", 97.8, 80.858, 232),
    Published("resnet101", 1, "resnet101-63fe2227.pth", 170.5, 77.374),
    Published("resnet101", 2, "resnet101-cd907fc2.pth", 170.5, 81.886, 232),
    Published("resnet152", 1, "resnet152-394f9c45.pth", 230.4, 78.312),
    Published("resnet152", 2, "resnet152-f82ba261.pth", 230.5, 82.284, 232),
    Published("densenet121", 1, "densenet121-a639ec97.pth", 30.8, 74.434),
    Published("densenet161", 1, "densenet161-8d451a50.pth", 110.4, 77.138),
    Published("densenet169", 1, "densenet169-b2777c0a.pth", 54.7, 75.6),
    Published("densenet201", 1, "densenet201-c1103571.pth", 77.4, 76.896),
    Published("mobilenet-v2", 1, "mobilenet_v2-b0353104.pth", 13.6, 71.878),
    Published("mobilenet-v2", 2, "mobilenet_v2-7ebf99e0.pth", 13.6, 72.154, 232),
    Published("mobilenet-v3-large", 1, "mobilenet_v3_large-8738ca79.pth", 21.1, 74.042),
    Published("mobilenet-v3-large", 2, "mobilenet_v3_large-5c1a4163.pth", 21.1, 75.274, 232),
    Published("mobilenet-v3-small", 1, "mobilenet_v3_small-047dcff4.pth", 9.8, 67.668),
)


def is_name(weights: str | os.PathLike[str]) -> bool:
    """Whether it is a name such as `imagenet` or `imagenet:v2`, not a path. A file of that name is `./imagenet`."""
    return re.fullmatch(rf"{DATA}(:.*)?", os.fspath(weights)) is not None


def published(network: str, weights: str) -> Published:
    """The row of a network for a name such as `imagenet` or `imagenet:v2`. UsageError if there is none."""
    entry(network)  # unknown names fail here
    rows = [row for row in PUBLISHED if row.network == network]
    if not rows:
        alike = [row.network for row in PUBLISHED if _letters(row.network) == _letters(network)]
        known = ", ".join(dict.fromkeys(alike or (row.network for row in PUBLISHED)))
        raise UsageError(f"no ImageNet weights are published for {network}; they are for {known}")
    named = {DATA: rows[-1]} | {row.name: row for row in rows}
    if weights not in named:
        raise UsageError(f"no weights {weights!r} of {network} are published; known: {', '.join(named)}")
    return named[weights]


def pixels(network: str, channels: int = 3) -> Pixels:
    """Mean and deviation of the pixels that torchvision's weights of a network expect. channels: 1 or 3."""
    return of_channels(next(row.pixels for row in PUBLISHED if row.network == network), channels)


def of_channels(pixels: Pixels, channels: int) -> Pixels:
    """The same for images of 1 or 3 channels. The first kernels of grey images are summed over the colours, so grey
    takes the mean over the colours."""
    mean, std = pixels
    if channels == 1:
        return (round(sum(mean) / len(mean), 3),), (round(sum(std) / len(std), 3),)
    return mean, std


def _letters(network: str) -> str:
    """The letters that a name begins with, which related networks share."""
    return re.split(r"[^a-z]", network, maxsplit=1)[0]


@cache
def classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the logits."""
    return tuple(CLASSES.read_text("utf-8").splitlines())


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def located(row: Published) -> Path:
    """The verified file: from the cache, from torchvision's folder, or downloaded into the cache.

    NeoclassicError, one line with address, checksum and folder, if it is in neither and cannot be downloaded, or if the
    cache cannot be written.
    """
    from neoclassic.data.download import DownloadError, fetch  # most models need no network

    damaged = []
    for folder in _folders():
        file = folder / row.file
        if file.is_file():
            if intact(file, row.sha256, "sha256"):
                return file
            damaged.append(f"{file} is damaged")
    target = store.folder() / FOLDER
    try:
        return fetch(row.file, (HOST,), target, row.sha256, "sha256")
    except DownloadError as error:
        raise NeoclassicError(
            f"the weights {row.name} of {row.network} cannot be downloaded ({'; '.join([*damaged, str(error)])}): "
            f"get {row.address}, whose SHA-256 begins with {row.sha256}, and put it into {target}"
        ) from None


def present(row: Published) -> bool:
    """Whether there is a file of that name on this machine. It is not verified."""
    return any((folder / row.file).is_file() for folder in _folders())


def _folders() -> Iterator[Path]:
    """Where the files may be: our cache first, then torchvision's."""
    if own := store.path(FOLDER):
        yield own
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        torch_home = Path(os.environ.get("TORCH_HOME") or caches / "torch").expanduser()
    except RuntimeError:  # there is no home folder
        return
    yield torch_home / "hub" / "checkpoints"
