"""The later generation: `Module`, `Classifier`, `Trainer`; and the blocks and networks that the book keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.devices import gpu, num_gpus
from neoclassic.compat.d2l.loaders import DataModule
from neoclassic.compat.d2l.parameters import HyperParameters
from neoclassic.compat.d2l.pictures import ProgressBoard, shown_in_full

# ── models ───────────────────────────────────────────────────────────────────────────────────────────


class Module(nn.Module, HyperParameters):
    """A network with its loss, its optimizer and its drawing. A class sets `net` or overrides `forward`.

    plot_train_per_epoch, plot_valid_per_epoch: points drawn an epoch.
    """

    trainer: Trainer
    net: nn.Module
    lr: float
    plot_train_per_epoch: float
    plot_valid_per_epoch: float

    def __init__(self, plot_train_per_epoch: float = 2, plot_valid_per_epoch: float = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.board = ProgressBoard()

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError("a Module defines loss(self, y_hat, y)")

    def forward(self, X: Tensor) -> Tensor:
        if not hasattr(self, "net"):
            raise UsageError(f"{type(self).__name__} has no network: set self.net, or define forward(self, X)")
        return self.net(X)

    def plot(self, key: str, value: Any, train: bool) -> None:
        """Draw a point of training or validation, at the trainer's place in the run."""
        if not hasattr(self, "trainer"):
            raise UsageError("there is no trainer to draw for yet: d2l.Trainer(…).fit(model, data)")
        trainer = self.trainer
        self.board.xlabel = "epoch"
        if train:
            x = trainer.train_batch_idx / trainer.num_train_batches
            n = trainer.num_train_batches / self.plot_train_per_epoch
        else:
            x = float(trainer.epoch + 1)
            n = trainer.num_val_batches / self.plot_valid_per_epoch
        self.board.draw(x, value, ("train_" if train else "val_") + key, every_n=int(n))

    def training_step(self, batch: Sequence[Tensor]) -> Tensor:
        """The loss of a batch, drawn."""
        found = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", found, train=True)
        return found

    def validation_step(self, batch: Sequence[Tensor]) -> None:
        """Draw what is watched on a batch: here the loss."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    def configure_optimizers(self) -> Any:
        """SGD at the rate `self.lr`."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def apply_init(self, inputs: Sequence[Any], init: Callable[[nn.Module], None] | None = None) -> None:
        """Run once, so that lazy layers learn their input widths; then initialise every layer by `init`."""
        self.forward(*inputs)
        if init is not None:
            self.net.apply(init)


class Classifier(Module):
    """A Module whose outputs are class scores: cross-entropy, and accuracy beside it on the validation set."""

    def validation_step(self, batch: Sequence[Tensor]) -> None:
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=False)

    def loss(self, Y_hat: Tensor, Y: Tensor, averaged: bool = True) -> Tensor:
        """Cross-entropy in nats: the mean, or of each."""
        Y_hat = Y_hat.reshape(-1, Y_hat.shape[-1])
        return functional.cross_entropy(Y_hat, Y.reshape(-1), reduction="mean" if averaged else "none")

    def accuracy(self, Y_hat: Tensor, Y: Tensor, averaged: bool = True) -> Tensor:
        """The fraction right, or 1 and 0 of each."""
        right = (Y_hat.reshape(-1, Y_hat.shape[-1]).argmax(1).type(Y.dtype) == Y.reshape(-1)).float()
        return right.mean() if averaged else right

    @torch.no_grad()
    def layer_summary(self, X_shape: Sequence[int]) -> None:
        """Print each layer's output shape for an input of X_shape, without training anything on the way.

        The network runs as at test: statistics stay as they are, and one image is enough for batch norm.
        """
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        training, X = self.training, torch.zeros(*X_shape, device=device)
        self.eval()
        for layer in self.net.children():
            X = layer(X)
            print(type(layer).__name__, "output shape:\t", X.shape)
        self.train(training)


class SoftmaxRegression(Classifier):
    """One linear layer over the pixels."""

    def __init__(self, num_outputs: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))


class LinearRegression(Module):
    """One linear output, mean squared error."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.LazyLinear(1)

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(y_hat, y)

    def get_w_b(self) -> tuple[Tensor, Tensor]:
        """The weights, 1×inputs, and the bias."""
        return self.net.weight.data, self.net.bias.data


class LinearRegressionScratch(Module):
    """One linear output, half the squared error, without torch's layers."""

    sigma: float

    def __init__(self, num_inputs: int, lr: float, sigma: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.w = torch.normal(0, sigma, (num_inputs, 1), requires_grad=True)
        self.b = torch.zeros(1, requires_grad=True)

    def forward(self, X: Tensor) -> Tensor:
        return X @ self.w + self.b

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        return ((y_hat - y) ** 2 / 2).mean()

    def configure_optimizers(self) -> SGD:
        return SGD([self.w, self.b], self.lr)


class SGD(HyperParameters):
    """w ← w − lr · g, the book's own."""

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params, self.lr = list(params), lr

    @torch.no_grad()
    def step(self) -> None:
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self) -> None:
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


def cross_entropy(y_hat: Tensor, y: Tensor) -> Tensor:
    """−mean log of the probability given to the right class; y_hat are probabilities, N×classes."""
    return -torch.log(y_hat[torch.arange(len(y_hat)), y]).mean()


# ── the trainer ──────────────────────────────────────────────────────────────────────────────────────


