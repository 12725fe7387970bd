"""The newer edition's `Module`, `Classifier` and `Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.curves import ProgressBoard
from neoclassic.compat.d2l.devices import gpu, num_gpus
from neoclassic.compat.d2l.figures import shown_in_full
from neoclassic.compat.d2l.loaders import DataModule
from neoclassic.compat.d2l.parameters import HyperParameters


class Module(nn.Module, HyperParameters):
    """A network with its loss, its optimizer and its curves. A subclass sets `net` or overrides `forward`.

    plot_train_per_epoch, plot_valid_per_epoch: the number of points drawn in an epoch.
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
        """Draw a point of the training or validation curve at the trainer's current position."""
        if not hasattr(self, "trainer"):
            raise UsageError("there is no trainer to draw for yet: call d2l.Trainer(…).fit(model, data) first")
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
        """Return the loss of a batch, and draw it."""
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch: Sequence[Tensor]) -> None:
        """Draw the metrics of a batch: here the loss."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    def configure_optimizers(self) -> Any:
        """Return SGD with learning rate `self.lr`."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def apply_init(self, inputs: Sequence[Any], init: Callable[[nn.Module], None] | None = None) -> None:
        """Run the network once, so that lazy layers learn their input widths, then apply `init` to every layer."""
        self.forward(*inputs)
        if init is not None:
            self.net.apply(init)


class Classifier(Module):
    """A Module that outputs class scores. The loss is cross-entropy; validation also draws the accuracy."""

    def validation_step(self, batch: Sequence[Tensor]) -> None:
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self.plot("acc", self.accuracy(Y_hat, batch[-1]), train=False)

    def loss(self, Y_hat: Tensor, Y: Tensor, averaged: bool = True) -> Tensor:
        """Cross-entropy in nats: the mean, or one value per image if `averaged` is false."""
        Y_hat = Y_hat.reshape(-1, Y_hat.shape[-1])
        return functional.cross_entropy(Y_hat, Y.reshape(-1), reduction="mean" if averaged else "none")

    def accuracy(self, Y_hat: Tensor, Y: Tensor, averaged: bool = True) -> Tensor:
        """The fraction of correct predictions, or 1 or 0 for each image if `averaged` is false."""
        correct = (Y_hat.reshape(-1, Y_hat.shape[-1]).argmax(1).type(Y.dtype) == Y.reshape(-1)).float()
        return correct.mean() if averaged else correct

    @torch.no_grad()
    def layer_summary(self, X_shape: Sequence[int]) -> None:
        """Print each layer's output shape for an input of shape `X_shape`.

        The network runs in evaluation mode: running statistics do not change, and batch norm accepts a single image.
        """
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        training, X = self.training, torch.zeros(*X_shape, device=device)
        self.eval()
        for layer in self.net.children():
            X = layer(X)
            print(type(layer).__name__, "output shape:\t", X.shape)
        self.train(training)


class Trainer(HyperParameters):
    """Fits a `Module` to a `DataModule`: every epoch trains on all batches, then validates.

    num_gpus           the number of accelerators to use, if there are as many; with 0 the model stays on the CPU
    gradient_clip_val  the largest allowed norm of all gradients together; 0 switches clipping off
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
        """Return the batch on the model's device."""
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
        if isinstance(model.board, ProgressBoard):  # a reader may have put another one in its place
            model.board.complete()

    def fit_epoch(self) -> None:
        """Train on every batch once, then validate."""
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            loss.backward()
            with torch.no_grad():  # readers write their own update rules, which rely on it
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


def _gpus(n: int) -> list[torch.device]:
    return [gpu(i) for i in range(min(n, num_gpus()))]
