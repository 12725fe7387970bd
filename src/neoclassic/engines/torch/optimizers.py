"""The update rules: torch's own optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neoclassic.base.errors import unknown
from neoclassic.engines.contract import OPTIMIZERS, Array, Optimizer, Weights
from neoclassic.engines.torch.tensors import to_array


def create_optimizer(
    module: nn.Module, rule: Optimizer, rates: Mapping[str, float], device: torch.device
) -> torch.optim.Optimizer:
    """torch's optimizer for a rule, with a parameter group for each learning rate and weight decay.

    rates: what the learning rate of a parameter is multiplied by, 1 by default. With 0 the parameter is frozen: it is
    left out and needs no gradient. UsageError for an unknown rule.
    """
    groups: dict[tuple[float, float, torch.device], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        rate = rates.get(name, 1.0)
        parameter.requires_grad_(rate > 0)
        if rate:
            decay = rule.weight_decay if rule.decay_all or parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay, parameter.device), []).append(parameter)
    cuda = device.type == "cuda"
    lists: list[dict[str, Any]] = [
        {"params": p, "lr": torch.tensor(1.0, device=place) if cuda else 1.0, "weight_decay": decay, "scale": rate}
        for (rate, decay, place), p in groups.items()
    ]
    fused = {"fused": True} if device.type in ("cpu", "cuda") else {}
    capturable = {"capturable": True} if cuda else {}
    match rule.name:
        case "sgd":
            return torch.optim.SGD(lists, momentum=rule.momentum, nesterov=rule.nesterov, **fused)
        case "adam":
            return torch.optim.Adam(lists, betas=rule.betas, eps=rule.eps, **fused, **capturable)
        case "adamw":
            return torch.optim.AdamW(lists, betas=rule.betas, eps=rule.eps, **fused, **capturable)
        case "rmsprop":
            return torch.optim.RMSprop(lists, alpha=rule.alpha, eps=rule.eps, momentum=rule.momentum, **capturable)
        case "adagrad":
            return torch.optim.Adagrad([{**group, "lr": 1.0} for group in lists], eps=rule.eps)
    raise unknown("optimizer", rule.name, OPTIMIZERS)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of each parameter group, in place where a CUDA graph reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate * group["scale"])
        else:
            group["lr"] = learning_rate * group["scale"]


def optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
    """What the optimizer remembers of each parameter, as `{path.parameter.slot: array}`."""
    return {
        f"{name}.{slot}": to_array(value)
        for name, parameter in module.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Array]) -> None:
    """Continue from `optimizer_state`; the keys of averages are ignored."""
    parameters = dict(module.named_parameters())
    for key, array in state.items():
        name, _, slot = key.rpartition(".")
        if slot != "average" and key != "average.step":
            parameter, tensor = parameters[name], torch.from_numpy(np.array(array))
            value = tensor if slot == "step" else torch.empty_like(parameter).copy_(tensor)
            optimizer.state[parameter][slot] = value.to(parameter.device)
