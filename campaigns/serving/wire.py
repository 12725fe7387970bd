"""HTTP by hand: requests as bytes, answers parsed strictly, connections that behave as an attack wants them to."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
BOUNDARY = b"x7MA4YWxkTrZu0gW"
FORM = b"multipart/form-data; boundary=" + BOUNDARY


@dataclass(frozen=True)
class Answer:
    """One HTTP response. Header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        """The body. ValueError if it is not valid JSON: NaN and Infinity are not."""

        def constant(name: str) -> None:
            raise ValueError(f"the answer contains {name}, which is not JSON")

        return json.loads(self.body.decode("utf-8"), parse_constant=constant)


def parse(data: bytes, head: bool = False) -> list[Answer]:
    """The responses in what a connection received; `head`: to HEAD, which have no body. ValueError if one is cut."""
    found: list[Answer] = []
    while data:
        top, end, data = data.partition(b"\r\n\r\n")
        line, *lines = top.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [\w '-]*", line)
        if match is None or not end:
            raise ValueError(f"not the start of an answer: {top[:60]!r}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)}
        status = int(match[1])
        chunked = headers.get(b"transfer-encoding") == b"chunked"
        length = 0 if head or status < 200 else int(headers.get(b"content-length", len(data)))
        body, data = _chunks(data) if chunked and not head else (data[:length], data[length:])
        if not chunked and len(body) < length:
            raise ValueError(f"an answer {status} is cut: {len(body)} of {length} bytes")
        found += [Answer(status, headers, body)] if status >= 200 else []
    return found


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while match := re.match(rb"([0-9a-f]+)\r\n", data, re.IGNORECASE):
        size, start = int(match[1], 16), match.end()
        body, data = body + data[start : start + size], data[start + size + 2 :]
        if size == 0:
            return body, data
    raise ValueError("an answer in chunks is cut")


def post(
    body: bytes, kind: bytes = b"image/png", query: bytes = b"", more: bytes = b"", host: bytes = b"localhost"
) -> bytes:
    """POST /predict. `more`: further header lines, each with its end."""
    top = b"POST /predict%s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n" % (query, host, kind)
    return top + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def form(files: list[tuple[bytes, bytes]]) -> bytes:
    """multipart/form-data of files: their names and contents."""
    top = b'Content-Disposition: form-data; name="image"; filename="%s"\r\nContent-Type: image/png\r\n\r\n'
    parts = [b"--" + BOUNDARY + b"\r\n" + top % name + content + b"\r\n" for name, content in files]
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


async def exchange(port: int, data: bytes, seconds: float, half_close: bool = True) -> tuple[bytes, bool]:
    """Send data on a new connection, and with `half_close` say that nothing follows.

    Returns what came back, and whether the server closed the connection within these seconds.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            if half_close:
                writer.write_eof()

    sending = asyncio.create_task(send())
    try:
        return await until_closed(reader, seconds)
    finally:
        sending.cancel()
        writer.transport.abort()


async def until_closed(reader: asyncio.StreamReader, seconds: float) -> tuple[bytes, bool]:
    """What comes until the other side closes the connection, and whether it does so within these seconds."""
    received = bytearray()
    try:
        async with asyncio.timeout(seconds):
            with suppress(ConnectionError):
                while piece := await reader.read(1 << 16):
                    received += piece
    except TimeoutError:
        return bytes(received), False
    return bytes(received), True


class Client:
    """A client that keeps its connection between requests, as browsers do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes, seconds: float = 30.0) -> Answer:
        """Send a request and read its answer. OSError, EOFError, TimeoutError or ValueError if there is none."""
        async with asyncio.timeout(seconds):
            if self.streams is None:
                self.streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self.streams
            writer.write(data)
            top = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", top, re.IGNORECASE)
            (answer,) = parse(top + await reader.readexactly(int(length[1]) if length else 0))
        if answer.headers.get(b"connection") == b"close":
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection at once."""
        if self.streams is not None:
            self.streams[1].transport.abort()
            self.streams = None
