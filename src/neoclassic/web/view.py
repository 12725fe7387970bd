"""What the views of the page have in common: how they answer one request, and that they train one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Lock

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.web.intake import Intake
from neoclassic.web.responses import Refusal

PATH = "/lab"


@dataclass(frozen=True)
class Asked:
    """A request: its query, its body and the type of the body."""

    query: QueryParams
    body: bytes
    kind: str


Work = Callable[[Asked], Response]


class View:
    """One view of the page. Its interface is under `PATH`."""

    intake: Intake

    def routes(self) -> list[Route]:
        """The paths, for an application."""
        raise NotImplementedError

    def end(self) -> None:
        """End what goes on in the view, when the server stops. It may take a while."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The lifespan."""
        try:
            yield
        finally:
            await asyncio.get_running_loop().run_in_executor(None, self.end)

    def route(self, method: str, name: str, work: Work) -> Route:
        """A path that answers what `work` returns, in the thread that computes, or 400 for its NeoclassicError."""

        def working(asked: Asked) -> Response:
            try:
                return work(asked)
            except NeoclassicError as error:
                raise Refusal(400, str(error)) from None

        async def handle(request: Request) -> Response:
            kind = request.headers.get("content-type", "").lower()

            async def make(body: bytes) -> Response:
                return await self.intake.compute(working, Asked(request.query_params, body, kind))

            return await self.intake.answer(request, make)

        return Route(f"{PATH}/{name}", handle, methods=[method])


class Turn:
    """The right to train. The views share one, so that two trainings do not compete for the cores."""

    def __init__(self) -> None:
        self._lock = Lock()

    def take(self) -> None:
        """UsageError while a training is in progress, in any view."""
        if not self._lock.acquire(blocking=False):
            raise UsageError("a training is in progress, here or in another view: wait until it ends, or stop it")

    def give_back(self) -> None:
        """Let the next training start."""
        self._lock.release()
