"""The prediction server: one model over HTTP, with the answers of `predict`, and no PyTorch.

    POST /predict       an image as the body, or many as multipart/form-data; answers what `predict --json` prints
    GET  /model         what is served
    GET  /healthz       that it is
    GET  /metrics       for Prometheus
    GET  /, /openapi.json   the interface, to read and to try

An image is received, decoded in a thread, and waits; whatever waits when the engine is free is one batch. Every
step has a limit, see `Limits`; what goes beyond is answered 4xx or 503 in one line. Only requests to a name of the
server's own are answered, see `names`. Nothing is ever written.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import numpy as np
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import generate_latest as metrics_text
from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from neoclassic import __version__
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.base.text import json_text
from neoclassic.data.preprocessing import header, read_pixels
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.model.predict import Prediction, probabilities, threshold_of
from neoclassic.web.names import Names, is_loopback

PAGE = Path(__file__).parent / "page.html"
DRAIN = 4  # times the limit: how much of a body that is too large is read, so that its sender reads the answer


@dataclass(frozen=True)
class Limits:
    """What one server does at most.

    body     bytes of one request; all requests together may hold eight times that
    images   in one request
    pixels   of one image, told from its header before anything is decoded
    queue    images that are decoded, waiting or computed at one moment; 503 beyond
    batch    images that the engine sees at once
    seconds  to send a request, and to wait for its answer
    """

    body: int = 32 << 20
    images: int = 64
    pixels: int = 32_000_000
    queue: int = 256
    batch: int = 32
    seconds: float = 30.0


class Refusal(Exception):
    """An answer that is not 200: its status and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """One model, ready to answer. Its methods are the routes of `application`."""

    def __init__(self, model: Model, engine: Engine, limits: Limits = Limits()) -> None:
        self.model, self.engine, self.limits = model, engine, limits
        self.held = 0  # bytes of bodies
        self.waiting = 0  # images
        self.todo: asyncio.Queue[tuple[Array, asyncio.Future[Array]]] = asyncio.Queue()
        self.decoders = ThreadPoolExecutor(cores(), "decode")
        self.computer = ThreadPoolExecutor(1, "compute")
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "neoclassic"}
        ProcessCollector(registry=self.registry)
        self.requests = Counter("requests", "Answers to POST /predict by status.", ["status"], **own)
        self.images = Counter("images", "Images that were answered with a class.", **own)
        self.refused = Counter("unreadable_images", "Images that could not be read.", **own)
        self.seconds = Histogram("request_seconds", "From the request to its answer.", **own)
        self.batches = Histogram("batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), **own)
        Gauge("waiting_images", "Images decoded, waiting or computed.", **own).set_function(lambda: self.waiting)

    # ── routes ───────────────────────────────────────────────────────────────────────────────────────

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        started = time.perf_counter()
        response = await self._answer(request)
        self.requests.labels(response.status_code).inc()
        self.seconds.observe(time.perf_counter() - started)
        return response

    async def facts(self, _: Request) -> Response:
        """GET /model."""
        model = self.model
        return _Json(
            {
                "network": model.network,
                "classes": model.classes,
                "input": model.input,
                "preprocessing": model.preprocessing.to_dict(),
                "calibration": model.calibration,
                "metrics": model.metrics,
                "data": {name: value for name, value in model.data.items() if name != "photos"},
                "engine": self.engine.name,
                "device": self.engine.device,
                "neoclassic": __version__,
            }
        )

    async def health(self, _: Request) -> Response:
        """GET /healthz."""
        return _Json({"status": "ok"})

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(metrics_text(self.registry), media_type=CONTENT_TYPE_LATEST)

    async def page(self, _: Request) -> Response:
        """GET /."""
        return HTMLResponse(PAGE.read_text("utf-8"), headers={"Content-Security-Policy": POLICY})

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json."""
        return _Json(openapi(self.limits))

    # ── from a request to its answer ─────────────────────────────────────────────────────────────────

    async def _answer(self, request: Request) -> Response:
        doing, status = "sent", 408
        try:
            top, threshold = self._wishes(request.query_params)
            async with asyncio.timeout(self.limits.seconds) as clock, self._body(request) as body:
                doing, status = "answered", 503
                clock.reschedule(asyncio.get_running_loop().time() + self.limits.seconds)
                found = await self._predictions(await self._files(request.headers, body), top, threshold)
        except Refusal as refusal:
            return _refuse(refusal.status, str(refusal))
        except TimeoutError:
            return _refuse(status, f"the request was not {doing} within {self.limits.seconds:g} seconds")
        except ClientDisconnect:
            return _refuse(400, "the sender left before the end of the request")
        failed = sum(p.error is not None for p in found)
        self.images.inc(len(found) - failed)
        self.refused.inc(failed)
        return _Json([p.to_dict() for p in found], 400 if failed == len(found) else 200)

    def _wishes(self, query: QueryParams) -> tuple[int, float]:
        if surplus := sorted(query.keys() - {"top", "threshold"}):
            raise Refusal(400, f"unknown parameter {surplus[0]!r}: there are top and threshold")
        top = query.get("top", "5")
        if not re.fullmatch("[1-9][0-9]{0,5}", top, re.ASCII):
            raise Refusal(400, f"top is a number from 1, not {top[:20]!r}")
        try:
            return int(top), threshold_of(self.model, query.get("threshold"))
        except UsageError as error:
            raise Refusal(400, str(error)) from None

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, within the limits; its bytes count as held as long as the context lasts."""
        most, kept = self.limits.body, bytearray()
        too_large = Refusal(413, f"the request is larger than {most:,} bytes")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "send the body as it is, without Content-Encoding")
        length = request.headers.get("content-length", "0")
        if int(length) > DRAIN * most or (int(length) > most and "expect" in request.headers):
            raise too_large
        received = 0
        try:
            async for chunk in request.stream():
                received += len(chunk)
                if received > DRAIN * most:
                    raise too_large
                if received <= most:
                    kept += chunk
                    self.held += len(chunk)
                if self.held > 8 * most:
                    raise Refusal(503, "too many requests at once: try again in a second")
            if received > most:
                raise too_large
            yield bytes(kept)
        finally:
            self.held -= len(kept)

    async def _files(self, headers: Headers, body: bytes) -> list[tuple[str, bytes]]:
        """Names and contents of the images of a request."""
        most = self.limits.images
        if not headers.get("content-type", "").lower().startswith("multipart/"):
            files = [("image", body)] if body else []
        else:

            async def stream() -> Any:
                yield body

            try:
                form = await _InMemory(headers, stream(), max_files=most, max_fields=most).parse()
            except (MultiPartException, FormParserError) as error:  # the second comes through an older starlette
                raise Refusal(400, f"the form cannot be read: {getattr(error, 'message', error)}") from None
            uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            files = [(_plain(upload.filename), await upload.read()) for upload in uploads]
            await form.close()
        if not files:
            raise Refusal(400, "there is no image in the request: send one as the body, or some as files of a form")
        return files

    async def _predictions(self, files: list[tuple[str, bytes]], top: int, threshold: float) -> list[Prediction]:
        if self.waiting + len(files) > self.limits.queue:
            raise Refusal(503, f"{self.waiting} images are waiting already: try again in a second")
        loop = asyncio.get_running_loop()
        self.waiting += len(files)
        try:
            read = await asyncio.gather(*(loop.run_in_executor(self.decoders, self._pixels, *file) for file in files))
            places = {i: loop.create_future() for i, pixels in enumerate(read) if not isinstance(pixels, str)}
            for i, place in places.items():
                self.todo.put_nowait((read[i], place))
            rows = dict(zip(places, await asyncio.gather(*places.values()), strict=True))
        finally:
            self.waiting -= len(files)
        return [
            Prediction.of(name, rows[i], self.model.classes, top, threshold)
            if i in rows
            else Prediction(name, error=read[i])
            for i, (name, _) in enumerate(files)
        ]

    def _pixels(self, name: str, content: bytes) -> Any:
        """Of one file; or why there are none."""
        try:
            if content and (size := header(content, name).size) and size[0] * size[1] > self.limits.pixels:
                return f"{name}: has more than {self.limits.pixels / 1e6:g} million pixels: make it smaller first"
            stream = io.BytesIO(content)
            stream.name = name
            return read_pixels(stream, self.model.preprocessing)
        except NeoclassicError as error:
            return str(error)

    async def compute(self) -> None:
        """For ever: what waits, at most `limits.batch` images, is one batch of the engine."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.todo.get()]
            while len(batch) < self.limits.batch and not self.todo.empty():
                batch.append(self.todo.get_nowait())
            batch = [(pixels, place) for pixels, place in batch if not place.done()]  # whose sender waits no more
            if not batch:
                continue
            self.batches.observe(len(batch))
            pixels = np.stack([pixels for pixels, _ in batch])
            try:
                rows = await loop.run_in_executor(self.computer, probabilities, self.model, self.engine, pixels)
            except Exception as error:
                for _, place in batch:
                    if not place.done():
                        place.set_exception(error)
                continue
            for (_, place), row in zip(batch, rows, strict=True):
                if not place.done():
                    place.set_result(row)

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """While the application stands, batches are computed."""
        task = asyncio.create_task(self.compute())
        try:
            yield
        finally:
            task.cancel()
            self.decoders.shutdown(wait=False, cancel_futures=True)
            self.computer.shutdown(wait=False, cancel_futures=True)


class _InMemory(MultiPartParser):
    """starlette's parser, without its temporary files: the body is in memory already."""

    spool_max_size = 0


