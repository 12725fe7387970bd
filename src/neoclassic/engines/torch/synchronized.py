"""Batch norms over the batches of all processes of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neoclassic.engines.torch.sharing import rebuild, shared_copy


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with the statistics of all processes, and the parameters and buffers of another norm.

    It runs on any backend, where `nn.SyncBatchNorm` needs CUDA.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.ndim)]
        shape = (1, -1, *(1 for _ in dims[1:]))
        n = _all_sum(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean = _all_sum(x.float().sum(dims)) / n
        centred = x.float() - mean.view(shape)
        variance = _all_sum((centred * centred).sum(dims)) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            unbiased = (variance * n / (n - 1)).detach()
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (y * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)


class _AllSum(torch.autograd.Function):
    """The sum over all processes. Every process's loss depends on every sum, so the gradient is summed too."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, dy: Tensor) -> Tensor:
        total = dy.clone()
        torch.distributed.all_reduce(total)
        return total


def _all_sum(x: Tensor) -> Tensor:
    total: Tensor = _AllSum.apply(x)
    return total


def synchronized(module: nn.Module) -> nn.Module:
    """A copy of a module whose batch norms use the statistics of all processes.

    It shares all parameters and buffers with `module`, under the same names.
    """

    def convert(layer: nn.Module) -> nn.Module:
        return SyncBatchNorm(layer) if isinstance(layer, nn.modules.batchnorm._BatchNorm) else shared_copy(layer)

    return rebuild(module, convert, lambda old, children: type(old)(children)).train(module.training)
