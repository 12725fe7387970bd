"""Networks as ordinary PyTorch modules, whose `state_dict` keys are the paths of the layers.

>>> import neoclassic as nc
>>> model = nc.torch.create("lenet", classes=10)
>>> sorted(model.state_dict())[:2]
['conv1.bias', 'conv1.weight']
>>> mine = nc.Sequential(nc.Conv2d(8, 3), nc.ReLU(), nc.AdaptiveAvgPool2d(), nc.Flatten(), nc.Linear(10))
>>> nc.torch.create(mine, (3, 32, 32)).conv.weight.shape
torch.Size([8, 3, 3, 3])
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

from neoclassic.base.errors import MissingPackage, install, one_line

try:
    from torch import nn
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    needs = f"nc.torch needs PyTorch, which is not installed here: {install('torch')}"
    raise one_line(MissingPackage(needs)) from None

from neoclassic import networks
from neoclassic.engines import weights as arrays
from neoclassic.engines.torch import build, load
from neoclassic.measure import Shape
from neoclassic.model.opening import open_weights
from neoclassic.model.torchvision import adopt
from neoclassic.tree import Node

__all__ = ["build", "create", "load"]


def create(
    network: str | Node,
    classes: int | Shape | None = None,
    in_channels: int | None = None,
    input: Shape | None = None,
    weights: str | Path | None = None,
    initialisation: str = "he",
    seed: int = 0,
    **knobs: object,
) -> nn.Module:
    """A network as an ordinary `nn.Module`, with initial weights, torchvision's or ours.

    network: a name of the zoo, or a tree of one's own, whose input may follow it: `create(tree, (3, 32, 32))`.
    input: (channels, height, width); the published one when omitted, and 28×28 pixels for a tree of one's own.
    in_channels: replaces its channels.
    weights: an artefact, a run folder, or a `.pth` or `.safetensors` file with our names, torchvision's or timm's; an
    address on the Hugging Face Hub, `hf:OWNER/REPO`; or "imagenet", "imagenet:v1" or "imagenet:v2" for the weights that
    torchvision publishes. Weights that cannot be used unchanged give a warning, such as a last layer for other classes,
    which is initialised afresh.
    knobs: what the paper's own tables vary. UsageError for an unknown name or an impossible shape; NeoclassicError for
    weights that do not fit.
    """
    if classes is not None and not isinstance(classes, int):
        classes, input = None, classes
    row = networks.entry(network)
    tree = row.tree(classes, **knobs)
    shape = input or row.input
    shape = (in_channels or shape[0], *shape[1:])
    module = build(tree, shape)
    fresh = partial(arrays.initial, tree, shape, initialisation, seed)
    if weights is None:
        load(module, fresh())
        return module
    file, _ = open_weights(weights, row.name)
    adopted = adopt(row, file.arrays, arrays.shapes(tree, shape), fresh)
    for note in (*file.notes, *adopted.notes):
        warnings.warn(f"{row.name}: {note}", stacklevel=2)
    load(module, adopted.weights)
    return module
