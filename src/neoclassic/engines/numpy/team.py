"""A few threads that run the same function, each on its own part of the batch, and meet where they must.

NumPy lets go of the interpreter lock inside its loops and its matrix products, so plain threads are enough.
Who does what is fixed by rank and results are combined in order of rank: equal runs give equal bytes. A forked child
has none of its parent's threads: it makes its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")


class Meeting:
    """Where the members of one run exchange values."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = Barrier(size)
        self.rounds: dict[int, list[Any]] = {}


class Member:
    """One thread's place in a run: `rank` of `size`."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size = rank, meeting.size
        self._meeting, self._round = meeting, 0

    def share(self, value: Result) -> list[Result]:
        """Everybody's value in order of rank. Waits until everybody has come to the same point."""
        if self.size == 1:
            return [value]
        table = self._meeting.rounds.setdefault(self._round, [None] * self.size)
        table[self.rank] = value
        self._meeting.barrier.wait()
        self._meeting.rounds.pop(self._round - 1, None)  # all have read it, or they would not be here
        self._round += 1
        return table

    def part(self, total: int) -> slice:
        """This member's part of `total` things."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)


class Team:
    """At most `size` threads, the calling one among them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by process; a parent's is kept, as it cannot be ended here
        self._blas = ThreadpoolController().select(user_api="blas")

    def _others(self) -> ThreadPoolExecutor | None:
        """The threads of this process."""
        if self.size == 1:
            return None
        if (process := os.getpid()) not in self._pools:
            self._pools[process] = ThreadPoolExecutor(self.size - 1, "neoclassic")
        return self._pools[process]

    def run(self, work: Callable[[Member], Result], members: int) -> list[Result]:
        """`work(member)` of so many members at once, in order of rank. The first error in order of rank is raised."""
        meeting = Meeting(members)

        def guarded(rank: int) -> Result:
            try:
                with np.errstate(all="ignore"):  # an overflow ends as inf or nan in the loss, which is looked at
                    return work(Member(rank, meeting))
            except BaseException:
                meeting.barrier.abort()
                raise

        with self._blas.limit(limits=max(1, self.size // members)):
            pool = self._others()
            others = [pool.submit(guarded, rank) for rank in range(1, members)] if pool else []
            outcomes: list[Result | BaseException] = []
            try:
                outcomes.append(guarded(0))
            except BaseException as error:
                outcomes.append(error)
            outcomes += [other.exception() or other.result() for other in others]
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:  # those who waited in vain are not the cause
            raise min(errors, key=lambda error: isinstance(error, BrokenBarrierError))
        return outcomes  # type: ignore[return-value]
