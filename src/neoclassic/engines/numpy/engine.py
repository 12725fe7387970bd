"""The NumPy engine: the engine contract, with NumPy alone.

All parameters are in one flat array (`parameters`), and so are the gradients of each thread and the state of the
optimizer (`update`). A batch is divided among the threads (`shares`). If they need not wait for each other, each
processes its images in chunks that stay in the cache (`training`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.engines import weights as arrays
from neoclassic.engines.contract import Array, Gradients, Metrics, Optimizer, Weights
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.build import build_program
from neoclassic.engines.numpy.fusing import fused
from neoclassic.engines.numpy.parameters import Parameters
from neoclassic.engines.numpy.program import Chunk, Program
from neoclassic.engines.numpy.shares import chunk_size, shares
from neoclassic.engines.numpy.team import Member, Team
from neoclassic.engines.numpy.training import Apply, Batch, TrainingPass, images_last
from neoclassic.engines.numpy.update import Update
from neoclassic.measure import Shape, by, measure
from neoclassic.tree import BatchNorm2d, Dropout, Node


class NumpyEngine:
    """The contract of `engines.contract.Engine`. Computes in float32, or in float64 if any weight is float64.

    threads: 0 means all usable cores. Equal calls give the same bytes for the same number of threads.
    """

    name = "numpy"
    device = "cpu"
    xp = np

    def __init__(self, tree: Node, input: Shape, weights: Mapping[str, Array], threads: int = 0) -> None:
        if threads < 0:
            raise UsageError(f"threads must be 1 or more, or 0 for all cores, not {threads}")
        self.tree, self.input = tree, input
        self.dtype = np.dtype(np.float64 if any(w.dtype == np.float64 for w in weights.values()) else np.float32)
        self._training, self._inference = (build_program(tree, input, training) for training in (True, False))
        self._team = Team(threads or cores())
        self._buffers = [Buffers(self.dtype) for _ in range(self._team.size)]
        self._buffers_for: tuple[object, ...] = ()
        self._classes = measure(tree, input).output[0]
        self._fused: Program | None = None  # of the present weights
        self._parameters = Parameters(arrays.shapes(tree, input), self._training, self._team.size, self.dtype)
        self.load(weights)
        self._update: Update | None = None
        self._metrics = Metrics(0.0, 0, 0)
        self._frozen: frozenset[str] = frozenset()

    def with_threads(self, threads: int) -> NumpyEngine:
        """Another engine with the same weights, which may run at the same time."""
        return NumpyEngine(self.tree, self.input, self._parameters.arrays, threads)

    def put(self, array: Array) -> Array:
        return array

    def holds(self, nbytes: int) -> bool:
        return False

    def join(self) -> None:
        raise UsageError("the numpy engine trains in one process: use --engine torch")

    # ── weights ──────────────────────────────────────────────────────────────────────────────────────

    def weights(self) -> Weights:
        return {key: array.copy() for key, array in self._parameters.arrays.items()}

    def load(self, weights: Mapping[str, Array]) -> None:
        arrays.check(self.tree, self.input, weights)
        for key, array in self._parameters.arrays.items():
            np.copyto(array, weights[key])
        self._fused = None

    # ── inference ────────────────────────────────────────────────────────────────────────────────────

    def logits(self, images: Array, exact: bool = True) -> Array:
        if self._fused is None:
            self._fused = fused(self._inference, self._parameters.arrays)
        return self._infer(self._fused, images, [self._fused.heads[0][0]])[0]

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        paths = list(paths)
        program = build_program(self.tree, self.input, training=False, keep=paths)
        values = self._infer(program, images, [program.outputs[path] for path in paths])
        return dict(zip(paths, values, strict=True))

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        images = self._checked(images)
        program = build_program(self.tree, self.input, training=False, keep=[path], image_gradient=True)
        number, logits = program.outputs[path], program.heads[0][0]
        start = next((end for end, i in enumerate(program.instructions, 1) if i.output == number), 0)
        after = replace(program, instructions=program.instructions[start:])

        def work(member: Member) -> tuple[Array, Array]:
            new = Buffers(self.dtype)
            chunk = Chunk(self._parameters.arrays, member, new)
            values, tape = program.forward(chunk, images_last(images), taped=True)
            gradients = {logits: np.array(weights.T, self.dtype)}
            after.backward(tape[start:], gradients, new, lambda _instruction, _key, _dw: None)
            gradient = gradients.get(number, np.zeros_like(values[number]))
            return _images_first(values[number]), _images_first(gradient)

        return self._team.run(work, 1)[0]

    def _infer(self, program: Program, images: Array, numbers: list[int]) -> list[Array]:
        """The values with these numbers, N×…. A large batch is processed in slices."""
        images = self._checked(images)
        if not len(images):
            raise UsageError("no images: the batch is empty")
        results = []
        size = chunk_size(program) * self._team.size if program.synchronises else len(images)
        for start in range(0, len(images), size):
            results += self._run(program, images[start : start + size], numbers)
        return [np.concatenate([values[i] for values in results]) for i in range(len(numbers))]

    def _run(self, program: Program, images: Array, numbers: list[int]) -> list[list[Array]]:
        chunks = shares(program, len(images), self._team.size)
        self._prepare_buffers("inference", max(stop - start for share in chunks for start, stop in share))

        def work(member: Member) -> list[list[Array]]:
            results = []
            for start, stop in chunks[member.rank]:
                chunk = Chunk(self._parameters.arrays, member, self._buffers[member.rank])
                values, _ = program.forward(chunk, images_last(images[start:stop]))
                results.append([_images_first(values[number]) for number in numbers])
            return results

        return [result for results in self._team.run(work, len(chunks)) for result in results]

    def _checked(self, images: Array) -> Array:
        if tuple(images.shape[1:]) != tuple(self.input):
            raise UsageError(f"the network takes images of {by(self.input)}, not {by(images.shape[1:])}")
        return np.asarray(images, self.dtype)

    def _prepare_buffers(self, *use: object) -> None:
        """Release the buffers if they were made for another mode or batch size."""
        if use != self._buffers_for:
            for buffers in self._buffers:
                buffers.clear()
            self._buffers_for = use

    # ── training ─────────────────────────────────────────────────────────────────────────────────────

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        losses, logits = self._pass(images, labels, seed, masks, lambda block: None)
        parameters = self._parameters
        trained = [key for key in parameters.shapes if key in parameters.slices and key not in self._frozen]
        gradients = {key: parameters.views[0][key].copy() for key in trained}
        loss = sum(weight * total for (_, weight), total in zip(self._training.heads, losses, strict=True))
        return Gradients(float(loss) / len(images), logits, gradients)

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        rates = rates or {}
        self._update = Update(optimizer, self._parameters, rates)
        self._frozen = frozenset(key for key, rate in rates.items() if not rate)
        frozen_norms = arrays.frozen_norms(self.tree, self._frozen)
        self._training = build_program(self.tree, self.input, training=True, frozen_norms=frozen_norms)
        self._buffers_for = ()  # they were made for another program
        self._parameters.clear_gradients(self._frozen)

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        if self._update is None:
            raise UsageError("call optimize() before the first step()")
        apply = self._update.start_step(learning_rate)
        losses, logits = self._pass(images, labels, seed, masks, apply, self._update.optimizer.clip)
        self._update.averages.update()
        correct = int((logits.argmax(1) == (labels.argmax(1) if np.ndim(labels) == 2 else labels)).sum())
        m = self._metrics
        self._metrics = Metrics(m.loss_sum + losses[0], m.correct + correct, m.n + len(images))

    def _pass(
        self,
        images: Array,
        labels: Array,
        seed: int,
        masks: Mapping[str, Array] | None,
        apply: Apply,
        clip: float = 0.0,
    ) -> tuple[list[float], Array]:
        images, labels = self._checked(images), np.asarray(labels)
        self._check_batch(images, labels)
        self._fused = None
        batch = Batch(images, labels, self._masks(len(images), seed) if masks is None else masks)
        self._prepare_buffers("training", len(images))
        training = TrainingPass(self._training, self._parameters, self._team, self._buffers, self._frozen)
        return training.run(batch, self._classes, apply, clip)

    def _check_batch(self, images: Array, labels: Array) -> None:
        N = len(images)
        if labels.shape not in ((N,), (N, self._classes)) or not N:
            raise UsageError(
                f"{N} images and labels of shape {labels.shape}: give one label per image, and at least one image"
            )
        if labels.ndim == 1 and (labels.min() < 0 or labels.max() >= self._classes):
            raise NeoclassicError(
                f"labels run from {labels.min()} to {labels.max()}; the network has {self._classes} classes"
            )
        single = [
            i.path
            for i in self._training.instructions
            if isinstance(i.node, BatchNorm2d) and not i.frozen and prod(i.shape[1:]) * N == 1
        ]
        if single:
            raise NeoclassicError(
                f"{single[0]}: batch norm needs more than one value per channel: use a batch of at least 2"
            )

    def _masks(self, N: int, seed: int) -> Weights:
        """The kept units of the whole batch, drawn at once so that they do not depend on the chunks."""
        return {
            i.path: np.random.default_rng([seed, zlib.crc32(i.path.encode())]).random((N, *i.shape), np.float32)
            >= i.node.p
            for i in self._training.instructions
            if isinstance(i.node, Dropout)
        }

    def swap_average(self) -> None:
        if self._update is not None:
            self._update.averages.swap()
            self._fused = None

    def metrics(self) -> Metrics:
        metrics, self._metrics = self._metrics, Metrics(0.0, 0, 0)
        return metrics

    def optimizer_state(self) -> Weights:
        return {} if self._update is None else self._update.state()

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        if self._update is None:
            raise UsageError("call optimize() before load_optimizer_state()")
        arrays.check_state(self.tree, self.input, state)
        self._update.load_state(state)


def _images_first(x: Array) -> Array:
    """A copy with the images first."""
    return np.moveaxis(x, -1, 0).copy()
