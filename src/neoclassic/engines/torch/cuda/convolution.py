"""Which kernel runs a convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic.engines.torch.cuda.depthwise import depthwise_conv2d
from neoclassic.engines.torch.cuda.stem import stem_conv2d


def conv2d(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution without its bias, in autocast's type if autocast is on."""
    weight, c = convolution.weight, convolution.in_channels
    square = all(a == b for a, b in (convolution.kernel_size, convolution.stride, convolution.padding))
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    stride, padding = convolution.stride[0], convolution.padding[0]
    if square and convolution.groups == c == convolution.out_channels and dtype != torch.float64:
        return depthwise_conv2d(x.to(dtype), weight, stride, padding)
    few_channels = convolution.groups == 1 and c < 8 and not x.requires_grad
    if square and few_channels and dtype == torch.bfloat16:
        return stem_conv2d(x, weight, stride, padding, dtype)
    return functional.conv2d(x, weight, None, convolution.stride, convolution.padding, 1, convolution.groups)
