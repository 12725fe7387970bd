"""The torch engine: training and prediction with the modules of a tree."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError, unknown
from neoclassic.engines import weights as arrays
from neoclassic.engines.contract import OPTIMIZERS, Array, Gradients, Metrics, Optimizer, Weights
from neoclassic.engines.torch.devices import compiles, pick_device, place_compiled
from neoclassic.engines.torch.modules import Dropout, apart, build, hurry, load, on_cuda, sync_norms
from neoclassic.engines.torch.processor import NARROW, give_memory_back, keep_memory
from neoclassic.measure import Shape, measure
from neoclassic.tree import Node, walk

KEPT = 32  # steps for which memory is kept, at first fewer: its gaps would become more and more


class TorchEngine:
    """The contract of `engines.contract.Engine`, kept by PyTorch. float32, or float64 where the weights are.

    bfloat16: convolutions and matrix products of training steps in bfloat16, by autocast; `logits` stays float32.
    compiled: training steps through torch.compile. On CUDA, steps are captured once and replayed.
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
        self._wide = torch.float32 if self._device.type == "mps" else torch.float64
        module = build(tree, input)
        plain = self._device.type == "cpu" and _narrow(module, bfloat16)
        self._layout = torch.contiguous_format if plain else torch.channels_last
        self.module = module.to(self._device, self.dtype, memory_format=self._layout)
        hurry(self.module, tree)
        self._forward: Callable[[Tensor], Tensor | tuple[Tensor, ...]] = self.module
        if compiled:
            if not compiles(self._device):
                needs = "a C++ compiler (g++, or what CXX names)" if self._device.type == "cpu" else "Triton"
                raise UsageError(f"compiling needs {needs}, and there is none here: install it, or use --compile off")
            place_compiled()
            self._forward = torch.compile(self.module)
        elif self._device.type == "cuda" and compiles(self._device):
            reason = on_cuda(self.module, self._device, fused=bfloat16)
            if reason:
                warnings.warn(f"this GPU will be slower, as Triton does not work here: {reason}", stacklevel=2)
        self._bfloat16 = bfloat16
        small = bfloat16 or measure(tree, input).memory(256).training < 1 << 28  # the gaps that stay free are not
        self._keeps = small and self._device.type == "cpu"
        self._kept, self._taken = False, 0  # memory since it was last given back; steps
        self._processes = 1
        self._auxiliary = [node.weight for _, node in walk(tree) if isinstance(node, nodes.Auxiliary)]
        self._dropouts = {path: m for path, m in self.module.named_modules() if isinstance(m, Dropout)}
        self._generator = torch.Generator(self._device)
        self._rule: Optimizer | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._standing: list[nn.Module] = []  # batch norms that are frozen
        self._process = os.getpid()
        self._replays: dict[object, Replay] | None = None
        self._averages: dict[str, Tensor] = {}
        self._followed: list[Tensor] = []  # what they are the averages of
        self._averaged = 0
        self._n = 0
        self._loss_sum = torch.zeros((), device=self._device, dtype=self._wide)
        self._correct = torch.zeros((), device=self._device, dtype=torch.int64)
        self.load(weights)

    def join(self) -> None:
        """Train as one of the processes of torch.distributed, each with its part of every batch. Before `optimize`."""
        self._processes = torch.distributed.get_world_size()
        apart(self.module)
        sync_norms(self.module)

    def put(self, array: Array) -> Tensor:
        array = np.ascontiguousarray(array)
        if not array.flags.writeable:  # of a map of a file, say; torch would warn
            array = array.copy()
        return torch.from_numpy(array).to(self._device, non_blocking=True)

    def _settle(self) -> None:
        """In a forked child, where torch's threads of the parent are not, it would wait for them: one has to do."""
        if os.getpid() != self._process:
            torch.set_num_threads(1)
            self._process = os.getpid()

    def holds(self, nbytes: int) -> bool:
        if self._device.type == "cuda":
            return bool(nbytes < torch.cuda.mem_get_info(self._device)[0] / 2)
        return self._device.type != "cpu" and nbytes < 1 << 31

    def _exact(self) -> AbstractContextManager[Any]:
        """float32 as it is: cuDNN would round the factors of convolutions to the 10 bits of TF32."""
        if self._device.type == "cuda":
            flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            return flags
        return nullcontext()

    def _put(self, array: Array | Tensor) -> Tensor:
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor.long()

    def _images(self, array: Array | Tensor) -> Tensor:
        self._settle()
        images = self._put(array).contiguous(memory_format=self._layout)
        if images.shape[1] == 1:  # strides that may mean either layout: with these LeNet's step is a quarter shorter
            images = images.squeeze(1).unsqueeze(1)
        return images

    def _state(self) -> dict[str, Tensor]:
        """Parameters and statistics, themselves."""
        return {k: v for k, v in self.module.state_dict().items() if not k.endswith("num_batches_tracked")}

    def weights(self) -> Weights:
        return {k: _array(v) for k, v in self._state().items()}

    def load(self, weights: Mapping[str, Array]) -> None:
        arrays.check(self.tree, self.input, weights)
        load(self.module, weights)

    # ── at test ──────────────────────────────────────────────────────────────────────────────────────

    def logits(self, images: Array, exact: bool = True) -> Array:
        if exact and self._kept:  # else float32 would come on top of it
            give_memory_back()
            self._kept = False
        self.module.eval()
        with torch.inference_mode(), self._exact():
            x = self._images(images)
            if exact or self._replays is None:
                return _array(self._look(x, exact))
            look = self._replays.setdefault(("look", x.shape), Replay(self._look, self._generator))
            return _array(look(x))

    def _look(self, images: Tensor, exact: bool = False) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16 and not exact):
            logits: Tensor = self.module(images)
            return logits

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        modules = dict(self.module.named_modules())
        with ExitStack() as hooks:
            for path in paths:
                if path not in modules:
                    raise UsageError(f"no layer {path!r} in this network: 'neoclassic show' lists its paths")
                hooks.enter_context(
                    modules[path].register_forward_hook(lambda _m, _x, y, path=path: found.update({path: _array(y)}))
                )
            self.logits(images)
        return found

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        found: list[Tensor] = []

        def tap(_module: nn.Module, _x: object, y: Tensor) -> Tensor:
            found.append(y.requires_grad_() if y.is_leaf else y)
            return found[0]

        module = dict(self.module.named_modules()).get(path)
        if module is None:
            raise UsageError(f"no layer {path!r} in this network: 'neoclassic show' lists its paths")
        self.module.eval()
        with torch.enable_grad(), self._exact():
            hook = module.register_forward_hook(tap)
            try:
                total = (self.module(self._images(images)) * self._put(weights)).sum()
            finally:
                hook.remove()
            if not found:
                raise UsageError(f"{path!r} runs in training only")
            (gradient,) = torch.autograd.grad(total, found[0])
        return _array(found[0]), _array(gradient)

    # ── in training ──────────────────────────────────────────────────────────────────────────────────

    def _loss(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The total loss to differentiate, the main head's mean loss, and its logits."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            outputs = self._forward(images)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        logits, *side = (each.to(self.dtype) for each in outputs)  # cross_entropy would else round to bfloat16
        main = total = functional.cross_entropy(logits, target)
        for weight, auxiliary in zip(self._auxiliary, side, strict=True):
            total = total + weight * functional.cross_entropy(auxiliary, target)
        return total, main, logits

    def _mask(self, masks: Mapping[str, Array] | None) -> None:
        if not self.module.training:
            self.module.train()
            for norm in self._standing:
                norm.eval()
        for path, dropout in self._dropouts.items():
            dropout.generator = self._generator
            dropout.mask = self._put(masks[path]) if masks else None

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        self.module.zero_grad()
        self._mask(masks)
        with self._exact():
            total, _, logits = self._loss(self._images(images), self._put(labels))
            total.backward()
        found = {k: _array(p.grad) for k, p in self.module.named_parameters() if p.grad is not None}
        self.module.zero_grad()
        return Gradients(total.item(), _array(logits), found)

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        if self._keeps:
            keep_memory()
        self._optimizer = torch_optimizer(self.module, optimizer, rates or {}, self._device)
        still = arrays.frozen_norms(self.tree, {key for key, rate in (rates or {}).items() if not rate})
        self._standing = [self.module.get_submodule(path) for path in sorted(still)]
        self.module.eval()  # the next step puts it into training, all but these
        if self._processes > 1:  # made here, as it learns from the parameters which of them are trained
            self._forward = nn.parallel.DistributedDataParallel(self.module)
        self._rule, self._averaged = optimizer, 0
        self._averages = {k: v.clone() for k, v in self._state().items()} if optimizer.average else {}
        self._followed = list(self._state().values())
        self._replays = (
            {} if self._device.type == "cuda" and optimizer.name != "adagrad" and self._processes == 1 else None
        )

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
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate * group["scale"])
            else:
                group["lr"] = learning_rate * group["scale"]
        batch, target = self._images(images), self._put(labels)
        self._mask(masks)
        with self._exact():
            if self._replays is None or masks:
                self._update(batch, target)
            else:
                replay = self._replays.setdefault((batch.shape, target.shape), Replay(self._update, self._generator))
                replay(batch, target)
        self._n += len(target)
        self._kept, self._taken = self._keeps, self._taken + 1
        if self._keeps and (self._taken % KEPT == 0 or self._taken.bit_count() == 1):
            give_memory_back()
        if self._averages:
            self._averaged += 1
            keeps = self._rule.keeps(self._averaged)
            with torch.no_grad():
                torch._foreach_lerp_(list(self._averages.values()), self._followed, 1 - keeps)

    def _update(self, images: Tensor, target: Tensor) -> None:
        """What a step does where the engine computes: nothing of it waits for the host."""
        assert self._optimizer is not None
        assert self._rule is not None
        self._optimizer.zero_grad(set_to_none=not self._keeps)  # where they stay they leave no gaps
        total, main, logits = self._loss(images, target)
        if self._processes > 1:  # the mean of the processes' gradients is that of the batch, were their parts unequal
            whole = torch.tensor(float(len(target)), device=self._device)
            torch.distributed.all_reduce(whole)
            total = total * len(target) * self._processes / whole
        total.backward()
        if self._rule.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self._rule.clip)
        self._optimizer.step()
        with torch.no_grad():
            self._loss_sum += main.detach().to(self._wide) * len(target)
            self._correct += (logits.argmax(1) == (target.argmax(1) if target.ndim == 2 else target)).sum()

    def swap_average(self) -> None:
        state = self._state()
        with torch.no_grad():
            for key, average in self._averages.items():
                kept = state[key].clone()
                state[key].copy_(average)
                average.copy_(kept)

    def metrics(self) -> Metrics:
        metrics = Metrics(self._loss_sum.item(), int(self._correct.item()), self._n)
        self._loss_sum.zero_()
        self._correct.zero_()
        self._n = 0
        return metrics

    def optimizer_state(self) -> Weights:
        state = self._optimizer.state if self._optimizer else {}
        names = self.module.named_parameters()
        found = {f"{k}.{slot}": _array(v) for k, p in names for slot, v in state.get(p, {}).items() if v is not None}
        if self._averages:
            found |= {f"{k}.average": _array(v) for k, v in self._averages.items()}
            found["average.step"] = np.array(self._averaged, np.float32)
        return found

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        if self._optimizer is None:
            raise UsageError("call optimize() before load_optimizer_state()")
        parameters = dict(self.module.named_parameters())
        self._averaged = int(state.get("average.step", 0))
        for key, array in state.items():
            name, _, slot = key.rpartition(".")
            tensor = torch.from_numpy(np.array(array))
            if slot == "average":
                self._averages[name].copy_(tensor)
            elif key != "average.step":
                where = parameters[name]
                kept = tensor if slot == "step" else torch.empty_like(where).copy_(tensor)
                self._optimizer.state[where][slot] = kept.to(where.device)


