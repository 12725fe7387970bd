"""Clients that send byte by byte, and clients that never read their answers."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

from campaigns.serving.wire import until_closed

HOST = b"Host: localhost\r\n"
BODY = HOST + b"Content-Length: 1000000\r\n\r\n"
CHUNKS = HOST + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"/page/style.css"  # a long answer: a hundred of it fill all buffers, which even a slow server soon does
NONE = 0

# the kind, what is sent at once, what is sent again and again, and the statuses that the first answer may have
SLOW = (
    ("slow headers", b"", b"", (NONE,)),
    ("slow headers", b"POST /pred", b"", (NONE,)),
    ("slow headers", b"", b"G", (NONE, 400)),
    ("slow headers", b"GET /healthz HTTP/1.1\r\nX: ", b"y", (NONE,)),
    ("slow headers", b"", b"\r\n", (NONE, 400)),
    ("slow headers", b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /heal", b"t", (200,)),
    ("slow bodies", b"POST /predict HTTP/1.1\r\n" + BODY, b"", (408,)),
    ("slow bodies", b"POST /predict HTTP/1.1\r\n" + BODY, b"x", (408,)),
    ("slow bodies", b"POST /predict HTTP/1.1\r\n" + CHUNKS, b"1\r\nx\r\n", (408,)),
    ("slow bodies", b"POST /predict HTTP/1.1\r\n" + CHUNKS + b"ffff\r\n", b"x", (408,)),
    ("bytes after an answer", b"GET /healthz HTTP/1.1\r\n" + BODY, b"x", (200,)),
    ("bytes after an answer", b"GET /healthz HTTP/1.1\r\n" + CHUNKS, b"1\r\nx\r\n", (200,)),
    ("bytes after an answer", b"POST /nowhere HTTP/1.1\r\n" + BODY, b"x", (404,)),
    ("bytes after an answer", b"POST /predict?x=1 HTTP/1.1\r\n" + BODY, b"x", (400,)),
    ("bytes after an answer", b"GET /healthz HTTP/1.1\r\n" + BODY.replace(b"localhost", b"evil.example"), b"x", (421,)),
    ("bytes after an answer", b"GET /healthz HTTP/1.0\r\n\r\n", b"x", (200,)),
    ("bytes after an answer", b"nonsense\r\n\r\n", b"x", (400,)),
)


async def trickle(port: int, start: bytes, drip: bytes, seconds: float) -> tuple[bytes, float | None]:
    """Send `start`, then `drip` every tenth of a second, until the server closes.

    Returns what came back, and the seconds that it took; None if the server has not closed the connection in time.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.monotonic()

    async def send() -> None:
        with suppress(ConnectionError):
            writer.write(start)
            while drip:
                await asyncio.sleep(0.1)
                writer.write(drip)

    sending = asyncio.create_task(send())
    try:
        received, closed = await until_closed(reader, seconds)
        return received, time.monotonic() - begun if closed else None
    finally:
        sending.cancel()
        writer.transport.abort()


async def deaf(port: int, seconds: float) -> float | None:
    """Ask for a file of the page again and again and read nothing. The seconds until the server gives up.

    None if it neither reads on nor gives up for `seconds`. What a slow server has yet to answer is no fault of it.
    """
    loop, request = asyncio.get_running_loop(), (b"GET " + LONG + b" HTTP/1.1\r\n" + HOST + b"\r\n") * 50
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        begun = time.monotonic()
        try:
            while True:  # until more answers wait than all buffers hold
                async with asyncio.timeout(seconds):
                    await loop.sock_sendall(connection, request)
        except ConnectionError:
            return time.monotonic() - begun
        except TimeoutError:
            return None
