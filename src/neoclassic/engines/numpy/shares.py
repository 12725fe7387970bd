"""How a batch, and an update, are divided among the threads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from neoclassic.engines.numpy.program import Program
from neoclassic.engines.numpy.team import Member

CHUNK = 1 << 21  # numbers in the widest layer of a chunk in training
INFERENCE = 1 << 22  # the same in inference, where matrix products of more images gain more than the cache
BLOCK = 1 << 15  # parameters that are updated at a time


def chunk_size(program: Program) -> int:
    """Images per chunk: few enough for the cache, or in inference for the memory, but at least 4, as each chunk reads
    all weights."""
    return max(4, (CHUNK if program.training else INFERENCE) // program.widest)


def shares(program: Program, N: int, threads: int) -> list[list[tuple[int, int]]]:
    """For each member of the team, its chunks of N images as (start, stop).

    If the members have to wait for each other in the program, each takes all its images in one chunk."""
    members = min(threads, N)
    result = []
    for rank in range(members):
        start, stop = N * rank // members, N * (rank + 1) // members
        chunks = 1 if program.synchronises else -(-(stop - start) // chunk_size(program))
        cuts = [start + (stop - start) * i // chunks for i in range(chunks + 1)]
        result.append(list(pairwise(cuts)))
    return result


def blocks(member: Member, start: int, stop: int) -> Iterator[slice]:
    """This member's part of the flat arrays between two positions, block by block."""
    part = member.part(stop - start)
    for block in range(start + part.start, start + part.stop, BLOCK):
        yield slice(block, min(block + BLOCK, start + part.stop))
