"""The torch engine: the same tree as an ordinary `nn.Module` whose `state_dict` keys are the paths."""

from __future__ import annotations

from neoclassic.engines.torch.devices import compiles, device_name, pick_device, takes_bfloat16
from neoclassic.engines.torch.engine import TorchEngine
from neoclassic.engines.torch.modules import build, load
from neoclassic.engines.torch.towers import TowersEngine

__all__ = [
    "TorchEngine",
    "TowersEngine",
    "build",
    "compiles",
    "device_name",
    "load",
    "pick_device",
    "takes_bfloat16",
]
