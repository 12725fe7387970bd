"""One server under attack: the counts, and the check that it is as it was."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.common import Session
from campaigns.serving.pictures import Pictures
from campaigns.serving.process import TIMEOUT, Server
from campaigns.serving.wire import HEALTH, Client

HEALTH_SECONDS = 5.0
SLACK = 5.0  # seconds that a loaded machine may add to a deadline
MEMORY = 200  # MB that a server may grow by
DESCRIPTORS = 8  # that may be open more than at the start, once all clients have left
IDLE = 5  # seconds that the server keeps a connection on which nothing is asked


@dataclass
class Attacker:
    """A session, the server that it attacks and the images that it asks about."""

    session: Session
    model: Path
    server: Server
    pictures: Pictures
    before: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = self.session.rng
        self.before = self.server.descriptors(), self.server.memory()

    def count(self, kind: str, problem: str, status: int = 200, content: bytes | None = None) -> None:
        """Count one trial: failed if there is a problem, else answered or refused by its status."""
        if problem:
            self.session.failed(kind, problem, content=content)
        elif 200 <= status < 400:
            self.session.answered(kind)
        else:
            self.session.refused(kind)

    def seconds(self, most: float) -> float:
        """How long one part of a round may take: less in a short session."""
        return min(most, max(1.0, self.session.seconds / 15))

    async def check(self) -> None:
        """The server answers, says nothing, writes nothing, and has let go of what it took."""
        self.count("health checks", await self._health())
        self.count("silence", complaint(self.server))
        end = time.monotonic() + TIMEOUT + SLACK + IDLE
        while (files := self.server.descriptors()) > self.before[0] + DESCRIPTORS and time.monotonic() < end:
            await asyncio.sleep(0.1)
        memory = self.server.memory()
        problem = f"{files} files are open, {self.before[0]} before" if files > self.before[0] + DESCRIPTORS else ""
        problem = problem or (f"{memory} MB, {self.before[1]} before" if memory > self.before[1] + MEMORY else "")
        self.count("open files and memory", problem)

    async def _health(self) -> str:
        client = Client(self.server.port)
        try:
            answer = await client.ask(HEALTH, HEALTH_SECONDS)
            return "" if answer.json() == {"status": "ok"} else f"answered {answer.status}"
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            return f"no answer within {HEALTH_SECONDS:g} s: {type(error).__name__} {error}"
        finally:
            client.close()


def complaint(server: Server) -> str:
    """What a server said or wrote and should not have, or an empty string."""
    if said := server.complaint():
        server.errors.write_text(server.said().partition("\n")[0] + "\n", "utf-8")  # told once
        return f"said: {said[-400:]}"
    return f"wrote {written[0]}" if (written := server.written()) else ""
