"""What every service does with a request: receive its body within limits, and compute in threads of its own.

Each step has a limit, see `Limits`; a request beyond a limit gets a 4xx or 503 with a message of one line. Nothing is
written to disk.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.machine import cores
from neoclassic.data.preprocessing import Preprocessing, header, read_pixels
from neoclassic.engines.contract import Array
from neoclassic.web.responses import Refusal, error_response

DRAIN = 4  # read up to this many times `Limits.body` of a body that is too large, so that its sender reads the answer


T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """The limits of one server.

    body     bytes of one request; the bodies of all requests together may have eight times as many
    images   images in one request
    pixels   pixels of one image, read from its header before it is decoded
    queue    images being decoded, waiting or computed at one time; 503 above
    batch    images in one batch of the engine
    seconds  time to send a request, and time to wait for the answer
    """

    body: int = 32 << 20
    images: int = 64
    pixels: int = 32_000_000
    queue: int = 256
    batch: int = 32
    seconds: float = 30.0


class Intake:
    """The limits of a server, what counts against them now, and its threads."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.body_bytes = 0  # in memory
        self.waiting = 0  # images
        self.decoders = ThreadPoolExecutor(cores(), "decode")
        self.computer = ThreadPoolExecutor(1, "compute")

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """The lifespan of the application."""
        try:
            yield
        finally:
            self.decoders.shutdown(wait=False, cancel_futures=True)
            self.computer.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request, make: Callable[[bytes], Awaitable[Response]]) -> Response:
        """What `make` answers to the body of a request, in time; or the reason why not."""
        expected, timeout_status = "sent", 408
        try:
            async with asyncio.timeout(self.limits.seconds) as timeout, self._body(request) as body:
                expected, timeout_status = "answered", 503
                timeout.reschedule(asyncio.get_running_loop().time() + self.limits.seconds)
                return await make(body)
        except Refusal as refusal:
            return error_response(refusal.status, str(refusal))
        except TimeoutError:
            message = f"the request was not {expected} within {self.limits.seconds:g} seconds"
            return error_response(timeout_status, message)
        except ClientDisconnect:
            return error_response(400, "the client disconnected before the end of the request")

    async def compute(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the thread that computes; Refusal if too much waits for it already."""
        with self.counted(1):
            return await asyncio.get_running_loop().run_in_executor(self.computer, function, *arguments)

    @contextmanager
    def counted(self, images: int) -> Iterator[None]:
        """Count images while they are in progress; Refusal above the limit."""
        if self.waiting + images > self.limits.queue:
            raise Refusal(503, f"{self.waiting} images are waiting already: try again in a second")
        self.waiting += images
        try:
            yield
        finally:
            self.waiting -= images

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, within the limits. It counts in `body_bytes` until the context ends."""
        limit, body = self.limits.body, bytearray()
        too_large = Refusal(413, f"the request is larger than {limit:,} bytes")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "the body is compressed: send it without Content-Encoding")
        length = int(request.headers.get("content-length", "0"))
        if length > DRAIN * limit or (length > limit and "expect" in request.headers):
            raise too_large
        received = 0
        try:
            async for chunk in request.stream():
                received += len(chunk)
                if received > DRAIN * limit:
                    raise too_large
                if received <= limit:
                    body += chunk
                    self.body_bytes += len(chunk)
                if self.body_bytes > 8 * limit:
                    raise Refusal(503, "too many requests at once: try again in a second")
            if received > limit:
                raise too_large
            yield bytes(body)
        finally:
            self.body_bytes -= len(body)


def pixels_of(name: str, content: bytes, preprocessing: Preprocessing, limits: Limits) -> Array:
    """The pixels of an image file. NeoclassicError, with its name, if it is no image or too large."""
    if content and (size := header(content, name).size) and size[0] * size[1] > limits.pixels:
        raise NeoclassicError(f"{name}: has more than {limits.pixels / 1e6:g} million pixels: make it smaller first")
    stream = io.BytesIO(content)
    stream.name = name
    return read_pixels(stream, preprocessing)
