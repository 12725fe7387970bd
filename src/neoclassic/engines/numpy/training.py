"""Forward pass, loss and backward pass of one batch, divided among the threads, and the update from its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.loss import cross_entropy
from neoclassic.engines.numpy.normalisation import Moments
from neoclassic.engines.numpy.parameters import Parameters
from neoclassic.engines.numpy.program import AddGradient, Chunk, Instruction, Program
from neoclassic.engines.numpy.shares import blocks, shares
from neoclassic.engines.numpy.team import Member, Team
from neoclassic.tree import BatchNorm2d, join

Apply = Callable[[slice], None]  # updates a block of the flat parameters from the gradients of the first thread


@dataclass(frozen=True)
class Batch:
    """Images N×C×H×W, their labels (N integers, or targets N×classes), and for each dropout path the kept units."""

    images: Array
    labels: Array
    masks: Mapping[str, Array]


@dataclass(frozen=True)
class TrainingPass:
    """A training pass of a program on a team.

    buffers  one store for each thread
    frozen   keys of the parameters that get no gradient
    """

    program: Program
    parameters: Parameters
    team: Team
    buffers: list[Buffers]
    frozen: frozenset[str]

    def run(self, batch: Batch, classes: int, apply: Apply, clip: float = 0.0) -> tuple[list[float], Array]:
        """Run the pass. Returns the sum of the losses of each head, and the logits of the main head, N×classes.

        Afterwards, the gradients of the first thread are those of the whole batch. `apply` is called for each block of
        them; clip: see `Optimizer`.
        """
        N = len(batch.images)
        chunks = shares(self.program, N, self.team.size)
        logits_NK = np.empty((N, classes), self.parameters.flat.dtype)

        def work(member: Member) -> list[float]:
            moments: dict[str, Moments] = {}
            losses = self._differentiate(member, batch, chunks[member.rank], moments, logits_NK)
            if member.rank == 0:
                self._update_statistics(moments)
            member.share(None)
            self._update(member, apply, clip)
            return losses

        losses = self.team.run(work, len(chunks))
        return [sum(head) for head in zip(*losses, strict=True)], logits_NK

    def _differentiate(
        self,
        member: Member,
        batch: Batch,
        chunks: list[tuple[int, int]],
        moments: dict[str, Moments],
        logits_NK: Array,
    ) -> list[float]:
        """Compute the gradients of this member's images, chunk by chunk. Returns the sum of the losses of each head."""
        program, new, N = self.program, self.buffers[member.rank], len(batch.images)
        losses, add_gradient = [0.0] * len(program.heads), self._accumulator(member)
        for start, stop in chunks:
            masks = {path: mask[start:stop] for path, mask in batch.masks.items()}
            chunk = Chunk(self.parameters.arrays, member, new, masks, moments)
            values, tape = program.forward(chunk, images_last(batch.images[start:stop]))
            gradients: dict[int, Array] = {}
            for h, (number, weight) in enumerate(program.heads):
                losses_N, dlogits = cross_entropy(values[number], batch.labels[start:stop])
                dlogits *= weight / N
                losses[h] += float(losses_N.sum())
                gradients[number] = dlogits
            logits_NK[start:stop] = values.pop(program.heads[0][0]).T
            values.clear()
            program.backward(tape, gradients, new, add_gradient)
        return losses

    def _accumulator(self, member: Member) -> AddGradient:
        """A function that adds the gradients of each chunk to this member's own flat array."""
        seen, views = set[str](), self.parameters.views

        def add_gradient(instruction: Instruction, key: str, dw: Array) -> None:
            if key in self.frozen:
                return
            if instruction.team_wide:
                views[0][key][member.part(len(self.parameters.arrays[key]))] = dw
            elif key in seen:
                views[member.rank][key] += dw
            else:
                seen.add(key)
                views[member.rank][key][...] = dw

        return add_gradient

    def _update_statistics(self, moments: Mapping[str, Moments]) -> None:
        """running ← (1 − momentum) · running + momentum · batch, with the unbiased variance."""
        for instruction in self.program.instructions:
            if isinstance(instruction.node, BatchNorm2d) and not instruction.frozen:
                own, momentum = moments[instruction.path], instruction.node.momentum
                batch = {"running_mean": own.mean, "running_var": own.squares / (own.count - 1)}
                for name, value in batch.items():
                    running = self.parameters.arrays[join(instruction.path, name)]
                    running *= 1 - momentum
                    running += momentum * value

    def _update(self, member: Member, apply: Apply, clip: float) -> None:
        """Sum the gradients of all threads and apply them, block by block. Clipping needs all sums first.

        g ← g · min(1, clip / ‖g‖).   Pascanu, Mikolov & Bengio 2013, arXiv 1211.5063.
        """
        g, *others = self.parameters.gradients[: member.size]
        own = list(blocks(member, 0, self.parameters.own))
        team_wide = list(blocks(member, self.parameters.own, len(g)))
        for block in own:
            for other in others:
                g[block] += other[block]
            if not clip:
                apply(block)
        if not clip:
            for block in team_wide:
                apply(block)
            return
        clipped = team_wide + own
        norm = sqrt(sum(member.share(sum(float(np.vdot(g[block], g[block])) for block in clipped))))
        for block in clipped:
            g[block] *= min(1.0, clip / (norm + 1e-6))
            apply(block)


def images_last(images_NCHW: Array) -> Array:
    """N×C×H×W to C×H×W×N, contiguous."""
    return np.ascontiguousarray(np.moveaxis(images_NCHW, 0, -1))
