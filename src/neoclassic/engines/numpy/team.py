"""A team of threads that run the same function, each on its own part of the batch, and wait for each other if needed.

NumPy releases the interpreter lock in its loops and matrix products, so plain threads are enough. The rank decides who
does what, and results are combined in order of rank, so equal runs give equal bytes. A forked child process has none
of its parent's threads and makes its own.
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
    """The place where the members of one run exchange values."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = Barrier(size)
        self.rounds: dict[int, list[Any]] = {}


class Member:
    """One thread of a run: number `rank` of `size`."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size = rank, meeting.size
        self._meeting, self._round = meeting, 0

    def share(self, value: Result) -> list[Result]:
        """The values of all members in order of rank. Waits until all have called it."""
        if self.size == 1:
            return [value]
        table = self._meeting.rounds.setdefault(self._round, [None] * self.size)
        table[self.rank] = value
        self._meeting.barrier.wait()
        self._meeting.rounds.pop(self._round - 1, None)  # all have read it: they have called `share` again
        self._round += 1
        return table

    def part(self, total: int) -> slice:
        """This member's part of `total` items."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)


class Team:
    """At most `size` threads, including the calling one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by process id: a child cannot use its parent's
        self._blas = ThreadpoolController().select(user_api="blas")

    def _others(self) -> ThreadPoolExecutor | None:
        """The other threads, made once per process."""
        if self.size == 1:
            return None
        if (process := os.getpid()) not in self._pools:
            self._pools[process] = ThreadPoolExecutor(self.size - 1, "neoclassic")
        return self._pools[process]

    def run(self, work: Callable[[Member], Result], members: int) -> list[Result]:
        """Run `work(member)` in `members` threads at once. Returns the results in order of rank.

        If some raise, the error of the lowest rank is raised here."""
        meeting = Meeting(members)

        def guarded(rank: int) -> Result:
            try:
                with np.errstate(all="ignore"):  # an overflow becomes inf or nan in the loss, which is checked
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
        if errors:  # a broken barrier is a consequence, not the cause
            raise min(errors, key=lambda error: isinstance(error, BrokenBarrierError))
        return outcomes  # type: ignore[return-value]
