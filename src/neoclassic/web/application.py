"""The ASGI application of a service: its routes, its error responses and its checks of the headers.

POST /predict       one image as the body, or several as multipart/form-data; answers what `predict --json` prints
GET  /model         the model that is served
GET  /healthz       whether the server is up
GET  /metrics       Prometheus metrics
GET  /              a page to try the server on
GET  /openapi.json  the interface as OpenAPI
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from neoclassic import __version__
from neoclassic.web.hosts import AllowedHosts
from neoclassic.web.openapi import openapi
from neoclassic.web.responses import JsonResponse, error_response
from neoclassic.web.service import Service

PAGE = Path(__file__).parent / "page.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
POLICY += "img-src blob: data:"


def application(service: Service, hosts: Iterable[str] = ()) -> Starlette:
    """The ASGI application, for any ASGI server.

    hosts: host names to answer to besides localhost, this machine's name and IP addresses; "*" allows every name.
    """
    routes: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("POST", "/predict", service.predict),
        ("GET", "/model", _model),
        ("GET", "/healthz", _health),
        ("GET", "/metrics", _metrics),
        ("GET", "/openapi.json", _openapi),
        ("GET", "/", _page),
    ]
    app = Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in routes],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
        middleware=[Middleware(_HeaderCheck, hosts=AllowedHosts.of(hosts))],
        lifespan=service.running,
    )
    app.state.service = service
    return app


class _HeaderCheck:
    """Refuse what `AllowedHosts` refuses, before the body is read, and requests whose end is ambiguous.

    A proxy that goes by Content-Length where this server goes by Transfer-Encoding takes the end of one request for
    the start of the next (request smuggling, RFC 9112, section 6.3).
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        answer: ASGIApp = self.app
        if headers and "content-length" in headers and "transfer-encoding" in headers:
            answer = error_response(400, "the request has both Content-Length and Transfer-Encoding", close=True)
        elif headers is not None and (refusal := self.hosts.refusal(scope["method"], headers)):
            answer = error_response(*refusal)
        await answer(scope, receive, send)


async def _model(request: Request) -> Response:
    service: Service = request.app.state.service
    model = service.model
    return JsonResponse(
        {
            "network": model.network,
            "classes": model.classes,
            "input": model.input,
            "preprocessing": model.preprocessing.to_dict(),
            "calibration": model.calibration,
            "metrics": model.metrics,
            "data": {name: value for name, value in model.data.items() if name != "photos"},
            "engine": service.engine.name,
            "device": service.engine.device,
            "neoclassic": __version__,
        }
    )


async def _health(_: Request) -> Response:
    return JsonResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    return Response(generate_latest(request.app.state.service.registry), media_type=CONTENT_TYPE_LATEST)


async def _page(_: Request) -> Response:
    return HTMLResponse(PAGE.read_text("utf-8"), headers={"Content-Security-Policy": POLICY})


async def _openapi(request: Request) -> Response:
    return JsonResponse(openapi(request.app.state.service.limits))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, f"{error.detail}: GET /openapi.json lists the paths")


async def _internal_error(_: Request, error: Exception) -> Response:
    print(f"neoclassic: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return error_response(500, "internal error: see the standard error of the server")
