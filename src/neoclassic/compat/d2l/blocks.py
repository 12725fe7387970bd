"""The convolutional networks and blocks of the book's package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.trainer import Classifier


def init_cnn(module: nn.Module) -> None:
    """Set the weights of a linear or convolutional layer by Xavier's uniform rule; biases keep torch's default."""
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


def corr2d(X: Tensor, K: Tensor) -> Tensor:
    """The cross-correlation of X, H×W, with K, h×w: (H − h + 1)×(W − w + 1)."""
    h, w = K.shape
    if h > X.shape[0] or w > X.shape[1]:
        raise UsageError(f"the kernel, {h}×{w}, is larger than the image, {X.shape[0]}×{X.shape[1]}")
    return (X.unfold(0, h, 1).unfold(1, w, 1) * K).sum((2, 3))


class LeNet(Classifier):
    """The book's LeNet-5, with sigmoid and average pooling."""

    def __init__(self, lr: float = 0.1, num_classes: int = 10) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            *(nn.LazyConv2d(6, kernel_size=5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
            *(nn.LazyConv2d(16, kernel_size=5), nn.Sigmoid(), nn.AvgPool2d(2)),
            nn.Flatten(),
            *(nn.LazyLinear(120), nn.Sigmoid()),
            *(nn.LazyLinear(84), nn.Sigmoid()),
            nn.LazyLinear(num_classes),
        )


class Residual(nn.Module):
    """The book's residual block. Convolutions have biases; the 1×1 convolution of the shortcut has no batch norm.

    Both editions' calls work: `Residual(input_channels, num_channels, use_1x1conv, strides)`, and
    `Residual(num_channels, use_1x1conv, strides)`, which takes its input channels from the first input.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        inputs, channels, use_1x1conv, strides = _residual_arguments(args, kwargs)
        self.conv1 = _conv(inputs, channels, 3, padding=1, stride=strides)
        self.conv2 = _conv(channels if inputs else None, channels, 3, padding=1)
        self.conv3 = _conv(inputs, channels, 1, stride=strides) if use_1x1conv else None
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, X: Tensor) -> Tensor:
        Y = torch.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        return torch.relu(Y + (self.conv3(X) if self.conv3 is not None else X))


def _conv(inputs: int | None, *args: Any, **kwargs: Any) -> nn.Module:
    return nn.LazyConv2d(*args, **kwargs) if inputs is None else nn.Conv2d(inputs, *args, **kwargs)


def _residual_arguments(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int | None, int, bool, int]:
    """Input channels or None, output channels, use_1x1conv and stride, from either edition's call."""
    leading = 0
    while leading < min(len(args), 2) and isinstance(args[leading], int) and not isinstance(args[leading], bool):
        leading += 1
    older = leading == 2 or "input_channels" in kwargs
    names = ("num_channels", "use_1x1conv", "strides")
    given = dict(zip(("input_channels", *names) if older else names, args, strict=False)) | kwargs
    surplus = set(given) - {"input_channels", *names}
    if surplus or len(args) > 3 + older or "num_channels" not in given:
        raise UsageError(
            "Residual takes (input_channels, num_channels, use_1x1conv, strides); input_channels may be left out"
        )
    inputs, channels = given.get("input_channels"), given["num_channels"]
    return inputs, channels, given.get("use_1x1conv", False), given.get("strides", 1)


class ResNeXtBlock(nn.Module):
    """The book's ResNeXt block: 1×1, grouped 3×3 and 1×1 convolutions, num_channels · bot_mul channels wide inside.

    `groups` is the number of channels in a group, as in the book's listing, which divides by it.
    """

    def __init__(
        self, num_channels: int, groups: int, bot_mul: float, use_1x1conv: bool = False, strides: int = 1
    ) -> None:
        super().__init__()
        width = round(num_channels * bot_mul)
        if groups < 1 or width % groups:
            raise UsageError(f"{width} channels cannot be divided into groups of {groups}")
        self.conv1 = nn.LazyConv2d(width, kernel_size=1)
        self.conv2 = nn.LazyConv2d(width, kernel_size=3, stride=strides, padding=1, groups=width // groups)
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.BatchNorm2d(num_channels)
        self.conv4 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn4 = nn.BatchNorm2d(num_channels) if use_1x1conv else None

    def forward(self, X: Tensor) -> Tensor:
        Y = torch.relu(self.bn1(self.conv1(X)))
        Y = torch.relu(self.bn2(self.conv2(Y)))
        Y = self.bn3(self.conv3(Y))
        if self.conv4 is not None and self.bn4 is not None:
            X = self.bn4(self.conv4(X))
        return torch.relu(Y + X)


def resnet18(num_classes: int, in_channels: int = 1) -> nn.Sequential:
    """The book's ResNet-18 for small images: the first convolution is 3×3, and no pooling follows it."""

    def stage(inputs: int, channels: int, first: bool = False) -> nn.Sequential:
        block = Residual(inputs, channels) if first else Residual(inputs, channels, use_1x1conv=True, strides=2)
        return nn.Sequential(block, Residual(channels, channels))

    net = nn.Sequential(nn.Conv2d(in_channels, 64, kernel_size=3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
    net.add_module("resnet_block1", stage(64, 64, first=True))
    for i, (inputs, channels) in enumerate(((64, 128), (128, 256), (256, 512)), 2):
        net.add_module(f"resnet_block{i}", stage(inputs, channels))
    net.add_module("global_avg_pool", nn.AdaptiveAvgPool2d((1, 1)))
    net.add_module("fc", nn.Sequential(nn.Flatten(), nn.Linear(512, num_classes)))
    return net
