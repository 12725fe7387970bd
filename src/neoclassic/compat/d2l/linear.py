"""The newer edition's linear models, and the update rule and loss that the book writes out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic.compat.d2l.parameters import HyperParameters
from neoclassic.compat.d2l.trainer import Classifier, Module


class SoftmaxRegression(Classifier):
    """One linear layer on the flattened image."""

    def __init__(self, num_outputs: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))


class LinearRegression(Module):
    """One linear output with mean squared error."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.LazyLinear(1)

    def loss(self, y_hat: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(y_hat, y)

    def get_w_b(self) -> tuple[Tensor, Tensor]:
        """Return the weights, 1×inputs, and the bias."""
        return self.net.weight.data, self.net.bias.data


class LinearRegressionScratch(Module):
    """One linear output with half the squared error, written without torch's layers."""

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
    """The book's own SGD: w ← w − lr · g."""

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
    """The mean of −log y_hat[label]. y_hat holds probabilities, N×classes; y holds labels, N."""
    return -torch.log(y_hat[torch.arange(len(y_hat)), y]).mean()
