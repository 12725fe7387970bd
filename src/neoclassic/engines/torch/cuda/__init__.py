"""Triton kernels for the layers that PyTorch runs slowly on an NVIDIA GPU.

The matrix units of a GPU are so fast that most of a training step is reading and writing feature maps. PyTorch reads
and writes them once per layer. These kernels run everything between two convolutions (bias, batch norm, ReLU, pooling)
in as few passes as possible. They also run depthwise convolutions, which cuDNN takes seconds to prepare. Every sum is
taken in float32 and in a fixed order.

A kernel treats channels-last maps of N×C×H×W as a matrix of pixels by channels, and each program works on one tile of
it. Without a GPU, the tests run the kernels in Triton's interpreter.
"""

from __future__ import annotations

from neoclassic.engines.torch.cuda.convolution import conv2d
from neoclassic.engines.torch.cuda.elementwise import add
from neoclassic.engines.torch.cuda.launch import triton_error
from neoclassic.engines.torch.cuda.norm import batch_norm
from neoclassic.engines.torch.cuda.pooling import avg_pool2d, max_pool2d, supports_avg_pool, supports_max_pool
from neoclassic.engines.torch.cuda.streams import run_parallel

__all__ = [
    "add",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "max_pool2d",
    "run_parallel",
    "supports_avg_pool",
    "supports_max_pool",
    "triton_error",
]
