"""Training a network of towers on several devices, each with its part of every layer's channels.

The devices exchange what they computed where a layer takes the channels of all towers, in AlexNet before the third
convolution and every linear layer, and the channels at the border of two towers before local response normalisation.
With one process, it sends the parts from device to device; with one process for each device, they meet by
torch.distributed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError
from neoclassic.engines.contract import Array, Gradients, Metrics, Optimizer, Weights
from neoclassic.engines.torch.devices import pick_device
from neoclassic.engines.torch.engine import TorchEngine
from neoclassic.engines.torch.modules import Dropout, build_layer
from neoclassic.engines.towers import Step, bounds, names, plan, sizes
from neoclassic.measure import Shape
from neoclassic.tree import Node

# ── how the towers meet ─────────────────────────────────────────────────────────────────────────────


class Link:
    """How the towers exchange channels.

    towers   the numbers of those that this process computes
    devices  where each of these is
    """

    def __init__(self, towers: Sequence[int], devices: Sequence[torch.device]) -> None:
        self.towers, self.devices = towers, devices

    def gather(self, parts: list[Tensor], sizes: list[int]) -> list[Tensor]:
        """The channels of all towers, N×sum(sizes)×…, on each of the devices."""
        raise NotImplementedError

    def logits(self, parts: list[Tensor], sizes: list[int]) -> Tensor:
        """The same once, for a loss."""
        raise NotImplementedError

    def total(self, value: Tensor) -> Tensor:
        """The sum of a value over all processes."""
        raise NotImplementedError

    def merge(self, state: Weights) -> Weights:
        """The arrays of all processes together."""
        raise NotImplementedError


class OneProcess(Link):
    """One process computes all towers, each on its device."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        super().__init__(range(len(devices)), devices)

    def gather(self, parts: list[Tensor], _sizes: list[int]) -> list[Tensor]:
        return [torch.cat([part.to(device, non_blocking=True) for part in parts], 1) for device in self.devices]

    def logits(self, parts: list[Tensor], _sizes: list[int]) -> Tensor:
        return torch.cat([part.to(self.devices[0]) for part in parts], 1)

    def total(self, value: Tensor) -> Tensor:
        return value

    def merge(self, state: Weights) -> Weights:
        return state


class ProcessForEach(Link):
    """Every process of torch.distributed computes one tower."""

    def __init__(self, device: torch.device) -> None:
        self.rank = torch.distributed.get_rank()
        super().__init__([self.rank], [device])

    def gather(self, parts: list[Tensor], sizes: list[int]) -> list[Tensor]:
        return [_Gather.apply(parts[0], sizes, self.rank, True)]

    def logits(self, parts: list[Tensor], sizes: list[int]) -> Tensor:
        logits: Tensor = _Gather.apply(parts[0], sizes, self.rank, False)
        return logits

    def total(self, value: Tensor) -> Tensor:
        torch.distributed.all_reduce(value)
        return value

    def merge(self, state: Weights) -> Weights:
        every: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(every, state)
        return {name: array for each in every for name, array in each.items()}


class _Gather(torch.autograd.Function):
    """The parts of all processes along dimension 1.

    shared: whether each process goes on to compute something of its own from the whole, so that the gradients of all of
    them add up. If not, all compute the same loss.
    """

    @staticmethod
    def forward(context: Any, part: Tensor, sizes: list[int], rank: int, shared: bool) -> Tensor:
        context.place, context.shared = (sum(sizes[:rank]), sizes[rank]), shared
        shape = list(part.shape)
        every = [part.new_empty([shape[0], max(sizes), *shape[2:]]) for _ in sizes]
        every[rank][:, : sizes[rank]] = part
        torch.distributed.all_gather(every, every[rank].clone())
        return torch.cat([each[:, :size] for each, size in zip(every, sizes, strict=True)], 1)

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        if context.shared:
            dy = dy.contiguous().clone()
            torch.distributed.all_reduce(dy)
        return dy.narrow(1, *context.place).contiguous(), None, None, None


# ── the network ─────────────────────────────────────────────────────────────────────────────────────


