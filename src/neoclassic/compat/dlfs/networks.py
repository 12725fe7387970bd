"""The book's networks, in float32. Weights are drawn from numpy.random in the book's order: its seeds give its weights.

`params` holds the arrays that the layers compute with: an optimizer that changes them in place trains the network.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.compat.dlfs.layers import (
    Affine,
    BatchNormalization,
    Convolution,
    Dropout,
    Layer,
    Pooling,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
)
from neoclassic.compat.dlfs.pickles import load_arrays, save_arrays
from neoclassic.compat.dlfs.util import conv_output_size, numerical_gradient
from neoclassic.engines.contract import Array

Grads = dict[str, Array]


def _drawn(scale: float, *shape: int) -> Array:
    """scale · normal, float32."""
    return (scale * np.random.randn(*shape)).astype(np.float32)  # noqa: NPY002 — readers seed it as the book does


class Network:
    """A chain of layers with a loss at its end.

    params      the arrays to train: W1, b1, W2 …
    layers      in their order: a list, or by name, as the book has it
    last_layer  the loss
    """

    layers: Any
    weight_decay_lambda: float = 0.0

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.last_layer = SoftmaxWithLoss()

    def _chain(self) -> list[Layer]:
        return list(self.layers.values()) if isinstance(self.layers, dict) else list(self.layers)

    def _owners(self) -> dict[str, tuple[Layer, str]]:
        """The layer and attribute of every parameter."""
        found: dict[str, tuple[Layer, str]] = {}
        weighted = norms = 0
        for layer in self._chain():
            if isinstance(layer, Affine | Convolution):
                weighted += 1
                found |= {f"{name}{weighted}": (layer, name) for name in ("W", "b")}
            elif isinstance(layer, BatchNormalization):
                norms += 1
                found |= {f"{name}{norms}": (layer, name) for name in ("gamma", "beta")}
        return found

    def _bind(self, params: Mapping[str, Array]) -> None:
        """Compute with these arrays from now on."""
        for key, (layer, name) in self._owners().items():
            self.params[key] = params[key]
            setattr(layer, name, params[key])

    def predict(self, x: Array, train_flg: bool = False) -> Array:
        """Logits, N×classes. `train_flg`: with dropout and the batch's own statistics."""
        for layer in self._chain():
            moody = isinstance(layer, Dropout | BatchNormalization)
            x = layer.forward(x, train_flg) if moody else layer.forward(x)  # type: ignore[call-arg]
        return x

    def loss(self, x: Array, t: Array, train_flg: bool = True) -> float:
        """Mean cross-entropy, plus λ/2 · Σ W² with weight decay. t: labels, or rows with a 1 at the label."""
        entropy = self.last_layer.forward(self.predict(x, train_flg), t)
        if not self.weight_decay_lambda:
            return entropy
        weights = sum(float(np.square(W).sum()) for key, W in self.params.items() if key.startswith("W"))
        return entropy + 0.5 * self.weight_decay_lambda * weights

    def accuracy(self, x: Array, t: Array, batch_size: int = 100) -> float:
        """The fraction right, of all images, the last and smaller batch among them."""
        if not len(x):
            raise UsageError("there are no images to predict")
        labels = t.argmax(1) if t.ndim != 1 else t
        starts = range(0, len(x), batch_size)
        right = [self.predict(x[i : i + batch_size]).argmax(1) == labels[i : i + batch_size] for i in starts]
        return float(np.concatenate(right).mean())

    def gradient(self, x: Array, t: Array) -> Grads:
        """Of the loss in training, for every parameter, by backpropagation. Keys as in `params`."""
        self.last_layer.forward(self.predict(x, train_flg=True), t)
        dout = self.last_layer.backward()
        for layer in reversed(self._chain()):
            dout = layer.backward(dout)
        grads: Grads = {key: getattr(layer, f"d{name}") for key, (layer, name) in self._owners().items()}
        if self.weight_decay_lambda:
            grads |= {key: g + self.weight_decay_lambda * self.params[key] for key, g in grads.items() if key[0] == "W"}
        return grads

    def numerical_gradient(self, x: Array, t: Array) -> Grads:
        """The same by differences, slowly, in float64: as many digits as differences have."""
        twin = copy.deepcopy(self)
        twin._bind({key: value.astype(np.float64) for key, value in self.params.items()})
        x = x.astype(np.float64)
        return {key: numerical_gradient(lambda _: twin.loss(x, t), twin.params[key]) for key in twin.params}

    def save_params(self, file_name: str | Path = "params.pkl") -> None:
        """Write `params` as the book does, for the reader's other scripts."""
        save_arrays(file_name, self.params)

    def load_params(self, file_name: str | Path = "params.pkl") -> None:
        """Read a pickle of the book's through a reader that can only build arrays.

        NeoclassicError for any other pickle, and for arrays of other names or shapes than the network's.
        """
        arrays = load_arrays(file_name)
        for key, value in self.params.items():
            if key not in arrays or arrays[key].shape != value.shape:
                there = f"is {arrays[key].shape}" if key in arrays else "is missing"
                raise NeoclassicError(f"{file_name}: {key} {there}, the network's is {value.shape}")
        self._bind({key: np.ascontiguousarray(arrays[key], np.float32) for key in self.params})


