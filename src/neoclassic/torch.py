"""The networks of the zoo as ordinary PyTorch modules, whose `state_dict` keys are the paths of the layers.

>>> import neoclassic as nc
>>> model = nc.torch.create("lenet", classes=10)
>>> sorted(model.state_dict())[:2]
['conv1.bias', 'conv1.weight']
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

from torch import nn

from neoclassic import networks
from neoclassic.engines import weights as arrays
from neoclassic.engines.torch import build, load
from neoclassic.measure import Shape
from neoclassic.model.opening import open_weights
from neoclassic.model.torchvision import adopt

__all__ = ["build", "create", "load"]


def create(
    name: str,
    classes: int | None = None,
    in_channels: int | None = None,
    input: Shape | None = None,
    weights: str | Path | None = None,
    initialisation: str = "he",
    seed: int = 0,
    **knobs: object,
) -> nn.Module:
    """A network of the zoo as an ordinary `nn.Module`, with initial weights, torchvision's or ours.

    input: (channels, height, width); the published one when omitted. in_channels: replaces its channels.
    weights: an artefact, a run folder, or a `.pth` or `.safetensors` file with our names, torchvision's or timm's; an
    address on the Hugging Face Hub, `hf:OWNER/REPO`; or "imagenet", "imagenet:v1" or "imagenet:v2" for the weights that
    torchvision publishes. Weights that cannot be used unchanged give a warning, such as a last layer for other classes,
    which is initialised afresh.
    knobs: what the paper's own tables vary. UsageError for an unknown name or an impossible shape; NeoclassicError for
    weights that do not fit.
    """
    network = networks.network(name, classes, **knobs)
    shape = input or networks.entry(name).input
    shape = (in_channels or shape[0], *shape[1:])
    module = build(network, shape)
    fresh = partial(arrays.initial, network, shape, initialisation, seed)
    if weights is None:
        load(module, fresh())
        return module
    file, _ = open_weights(weights, name)
    adopted = adopt(name, file.arrays, arrays.shapes(network, shape), fresh)
    for note in (*file.notes, *adopted.notes):
        warnings.warn(f"{name}: {note}", stacklevel=2)
    load(module, adopted.weights)
    return module
