"""What every campaign has: its time, its random numbers, a folder to work in, and the counts."""

from __future__ import annotations

import shutil
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Counts:
    """Of one kind of trial: how many were tried, and how many answered, were refused in one line, or failed."""

    answered: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def tried(self) -> int:
        """All of them."""
        return self.answered + self.refused + self.failed


@dataclass
class Session:
    """One campaign that is running.

    seconds  that it may take; `goes_on` is False after them
    seed     of everything random: a campaign with the same seed tries the same things in the same order
    work     a folder for what it writes, which is removed afterwards
    keep     a folder for inputs that fail
    figures  what else was measured, by kind
    """

    name: str
    seconds: float
    seed: int
    work: Path
    keep: Path
    counts: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode())])

    def goes_on(self) -> bool:
        """Whether there is time for another trial; there is for the first, however slow the machine is."""
        return not self.counts or time.monotonic() - self.started < self.seconds

    def answered(self, kind: str) -> None:
        """A trial of this kind ended as it should: the right answer, the same bytes."""
        self.counts[kind].answered += 1

    def refused(self, kind: str) -> None:
        """A trial of this kind was refused in one line that says what is wrong."""
        self.counts[kind].refused += 1

    def failed(self, kind: str, what: str, *files: Path, content: bytes | None = None) -> None:
        """A trial of this kind failed: say so, and keep the files, or the content, that show it."""
        self.counts[kind].failed += 1
        place = self.keep / self.name / f"{kind}-{self.counts[kind].failed}".replace("/", "-").replace(" ", "-")
        place.mkdir(parents=True, exist_ok=True)
        (place / "what.txt").write_text(f"seed {self.seed}, trial {self.counts[kind].tried}: {what}\n", "utf-8")
        for path in files:
            if path.is_dir():
                shutil.copytree(path, place / path.name, dirs_exist_ok=True)
            else:
                shutil.copy2(path, place / path.name)
        if content is not None:
            (place / "input").write_bytes(content)
        print(f"FAILED  {self.name}, {kind}: {what[:300]}  (kept in {place})", flush=True)


Campaign = Callable[[Session], None]


def idx_header(*shape: int) -> bytes:
    """The first bytes of an IDX file of unsigned bytes."""
    return bytes((0, 0, 8, len(shape))) + b"".join(side.to_bytes(4, "big") for side in shape)


def idx_file(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return idx_header(*values.shape) + values.astype(np.uint8).tobytes()


def minimised(content: bytes, fails: Callable[[bytes], bool], seconds: float = 20.0) -> bytes:
    """A shorter content that still fails, by delta debugging: Zeller & Hildebrandt 2002, "Simplifying and isolating
    failure-inducing input"."""
    end, parts = time.monotonic() + seconds, 2
    while len(content) > 1 and time.monotonic() < end:
        size = -(-len(content) // parts)
        for start in range(0, len(content), size):
            shorter = content[:start] + content[start + size :]
            if fails(shorter):
                content, parts = shorter, max(parts - 1, 2)
                break
        else:
            if parts >= len(content):
                break
            parts = min(2 * parts, len(content))
    return content


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy: bits flipped, bytes set, a piece cut out, doubled, zeroed or moved, or the end cut off."""
    data, n = bytearray(content), len(content)
    for _ in range(int(rng.geometric(0.5))):
        place, length = int(rng.integers(max(n, 1))), int(min(rng.geometric(0.02), 4096))
        match int(rng.integers(8)):
            case 0 | 1:
                data[place : place + 1] = bytes(b ^ (1 << int(rng.integers(8))) for b in data[place : place + 1])
            case 2:
                data[place : place + 1] = rng.choice([b"\x00", b"\xff", b"\x7f", b"\x80", b"0", b'"', b"\n"])
            case 3:
                del data[place : place + length]
            case 4:
                data[place:place] = data[place : place + length]
            case 5:
                data[place : place + length] = bytes(len(data[place : place + length]))
            case 6:
                other = int(rng.integers(max(n, 1)))
                data[place : place + length] = data[other : other + length]
            case _:
                del data[place:]
    return bytes(data)
