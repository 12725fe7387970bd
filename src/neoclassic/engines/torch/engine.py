"""The torch engine: training and prediction with the modules of a tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError
from neoclassic.engines import weights as arrays
from neoclassic.engines.contract import Array, Gradients, Metrics, Optimizer, Weights
from neoclassic.engines.torch.averages import ExponentialMovingAverage
from neoclassic.engines.torch.cpu.memory import Heap
from neoclassic.engines.torch.cuda_graphs import GraphedFunction
from neoclassic.engines.torch.devices import check_compiler, full_float32, pick_device
from neoclassic.engines.torch.faster import fastest, memory_format
from neoclassic.engines.torch.modules import Dropout, build, load
from neoclassic.engines.torch.optimizers import (
    create_optimizer,
    load_optimizer_state,
    optimizer_state,
    set_learning_rate,
)
from neoclassic.engines.torch.synchronized import synchronized
from neoclassic.engines.torch.tensors import to_array
from neoclassic.measure import Shape, measure
from neoclassic.tree import Node, walk


class TorchEngine:
    """The contract of `engines.contract.Engine` with PyTorch, in float32, or in float64 if the weights are.

    bfloat16: training steps run convolutions and matrix products in bfloat16, by autocast; `logits` stays float32.
    compiled: training steps run through torch.compile. On CUDA, steps are captured as CUDA graphs.
    """

    name = "torch"
    xp = torch

    def __init__(
        self,
        tree: Node,
        input: Shape,
        weights: Mapping[str, Array],
        device: str = "auto",
        bfloat16: bool = False,
        compiled: bool = False,
    ) -> None:
        self.tree, self.input = tree, input
        self._device = pick_device(device)
        self.device = str(self._device)
        self.dtype = torch.float64 if any(w.dtype == np.float64 for w in weights.values()) else torch.float32
        self._bfloat16, self._compiled = bfloat16, compiled
        if compiled:
            check_compiler(self._device)
        self._plain, module = self._modules()
        self._auxiliary = [node.weight for _, node in walk(tree) if isinstance(node, nodes.Auxiliary)]
        self._generator = torch.Generator(self._device)
        self._use(module)

        small = bfloat16 or measure(tree, input).memory(256).training < 1 << 28  # others would fragment the heap
        self._heap = Heap(small and self._device.type == "cpu")
        self._processes = 1
        self._process = os.getpid()
        self._rule: Optimizer | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._frozen_norms: list[nn.Module] = []
        self._graphs: dict[object, GraphedFunction] | None = None
        self._average = ExponentialMovingAverage({})
        self._n = 0
        self._loss_sum = torch.zeros(
            (), device=self._device, dtype=torch.float32 if self._device.type == "mps" else torch.float64
        )
        self._correct = torch.zeros((), device=self._device, dtype=torch.int64)
        self.load(weights)

    def _modules(self) -> tuple[nn.Module, nn.Module]:
        """The module of the tree, and a faster one with the same parameters, both on the device."""
        module = build(self.tree, self.input)
        self._layout = memory_format(module, self._device, self._bfloat16)
        plain = module.to(self._device, self.dtype, memory_format=self._layout)
        return plain, fastest(plain, self._device, triton=not self._compiled, fused=self._bfloat16)

    def _use(self, module: nn.Module) -> None:
        """Run this module from now on."""
        self.module = module
        self._dropouts = {path: m for path, m in module.named_modules() if isinstance(m, Dropout)}
        self._forward: Callable[[Tensor], Tensor | tuple[Tensor, ...]] = module
        if self._compiled:
            self._forward = torch.compile(module)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a TorchEngine cannot be copied or pickled: keep its weights() and create another engine")

    def join(self) -> None:
        """Train as one process of torch.distributed, each with its share of every batch. Call it before `optimize`."""
        self._processes = torch.distributed.get_world_size()
        self._use(fastest(synchronized(self._plain), self._device, triton=not self._compiled, fused=False))

    def put(self, array: Array) -> Tensor:
        array = np.ascontiguousarray(array)
        if not array.flags.writeable:  # a memory-mapped file, for example; torch would warn
            array = array.copy()
        return torch.from_numpy(array).to(self._device, non_blocking=True)

    def holds(self, nbytes: int) -> bool:
        if self._device.type == "cuda":
            return bool(nbytes < torch.cuda.mem_get_info(self._device)[0] / 2)
        return self._device.type != "cpu" and nbytes < 1 << 31

    def _tensor(self, array: Array | Tensor) -> Tensor:
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor.long()

    def _images(self, array: Array | Tensor) -> Tensor:
        if os.getpid() != self._process:  # a forked child has none of torch's threads, and would wait for them
            torch.set_num_threads(1)
            self._process = os.getpid()
        images = self._tensor(array).contiguous(memory_format=self._layout)
        if images.shape[1] == 1:  # give it strides that fit either layout: LeNet's step takes a quarter less time
            images = images.squeeze(1).unsqueeze(1)
        return images

    def _state(self) -> dict[str, Tensor]:
        """The parameters and statistics themselves."""
        return {k: v for k, v in self.module.state_dict().items() if not k.endswith("num_batches_tracked")}

    def weights(self) -> Weights:
        return {k: to_array(v) for k, v in self._state().items()}

    def load(self, weights: Mapping[str, Array]) -> None:
        arrays.check(self.tree, self.input, weights)
        load(self.module, self._own(weights))

    def _own(self, whole: Mapping[str, Array]) -> Mapping[str, Array]:
        """The network's arrays by the names of the module's."""
        return whole

    # ── prediction ──────────────────────────────────────────────────────────────────────────────────

    def logits(self, images: Array, exact: bool = True) -> Array:
        if exact:  # float32 needs memory of its own
            self._heap.release()
        self.module.eval()
        with torch.inference_mode(), full_float32(self._device):
            x = self._images(images)
            if exact or self._graphs is None:
                return to_array(self._predict(x, exact))
            graph = self._graphs.setdefault(("predict", x.shape), GraphedFunction(self._predict, self._generator))
            return to_array(graph(x))

    def _predict(self, images: Tensor, exact: bool = False) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16 and not exact):
            logits: Tensor = self.module(images)
            return logits

    def _submodule(self, path: str) -> nn.Module:
        modules = dict(self.module.named_modules())
        if path not in modules:
            raise UsageError(f"no layer {path!r} in this network: 'neoclassic show' lists its paths")
        return modules[path]

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        features: dict[str, Array] = {}

        def hook(path: str) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda _module, _x, y: features.update({path: to_array(y)})

        with ExitStack() as hooks:
            for path in paths:
                hooks.enter_context(self._submodule(path).register_forward_hook(hook(path)))
            self.logits(images)
        return features

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, _x: object, y: Tensor) -> Tensor:
            outputs.append(y.requires_grad_() if y.is_leaf else y)
            return outputs[0]

        module = self._submodule(path)
        self.module.eval()
        with torch.enable_grad(), full_float32(self._device):
            with module.register_forward_hook(keep):
                total = (self.module(self._images(images)) * self._tensor(weights)).sum()
            if not outputs:
                raise UsageError(f"{path!r} runs in training only")
            (gradient,) = torch.autograd.grad(total, outputs[0])
        return to_array(outputs[0]), to_array(gradient)

    # ── training ────────────────────────────────────────────────────────────────────────────────────

    def _loss(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The total loss to differentiate, the main head's mean loss, and its logits."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            outputs = self._forward(images)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        logits, *side = (each.to(self.dtype) for each in outputs)  # cross_entropy would round in bfloat16
        main = total = functional.cross_entropy(logits, target)
        for weight, auxiliary in zip(self._auxiliary, side, strict=True):
            total = total + weight * functional.cross_entropy(auxiliary, target)
        return total, main, logits

    def _prepare(self, masks: Mapping[str, Array] | None) -> None:
        """Enter training mode, and set the dropout masks, or the generator that draws them."""
        if not self.module.training:
            self.module.train()
            for norm in self._frozen_norms:
                norm.eval()
        for path, dropout in self._dropouts.items():
            dropout.generator = self._generator
            dropout.mask = self._tensor(masks[path]) if masks else None

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        self.module.zero_grad()
        self._prepare(masks)
        with full_float32(self._device):
            total, _, logits = self._loss(self._images(images), self._tensor(labels))
            total.backward()
        gradients = {k: to_array(p.grad) for k, p in self.module.named_parameters() if p.grad is not None}
        self.module.zero_grad()
        return Gradients(total.item(), to_array(logits), gradients)

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        self._heap.keep()
        self._optimizer = create_optimizer(self.module, optimizer, rates or {}, self._device)
        frozen = arrays.frozen_norms(self.tree, {key for key, rate in (rates or {}).items() if not rate})
        self._frozen_norms = [self.module.get_submodule(path) for path in sorted(frozen)]
        self.module.eval()  # the next step enters training mode, except for the frozen norms
        if self._processes > 1:  # only now, as it looks up which parameters are trained
            self._forward = nn.parallel.DistributedDataParallel(self.module)
        self._rule = optimizer
        self._average = ExponentialMovingAverage(self._state() if optimizer.average else {})
        graphs = self._device.type == "cuda" and optimizer.name != "adagrad" and self._processes == 1
        self._graphs = {} if graphs else None

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        if self._optimizer is None or self._rule is None:
            raise UsageError("call optimize() before the first step()")
        self._generator.manual_seed(seed)
        set_learning_rate(self._optimizer, learning_rate)
        batch, target = self._images(images), self._tensor(labels)
        self._prepare(masks)
        with full_float32(self._device):
            if self._graphs is None or masks:
                self._update(batch, target)
            else:
                key = batch.shape, target.shape
                self._graphs.setdefault(key, GraphedFunction(self._update, self._generator))(batch, target)
        self._n += len(target)
        self._heap.after_step()
        self._average.update(self._rule)

    def _update(self, images: Tensor, target: Tensor) -> None:
        """The part of a step that runs on the device, without waiting for it."""
        assert self._optimizer is not None
        assert self._rule is not None
        self._optimizer.zero_grad(set_to_none=not self._heap.active)  # freeing them would fragment the heap
        total, main, logits = self._loss(images, target)
        if self._processes > 1:  # weight by the share of the batch: DistributedDataParallel takes a plain mean
            whole = torch.tensor(float(len(target)), device=self._device)
            torch.distributed.all_reduce(whole)
            total = total * len(target) * self._processes / whole
        total.backward()
        if self._rule.clip:
            self._clip(self._rule.clip)
        self._optimizer.step()
        with torch.no_grad():
            self._loss_sum += main.detach().to(self._loss_sum.dtype) * len(target)
            self._correct += (logits.argmax(1) == (target.argmax(1) if target.ndim == 2 else target)).sum()

    def _clip(self, most: float) -> None:
        """Scale the gradients down to this norm of all of them together."""
        nn.utils.clip_grad_norm_(self.module.parameters(), most)

    def swap_average(self) -> None:
        self._average.swap()

    def metrics(self) -> Metrics:
        metrics = Metrics(self._loss_sum.item(), int(self._correct.item()), self._n)
        self._loss_sum.zero_()
        self._correct.zero_()
        self._n = 0
        return metrics

    def optimizer_state(self) -> Weights:
        state = optimizer_state(self.module, self._optimizer) if self._optimizer else {}
        return state | self._average.arrays()

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        if self._optimizer is None:
            raise UsageError("call optimize() before load_optimizer_state()")
        arrays.check_state(self.tree, self.input, state)
        own = self._own(state)
        load_optimizer_state(self.module, self._optimizer, own)
        self._average.load(own)
