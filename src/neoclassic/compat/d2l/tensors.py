"""The names that the book uses for all its frameworks, as PyTorch's functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

nn_Module = nn.Module

abs = torch.abs  # noqa: A001
arange = torch.arange
batch_matmul = torch.bmm
concat = torch.cat
cos = torch.cos
cosh = torch.cosh
exp = torch.exp
eye = torch.eye
float32 = torch.float32
int32 = torch.int32
int64 = torch.int64
linspace = torch.linspace
log = torch.log
matmul = torch.matmul
meshgrid = torch.meshgrid
normal = torch.normal
ones = torch.ones
ones_like = torch.ones_like
rand = torch.rand
randn = torch.randn
sigmoid = torch.sigmoid
sin = torch.sin
sinh = torch.sinh
stack = torch.stack
swapaxes = torch.swapaxes
tan = torch.tan
tanh = torch.tanh
tensor = torch.tensor
zeros = torch.zeros
zeros_like = torch.zeros_like


def argmax(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The index of the maximum, along `axis` or `dim` if given."""
    return x.argmax(*args, **kwargs)


def astype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x converted to another dtype."""
    return x.type(dtype)


def expand_dims(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x with a new axis of length 1."""
    return x.unsqueeze(*args, **kwargs)


def numpy(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """x as a NumPy array, from any device."""
    return x.detach().cpu().numpy(*args, **kwargs)


def number(x: Any) -> float:
    """A number, or a tensor of one element from any device, with or without a gradient, as a float."""
    return float(x.detach() if isinstance(x, Tensor) else x)


def reduce_mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mean over all elements, or along an axis."""
    return x.mean(*args, **kwargs)


def reduce_sum(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The sum over all elements, or along an axis."""
    return x.sum(*args, **kwargs)


def repeat(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x repeated along each axis."""
    return x.repeat(*args, **kwargs)


def reshape(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x with another shape."""
    return x.reshape(*args, **kwargs)


def size(x: Tensor, *args: Any, **kwargs: Any) -> int:
    """The number of elements of x."""
    return int(x.numel(*args, **kwargs))


def to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x on another device, or in another dtype."""
    return x.to(*args, **kwargs)


def transpose(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The transposed matrix."""
    return x.t(*args, **kwargs)
