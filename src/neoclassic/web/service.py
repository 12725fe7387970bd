"""From a request to its predictions: read the images of its body, compute them in batches.

Images are decoded in threads and then wait in a queue, each on its own, or those of an array together. Whenever the
engine is free, the images in the queue become one batch.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.resizing import fits, resize_all
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.model.predict import Prediction, probabilities, threshold_of
from neoclassic.web import npy
from neoclassic.web.intake import Intake, Limits, pixels_of
from neoclassic.web.lanes import Lanes
from neoclassic.web.parameters import whole_number
from neoclassic.web.responses import JsonResponse, Refusal, error_response

TOP = 999_999  # classes that a request may ask for


@dataclass(frozen=True, eq=False)
class Waiting:
    """Pixels in the queue, uint8 N×H×W×C, and the future of their probabilities, N×classes."""

    pixels: Array
    rows: asyncio.Future[Array]


class Service(Intake):
    """One model with its engine, its queue and its Prometheus metrics."""

    def __init__(self, model: Model, engine: Engine, limits: Limits = Limits()) -> None:
        super().__init__(limits)
        self.model, self.engine = model, engine
        self.lanes = Lanes.of(engine, limits.batch)
        self.queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self.next: Waiting | None = None  # what did not fit into the last batch
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
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Compute batches while the application runs: its lifespan."""
        async with super().running(app):
            with self.lanes.running():
                task = asyncio.create_task(self._compute())
                try:
                    yield
                finally:
                    task.cancel()

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        started = time.perf_counter()
        response = await self._answer(request)
        self.requests.labels(response.status_code).inc()
        self.seconds.observe(time.perf_counter() - started)
        return response

    async def _answer(self, request: Request) -> Response:
        try:
            top, threshold = self._options(request.query_params)
        except Refusal as refusal:
            return error_response(refusal.status, str(refusal))

        async def make(body: bytes) -> Response:
            if _media_type(request.headers) == npy.MEDIA_TYPE:
                rows = await self._rows_of_array(body)
                if npy.MEDIA_TYPE in request.headers.get("accept", ""):
                    return Response(npy.body_of(rows.astype(np.float32)), media_type=npy.MEDIA_TYPE)
                named = [Prediction.of(str(i), row, self.model.classes, top, threshold) for i, row in enumerate(rows)]
                return JsonResponse([p.to_dict() for p in named])
            predictions = await self._predictions(await self._files(request.headers, body), top, threshold)
            failed = sum(p.error is not None for p in predictions)
            self.images.inc(len(predictions) - failed)
            self.unreadable.inc(failed)
            return JsonResponse([p.to_dict() for p in predictions], 400 if failed == len(predictions) else 200)

        return await self.answer(request, make)

    # ── reading a request ────────────────────────────────────────────────────────────────────────────

    def _options(self, query: QueryParams) -> tuple[int, float]:
        """top and threshold."""
        if unknown := sorted(query.keys() - {"top", "threshold"}):
            raise Refusal(400, f"unknown parameter {unknown[0]!r}: the parameters are top and threshold")
        try:
            return whole_number("top", query.get("top", "5"), 1, TOP), threshold_of(self.model, query.get("threshold"))
        except UsageError as error:
            raise Refusal(400, str(error)) from None

    async def _files(self, headers: Headers, body: bytes) -> list[tuple[str, bytes]]:
        """The images of a request: file names and contents."""
        if not _media_type(headers).startswith("multipart/"):
            files = [("image", body)] if body else []
        else:
            files = await _form_files(headers, body, self.limits.images)
        if not files:
            raise Refusal(400, "no image in the request: send one as the body, or several as files of a form")
        return files

    # ── predicting ───────────────────────────────────────────────────────────────────────────────────

    async def _predictions(self, files: list[tuple[str, bytes]], top: int, threshold: float) -> list[Prediction]:
        loop = asyncio.get_running_loop()
        with self.counted(len(files)):
            decoded = await asyncio.gather(
                *(loop.run_in_executor(self.decoders, self._pixels, *file) for file in files)
            )
            readable = {
                i: self._enqueue(pixels[None]) for i, pixels in enumerate(decoded) if not isinstance(pixels, str)
            }
            rows = dict(zip(readable, await asyncio.gather(*readable.values()), strict=True))
        return [
            Prediction.of(name, rows[i][0], self.model.classes, top, threshold)
            if i in rows
            else Prediction(name, error=decoded[i])
            for i, (name, _) in enumerate(files)
        ]

    async def _rows_of_array(self, body: bytes) -> Array:
        """The probabilities, N×classes, of the images in an array."""
        pixels, p, batch = npy.images_of(body, self.limits), self.model.preprocessing, self.limits.batch
        with self.counted(len(pixels)):
            if not fits(pixels, p):
                pixels = await asyncio.get_running_loop().run_in_executor(self.decoders, resize_all, pixels, p)
            parts = [self._enqueue(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
            rows: Array = np.concatenate(await asyncio.gather(*parts))
        self.images.inc(len(rows))
        return rows

    def _enqueue(self, pixels: Array) -> asyncio.Future[Array]:
        """Put pixels, N×H×W×C, into the queue; return the future of their probabilities."""
        rows: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait(Waiting(pixels, rows))
        return rows

    def _pixels(self, name: str, content: bytes) -> Any:
        """The pixels of an image file as an array, or an error message as a string."""
        try:
            return pixels_of(name, content, self.model.preprocessing)
        except NeoclassicError as error:
            return str(error)

    async def _compute(self) -> None:
        """Compute batches from the queue, until cancelled.

        A batch has all cores if nothing else waits; full ones run side by side in the lanes, if there are any. A full
        batch is handed to the threads while they compute the last one, so that they need not wait for the event loop.
        A smaller one waits for more images until the engine is free.
        """
        running: set[asyncio.Task[None]] = set()
        while True:
            batch, self.next = [self.next or await self.queue.get()], None
            if self._fill(batch) and running:
                await asyncio.wait(running)
                self._fill(batch)
            running = {task for task in running if not task.done()}
            while len(running) > max(1, self.lanes.size):
                running = (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[1]
            alone = not running and self.next is None and self.queue.empty()
            running.add(asyncio.create_task(self._run(batch, alone)))

    def _fill(self, batch: list[Waiting]) -> bool:
        """Add what waits in the queue, in order, up to `limits.batch` images; return whether there is room for more.

        What does not fit becomes `next`.
        """
        room = self.limits.batch - sum(len(each.pixels) for each in batch)
        while room > 0 and not self.queue.empty():
            following = self.queue.get_nowait()
            room -= len(following.pixels)
            if room < 0:
                self.next = following
            else:
                batch.append(following)
        return room > 0

    async def _run(self, batch: list[Waiting], alone: bool) -> None:
        """Compute one batch, and hand out its rows. alone: nothing else waits."""
        batch = [each for each in batch if not each.rows.done()]  # done: its request timed out
        if not batch:
            return
        pixels = np.concatenate([each.pixels for each in batch]) if len(batch) > 1 else batch[0].pixels
        self.batches.observe(len(pixels))
        loop = asyncio.get_running_loop()
        try:
            if alone or not self.lanes.size:
                rows = await loop.run_in_executor(self.computer, probabilities, self.model, self.engine, pixels)
            else:
                rows = await loop.run_in_executor(self.lanes.threads, self.lanes.probabilities, self.model, pixels)
        except Exception as error:
            for each in batch:
                if not each.rows.done():
                    each.rows.set_exception(error)
            return
        end = 0
        for each in batch:
            start, end = end, end + len(each.pixels)
            if not each.rows.done():
                each.rows.set_result(rows[start:end])


def _media_type(headers: Headers) -> str:
    """What kind the body is of, without parameters, in lower case; empty if the request does not say it."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


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