# ── fully connected ──────────────────────────────────────────────────────────────────────────────────


class MultiLayerNetExtend(Network):
    """Fully connected layers with weight decay, dropout and batch normalisation.

    activation       "relu" or "sigmoid"
    weight_init_std  a standard deviation; "relu" or "he" for √(2/inputs), "sigmoid" or "xavier" for √(1/inputs)
    """

    ACTIVATIONS: Mapping[str, type[Layer]] = {"relu": Relu, "sigmoid": Sigmoid}

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: str | float = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
    ) -> None:
        super().__init__()
        if activation.lower() not in self.ACTIVATIONS:
            raise unknown("activation", activation, self.ACTIVATIONS)
        self.input_size, self.output_size = input_size, output_size
        self.hidden_size_list, self.hidden_layer_num = list(hidden_size_list), len(hidden_size_list)
        self.weight_decay_lambda, self.use_dropout, self.use_batchnorm = weight_decay_lambda, use_dropout, use_batchnorm
        sizes = [input_size, *hidden_size_list, output_size]
        for i, (before, after) in enumerate(pairwise(sizes), 1):
            self.params[f"W{i}"] = _drawn(_scale(weight_init_std, before), before, after)
            self.params[f"b{i}"] = np.zeros(after, np.float32)
        self.layers = OrderedDict[str, Layer]()
        for i, width in enumerate(hidden_size_list, 1):
            self.layers[f"Affine{i}"] = Affine(self.params[f"W{i}"], self.params[f"b{i}"])
            if use_batchnorm:
                gamma, beta = np.ones(width, np.float32), np.zeros(width, np.float32)
                self.params[f"gamma{i}"], self.params[f"beta{i}"] = gamma, beta
                self.layers[f"BatchNorm{i}"] = BatchNormalization(gamma, beta)
            self.layers[f"Activation_function{i}"] = self.ACTIVATIONS[activation.lower()]()
            if use_dropout:
                self.layers[f"Dropout{i}"] = Dropout(dropout_ration)
        last = self.hidden_layer_num + 1
        self.layers[f"Affine{last}"] = Affine(self.params[f"W{last}"], self.params[f"b{last}"])


class MultiLayerNet(MultiLayerNetExtend):
    """Fully connected layers with weight decay."""

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: str | float = "relu",
        weight_decay_lambda: float = 0,
    ) -> None:
        super().__init__(input_size, hidden_size_list, output_size, activation, weight_init_std, weight_decay_lambda)


def _scale(wanted: str | float, inputs: int) -> float:
    match str(wanted).lower():
        case "relu" | "he":
            return float(np.sqrt(2 / inputs))
        case "sigmoid" | "xavier":
            return float(np.sqrt(1 / inputs))
    if isinstance(wanted, str):
        raise unknown("initialisation", wanted, ("relu", "he", "sigmoid", "xavier"))
    return wanted


