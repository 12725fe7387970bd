"""JSON responses and errors."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from neoclassic.base.text import json_text


class Refusal(Exception):
    """A response other than 200: an HTTP status and a message of one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class JsonResponse(Response):
    """JSON as `json_text` writes it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()


def error_response(status: int, message: str, close: bool = False) -> Response:
    """`{"error": message}`. 503 asks the client to retry; errors that leave a body unread close the connection."""
    headers = {"Retry-After": "1"} if status == 503 else {}
    if close or status in (403, 408, 413, 421, 503):
        headers["Connection"] = "close"
    return JsonResponse({"error": message}, status, headers)