class Towers(nn.Module):
    """The towers of a network that one process computes.

    The parameter `conv1.weight` of the whole network is `tower0.conv1.weight` and `tower1.conv1.weight` here, with the
    filters, or rows, of each tower. Layers without parameters have the paths of the network.
    """

    def __init__(self, steps: Sequence[Step], count: int, link: Link) -> None:
        super().__init__()
        self.steps, self.count, self.link = steps, count, link
        for i, device in zip(link.towers, link.devices, strict=True):
            layers = {s.path: _layer(s, i, count) for s in steps if s.weighted}
            self.add_module(f"tower{i}", nn.ModuleDict(layers).to(device))
        for step in steps:
            if not step.weighted:
                self.add_module(step.path, build_layer(step.node, step.path, step.width))

    def forward(self, images: Tensor) -> Tensor:
        parts, divided = [images.to(device, non_blocking=True) for device in self.link.devices], False
        for step in self.steps:
            if step.crosses and divided:
                parts = self.link.gather(parts, sizes(step.width, self.count))
            elif isinstance(step.node, nodes.Conv2d) and not step.crosses and not divided:
                parts = [part.narrow(1, a, b - a) for part, (a, b) in self._own(parts, step.width)]
            parts = self._layers(step, parts, divided)
            divided = divided or step.weighted
        return self.link.logits(parts, sizes(self.steps[-1].channels, self.count))

    def _layers(self, step: Step, parts: list[Tensor], divided: bool) -> list[Tensor]:
        """The outputs of one layer."""
        if step.weighted:
            towers = zip(self.link.towers, parts, strict=True)
            return [self.get_submodule(f"tower{i}.{step.path}")(part) for i, part in towers]
        layer = self.get_submodule(step.path)
        if divided and isinstance(layer, nn.LocalResponseNorm):
            return self._normalised(layer, parts, step.width)
        if divided and isinstance(layer, Dropout) and layer.draws:
            whole = (parts[0].shape[0], step.width, *parts[0].shape[2:])
            mask = layer.drawn(whole, self.link.devices[0])  # as on one device, whatever the number of towers
            own = self._own(parts, step.width)
            return [layer.dropped(part, mask.narrow(1, a, b - a).to(part.device)) for part, (a, b) in own]
        return [layer(part) for part in parts]

    def _normalised(self, layer: nn.LocalResponseNorm, parts: list[Tensor], width: int) -> list[Tensor]:
        """Local response normalisation, whose window reaches into the neighbouring towers."""
        below, above = layer.size // 2, (layer.size - 1) // 2
        borders = [torch.cat([part[:, :above], part[:, part.shape[1] - below :]], 1) for part in parts]
        one = below + above
        found = []
        for i, part, every in zip(self.link.towers, parts, self.link.gather(borders, [one] * self.count), strict=True):
            before = every[:, i * one - below : i * one] if i else every[:, :0]
            after = every[:, (i + 1) * one : (i + 1) * one + above] if i + 1 < self.count else every[:, :0]
            wide = functional.local_response_norm(
                torch.cat([before, part, after], 1), layer.size, layer.alpha, layer.beta, layer.k
            )
            found.append(wide.narrow(1, before.shape[1], part.shape[1]))
        return found

    def _own(self, parts: list[Tensor], channels: int) -> list[tuple[Tensor, tuple[int, int]]]:
        """Each part with the bounds of its tower's channels."""
        every = bounds(channels, self.count)
        return [(part, every[i]) for i, part in zip(self.link.towers, parts, strict=True)]

    def divided(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the whole network's arrays, by path or path and slot, as the values of this process's parameters.

        Arrays are divided along their first axis; a number is the same in every tower. Keys of no layer are kept.
        """
        layers = {step.path for step in self.steps if step.weighted}
        found: dict[str, Any] = {}
        for key, value in whole.items():
            if key.partition(".")[0] not in layers:
                found[key] = value
                continue
            for i in self.link.towers:
                first, last = bounds(len(value), self.count)[i] if np.ndim(value) else (0, 0)
                found[f"tower{i}.{key}"] = value[first:last] if np.ndim(value) else value
        return found

    def whole(self, parts: Mapping[str, Array]) -> Weights:
        """The whole network's arrays from those of all towers."""
        first = {key.removeprefix("tower0."): value for key, value in parts.items() if key.startswith("tower0.")}
        rest = {key: value for key, value in parts.items() if not key.startswith("tower")}
        return rest | {
            key: np.concatenate([parts[f"tower{i}.{key}"] for i in range(self.count)]) if value.ndim else value
            for key, value in first.items()
        }


def _layer(step: Step, tower: int, count: int) -> nn.Module:
    """The part of a convolution or linear layer that is in a tower."""
    first, last = bounds(step.channels, count)[tower]
    match step.node:
        case nodes.Conv2d(_, kernel_size, stride, padding, groups, bias):
            n = 1 if step.crosses else count
            return nn.Conv2d(step.width // n, last - first, kernel_size, stride, padding, groups=groups // n, bias=bias)
        case nodes.Linear(_, bias):
            return nn.Linear(step.width, last - first, bias)
    raise TypeError(step.node)


# ── the engine ──────────────────────────────────────────────────────────────────────────────────────


class _Training(TorchEngine):
    """The towers of this process, in training. Names of parameters and slots are those of `Towers`."""

    module: Towers

    def __init__(
        self, tree: Node, input: Shape, weights: Mapping[str, Array], link: Link, count: int, bfloat16: bool
    ) -> None:
        self.link, self._count = link, count
        super().__init__(tree, input, weights, str(link.devices[0]), bfloat16)

    def _modules(self) -> tuple[nn.Module, nn.Module]:
        self._layout = torch.contiguous_format
        steps = plan(self.tree, self.input, self._count)
        module = Towers(steps, self._count, self.link).to(self.dtype)
        return module, module

    def _own(self, whole: Mapping[str, Array]) -> Mapping[str, Array]:
        return self.module.divided(whole)

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        super().optimize(optimizer, self.module.divided(rates or {}))
        self._graphs = None  # a graph is of one device

    def _clip(self, most: float) -> None:
        parameters = [p for p in self.module.parameters() if p.grad is not None]
        squares = torch.stack([p.grad.norm().square().to(self._device) for p in parameters if p.grad is not None])
        norm = self.link.total(squares.sum()).sqrt()
        nn.utils.clip_grads_with_norm_(parameters, most, norm)


class TowersEngine:
    """The contract of `engines.contract.Engine` for a network of towers, on a list of devices.

    Training is divided among them. Predictions are made on the first, by the whole network; with several processes,
    each does so on its own device.

    device: such as "cuda:0,cuda:1". UsageError for a network without that many towers.
    """

    name = "torch"
    xp = torch

    def __init__(
        self, tree: Node, input: Shape, weights: Mapping[str, Array], device: str, bfloat16: bool = False
    ) -> None:
        self.tree, self.input, self.device = tree, input, device
        self._devices, self._bfloat16 = [pick_device(name) for name in names(device)], bfloat16
        self._place(weights, OneProcess(self._devices))

    def _place(self, weights: Mapping[str, Array], link: Link) -> None:
        count = len(self._devices)
        self._whole = TorchEngine(self.tree, self.input, weights, str(link.devices[0]), self._bfloat16)
        self._training = _Training(self.tree, self.input, weights, link, count, self._bfloat16)
        self._current = True  # whether the whole network has the weights of the towers

    def join(self) -> None:
        """Train as one process of torch.distributed for each device. UsageError for another number of processes."""
        count, processes = len(self._devices), torch.distributed.get_world_size()
        if count != processes:
            raise UsageError(f"{count} devices need {count} processes, or one, not {processes}")
        self._place(self._whole.weights(), ProcessForEach(self._devices[torch.distributed.get_rank()]))

    def _predicting(self) -> TorchEngine:
        """The whole network with the weights of now. With several processes, all of them must ask for it."""
        if not self._current:
            self._whole.load(self._merged(self._training.weights()))
            self._current = True
        return self._whole

    def _merged(self, parts: Weights) -> Weights:
        return self._training.module.whole(self._training.link.merge(parts))

    def put(self, array: Array) -> Tensor:
        return self._training.put(array)

    def holds(self, nbytes: int) -> bool:
        return self._training.holds(nbytes)

    def weights(self) -> Weights:
        return self._predicting().weights()

    def load(self, weights: Mapping[str, Array]) -> None:
        self._whole.load(weights)
        self._training.load(weights)
        self._current = True

    def logits(self, images: Array, exact: bool = True) -> Array:
        return self._predicting().logits(images, exact)

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        return self._predicting().features(images, paths)

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        return self._predicting().sensitivity(images, path, weights)

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        found = self._training.gradients(images, labels, masks)
        return Gradients(found.loss, found.logits, self._merged(found.weights))

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        self._training.optimize(optimizer, rates)

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        self._training.step(images, labels, learning_rate, seed, masks)
        self._current = False

    def swap_average(self) -> None:
        self._training.swap_average()
        self._current = False

    def metrics(self) -> Metrics:
        return self._training.metrics()

    def optimizer_state(self) -> Weights:
        return self._merged(self._training.optimizer_state())

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        self._training.load_optimizer_state(state)
