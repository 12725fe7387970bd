"""From a request to its predictions: receive the body, read the images, compute them in batches.

Images are decoded in threads and then wait in a queue. Whenever the engine is free, the images in the queue become one
batch. Each step has a limit, see `Limits`; a request beyond a limit gets a 4xx or 503 with a message of one line.
Nothing is written to disk.
"""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.data.image_files import MAX_PIXELS, pixel_limit
from neoclassic.data.preprocessing import read_pixels
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.model.predict import Prediction, probabilities, threshold_of
from neoclassic.web.responses import JsonResponse, Refusal, error_response

DRAIN = 4  # read up to this many times `Limits.body` of a body that is too large, so that its sender reads the answer


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
    pixels: int = MAX_PIXELS
    queue: int = 256
    batch: int = 32
    seconds: float = 30.0


class Service:
    """One model with its engine, its queue and its Prometheus metrics."""

    def __init__(self, model: Model, engine: Engine, limits: Limits = Limits()) -> None:
        self.model, self.engine, self.limits = model, engine, limits
        self.body_bytes = 0  # in memory
        self.waiting = 0  # images
        self.queue: asyncio.Queue[tuple[Array, asyncio.Future[Array]]] = asyncio.Queue()
        self.decoders = ThreadPoolExecutor(cores(), "decode")
        self.computer = ThreadPoolExecutor(1, "compute")
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "neoclassic"}
        ProcessCollector(registry=self.registry)
        self.requests = Counter("requests", "Responses to POST /predict by status.", ["status"], **own)
        self.images = Counter("images", "Images that were classified.", **own)
        self.unreadable = Counter("unreadable_images", "Images that could not be read.", **own)
        self.seconds = Histogram("request_seconds", "Seconds from the request to the response.", **own)
        self.batches = Histogram("batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), **own)
        waiting = Gauge("waiting_images", "Images being decoded, waiting or computed.", **own)
        waiting.set_function(lambda: self.waiting)

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Compute batches while the application runs: its lifespan."""
        task = asyncio.create_task(self._compute())
        try:
            with pixel_limit(self.limits.pixels):
                yield
        finally:
            task.cancel()
            self.decoders.shutdown(wait=False, cancel_futures=True)
            self.computer.shutdown(wait=False, cancel_futures=True)

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        started = time.perf_counter()
        response = await self._answer(request)
        self.requests.labels(response.status_code).inc()
        self.seconds.observe(time.perf_counter() - started)
        return response

    async def _answer(self, request: Request) -> Response:
        expected, timeout_status = "sent", 408
        try:
            top, threshold = self._options(request.query_params)
            async with asyncio.timeout(self.limits.seconds) as timeout, self._body(request) as body:
                expected, timeout_status = "answered", 503
                timeout.reschedule(asyncio.get_running_loop().time() + self.limits.seconds)
                predictions = await self._predictions(await self._files(request.headers, body), top, threshold)
        except Refusal as refusal:
            return error_response(refusal.status, str(refusal))
        except TimeoutError:
            message = f"the request was not {expected} within {self.limits.seconds:g} seconds"
            return error_response(timeout_status, message)
        except ClientDisconnect:
            return error_response(400, "the client disconnected before the end of the request")
        failed = sum(p.error is not None for p in predictions)
        self.images.inc(len(predictions) - failed)
        self.unreadable.inc(failed)
        return JsonResponse([p.to_dict() for p in predictions], 400 if failed == len(predictions) else 200)

    # ── reading a request ────────────────────────────────────────────────────────────────────────────

    def _options(self, query: QueryParams) -> tuple[int, float]:
        """top and threshold."""
        if unknown := sorted(query.keys() - {"top", "threshold"}):
            raise Refusal(400, f"unknown parameter {unknown[0]!r}: the parameters are top and threshold")
        top = query.get("top", "5")
        if not re.fullmatch("[1-9][0-9]{0,5}", top, re.ASCII):
            raise Refusal(400, f"top must be a whole number from 1 to 999999, not {top[:20]!r}")
        try:
            return int(top), threshold_of(self.model, query.get("threshold"))
        except UsageError as error:
            raise Refusal(400, str(error)) from None

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

    async def _files(self, headers: Headers, body: bytes) -> list[tuple[str, bytes]]:
        """The images of a request: file names and contents."""
        if not headers.get("content-type", "").lower().startswith("multipart/"):
            files = [("image", body)] if body else []
        else:
            files = await _form_files(headers, body, self.limits.images)
        if not files:
            raise Refusal(400, "no image in the request: send one as the body, or several as files of a form")
        return files

    # ── predicting ───────────────────────────────────────────────────────────────────────────────────

    async def _predictions(self, files: list[tuple[str, bytes]], top: int, threshold: float) -> list[Prediction]:
        if self.waiting + len(files) > self.limits.queue:
            raise Refusal(503, f"{self.waiting} images are waiting already: try again in a second")
        loop = asyncio.get_running_loop()
        self.waiting += len(files)
        try:
            decoded = await asyncio.gather(
                *(loop.run_in_executor(self.decoders, self._pixels, *file) for file in files)
            )
            futures = {i: loop.create_future() for i, pixels in enumerate(decoded) if not isinstance(pixels, str)}
            for i, future in futures.items():
                self.queue.put_nowait((decoded[i], future))
            rows = dict(zip(futures, await asyncio.gather(*futures.values()), strict=True))
        finally:
            self.waiting -= len(files)
        return [
            Prediction.of(name, rows[i], self.model.classes, top, threshold)
            if i in rows
            else Prediction(name, error=decoded[i])
            for i, (name, _) in enumerate(files)
        ]

    def _pixels(self, name: str, content: bytes) -> Any:
        """The pixels of an image file as an array, or an error message as a string."""
        try:
            stream = io.BytesIO(content)
            stream.name = name
            return read_pixels(stream, self.model.preprocessing)
        except NeoclassicError as error:
            return str(error)

    async def _compute(self) -> None:
        """Compute batches of up to `limits.batch` images from the queue, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.queue.get()]
            while len(batch) < self.limits.batch and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            batch = [(pixels, future) for pixels, future in batch if not future.done()]  # done: its request timed out
            if not batch:
                continue
            self.batches.observe(len(batch))
            pixels = np.stack([pixels for pixels, _ in batch])
            try:
                rows = await loop.run_in_executor(self.computer, probabilities, self.model, self.engine, pixels)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), row in zip(batch, rows, strict=True):
                if not future.done():
                    future.set_result(row)


class _InMemoryParser(MultiPartParser):
    """starlette's parser without temporary files: the body is in memory already."""

    spool_max_size = 0


async def _form_files(headers: Headers, body: bytes, limit: int) -> list[tuple[str, bytes]]:
    """The files of a multipart/form-data body, at most `limit`. Refusal if it cannot be parsed."""

    async def stream() -> Any:
        yield body

    try:
        form = await _InMemoryParser(headers, stream(), max_files=limit, max_fields=limit).parse()
    except (MultiPartException, FormParserError, UnicodeError) as error:  # starlette does not catch the last two
        raise Refusal(400, f"the form cannot be read: {getattr(error, 'message', error)}") from None
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    files = [(_base_name(upload.filename), await upload.read()) for upload in uploads]
    await form.close()
    return files


def _base_name(name: str | None) -> str:
    """The last part of a file name, at most 255 characters. The name is only sent back, never opened."""
    return re.split(r"[/\\]", name or "")[-1][-255:] or "image"
