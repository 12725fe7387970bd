"""Arrays from tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neoclassic.engines.contract import Array


def to_array(tensor: Tensor) -> Array:
    """A copy in host memory; float32 for a tensor in bfloat16, which NumPy does not have."""
    tensor = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    array: Array = tensor.cpu().numpy()
    return array.copy() if tensor.device.type == "cpu" else np.ascontiguousarray(array)
