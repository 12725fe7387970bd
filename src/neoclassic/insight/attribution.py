"""Which pixels an answer depends on: class-activation maps and occlusion."""

from __future__ import annotations

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.measure import Field, Measure
from neoclassic.model.evaluate import logits_of, softmax
from neoclassic.tree import AdaptiveAvgPool2d, Auxiliary, AvgPool2d, Dropout, MaxPool2d, Node, Sequential, join


def target_layer(m: Measure) -> str:
    """The path whose output a class-activation map is computed from: the last feature map before pooling and head.

    A block counts as a whole. UsageError if no output is larger than 1×1.
    """
    target = ""

    def visit(node: Node, path: str) -> None:
        nonlocal target
        if isinstance(node, Sequential):
            for name, child in node.children:
                visit(child, join(path, name))
        elif not isinstance(node, MaxPool2d | AvgPool2d | AdaptiveAvgPool2d | Auxiliary | Dropout):
            output = m[path].output
            if len(output) == 3 and min(output[1:]) > 1:
                target = path

    visit(m.rows[0].node, "")
    if not target:
        raise UsageError("this network has no feature map larger than 1×1, so there is nothing to draw on the image")
    return target


def one_hot(index: int, classes: int, n: int = 1) -> Array:
    """N×classes float32: the class `index` in each row."""
    rows = np.zeros((n, classes), np.float32)
    rows[:, index] = 1
    return rows


def grad_cam(features_KHW: Array, gradient_KHW: Array) -> Array:
    """Grad-CAM as H×W: ReLU(Σₖ αₖ Aₖ), where αₖ is the mean of ∂logit/∂Aₖ.

    Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2.
    """
    weights_K = gradient_KHW.mean((1, 2))
    return np.maximum(np.tensordot(weights_K, features_KHW, 1), 0)


def grad_cam_plus_plus(features_KHW: Array, gradient_KHW: Array) -> Array:
    """Grad-CAM++ for the score e^logit as H×W, up to a constant factor.

    αₖᵢⱼ = g² / (2g² + Σ Aₖ · g³), and the weight of map k is Σᵢⱼ αₖᵢⱼ · ReLU(g). Chattopadhay et al. 2018,
    arXiv 1710.11063, equations 10 and 19.
    """
    a, g = features_KHW.astype(np.float64), gradient_KHW.astype(np.float64)
    denominator = 2 * g**2 + a.sum((1, 2), keepdims=True) * g**3
    alpha = np.divide(g**2, denominator, out=np.zeros_like(g), where=denominator != 0)
    weights_K = (alpha * np.maximum(g, 0)).sum((1, 2))
    cam: Array = np.maximum(np.tensordot(weights_K, a, 1), 0)
    return cam


def upsample(map_HW: Array, size: tuple[int, int], fields: tuple[Field, ...]) -> Array:
    """A map over an image of (height, width), bilinear, scaled so that its largest value is 1.

    fields: the receptive fields of the map's units. Each unit stands at the centre of the pixels that it sees. Where a
    network pads, that is not where the unit would stand if the map were stretched over the image: the units of a ResNet
    at 224×224 would be 16 pixels too far down and right.
    """
    rows, columns = (_weights(n, field, pixels) for n, field, pixels in zip(map_HW.shape, fields, size, strict=True))
    resized: Array = (rows @ map_HW @ columns.T).astype(np.float32)
    return resized / resized.max() if resized.max() > 0 else resized


def _weights(n: int, field: Field, pixels: int) -> Array:
    """How much each of n units contributes to each pixel of an axis: pixels×n. Beyond the outermost centres, the
    nearest unit counts alone. Units that all see the same pixels are spread evenly."""
    first, stride = (field.centre, field.stride) if field.stride else ((pixels / n - 1) / 2, pixels / n)
    centres = first + stride * np.arange(n)
    return np.stack([np.interp(np.arange(pixels), centres, unit) for unit in np.eye(n)], axis=1)


def occlusion(
    engine: Engine, pixels: Array, preprocessing: Preprocessing, index: int, patch: int | None = None
) -> Array:
    """The drop in the probability of class `index` when a grey square covers a pixel, as H×W.

    pixels: uint8 H×W×C. patch: the side of the square; an eighth of the image's shorter side when omitted. The square
    moves by half of its side, and a pixel gets the mean over the squares that cover it. Zeiler & Fergus 2014,
    arXiv 1311.2901, section 4.2.
    """
    height, width, _ = pixels.shape
    patch = patch or max(2, round(min(height, width) / 8))
    step = max(1, patch // 2)
    mean = np.round(255 * np.array(preprocessing.mean)) if any(preprocessing.mean) else pixels.mean((0, 1))
    corners = [(y, x) for y in range(0, height, step) for x in range(0, width, step)]
    covered = np.repeat(pixels[None], len(corners), 0)
    for image, (y, x) in zip(covered, corners, strict=True):
        image[y : y + patch, x : x + patch] = mean.astype(np.uint8)
    original = softmax(logits_of(engine, pixels[None], preprocessing))[0, index]
    drops = original - softmax(logits_of(engine, covered, preprocessing))[:, index]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for drop, (y, x) in zip(drops, corners, strict=True):
        total[y : y + patch, x : x + patch] += drop
        count[y : y + patch, x : x + patch] += 1
    return total / count
