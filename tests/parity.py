"""Helpers that compare a network on both engines and name the first value that differs."""

import numpy as np

from neoclassic.engines.weights import initial
from neoclassic.measure import measure
from neoclassic.tree import (
    Auxiliary,
    AvgPool2d,
    Combinator,
    Dropout,
    Hardsigmoid,
    Hardswish,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
    Tanh,
    walk,
)

TOLERANCE = {np.float32: 1e-4, np.float64: 1e-9}


def close(what, ours, theirs, tolerance, scale=None):
    """AssertionError naming `what`, unless all errors are within tolerance · scale. scale: the maximum of theirs."""
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, not {theirs.shape}"
    error = np.abs(np.subtract(ours, theirs, dtype=np.float64))
    scale = max(float(np.abs(theirs).max() if scale is None else scale), 1e-30)
    largest = float(error.max()) / scale
    assert largest <= tolerance, (
        f"{what}: largest error {largest:.1e}, mean {error.mean() / scale:.1e}, allowed {tolerance:.0e}"
    )


def weights_of(tree, shape, dtype, seed=0):
    """Initial weights, with noise on norms, statistics and biases, so that their initial values hide no mistake."""
    rng = np.random.default_rng(seed)
    return {
        key: (w + 0.1 * rng.random(w.shape) if w.ndim == 1 else w).astype(dtype)
        for key, w in initial(tree, shape, seed=seed).items()
    }


def batch_of(tree, shape, n, dtype, seed=0):
    """Random images, labels, and a mask for every dropout."""
    rng, m = np.random.default_rng(seed), measure(tree, shape)
    images = rng.standard_normal((n, *shape)).astype(dtype)
    labels = rng.integers(0, m.output[0], n)
    masks = {
        path: (rng.random((n, *m[path].output)) >= node.p).astype(dtype)
        for path, node in walk(tree)
        if isinstance(node, Dropout)
    }
    return images, labels, masks


def agree(ours, theirs, images, labels, masks, tolerance):
    """Compare two engines with the same weights: logits, and the gradients and statistics of a training pass.

    The NumPy engine computes logits in two ways: features are computed by the program that is not fused."""
    wanted_logits = theirs.logits(images)
    close("logits", ours.logits(images), wanted_logits, tolerance)
    if ours.name == "numpy":
        close("logits of the readable form", ours.features(images, [""])[""], wanted_logits, tolerance)
    found, wanted = ours.gradients(images, labels, masks), theirs.gradients(images, labels, masks)
    close("training logits", found.logits, wanted.logits, tolerance)
    close("loss", np.array(found.loss), np.array(wanted.loss), tolerance)
    assert found.weights.keys() == wanted.weights.keys()
    largest = max(np.abs(g).max() for g in wanted.weights.values())
    for key, gradient in wanted.weights.items():
        close(f"gradient of {key}", found.weights[key], gradient, tolerance, largest)
    after, wanted_after = ours.weights(), theirs.weights()
    for key, w in wanted_after.items():
        close(key, after[key], w, tolerance)


def smooth(node):
    """The network made differentiable everywhere: tanh for ReLU and similar nodes, average for max pooling."""
    if isinstance(node, Combinator):
        options = {"weight": node.weight} if isinstance(node, Auxiliary) else {}
        return type(node).of({name: smooth(child) for name, child in node.children}, **options)
    match node:
        case MaxPool2d(kernel_size, stride, padding, ceil_mode):
            return AvgPool2d(kernel_size, stride, padding, ceil_mode)
        case ReLU() | ReLU6() | Hardswish():
            return Tanh()
        case Hardsigmoid():
            return Sigmoid()
    return node
