"""Chapter 4's network, which has the name of chapter 5's but another hidden layer and another output."""

from __future__ import annotations

import numpy as np

from neoclassic.compat.dlfs import networks
from neoclassic.compat.dlfs.functions import cross_entropy_error, softmax
from neoclassic.compat.dlfs.layers import Layer, Sigmoid
from neoclassic.compat.dlfs.network import Grads
from neoclassic.engines.contract import Array


class TwoLayerNet(networks.TwoLayerNet):
    """Chapter 4: affine, sigmoid, affine, softmax. `predict` returns probabilities."""

    ACTIVATION: tuple[str, type[Layer]] = ("Sigmoid1", Sigmoid)

    def predict(self, x: Array, train_flg: bool = False) -> Array:
        """Probabilities, N×classes."""
        return softmax(super().predict(x, train_flg))

    def loss(self, x: Array, t: Array, train_flg: bool = True) -> float:
        """The mean cross-entropy of the probabilities. t: labels, or one-hot rows."""
        return cross_entropy_error(self.predict(x, train_flg), t)

    def gradient(self, x: Array, t: Array) -> Grads:
        """The gradient of the loss by backpropagation, with the keys of `params`."""
        self.last_layer.y, self.last_layer.t = self.predict(x), np.asarray(t)
        return self._backward(self.last_layer.backward())
