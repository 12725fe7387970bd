"""Networks that can be divided among devices by their channels, as AlexNet was between two GPUs in 2012.

Such a network is a sequence of layers in which some convolutions have groups. These take the channels of one tower
only; all other convolutions and linear layers take the channels of every tower. A. Krizhevsky, I. Sutskever, G. Hinton,
"ImageNet classification with deep convolutional neural networks", NIPS 2012, section 3.2 and figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError
from neoclassic.measure import Shape, measure
from neoclassic.tree import Node

CHANNELWISE = (
    *(nodes.ReLU, nodes.ReLU6, nodes.Sigmoid, nodes.Tanh, nodes.Hardsigmoid, nodes.Hardswish, nodes.Identity),
    *(nodes.MaxPool2d, nodes.AvgPool2d, nodes.AdaptiveAvgPool2d, nodes.Flatten, nodes.Dropout),
)


@dataclass(frozen=True)
class Step:
    """A layer of a divided network.

    width, channels  channels or features of its input and output, over all towers
    crosses          whether each tower needs the input of all of them
    """

    path: str
    node: Node
    width: int
    channels: int
    crosses: bool

    @property
    def weighted(self) -> bool:
        """Whether it has weights, so that each tower has a part of it."""
        return isinstance(self.node, nodes.Conv2d | nodes.Linear)


def several(device: str) -> bool:
    """Whether this names more than one device."""
    return "," in device


def names(device: str) -> list[str]:
    """The devices of "cuda:0,cuda:1"."""
    return [name.strip() for name in device.split(",")]


def on_cpu(device: str) -> bool:
    """Whether this is the processor, or a list that names nothing else."""
    return set(names(device)) == {"cpu"}


def plan(tree: Node, input: Shape, towers: int) -> list[Step]:
    """The layers of a network that has this many towers, or a multiple. UsageError for any other network."""
    refusal = UsageError(
        "a list of devices is only for networks of towers, such as alexnet: "
        "to train another network on several devices, start one process for each with torchrun"
    )
    if not isinstance(tree, nodes.Sequential):
        raise refusal
    steps, groups = [], 1
    for row in measure(tree, input).layers:
        node, width, channels = row.node, row.input[0], row.output[0]
        match node:
            case nodes.Conv2d() if node.groups > 1:
                groups, crosses = node.groups, False
                if groups % towers:
                    raise UsageError(f"{row.path} has {groups} towers, which cannot be divided among {towers} devices")
            case nodes.Conv2d() | nodes.Linear():
                crosses = True
                if isinstance(node, nodes.Conv2d) and channels % towers:
                    raise UsageError(f"{row.path} has {channels} channels, which {towers} devices cannot share")
            case nodes.LocalResponseNorm() if node.size // 2 <= width // towers:
                crosses = False
            case _ if isinstance(node, CHANNELWISE):
                crosses = False
            case _:
                groups = 1
                break
        steps.append(Step(row.path, node, width, channels, crosses))
    if groups == 1 or any("." in step.path for step in steps):
        raise refusal
    return steps


def bounds(channels: int, towers: int) -> list[tuple[int, int]]:
    """The first channel of each tower, and the one behind its last."""
    return [(i * channels // towers, (i + 1) * channels // towers) for i in range(towers)]


def sizes(channels: int, towers: int) -> list[int]:
    """The number of channels of each tower."""
    return [last - first for first, last in bounds(channels, towers)]
