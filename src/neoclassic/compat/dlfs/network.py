"""What the book's networks have in common: prediction, loss, gradients, and parameters in a file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.compat.dlfs.layers import Affine, BatchNormalization, Convolution, Dropout, Layer, SoftmaxWithLoss
from neoclassic.compat.dlfs.pickles import load_arrays, save_arrays
from neoclassic.compat.dlfs.util import numerical_gradient
from neoclassic.engines.contract import Array

Grads = dict[str, Array]


class Network:
    """A chain of layers that ends in a loss.

    params      the arrays to train: W1, b1, W2 … An array that you put in the place of one of them, here or in its
                layer, is the one that is used from then on.
    layers      the layers in order: a list or a dictionary, as in the book
    last_layer  the loss
    """

    layers: Any
    weight_decay_lambda: float = 0.0

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self._bound: dict[str, Array] = {}
        self.last_layer = SoftmaxWithLoss()

    def _chain(self) -> list[Layer]:
        return list(self.layers.values()) if isinstance(self.layers, dict) else list(self.layers)

    def _owners(self) -> dict[str, tuple[Layer, str]]:
        """The layer and the attribute that hold each parameter."""
        owners: dict[str, tuple[Layer, str]] = {}
        weighted = norms = 0
        for layer in self._chain():
            if isinstance(layer, Affine | Convolution):
                weighted += 1
                owners |= {f"{name}{weighted}": (layer, name) for name in ("W", "b")}
            elif isinstance(layer, BatchNormalization):
                norms += 1
                owners |= {f"{name}{norms}": (layer, name) for name in ("gamma", "beta")}
        return owners

    def _bind(self, params: Mapping[str, Array]) -> None:
        """Make the layers use these arrays."""
        for key, (layer, name) in self._owners().items():
            self.params[key] = self._bound[key] = params[key]
            setattr(layer, name, params[key])

    def _rebind(self) -> None:
        """Bind the arrays that have been put into `params` or into a layer since the last call."""
        current = {}
        for key, (layer, name) in self._owners().items():
            if key in self._bound and key not in self.params:
                raise UsageError(f"params has no {key!r}: put an array for each of {', '.join(self._bound)}")
            in_layer = getattr(layer, name)
            in_params = self.params.get(key, in_layer)
            current[key] = in_layer if in_params is self._bound.get(key) else in_params
        self._bind(current)

    def predict(self, x: Array, train_flg: bool = False) -> Array:
        """Logits, N×classes. With `train_flg`, dropout is applied and batch norm uses the batch's statistics."""
        self._rebind()
        for layer in self._chain():
            has_modes = isinstance(layer, Dropout | BatchNormalization)
            x = layer.forward(x, train_flg) if has_modes else layer.forward(x)  # type: ignore[call-arg]
        return x

    def loss(self, x: Array, t: Array, train_flg: bool = True) -> float:
        """Mean cross-entropy, plus λ/2 · Σ W² if there is weight decay. t: labels, or one-hot rows."""
        entropy = self.last_layer.forward(self.predict(x, train_flg), t)
        if not self.weight_decay_lambda:
            return entropy
        weights = sum(float(np.square(W).sum()) for key, W in self.params.items() if key.startswith("W"))
        return entropy + 0.5 * self.weight_decay_lambda * weights

    def accuracy(self, x: Array, t: Array, batch_size: int = 100) -> float:
        """The fraction of correct predictions over all images, a smaller last batch included."""
        if not len(x):
            raise UsageError("there are no images to predict")
        labels = np.argmax(t, 1) if np.ndim(t) != 1 else np.asarray(t)
        starts = range(0, len(x), batch_size)
        correct = [self.predict(x[i : i + batch_size]).argmax(1) == labels[i : i + batch_size] for i in starts]
        return float(np.concatenate(correct).mean())

    def gradient(self, x: Array, t: Array) -> Grads:
        """The gradient of the training loss by backpropagation, with the keys of `params`."""
        self.last_layer.forward(self.predict(x, train_flg=True), t)
        return self._backward(self.last_layer.backward())

    def _backward(self, dout: Array) -> Grads:
        """The gradients of the parameters, from that of the last layer's output."""
        for layer in reversed(self._chain()):
            dout = layer.backward(dout)
        grads: Grads = {key: getattr(layer, f"d{name}") for key, (layer, name) in self._owners().items()}
        if self.weight_decay_lambda:
            grads |= {key: g + self.weight_decay_lambda * self.params[key] for key, g in grads.items() if key[0] == "W"}
        return grads

    def numerical_gradient(self, x: Array, t: Array) -> Grads:
        """The gradient by central differences in float64: slow, and exact to a few digits only."""
        self._rebind()
        twin = copy.deepcopy(self)
        twin._bind({key: np.array(self.params[key], np.float64) for key in self._owners()})
        twin._rebind = lambda: None  # type: ignore[method-assign]  # nobody else has it
        x = np.asarray(x, np.float64)
        return {key: numerical_gradient(lambda _: twin.loss(x, t), twin.params[key]) for key in twin._owners()}

    def save_params(self, file_name: str | Path = "params.pkl") -> None:
        """Write `params` as a pickle, as the book does."""
        self._rebind()
        save_arrays(file_name, self.params)

    def load_params(self, file_name: str | Path = "params.pkl") -> None:
        """Read the book's pickle with a reader that can only build arrays.

        NeoclassicError for any other pickle, and if the names or shapes of the arrays are not the network's.
        """
        arrays = load_arrays(file_name)
        for key, value in self.params.items():
            if key not in arrays or arrays[key].shape != value.shape:
                problem = f"is {arrays[key].shape}" if key in arrays else "is missing"
                raise NeoclassicError(f"{file_name}: {key} {problem}, the network's is {value.shape}")
        self._bind({key: np.ascontiguousarray(arrays[key], np.float32) for key in self.params})
