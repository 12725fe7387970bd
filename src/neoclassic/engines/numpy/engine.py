"""The NumPy engine: the contract kept with NumPy alone, from scratch.

Every parameter lives in one flat array, and so do every thread's gradients and every memory of the optimizer: the
weights by path are views of it, and an update is a few operations on long lines. A batch is split over the threads;
where nothing forces the threads to meet, each takes its share in chunks that stay in the processor's cache.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from math import prod, sqrt

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.engines import weights as arrays
from neoclassic.engines.contract import Array, Gradients, Metrics, Optimizer, Weights
from neoclassic.engines.numpy import optimizers
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.loss import cross_entropy
from neoclassic.engines.numpy.normalisation import Moments
from neoclassic.engines.numpy.program import Chunk, Instruction, Program, flattened
from neoclassic.engines.numpy.team import Member, Team
from neoclassic.measure import Shape, by, measure
from neoclassic.tree import BatchNorm2d, Dropout, Node, join

CHUNK = 1 << 21  # numbers in the widest layer of a chunk
BLOCK = 1 << 15  # parameters that are updated at a time


class NumpyEngine:
    """The contract of `engines.contract.Engine`. float32, or float64 where the weights are.

    threads: 0 means the usable cores. Results are the same bytes for the same number of threads.
    """

    name = "numpy"
    device = "cpu"
    xp = np

    def __init__(self, tree: Node, input: Shape, weights: Mapping[str, Array], threads: int = 0) -> None:
        if threads < 0:
            raise UsageError(f"threads must be 1 or more, or 0 for all cores, not {threads}")
        self.tree, self.input = tree, input
        self.dtype = np.dtype(np.float64 if any(w.dtype == np.float64 for w in weights.values()) else np.float32)
        self._training, self._inference = (flattened(tree, input, training) for training in (True, False))
        self._team = Team(threads or cores())
        self._buffers = [Buffers(self.dtype) for _ in range(self._team.size)]
        self._buffered: tuple[object, ...] = ()
        self._classes = measure(tree, input).output[0]
        self._lay_out()
        self.load(weights)
        self._rule: Optimizer | None = None
        self._t = 0
        self._slots: dict[str, Array] = {}
        self._rates: Array | None = None
        self._decays: Array | None = None
        self._averages: Weights = {}
        self._averaged = 0
        self._metrics = Metrics(0.0, 0, 0)
        self._frozen: frozenset[str] = frozenset()

    def _lay_out(self) -> None:
        """One line for all parameters; last those whose gradient the team shares."""
        shapes = arrays.shapes(self.tree, self.input)
        together = {key for i in self._training.instructions if i.together for key in i.parameters}
        trained = dict.fromkeys(key for i in self._training.instructions for key in i.parameters)
        keys = sorted(trained, key=lambda key: key in together)  # a set's order would differ between processes
        ends = np.cumsum([0, *(prod(shapes[key]) for key in keys)])
        self._places = {key: slice(*bounds) for key, bounds in zip(keys, pairwise(ends.tolist()), strict=True)}
        self._shapes = shapes
        total, own = int(ends[-1]), sum(prod(shapes[key]) for key in keys if key not in together)
        self._own = own
        self._flat = np.empty(total, self.dtype)
        self._gradients = [np.empty(own if rank else total, self.dtype) for rank in range(self._team.size)]
        self._views = [
            {key: self._view(g, key) for key in keys if rank == 0 or key not in together}
            for rank, g in enumerate(self._gradients)
        ]
        self._weights = {
            key: self._view(self._flat, key) if key in self._places else np.empty(shape, self.dtype)
            for key, shape in shapes.items()
        }

    def _view(self, flat: Array, key: str) -> Array:
        return flat[self._places[key]].reshape(self._shapes[key])

    def put(self, array: Array) -> Array:
        return array

    def holds(self, nbytes: int) -> bool:
        return False

    def join(self) -> None:
        raise UsageError("the numpy engine trains in one process: use --engine torch")

    # ── weights ──────────────────────────────────────────────────────────────────────────────────────

    def weights(self) -> Weights:
        return {key: w.copy() for key, w in self._weights.items()}

    def load(self, weights: Mapping[str, Array]) -> None:
        arrays.check(self.tree, self.input, weights)
        for key, w in self._weights.items():
            np.copyto(w, weights[key])

    # ── at test ──────────────────────────────────────────────────────────────────────────────────────

    def logits(self, images: Array, exact: bool = True) -> Array:
        return self._infer(self._inference, images, [self._inference.heads[0][0]])[0]

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        paths = list(paths)
        program = flattened(self.tree, self.input, training=False, keep=paths)
        found = self._infer(program, images, [program.outputs[path] for path in paths])
        return dict(zip(paths, found, strict=True))

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        images = self._checked(images)
        program = flattened(self.tree, self.input, training=False, keep=[path], to_images=True)
        number, logits = program.outputs[path], program.heads[0][0]
        start = next((at for at, i in enumerate(program.instructions, 1) if i.output == number), 0)
        behind = replace(program, instructions=program.instructions[start:])

        def work(member: Member) -> tuple[Array, Array]:
            new = Buffers(self.dtype)
            values, tape = program.forward(Chunk(self._weights, member, new), _images_last(images), taped=True)
            gradients = {logits: np.array(weights.T, self.dtype)}
            behind.backward(tape[start:], gradients, new, lambda _instruction, _key, _dw: None)
            found = values[number], gradients.get(number, np.zeros_like(values[number]))
            features, gradient = (np.moveaxis(value, -1, 0).copy() for value in found)
            return features, gradient

        return self._team.run(work, 1)[0]

    def _infer(self, program: Program, images: Array, wanted: list[int]) -> list[Array]:
        """The wanted values, N×…; many images are worked through slice by slice."""
        images = self._checked(images)
        if not len(images):
            raise UsageError("no images: the batch is empty")
        slices = []
        chunk = _chunk(program)
        size = chunk * self._team.size if program.meets else len(images)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            self._prepare_buffers("inference", min(len(part), chunk))
            slices += self._run(program, part, wanted)
        return [np.concatenate([values[i] for values in slices]) for i in range(len(wanted))]

    def _run(self, program: Program, images: Array, wanted: list[int]) -> list[list[Array]]:
        shares = _shares(program, len(images), self._team.size)

        def work(member: Member) -> list[list[Array]]:
            found = []
            for start, stop in shares[member.rank]:
                chunk = Chunk(self._weights, member, self._buffers[member.rank])
                values, _ = program.forward(chunk, _images_last(images[start:stop]))
                found.append([np.moveaxis(values[i], -1, 0).copy() for i in wanted])
            return found

        return [chunk for found in self._team.run(work, len(shares)) for chunk in found]

    def _checked(self, images: Array) -> Array:
        if tuple(images.shape[1:]) != tuple(self.input):
            raise UsageError(f"the network takes images of {by(self.input)}, not {by(images.shape[1:])}")
        return np.asarray(images, self.dtype)

    def _prepare_buffers(self, *use: object) -> None:
        """Buffers are kept as long as the same shapes come."""
        if use != self._buffered:
            for buffers in self._buffers:
                buffers.clear()
            self._buffered = use

    # ── in training ──────────────────────────────────────────────────────────────────────────────────

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        losses, logits = self._pass(images, labels, seed, masks, lambda part: None)
        trained = [key for key in self._shapes if key in self._places and key not in self._frozen]
        found = {key: self._view(self._gradients[0], key).copy() for key in trained}
        loss = sum(weight * total for (_, weight), total in zip(self._training.heads, losses, strict=True))
        return Gradients(float(loss) / len(images), logits, found)

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        self._slots = {slot: np.zeros_like(self._flat) for slot in optimizers.slots_of(optimizer)}
        self._rule, self._t, self._averaged = optimizer, 0, 0
        self._freeze({key for key, rate in (rates or {}).items() if not rate})
        self._rates = self._line({key: (rates or {}).get(key, 1.0) for key in self._places}, 1.0)
        every = optimizer.weight_decay
        decays = {key: every * (optimizer.decay_all or len(self._shapes[key]) > 1) for key in self._places}
        self._decays = self._line(decays, every)
        self._averages = {name: w.copy() for name, w in self._lines().items()} if optimizer.average else {}

    def _freeze(self, keys: Iterable[str]) -> None:
        """What has no gradient, and the batch norms that use their running statistics as they are."""
        self._frozen = frozenset(keys)
        still = arrays.standing(self.tree, self._frozen)
        self._training = flattened(self.tree, self.input, training=True, standing=still)
        self._buffered = ()  # made for another program
        for views in self._views:
            for key in self._frozen & views.keys():
                views[key][...] = 0

    def _line(self, values: Mapping[str, float], usual: float) -> Array | None:
        """A number for each parameter, spread over the flat array; None where all are the usual one."""
        if all(value == usual for value in values.values()):
            return None
        line = np.empty_like(self._flat)
        for key, value in values.items():
            line[self._places[key]] = value
        return line

    def _lines(self) -> Weights:
        """Every array that is averaged: all parameters as one, and each statistic."""
        return {"": self._flat} | {key: w for key, w in self._weights.items() if key not in self._places}

    def swap_average(self) -> None:
        for name, average in self._averages.items():
            w = self._lines()[name]
            average[...], w[...] = w.copy(), average.copy()

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        if self._rule is None:
            raise UsageError("call optimize() before the first step()")
        rule, update, self._t = self._rule, optimizers.RULES[self._rule.name][0], self._t + 1

        def apply(part: slice) -> None:
            slots = {name: slot[part] for name, slot in self._slots.items()}
            rate = learning_rate if self._rates is None else learning_rate * self._rates[part]
            decay = rule.weight_decay if self._decays is None else self._decays[part]
            update(rule, rate, decay, self._t, self._flat[part], self._gradients[0][part], slots)

        losses, logits = self._pass(images, labels, seed, masks, apply, rule.clip)
        if rule.average:
            self._averaged += 1
            for name, w in self._lines().items():
                self._averages[name] += (w - self._averages[name]) * self.dtype.type(1 - rule.keeps(self._averaged))
        right = int((logits.argmax(1) == (labels.argmax(1) if np.ndim(labels) == 2 else labels)).sum())
        m = self._metrics
        self._metrics = Metrics(m.loss_sum + losses[0], m.correct + right, m.n + len(images))

    def _pass(
        self,
        images: Array,
        labels: Array,
        seed: int,
        masks: Mapping[str, Array] | None,
        apply: Callable[[slice], None],
        clip: float = 0.0,
    ) -> tuple[list[float], Array]:
        """Forward, loss and backward of one batch; the sum of the losses of each head, and the main logits.

        The gradients of all threads end in the first one's; `apply` is called for every block of them.
        """
        program, images, labels = self._training, self._checked(images), np.asarray(labels)
        self._check_batch(images, labels)
        masks = self._masks(len(images), seed) if masks is None else masks
        shares = _shares(program, len(images), self._team.size)
        self._prepare_buffers("training", len(images))
        logits_NK = np.empty((len(images), self._classes), self.dtype)

        def work(member: Member) -> list[float]:
            new, losses, seen = self._buffers[member.rank], [0.0] * len(program.heads), set[str]()

            def take(instruction: Instruction, key: str, dw: Array) -> None:
                if key in self._frozen:
                    return
                if instruction.together:
                    self._views[0][key][member.part(len(self._weights[key]))] = dw
                elif key in seen:
                    self._views[member.rank][key] += dw
                else:
                    seen.add(key)
                    self._views[member.rank][key][...] = dw

            for start, stop in shares[member.rank]:
                mine = {path: mask[start:stop] for path, mask in masks.items()}
                chunk = Chunk(self._weights, member, new, mine)
                values, tape = program.forward(chunk, _images_last(images[start:stop]))
                grads: dict[int, Array] = {}
                for h, (number, weight) in enumerate(program.heads):
                    losses_N, dlogits = cross_entropy(values[number], labels[start:stop])
                    dlogits *= weight / len(images)
                    losses[h] += float(losses_N.sum())
                    grads[number] = dlogits
                logits_NK[start:stop] = values.pop(program.heads[0][0]).T
                values.clear()
                program.backward(tape, grads, new, take)
            if member.rank == 0:
                self._move_statistics(chunk.moments)
            member.share(None)
            self._gather(member, apply, clip)
            return losses

        losses = self._team.run(work, len(shares))
        return [sum(head) for head in zip(*losses, strict=True)], logits_NK

    def _gather(self, member: Member, apply: Callable[[slice], None], clip: float) -> None:
        """Add the threads' gradients up in the first one's and apply them, block by block; clipped, when all are there.

        g ← g · min(1, clip / ‖g‖).   Pascanu, Mikolov & Bengio 2013, arXiv 1211.5063.
        """
        g, blocks = self._gradients[0], list(_blocks(member, self._own, len(self._flat)))
        for block in _blocks(member, 0, self._own):
            for other in self._gradients[1 : member.size]:
                g[block] += other[block]
            if clip:
                blocks.append(block)
            else:
                apply(block)
        if clip:
            norm = sqrt(sum(member.share(sum(float(np.vdot(g[block], g[block])) for block in blocks))))
        for block in blocks:
            if clip:
                g[block] *= min(1.0, clip / (norm + 1e-6))
            apply(block)

    def _check_batch(self, images: Array, labels: Array) -> None:
        N = len(images)
        if labels.shape not in ((N,), (N, self._classes)) or not N:
            raise UsageError(f"{N} images and labels of shape {labels.shape}: one label an image, and at least one")
        if labels.ndim == 1 and (labels.min() < 0 or labels.max() >= self._classes):
            raise NeoclassicError(
                f"labels run from {labels.min()} to {labels.max()}; the network has {self._classes} classes"
            )
        lone = [
            i.path
            for i in self._training.instructions
            if isinstance(i.node, BatchNorm2d) and not i.stands and prod(i.shape[1:]) * N == 1
        ]
        if lone:
            raise NeoclassicError(
                f"{lone[0]}: batch norm needs more than one value a channel: use a batch of at least 2"
            )

    def _masks(self, N: int, seed: int) -> Weights:
        """The kept units of the whole batch, so that the split into chunks does not matter."""
        return {
            i.path: np.random.default_rng([seed, zlib.crc32(i.path.encode())]).random((N, *i.shape), np.float32)
            >= i.node.p
            for i in self._training.instructions
            if isinstance(i.node, Dropout)
        }

    def _move_statistics(self, moments: Mapping[str, Moments]) -> None:
        """running ← (1 − momentum) · running + momentum · batch, with the unbiased variance."""
        for instruction in self._training.instructions:
            if isinstance(instruction.node, BatchNorm2d) and not instruction.stands:
                seen, momentum = moments[instruction.path], instruction.node.momentum
                batch = {"running_mean": seen.mean, "running_var": seen.squares / (seen.count - 1)}
                for name, value in batch.items():
                    running = self._weights[join(instruction.path, name)]
                    running *= 1 - momentum
                    running += momentum * value

    def metrics(self) -> Metrics:
        metrics, self._metrics = self._metrics, Metrics(0.0, 0, 0)
        return metrics

    def optimizer_state(self) -> Weights:
        if not self._t or self._rule is None:
            return {}
        state = {
            join(key, name): self._view(slot, key).copy() for name, slot in self._slots.items() for key in self._places
        }
        if optimizers.RULES[self._rule.name][2]:
            state |= {join(key, "step"): np.array(self._t, np.float32) for key in self._places}
        if self._rule.average:
            flat = self._averages[""]
            state |= {join(key, "average"): self._view(flat, key).copy() for key in self._places}
            state |= {join(key, "average"): w.copy() for key, w in self._averages.items() if key}
            state["average.step"] = np.array(self._averaged, np.float32)
        return state

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        if self._rule is None:
            raise UsageError("call optimize() before load_optimizer_state()")
        for name, slot in self._slots.items():
            slot[...] = 0
            for key in self._places:
                if join(key, name) in state:
                    self._view(slot, key)[...] = state[join(key, name)]
        for key, array in state.items():
            path = key.removesuffix(".average")
            if path != key:
                (self._view(self._averages[""], path) if path in self._places else self._averages[path])[...] = array
        self._averaged = int(state.get("average.step", 0))
        steps = [int(value) for key, value in state.items() if key.endswith(".step") and key != "average.step"]
        self._t = max(steps, default=int(bool(state)))


def _images_last(images_NCHW: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(images_NCHW, 0, -1))


def _chunk(program: Program) -> int:
    """Images of a chunk: so many that its widest layer stays in the cache, but some, as weights are read for each."""
    return max(4, CHUNK // program.widest)


def _shares(program: Program, N: int, threads: int) -> list[list[tuple[int, int]]]:
    """For each member of the team its chunks of N images, as (start, stop)."""
    members = min(threads, N)
    shares = []
    for rank in range(members):
        start, stop = N * rank // members, N * (rank + 1) // members
        chunks = 1 if program.meets else -(-(stop - start) // _chunk(program))
        cuts = [start + (stop - start) * i // chunks for i in range(chunks + 1)]
        shares.append(list(pairwise(cuts)))
    return shares


def _blocks(member: Member, start: int, stop: int) -> Iterator[slice]:
    """This member's part of the flat arrays between two places, block by block."""
    part = member.part(stop - start)
    for block in range(start + part.start, start + part.stop, BLOCK):
        yield slice(block, min(block + BLOCK, start + part.stop))
