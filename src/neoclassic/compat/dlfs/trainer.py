"""The book's training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError, unknown
from neoclassic.compat.dlfs.optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from neoclassic.engines.contract import Array

OPTIMIZERS = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSprop,
    "rmsprpo": RMSprop,  # as an early printing spells it
    "adam": Adam,
}


class Trainer:
    """Trains one of the book's networks: any object with `params`, `gradient(x, t)`, `loss(x, t)` and `accuracy(x, t)`.

    An epoch goes through all images in a new order, in full batches; images that do not fill a batch are skipped. The
    loss of a step comes from the forward pass of its gradient. Accuracies are measured at the end of an epoch, on the
    first `evaluate_sample_num_per_epoch` images of each set, or on all of them.

    train_loss_list, train_acc_list, test_acc_list: the metrics so far.
    """

    def __init__(
        self,
        network: Any,
        x_train: Array,
        t_train: Array,
        x_test: Array,
        t_test: Array,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str = "SGD",
        optimizer_param: Mapping[str, float] | None = None,
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
    ) -> None:
        if len(x_train) != len(t_train) or not len(x_train):
            raise UsageError(f"training needs as many labels as images: {len(x_train)} images, {len(t_train)} labels")
        if optimizer.lower() not in OPTIMIZERS:
            raise unknown("optimizer", optimizer, [name for name in OPTIMIZERS if name != "rmsprpo"])
        self.network, self.verbose, self.epochs = network, verbose, epochs
        self.x_train, self.t_train, self.x_test, self.t_test = x_train, t_train, x_test, t_test
        self.batch_size = min(mini_batch_size, len(x_train))
        self.evaluate_sample_num_per_epoch = evaluate_sample_num_per_epoch
        self.optimizer = OPTIMIZERS[optimizer.lower()](**(optimizer_param or {"lr": 0.01}))
        self.train_size = len(x_train)
        self.iter_per_epoch = self.train_size // self.batch_size
        self.max_iter = epochs * self.iter_per_epoch
        self.current_iter = self.current_epoch = 0
        self.train_loss_list: list[float] = []
        self.train_acc_list: list[float] = []
        self.test_acc_list: list[float] = []
        self._order = np.empty(0, np.int64)

    def train_step(self) -> None:
        """Update the weights once; at the end of an epoch, measure the accuracies."""
        step = self.current_iter % self.iter_per_epoch
        if step == 0:
            self._order = np.random.permutation(self.train_size)  # noqa: NPY002 — readers seed it as the book does
        batch = self._order[step * self.batch_size : (step + 1) * self.batch_size]
        loss = self._update(self.x_train[batch], self.t_train[batch])
        self.train_loss_list.append(loss)
        self._print(f"train loss:{loss}")
        self.current_iter += 1
        if self.current_iter % self.iter_per_epoch == 0:
            self._evaluate()

    def _update(self, x: Array, t: Array) -> float:
        """Update the weights, and return the loss before the update."""
        grads = self.network.gradient(x, t)
        last = getattr(self.network, "last_layer", None) or getattr(self.network, "lastLayer", None)
        loss = getattr(last, "loss", None)
        if not isinstance(loss, float):  # a network that the reader wrote
            loss = float(self.network.loss(x, t))
        self.optimizer.update(self.network.params, grads)
        return loss

    def _evaluate(self) -> None:
        self.current_epoch += 1
        n = self.evaluate_sample_num_per_epoch
        train_acc = float(self.network.accuracy(self.x_train[:n], self.t_train[:n]))
        test_acc = float(self.network.accuracy(self.x_test[:n], self.t_test[:n]))
        self.train_acc_list.append(train_acc)
        self.test_acc_list.append(test_acc)
        self._print(f"=== epoch:{self.current_epoch}, train acc:{train_acc}, test acc:{test_acc} ===")

    def train(self) -> None:
        """Train for all epochs, then print the accuracy on the whole test set."""
        while self.current_iter < self.max_iter:
            self.train_step()
        if self.verbose:
            self._print("=============== Final Test Accuracy ===============")
            self._print(f"test acc:{float(self.network.accuracy(self.x_test, self.t_test))}")

    def _print(self, line: str) -> None:
        if self.verbose:
            print(line)
