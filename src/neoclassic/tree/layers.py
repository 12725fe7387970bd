"""The layers: the leaves of a tree, with the names and argument names of torch.nn."""

from __future__ import annotations

from dataclasses import dataclass

from neoclassic.base.errors import InvalidValue
from neoclassic.tree.node import Node

# ── layers with weights ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Conv2d(Node):
    """2-d convolution (cross-correlation), square kernel, zero padding, dilation 1."""

    kind = "conv"
    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, repr=False)
class Linear(Node):
    """y = x Wᵀ + b over a flat input."""

    kind = "fc"
    out_features: int
    bias: bool = True


@dataclass(frozen=True, repr=False)
class BatchNorm2d(Node):
    """Batch normalisation over (N, H, W), with scale and shift, and running statistics as in torch.

    Ioffe & Szegedy 2015, arXiv 1502.03167. `momentum` is the weight of the new batch.
    """

    kind = "bn"
    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True, repr=False)
class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of a flat input over N."""


# ── layers without weights ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class MaxPool2d(Node):
    """Maximum over windows. Padding, at most half the kernel, counts as −∞. `stride=None` means the kernel size."""

    kind = "pool"
    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_pool(self)


@dataclass(frozen=True, repr=False)
class AvgPool2d(Node):
    """Mean over windows. `stride=None` means the kernel size. `count_include_pad`: whether padded zeros count."""

    kind = "pool"
    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_pool(self)


def _check_pool(node: MaxPool2d | AvgPool2d) -> None:
    """Padding of more than half the kernel would leave windows without a pixel; torch refuses it, too."""
    if 2 * node.padding > node.kernel_size:
        kernel = f"a kernel of {node.kernel_size}"
        raise InvalidValue(f"{type(node).__name__}: padding must be at most half of {kernel}, not {node.padding}")


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool2d(Node):
    """Mean over windows, for an output of `output_size` × `output_size`; 1 is global average pooling."""

    kind = "pool"
    output_size: int = 1


@dataclass(frozen=True, repr=False)
class LocalResponseNorm(Node):
    """x / (k + alpha/size · Σ x²)^beta over `size` adjacent channels, as in torch.

    Krizhevsky et al. 2012, section 3.3, do not divide alpha by the size: their α = 1e-4 is `alpha=5e-4` here.
    """

    kind = "lrn"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True, repr=False)
class Dropout(Node):
    """In training, zeroes values with probability p and scales the others by 1/(1−p). The identity in inference."""

    kind = "dropout"
    p: float = 0.5


@dataclass(frozen=True, repr=False)
class Flatten(Node):
    """C×H×W to C·H·W, with the channels outermost, as in torch."""

    kind = "flatten"


@dataclass(frozen=True, repr=False)
class Identity(Node):
    """The input itself: the branch of a `Sum`, `Concat` or `Product` that changes nothing."""

    kind = "identity"


@dataclass(frozen=True, repr=False)
class ReLU(Node):
    """max(x, 0)."""

    kind = "relu"


@dataclass(frozen=True, repr=False)
class Sigmoid(Node):
    """1 / (1 + e^−x)."""

    kind = "sigmoid"


@dataclass(frozen=True, repr=False)
class Tanh(Node):
    """scale · tanh(slope · x). LeCun et al. 1998 use scale 1.7159 and slope 2/3."""

    kind = "tanh"
    scale: float = 1.0
    slope: float = 1.0


@dataclass(frozen=True, repr=False)
class ReLU6(Node):
    """min(max(x, 0), 6)."""

    kind = "relu6"


@dataclass(frozen=True, repr=False)
class Hardsigmoid(Node):
    """ReLU6(x + 3) / 6. Howard et al. 2019, arXiv 1905.02244, section 5.2."""

    kind = "hardsigmoid"


@dataclass(frozen=True, repr=False)
class Hardswish(Node):
    """x · ReLU6(x + 3) / 6. Howard et al. 2019, arXiv 1905.02244, section 5.2."""

    kind = "hardswish"


@dataclass(frozen=True, repr=False)
class Select(Node):
    """The given channels of the input, in this order: a row of LeNet-5's connection table."""

    kind = "select"
    channels: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class PadChannels(Node):
    """Appends channels of zeros up to `out_channels`: ResNet's shortcut without parameters, option A."""

    kind = "pad"
    out_channels: int


@dataclass(frozen=True, repr=False)
class RBF(Node):
    """Logits −Σⱼ (xⱼ − wᵢⱼ)² with fixed prototypes w, one row per class: the output of LeNet-5."""

    kind = "rbf"
    prototypes: tuple[tuple[int, ...], ...]