def _narrow(module: nn.Module, bfloat16: bool) -> bool:
    """Whether a processor takes longer were the channels last, as there are so few: ten times for batch norm."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d) and each.num_features < NARROW:
            return True
        if bfloat16 and isinstance(each, nn.Conv2d) and each.out_channels < NARROW:
            return True
    return False


class Replay:
    """A function of tensors of the same shapes: the first calls run it, the next one records it as a CUDA graph.

    The steps of a small network are shorter than the launches of their kernels; a replay launches them all at once.
    """

    WARM_UP = 3

    def __init__(self, function: Callable[..., Any], generator: torch.Generator) -> None:
        self.function, self.generator, self.calls = function, generator, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.output: Any = None  # of the function: every replay writes it anew

    def __call__(self, *inputs: Tensor) -> Any:
        self.calls += 1
        if self.calls <= self.WARM_UP:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                output = self.function(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            return output
        if self.graph is None:
            self.inputs = tuple(tensor.clone() for tensor in inputs)
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.generator)
            with torch.cuda.graph(self.graph):
                self.output = self.function(*self.inputs)
        for kept, given in zip(self.inputs, inputs, strict=True):
            kept.copy_(given)
        self.graph.replay()
        return self.output


def _array(tensor: Tensor) -> Array:
    """A copy on the host."""
    wide = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    array: Array = wide.cpu().numpy()
    return array.copy() if wide.device.type == "cpu" else np.ascontiguousarray(array)


def torch_optimizer(
    module: nn.Module, rule: Optimizer, rates: Mapping[str, float], device: torch.device
) -> torch.optim.Optimizer:
    """torch's own, with a group for each rate and weight decay; parameters whose rate is 0 are left out."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        rate = rates.get(name, 1.0)
        parameter.requires_grad_(rate > 0)
        if rate:
            decay = rule.weight_decay if rule.decay_all or parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    cuda = device.type == "cuda"
    lists: list[dict[str, Any]] = [
        {"params": p, "lr": torch.tensor(1.0, device=device) if cuda else 1.0, "weight_decay": decay, "scale": rate}
        for (rate, decay), p in groups.items()
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
