"""The page: the files of `page/`, which a browser runs as they are, without a build step and without other hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from neoclassic.views import styles

FOLDER = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # the drawings have their own
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",  # the address may hold a token
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    """The page at /, and each of its files under /page/."""
    files = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES)
    pages = [Route(f"/page/{path.relative_to(FOLDER).as_posix()}", _file(path), methods=["GET"]) for path in files]
    return [Route("/", _file(FOLDER / "index.html"), methods=["GET"]), *pages]


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    text = path.read_text("utf-8")
    if path.suffix == ".css":
        text += styles.DRAWING

    async def answer(_: Request) -> Response:
        return Response(text, headers=HEADERS, media_type=TYPES[path.suffix])

    return answer
