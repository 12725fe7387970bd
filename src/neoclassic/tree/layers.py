"""The layers: the leaves of a tree, with the names and argument names of torch.nn."""

from __future__ import annotations

from dataclasses import dataclass

from neoclassic.base.errors import InvalidValue
from neoclassic.tree.node import Node

# ── layers with weights ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Conv2d(Node):
    """2-d convolution (cross-correlation), square kernel, zero padding, dilation 1.

    out×in/groups×k×k weights. The output has ⌊(H + 2·padding − kernel_size)/stride⌋ + 1 rows.

        >>> nc.measure(nc.Conv2d(6, 5, padding=2), (1, 28, 28)).output
        (6, 28, 28)
    """

    kind = "conv"
    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, repr=False)
class Linear(Node):
    """y = x Wᵀ + b over a flat input.

    >>> nc.measure(nc.Linear(10), (84,)).parameters
    850
    """

    kind = "fc"
    out_features: int
    bias: bool = True


@dataclass(frozen=True, repr=False)
class BatchNorm2d(Node):
    """Batch normalisation over (N, H, W), with scale and shift, and running statistics as in torch.

    Ioffe & Szegedy 2015, arXiv 1502.03167. `momentum` is the weight of the new batch.

        >>> m = nc.measure(nc.BatchNorm2d(), (64, 8, 8))
        >>> m.parameters, m.statistics
        (128, 128)
    """

    kind = "bn"
    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True, repr=False)
class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of a flat input over N.

    >>> nc.measure(nc.BatchNorm1d(), (120,)).parameters
    240
    """


# ── layers without weights ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class MaxPool2d(Node):
    """Maximum over windows. Padding, at most half the kernel, counts as −∞. `stride=None` means the kernel size.

    >>> nc.measure(nc.MaxPool2d(3, 2), (96, 55, 55)).output
    (96, 27, 27)
    """

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
    """Mean over windows. `stride=None` means the kernel size. `count_include_pad`: whether padded zeros count.

    >>> nc.measure(nc.AvgPool2d(2), (6, 28, 28)).output
    (6, 14, 14)
    """

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
    """Mean over windows, for an output of `output_size` × `output_size`; 1 is global average pooling.

    >>> nc.measure(nc.AdaptiveAvgPool2d(), (512, 7, 7)).output
    (512, 1, 1)
    """

    kind = "pool"
    output_size: int = 1


@dataclass(frozen=True, repr=False)
class LocalResponseNorm(Node):
    """x / (k + alpha/size · Σ x²)^beta over `size` adjacent channels, as in torch.

    Krizhevsky et al. 2012, section 3.3, do not divide alpha by the size: their α = 1e-4 is `alpha=5e-4` here.

        >>> nc.LocalResponseNorm(5, alpha=5e-4, k=2)
        LocalResponseNorm(5, alpha=0.0005, k=2)
    """

    kind = "lrn"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True, repr=False)
class Dropout(Node):
    """In training, zeroes values with probability p and scales the others by 1/(1−p). The identity in inference.

    >>> nc.measure(nc.Dropout(0.5), (4096,)).output
    (4096,)
    """

    kind = "dropout"
    p: float = 0.5


@dataclass(frozen=True, repr=False)
class Flatten(Node):
    """C×H×W to C·H·W, with the channels outermost, as in torch.

    >>> nc.measure(nc.Flatten(), (16, 5, 5)).output
    (400,)
    """

    kind = "flatten"


@dataclass(frozen=True, repr=False)
class Identity(Node):
    """The input itself: the branch of a `Sum`, `Concat` or `Product` that changes nothing.

    >>> nc.measure(nc.Sum(nc.Conv2d(16, 3, padding=1), nc.Identity()), (16, 8, 8)).output
    (16, 8, 8)
    """

    kind = "identity"


@dataclass(frozen=True, repr=False)
class ReLU(Node):
    """max(x, 0).

    >>> nc.measure(nc.ReLU(), (6, 28, 28)).output
    (6, 28, 28)
    """

    kind = "relu"


@dataclass(frozen=True, repr=False)
class Sigmoid(Node):
    """1 / (1 + e^−x).

    >>> nc.measure(nc.Sigmoid(), (6, 28, 28)).output
    (6, 28, 28)
    """

    kind = "sigmoid"


@dataclass(frozen=True, repr=False)
class Tanh(Node):
    """scale · tanh(slope · x). LeCun et al. 1998 use scale 1.7159 and slope 2/3.

    >>> nc.Tanh(scale=1.7159, slope=2 / 3).scale
    1.7159
    """

    kind = "tanh"
    scale: float = 1.0
    slope: float = 1.0


@dataclass(frozen=True, repr=False)
class ReLU6(Node):
    """min(max(x, 0), 6).

    >>> nc.measure(nc.ReLU6(), (32, 112, 112)).output
    (32, 112, 112)
    """

    kind = "relu6"


@dataclass(frozen=True, repr=False)
class Hardsigmoid(Node):
    """ReLU6(x + 3) / 6. Howard et al. 2019, arXiv 1905.02244, section 5.2.

    >>> nc.measure(nc.Hardsigmoid(), (72, 1, 1)).output
    (72, 1, 1)
    """

    kind = "hardsigmoid"


@dataclass(frozen=True, repr=False)
class Hardswish(Node):
    """x · ReLU6(x + 3) / 6. Howard et al. 2019, arXiv 1905.02244, section 5.2.

    >>> nc.measure(nc.Hardswish(), (16, 112, 112)).output
    (16, 112, 112)
    """

    kind = "hardswish"


@dataclass(frozen=True, repr=False)
class Select(Node):
    """The given channels of the input, in this order: a row of LeNet-5's connection table.

    >>> nc.measure(nc.Select((0, 1, 2)), (6, 14, 14)).output
    (3, 14, 14)
    """

    kind = "select"
    channels: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class PadChannels(Node):
    """Appends channels of zeros up to `out_channels`: ResNet's shortcut without parameters, option A.

    >>> nc.measure(nc.PadChannels(32), (16, 8, 8)).output
    (32, 8, 8)
    """

    kind = "pad"
    out_channels: int


@dataclass(frozen=True, repr=False)
class RBF(Node):
    """Logits −Σⱼ (xⱼ − wᵢⱼ)² with fixed prototypes w, one row per class: the output of LeNet-5.

    >>> nc.measure(nc.RBF(((1, -1), (-1, 1), (1, 1))), (2,)).output
    (3,)
    """

    kind = "rbf"
    prototypes: tuple[tuple[int, ...], ...]
