"""The book's networks, in float32. Weights come from numpy.random in the book's order, so its seeds give its weights.

`params` holds the very arrays that the layers use: an optimizer that changes them in place trains the network.
`TwoLayerNet` is chapter 5's; that of chapter 4 is in chapter4.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from neoclassic.base.errors import unknown
from neoclassic.compat.dlfs.layers import (
    Affine,
    BatchNormalization,
    Convolution,
    Dropout,
    Layer,
    Pooling,
    Relu,
    Sigmoid,
)
from neoclassic.compat.dlfs.network import Network
from neoclassic.compat.dlfs.util import conv_output_size
from neoclassic.engines.contract import Array


def _normal(scale: float, *shape: int) -> Array:
    """scale · normal, float32."""
    return (scale * np.random.randn(*shape)).astype(np.float32)  # noqa: NPY002 — readers seed it as the book does


# ── fully connected ──────────────────────────────────────────────────────────────────────────────────


class MultiLayerNetExtend(Network):
    """Fully connected layers with weight decay, dropout and batch normalisation.

    activation       "relu" or "sigmoid"
    weight_init_std  a standard deviation, "relu" or "he" for √(2/inputs), or "sigmoid" or "xavier" for √(1/inputs)
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
        for i, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            self.params[f"W{i}"] = _normal(_scale(weight_init_std, inputs), inputs, outputs)
            self.params[f"b{i}"] = np.zeros(outputs, np.float32)
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
        self._bind(self.params)


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


def _scale(std: str | float, inputs: int) -> float:
    match str(std).lower():
        case "relu" | "he":
            return float(np.sqrt(2 / inputs))
        case "sigmoid" | "xavier":
            return float(np.sqrt(1 / inputs))
    if isinstance(std, str):
        raise unknown("initialisation", std, ("relu", "he", "sigmoid", "xavier"))
    return std


class TwoLayerNet(Network):
    """Chapter 5: affine, ReLU, affine. `predict` returns scores. Chapter 4's network is `chapter4.TwoLayerNet`."""

    ACTIVATION: tuple[str, type[Layer]] = ("Relu1", Relu)

    def __init__(self, input_size: int, hidden_size: int, output_size: int, weight_init_std: float = 0.01) -> None:
        super().__init__()
        for i, (inputs, outputs) in enumerate(((input_size, hidden_size), (hidden_size, output_size)), 1):
            self.params[f"W{i}"] = _normal(weight_init_std, inputs, outputs)
            self.params[f"b{i}"] = np.zeros(outputs, np.float32)
        p, (name, activation) = self.params, self.ACTIVATION
        self.layers = OrderedDict[str, Layer](Affine1=Affine(p["W1"], p["b1"]))
        self.layers[name] = activation()
        self.layers["Affine2"] = Affine(p["W2"], p["b2"])
        self.lastLayer = self.last_layer
        self._bind(p)


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
        height, width = (int(conv_output_size(n, k, conv["stride"], conv["pad"])) // 2 for n in input_dim[1:])
        p = self.params
        p["W1"], p["b1"] = _normal(std, n, input_dim[0], k, k), np.zeros(n, np.float32)
        p["W2"], p["b2"] = _normal(std, n * height * width, hidden_size), np.zeros(hidden_size, np.float32)
        p["W3"], p["b3"] = _normal(std, hidden_size, output_size), np.zeros(output_size, np.float32)
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
        self._bind(p)


class DeepConvNet(Network):
    """Chapter 8: three pairs of convolutions, each followed by pooling, and two affine layers with dropout after each.

    `conv_param_1` … `conv_param_6`: filter_num, filter_size, pad and stride. The initialisation is He's. Because of the
    dropout after the last layer, the training loss cannot fall below 0.83; at test that layer only halves the logits.
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
        defaults = zip((16, 16, 32, 32, 64, 64), (1, 1, 1, 2, 1, 1), strict=True)
        convs = [
            conv or {"filter_num": n, "filter_size": 3, "pad": pad, "stride": 1}
            for conv, (n, pad) in zip(given, defaults, strict=True)
        ]
        self.layers: list[Layer] = []
        channels, height, width = input_dim
        for i, conv in enumerate(convs, 1):
            n, k, stride, pad = (conv[name] for name in ("filter_num", "filter_size", "stride", "pad"))
            fan_in = channels * k * k
            self._add(i, Convolution, _normal(np.sqrt(2 / fan_in), n, channels, k, k), stride, pad)
            self.layers.append(Relu())
            channels = n
            height, width = (int(conv_output_size(side, k, stride, pad)) for side in (height, width))
            if i % 2 == 0:
                self.layers.append(Pooling(pool_h=2, pool_w=2, stride=2))
                height, width = height // 2, width // 2
        flat = channels * height * width
        self._add(7, Affine, _normal(np.sqrt(2 / flat), flat, hidden_size))
        self.layers += [Relu(), Dropout(0.5)]
        self._add(8, Affine, _normal(np.sqrt(2 / hidden_size), hidden_size, output_size))
        self.layers.append(Dropout(0.5))
        self.layers[0].need_dx = False  # type: ignore[attr-defined]
        self._bind(self.params)

    def _add(self, i: int, kind: type, W: Array, *settings: int) -> None:
        b = np.zeros(len(W) if W.ndim == 4 else W.shape[1], np.float32)
        self.params[f"W{i}"], self.params[f"b{i}"] = W, b
        self.layers.append(kind(W, b, *settings))
