"""Training in several processes that torchrun started, on one machine or many.

Each process holds the whole network and computes its share of every batch; PyTorch's DistributedDataParallel adds up
the gradients. With a list of devices, each process has the whole batch and one tower of the network instead. Batches
and augmentation are the same as in a single process. Only the first process writes files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from neoclassic.base.errors import UsageError
from neoclassic.engines import towers


@dataclass(frozen=True)
class World:
    """This process's place among the others.

    rank, size  its number, from 0, and how many there are
    local       its number among the processes of its machine
    restarts    how often torchrun has restarted all of them
    divided     whether the network is divided among them, not the batch
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    restarts: int = 0
    divided: bool = False

    @classmethod
    def here(cls) -> World:
        """From the environment variables that torchrun sets; a single process where there are none."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
        rank, size, local, restarts = (int(os.environ.get(name, name == "WORLD_SIZE")) for name in names)
        return cls(rank, size, local, restarts)

    def share(self, n: int) -> slice:
        """This process's images of a batch of n. UsageError for a batch with fewer images than processes."""
        if self.size == 1 or self.divided:
            return slice(None)
        if n < self.size:
            raise UsageError(f"a batch of {n} is too small for {self.size} processes: raise --batch-size, or use fewer")
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def seed(self, seed: int, step: int) -> int:
        """The seed of a training step: another for each share of the batch."""
        return ((0 if self.divided else self.rank) << 56) ^ (seed << 32) ^ step

    def join(self, engine: str, device: str) -> str:
        """Connect to the other processes and return the device for this one's engine. UsageError where that fails.

        Of a list of devices, which is returned as it is, each process takes the one of its rank.
        """
        if engine != "torch":
            raise UsageError(f"several processes train on the torch engine, not on {engine}: leave torchrun out")
        import torch

        from neoclassic.engines.torch import pick_device

        named = towers.names(device)
        own = pick_device(named[self.rank % len(named)])
        kind = own.type
        if kind not in ("cpu", "cuda"):
            raise UsageError(f"several processes train on cpu or cuda, not on {kind!r}: use --device cpu")
        if kind == "cuda":
            own = own if self.divided else torch.device("cuda", self.local)
            torch.cuda.set_device(own)
        if not torch.distributed.is_initialized():
            # torchrun's store survives a lost process: without a prefix, a restart would read the dead run's keys
            store, rank, size = next(torch.distributed.rendezvous("env://"))
            store = torch.distributed.PrefixStore(f"attempt {self.restarts}", store)
            backend = "nccl" if kind == "cuda" else "gloo"
            torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
        return device if self.divided else str(own)

    def total(self, values: list[float], device: str) -> list[float]:
        """The sum of each value over all processes, which wait for each other here."""
        if self.size == 1 or self.divided:
            return values
        import torch

        tensor: Any = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(tensor)
        totals: list[float] = tensor.tolist()
        return totals