class Trainer(HyperParameters):
    """Fits a `Module` to a `DataModule`: every epoch trains on all batches, then validates.

    num_gpus           accelerators to use, of those there are; with 0 the model stays on the processor
    gradient_clip_val  largest norm of all gradients together; 0 leaves them alone
    """

    max_epochs: int
    gradient_clip_val: float

    def __init__(self, max_epochs: int, num_gpus: int = 0, gradient_clip_val: float = 0) -> None:
        self.save_hyperparameters()
        self.gpus = _gpus(num_gpus)

    def prepare_data(self, data: DataModule) -> None:
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = 0 if self.val_dataloader is None else len(self.val_dataloader)
        if not self.num_train_batches:
            raise UsageError("there are no batches to train on: train_dataloader() is empty")

    def prepare_model(self, model: Module) -> None:
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        if self.gpus:
            model.to(self.gpus[0])
        self.model = model

    def prepare_batch(self, batch: Sequence[Tensor]) -> Sequence[Tensor]:
        """A batch where the model is."""
        return [tensor.to(self.gpus[0]) for tensor in batch] if self.gpus else batch

    @shown_in_full()
    def fit(self, model: Module, data: DataModule) -> None:
        """Train for `max_epochs`."""
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        for epoch in range(self.max_epochs):
            self.epoch = epoch
            self.fit_epoch()

    def fit_epoch(self) -> None:
        """Train on every batch once, then validate."""
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            loss.backward()
            with torch.no_grad():  # the book's readers write update rules that count on it
                if self.gradient_clip_val > 0:
                    self.clip_gradients(self.gradient_clip_val, self.model)
                self.optim.step()
            self.train_batch_idx += 1
        if self.val_dataloader is None:
            return
        self.model.eval()
        for batch in self.val_dataloader:
            with torch.no_grad():
                self.model.validation_step(self.prepare_batch(batch))
            self.val_batch_idx += 1

    def clip_gradients(self, grad_clip_val: float, model: nn.Module) -> None:
        """Scale all gradients together so that their norm is at most `grad_clip_val`."""
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)


def _gpus(wanted: int) -> list[torch.device]:
    return [gpu(i) for i in range(min(wanted, num_gpus()))]


# ── blocks and networks ──────────────────────────────────────────────────────────────────────────────


def init_cnn(module: nn.Module) -> None:
    """Xavier-uniform weights of a linear layer or a convolution; biases stay at torch's default."""
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


def corr2d(X: Tensor, K: Tensor) -> Tensor:
    """The cross-correlation of X, H×W, with K, h×w: (H − h + 1)×(W − w + 1)."""
    h, w = K.shape
    if h > X.shape[0] or w > X.shape[1]:
        raise UsageError(f"the kernel, {h}×{w}, is larger than the image, {X.shape[0]}×{X.shape[1]}")
    return (X.unfold(0, h, 1).unfold(1, w, 1) * K).sum((2, 3))


class LeNet(Classifier):
    """The book's LeNet-5: sigmoid and average pooling."""

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
    """The book's residual block: convolutions with biases; the shortcut a 1×1 convolution, without batch norm, or none.

    Called as either generation does: `Residual(input_channels, num_channels, use_1x1conv, strides)`, or
    `Residual(num_channels, use_1x1conv, strides)`, whose input channels are seen at the first run.
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
    """Input channels or None, channels, whether the shortcut is a convolution, stride: from either form of call."""
    leading = 0
    while leading < min(len(args), 2) and isinstance(args[leading], int) and not isinstance(args[leading], bool):
        leading += 1
    earlier = leading == 2 or "input_channels" in kwargs
    names = ("num_channels", "use_1x1conv", "strides")
    given = dict(zip(("input_channels", *names) if earlier else names, args, strict=False)) | kwargs
    surplus = set(given) - {"input_channels", *names}
    if surplus or len(args) > 3 + earlier or "num_channels" not in given:
        raise UsageError("Residual takes (input_channels, num_channels, use_1x1conv, strides), or without the first")
    inputs, channels = given.get("input_channels"), given["num_channels"]
    return inputs, channels, given.get("use_1x1conv", False), given.get("strides", 1)


class ResNeXtBlock(nn.Module):
    """The book's ResNeXt block: 1×1, grouped 3×3, 1×1, of num_channels · bot_mul channels inside.

    `groups` is the number of channels of a group, as in the book, whose listing divides by it.
    """

    def __init__(
        self, num_channels: int, groups: int, bot_mul: float, use_1x1conv: bool = False, strides: int = 1
    ) -> None:
        super().__init__()
        inside = round(num_channels * bot_mul)
        if groups < 1 or inside % groups:
            raise UsageError(f"{inside} channels cannot be divided into groups of {groups}")
        self.conv1 = nn.LazyConv2d(inside, kernel_size=1)
        self.conv2 = nn.LazyConv2d(inside, kernel_size=3, stride=strides, padding=1, groups=inside // groups)
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(inside), nn.BatchNorm2d(inside), nn.BatchNorm2d(num_channels)
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
    """The book's ResNet-18 for small images: a 3×3 first convolution, no pooling behind it."""

    def stage(inputs: int, channels: int, first: bool = False) -> nn.Sequential:
        head = Residual(inputs, channels) if first else Residual(inputs, channels, use_1x1conv=True, strides=2)
        return nn.Sequential(head, Residual(channels, channels))

    net = nn.Sequential(nn.Conv2d(in_channels, 64, kernel_size=3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
    net.add_module("resnet_block1", stage(64, 64, first=True))
    for i, (inputs, channels) in enumerate(((64, 128), (128, 256), (256, 512)), 2):
        net.add_module(f"resnet_block{i}", stage(inputs, channels))
    net.add_module("global_avg_pool", nn.AdaptiveAvgPool2d((1, 1)))
    net.add_module("fc", nn.Sequential(nn.Flatten(), nn.Linear(512, num_classes)))
    return net