class TwoLayerNet(Network):
    """Chapter 5: affine, ReLU, affine."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, weight_init_std: float = 0.01) -> None:
        super().__init__()
        for i, (before, after) in enumerate(((input_size, hidden_size), (hidden_size, output_size)), 1):
            self.params[f"W{i}"] = _drawn(weight_init_std, before, after)
            self.params[f"b{i}"] = np.zeros(after, np.float32)
        p = self.params
        self.layers = OrderedDict(Affine1=Affine(p["W1"], p["b1"]), Relu1=Relu(), Affine2=Affine(p["W2"], p["b2"]))
        self.lastLayer = self.last_layer


# ── convolutional ────────────────────────────────────────────────────────────────────────────────────

Conv = Mapping[str, int]  # filter_num, filter_size, pad, stride


class SimpleConvNet(Network):
    """Chapter 7: convolution, ReLU, pooling; affine, ReLU; affine."""

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (1, 28, 28),
        conv_param: Conv | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: float = 0.01,
    ) -> None:
        super().__init__()
        conv = conv_param or {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}
        n, k, std = conv["filter_num"], conv["filter_size"], weight_init_std
        side = int(conv_output_size(input_dim[1], k, conv["stride"], conv["pad"])) // 2
        p = self.params
        p["W1"], p["b1"] = _drawn(std, n, input_dim[0], k, k), np.zeros(n, np.float32)
        p["W2"], p["b2"] = _drawn(std, n * side * side, hidden_size), np.zeros(hidden_size, np.float32)
        p["W3"], p["b3"] = _drawn(std, hidden_size, output_size), np.zeros(output_size, np.float32)
        first = Convolution(p["W1"], p["b1"], conv["stride"], conv["pad"])
        first.need_dx = False
        self.layers = OrderedDict[str, Layer](
            Conv1=first,
            Relu1=Relu(),
            Pool1=Pooling(pool_h=2, pool_w=2, stride=2),
            Affine1=Affine(p["W2"], p["b2"]),
            Relu2=Relu(),
            Affine2=Affine(p["W3"], p["b3"]),
        )


class DeepConvNet(Network):
    """Chapter 8: six convolutions in pairs with a pooling after each, two affine layers, dropout after both.

    `conv_param_1` … `conv_param_6`: filter_num, filter_size, pad, stride. He's initialisation. The dropout after the
    last layer keeps the training loss above 0.83; at test it only halves the logits.
    """

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (1, 28, 28),
        conv_param_1: Conv | None = None,
        conv_param_2: Conv | None = None,
        conv_param_3: Conv | None = None,
        conv_param_4: Conv | None = None,
        conv_param_5: Conv | None = None,
        conv_param_6: Conv | None = None,
        hidden_size: int = 50,
        output_size: int = 10,
    ) -> None:
        super().__init__()
        given = (conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6)
        taught = zip((16, 16, 32, 32, 64, 64), (1, 1, 1, 2, 1, 1), strict=True)
        convs = [
            conv or {"filter_num": n, "filter_size": 3, "pad": pad, "stride": 1}
            for conv, (n, pad) in zip(given, taught, strict=True)
        ]
        self.layers: list[Layer] = []
        channels, height, width = input_dim
        for i, conv in enumerate(convs, 1):
            n, k, stride, pad = (conv[name] for name in ("filter_num", "filter_size", "stride", "pad"))
            fan_in = channels * k * k
            self._add(i, Convolution, _drawn(np.sqrt(2 / fan_in), n, channels, k, k), stride, pad)
            self.layers.append(Relu())
            channels = n
            height, width = (int(conv_output_size(side, k, stride, pad)) for side in (height, width))
            if i % 2 == 0:
                self.layers.append(Pooling(pool_h=2, pool_w=2, stride=2))
                height, width = height // 2, width // 2
        flat = channels * height * width
        self._add(7, Affine, _drawn(np.sqrt(2 / flat), flat, hidden_size))
        self.layers += [Relu(), Dropout(0.5)]
        self._add(8, Affine, _drawn(np.sqrt(2 / hidden_size), hidden_size, output_size))
        self.layers.append(Dropout(0.5))
        self.layers[0].need_dx = False  # type: ignore[attr-defined]

    def _add(self, i: int, kind: type, W: Array, *settings: int) -> None:
        b = np.zeros(len(W) if W.ndim == 4 else W.shape[1], np.float32)
        self.params[f"W{i}"], self.params[f"b{i}"] = W, b
        self.layers.append(kind(W, b, *settings))
