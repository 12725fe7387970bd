"""Activations and losses as functions of arrays: a vector, or N rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from neoclassic.engines.contract import Array


def identity_function(x: Any) -> Any:
    """x."""
    return x


def step_function(x: Any) -> Array:
    """1 where x > 0, 0 elsewhere."""
    return np.array(np.asarray(x) > 0, int)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^−x), computed from e^−|x|, which cannot overflow."""
    x = np.asarray(x)
    x = x if x.dtype.kind == "f" else x.astype(float)
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def sigmoid_grad(x: Any) -> Any:
    """y (1 − y) with y = sigmoid(x)."""
    y = sigmoid(x)
    return y * (1 - y)


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu_grad(x: Any) -> Array:
    """1 where x > 0, 0 elsewhere: the gradient that `Relu` uses."""
    x = np.asarray(x)
    return np.array(x > 0, x.dtype)


def softmax(x: Any) -> Array:
    """e^x / Σ e^x along the last axis."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    probabilities: Array = e / e.sum(-1, keepdims=True)
    return probabilities


def sum_squared_error(y: Array, t: Array) -> float:
    """Σ (y − t)² / 2. Before October 2019 the book called it `mean_squared_error`."""
    return float(0.5 * np.square(np.subtract(y, t)).sum())


mean_squared_error = sum_squared_error


def labels_of(t: Array, y: Array) -> Array:
    """The labels, N, of targets that are labels or one-hot rows of y's shape."""
    return np.reshape(t, np.shape(y)).argmax(1) if np.size(t) == np.size(y) else np.reshape(t, -1)


def cross_entropy_error(y: Array, t: Array) -> float:
    """The mean of −log y[label] for probabilities y, N×K or K. t: labels, or one-hot rows.

    1e-7 is added to y, as in the book, so that log 0 does not occur.
    """
    y = np.atleast_2d(y)
    return float(-np.log(y[np.arange(len(y)), labels_of(t, y)] + 1e-7).mean())


def softmax_loss(X: Array, t: Array) -> float:
    """The cross-entropy of softmax(X)."""
    return cross_entropy_error(softmax(X), t)