class _Json(Response):
    """See `json_text`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()


def _plain(name: str | None) -> str:
    """The last part of a file's name as its sender has it; it is only ever sent back."""
    return re.split(r"[/\\]", name or "")[-1][-255:] or "image"


def _refuse(status: int, message: str) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    if status in (403, 408, 413, 421, 503):
        headers["Connection"] = "close"  # what else was on its way is not read
    return _Json({"error": message}, status, headers)


# ── the application ──────────────────────────────────────────────────────────────────────────────────

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
POLICY += "img-src blob: data:"


def application(service: Service, hosts: Iterable[str] = ()) -> Starlette:
    """The ASGI application: any server that speaks ASGI runs it.

    hosts  names that it answers to, beside localhost, this machine's name and addresses; "*" is every name
    """

    async def http_error(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        what = error.detail if isinstance(error, HTTPException) else "a fault of the server's"
        return _refuse(status, f"{what}: GET /openapi.json says what there is")

    async def fault(_: Request, error: Exception) -> Response:
        print(f"neoclassic: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return _refuse(500, "a fault of the server's; it goes on")

    routes: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/predict", service.predict, "POST"),
        ("/model", service.facts, "GET"),
        ("/healthz", service.health, "GET"),
        ("/metrics", service.metrics, "GET"),
        ("/openapi.json", service.openapi, "GET"),
        ("/", service.page, "GET"),
    ]
    return Starlette(
        routes=[Route(path, endpoint, methods=[method]) for path, endpoint, method in routes],
        exception_handlers={HTTPException: http_error, Exception: fault},
        middleware=[Middleware(_Door, names=Names.of(hosts))],
        lifespan=service.running,
    )


class _Door:
    """Sends away what `Names` refuses, before anything of it is read."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self.names.refusal(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        await (_refuse(*refused) if refused else self.app)(scope, receive, send)


class _Protocol(H11Protocol):
    """uvicorn's, which waits for ever for the rest of a request: here the connection ends, however often a byte comes.

    The headers have `seconds`. So has the body, and a second more, in which the application says that it took too long.
    """

    seconds = Limits.seconds
    deadline: asyncio.TimerHandle | None = None
    awaited: Any = None  # the part of a request that the deadline is for

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        part = self.conn.their_state
        if part is self.awaited and self.deadline is not None:
            return
        self._forget()
        if part in (h11.IDLE, h11.SEND_BODY):
            self.awaited = part
            self.deadline = self.loop.call_later(self.seconds + (part is h11.SEND_BODY), self._end)

    def _end(self) -> None:
        self.deadline = None
        if self.conn.their_state is self.awaited and not self.transport.is_closing():
            self.transport.close()

    def _forget(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def serve(service: Service, host: str = "127.0.0.1", port: int = 8000, hosts: Iterable[str] = ()) -> None:
    """Answer on host and port until SIGTERM or Ctrl-C; what has begun by then is answered.

    `hosts` are names that it answers to, beside its own. Port 0 is any free one; the line on stderr names it.
    NeoclassicError where host and port cannot be had.
    """
    served = application(service, (host, *hosts))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise NeoclassicError(f"cannot listen on {host} port {port}: {reason}; try another --host or --port") from None
    protocol = type("Protocol", (_Protocol,), {"seconds": service.limits.seconds})
    config = uvicorn.Config(
        served,
        http=protocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # what a sender does wrong, the sender is told
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=max(1024, 4 * service.limits.queue),
        timeout_graceful_shutdown=round(service.limits.seconds) + 1,
    )
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it has ended well
        signal.signal(number, lambda *_: None)
    with closing(listener):
        place = f"[{host}]" if family == socket.AF_INET6 else host
        about = f"{service.model.network} on the {service.engine.name} engine"
        print(f"http://{place}:{listener.getsockname()[1]} answers with {about}; Ctrl-C ends it", file=sys.stderr)
        if not is_loopback(host):
            print("every machine that reaches this one can ask it: there is no password", file=sys.stderr)
        sys.stderr.flush()
        uvicorn.Server(config).run(sockets=[listener])


# ── what it says of itself ───────────────────────────────────────────────────────────────────────────


def openapi(limits: Limits) -> dict[str, Any]:
    """The interface as OpenAPI 3.1."""
    number, text, image = {"type": "number"}, {"type": "string"}, {"type": "string", "format": "binary"}
    guess = {"type": "object", "properties": {"label": text, "probability": number}}
    prediction = {
        "type": "object",
        "properties": {
            "path": {**text, "description": "the name of the file as sent"},
            "label": {**text, "description": "the likeliest class, 'unknown' below the threshold, or null"},
            "index": {"type": ["integer", "null"]},
            "probability": {"type": ["number", "null"], "description": "calibrated, of the likeliest class"},
            "top": {"type": "array", "items": guess},
            "error": {"type": ["string", "null"], "description": "why the image could not be read"},
        },
    }
    error = {"application/json": {"schema": {"type": "object", "properties": {"error": text}}}}
    answers = {"application/json": {"schema": {"type": "array", "items": prediction}}}
    form = {"type": "object", "properties": {"image": {"type": "array", "items": image}}}
    refusals = {
        "400": "no image, none that can be read, or a parameter that cannot be",
        "403": "a page of another site asks",
        "408": f"the request took longer than {limits.seconds:g} seconds",
        "413": f"the request is larger than {limits.body:,} bytes",
        "415": "the body is compressed",
        "421": "the server is not called so",
        "503": "too much to do: try again in a second",
    }
    wishes = (("top", {"type": "integer", "default": 5}), ("threshold", {"type": ["number", "string"], "default": 0}))
    predict = {
        "summary": f"Classes of an image, or of up to {limits.images}",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in wishes],
        "requestBody": {"content": {"image/*": {"schema": image}, "multipart/form-data": {"schema": form}}},
        "responses": {
            "200": {"description": "one prediction for each image, in order", "content": answers},
            **{status: {"description": why, "content": error} for status, why in refusals.items()},
        },
    }
    plain = (("/model", "What is served"), ("/healthz", "Whether it is served"), ("/metrics", "For Prometheus"))
    return {
        "openapi": "3.1.0",
        "info": {"title": "neoclassic", "version": __version__},
        "paths": {
            "/predict": {"post": predict},
            **{path: {"get": {"summary": s, "responses": {"200": {"description": s}}}} for path, s in plain},
        },
    }
