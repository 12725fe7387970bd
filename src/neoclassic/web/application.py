"""The ASGI applications of `serve` and `lab`: their routes, their error responses and their checks of the headers.

`serve` has one model and answers everyone; `lab` answers only who has the token in the address that it prints.

POST /predict       serve: one image, or several as multipart/form-data; answers what `predict --json` prints
GET  /model         serve: the model
GET  /healthz       serve: whether the server is up
GET  /metrics       serve: Prometheus metrics
GET  /openapi.json  serve: the interface as OpenAPI
GET  /              the page, whose files are under /page/
GET  /lab/session   what the page shows: its views, its models
     /lab/…         the interface of the views, see `look`, `zoo`, `train`, `teach` and `convolution`
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from neoclassic import __version__
from neoclassic.web import pages
from neoclassic.web.hosts import AllowedHosts
from neoclassic.web.intake import Intake
from neoclassic.web.look import Look
from neoclassic.web.models import Models, opened
from neoclassic.web.openapi import openapi
from neoclassic.web.responses import JsonResponse, error_response
from neoclassic.web.service import Service
from neoclassic.web.view import View


def application(service: Service, hosts: Iterable[str] = ()) -> Starlette:
    """The application of `serve`, for any ASGI server.

    hosts: host names to answer to besides localhost, this machine's name and IP addresses; "*" allows every name.
    """
    asked: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("POST", "/predict", service.predict),
        ("GET", "/model", _model),
        ("GET", "/healthz", _health),
        ("GET", "/metrics", _metrics),
        ("GET", "/openapi.json", _openapi),
    ]
    one = opened(service.model.network, service.model, service.engine)
    models = Models({one.name: one})
    routes = [Route(path, endpoint, methods=[method]) for method, path, endpoint in asked]
    routes += Look(service, models).routes()
    app = _application(service, routes, {"views": ["look", "http"], "models": models}, AllowedHosts.of(hosts))
    app.state.service = service
    return app


def lab_application(intake: Intake, models: Models, views: Mapping[str, View], token: str, start: str) -> Starlette:
    """The application of `lab`. token: what the address of the page holds. start: where the page begins."""
    routes = [route for view in views.values() for route in view.routes()]
    session = {"views": list(views), "models": models, "start": start}
    return _application(intake, routes, session, AllowedHosts.of(), token, [view.running for view in views.values()])


def _application(
    intake: Intake,
    routes: list[Route],
    session: dict[str, Any],
    hosts: AllowedHosts,
    token: str = "",
    others: Iterable[Callable[[], AbstractAsyncContextManager[None]]] = (),
) -> Starlette:
    """others: what lasts as long as the application, besides the intake."""

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(intake.running(app))
            for each in others:
                await stack.enter_async_context(each())
            yield

    async def tell(_: Request) -> Response:
        return JsonResponse({**session, "models": session["models"].names})

    app = Starlette(
        routes=[*routes, Route("/lab/session", tell, methods=["GET"]), *pages.routes()],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
        middleware=[Middleware(_HeaderCheck, hosts=hosts, token=token)],
        lifespan=running,
    )
    app.state.leaving = lambda: False  # the server tells when it is asked to stop
    return app


class _HeaderCheck:
    """Refuse what `AllowedHosts` refuses and what lacks the token, before the body is read, and ambiguous requests.

    A proxy that goes by Content-Length where this server goes by Transfer-Encoding takes the end of one request for
    the start of the next (request smuggling, RFC 9112, section 6.3).
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, token: str = "") -> None:
        self.app, self.hosts, self.token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        answer: ASGIApp = self.app
        if headers and "content-length" in headers and "transfer-encoding" in headers:
            answer = error_response(400, "the request has both Content-Length and Transfer-Encoding", close=True)
        elif headers is not None and (refusal := self._refusal(scope, headers)):
            answer = error_response(*refusal)
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if not self.token:
            return self.hosts.refusal(scope["method"], headers)
        if self.hosts.refusal("POST", headers):  # whatever the method: a page of another site has no business here
            return 403, "only the page of this server may use it: open the address that 'neoclassic lab' printed"
        if scope["path"].startswith("/page/"):  # the page's own files, which hold nothing of the user's
            return None
        given = QueryParams(scope["query_string"]).get("token", "") if scope["path"] == "/" else ""
        given = given or headers.get("authorization", "").removeprefix("Bearer ")
        if secrets.compare_digest(given.encode(), self.token.encode()):
            return None
        return 403, "the token is missing or old: open the address that 'neoclassic lab' printed"


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


async def _openapi(request: Request) -> Response:
    return JsonResponse(openapi(request.app.state.service.limits))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "/openapi.json lists the paths" if hasattr(request.app.state, "service") else "/ is the page"
    return error_response(error.status_code, f"{error.detail}: GET {hint}")


async def _internal_error(_: Request, error: Exception) -> Response:
    print(f"neoclassic: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return error_response(500, "internal error: see the standard error of the server")
