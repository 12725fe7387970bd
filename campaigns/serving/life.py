"""How a server ends and starts again: SIGTERM under load, SIGKILL, the same port."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from campaigns.serving.attacker import SLACK, Attacker, complaint
from campaigns.serving.pictures import answer_to
from campaigns.serving.process import TIMEOUT, Server
from campaigns.serving.wire import Client, exchange, parse, post


async def life(a: Attacker) -> None:
    """Requests that were begun before SIGTERM are answered; whatever happens, a new server can start on the port."""
    home = a.session.work / "life"
    with Server(a.model, home) as server:
        port = server.port
        await _terminated(a, server)
    for _ in range(2):
        with Server(a.model, home, port) as server:
            images = [a.pictures.any(a.rng) for _ in range(20)]
            begun = [asyncio.create_task(exchange(port, post(image), 20, half_close=False)) for image in images]
            await asyncio.sleep(float(a.rng.uniform(0, 0.05)))
            server.kill()
            with suppress(OSError):
                await asyncio.gather(*begun, return_exceptions=True)
    with Server(a.model, home, port) as server:
        client, image = Client(port), a.pictures.good[0]
        a.count("starts after SIGKILL", *await answer_to(client, post(image), [image], a.pictures))
        client.close()


async def _terminated(a: Attacker, server: Server) -> None:
    halves = [await _half(a, server) for _ in range(8)]
    going = True

    async def client(seed: int) -> None:
        number = seed
        while going:
            image = a.pictures.good[number % len(a.pictures.good)]
            number += 1
            a.count("requests around SIGTERM", *await _cut_or_whole(a, server.port, image))

    clients = [asyncio.create_task(client(number)) for number in range(16)]
    await asyncio.sleep(float(a.rng.uniform(0.3, 0.8)))
    server.terminate()
    await _listens_no_more(server.port)
    for image, reader, writer in halves:
        problem, status = await _finished(a, image, reader, writer)
        a.count("requests begun before SIGTERM", problem, status, image)
    going = False
    await asyncio.gather(*clients)
    code = await asyncio.to_thread(server.ended, TIMEOUT + 1 + SLACK)
    a.count("ends by SIGTERM", "" if code == 0 else f"exit code {code}")
    a.count("silence", complaint(server))


async def _listens_no_more(port: int) -> None:
    """Wait until the server, which was asked to end, has begun to."""
    deadline = time.monotonic() + SLACK
    with suppress(OSError):
        while time.monotonic() < deadline:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.abort()
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)


async def _half(a: Attacker, server: Server) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """An image of which the first half of the request is sent."""
    image = a.pictures.good[int(a.rng.integers(len(a.pictures.good)))]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(post(image)[:-100])
    await writer.drain()
    return image, reader, writer


async def _finished(
    a: Attacker, image: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, int]:
    """Send the second half: the answer must be the right one."""
    try:
        async with asyncio.timeout(TIMEOUT + SLACK):
            writer.write(post(image)[-100:])
            (answer,) = parse(await reader.read(-1))
        return a.pictures.complaint([image], answer), answer.status
    except (OSError, TimeoutError, ValueError) as error:
        return f"{type(error).__name__}: {error}", 0
    finally:
        writer.transport.abort()


async def _cut_or_whole(a: Attacker, port: int, image: bytes) -> tuple[str, int]:
    """A request on a connection of its own: it may be refused, but an answer that begins must be whole and right."""
    try:
        received, closed = await exchange(port, post(image), TIMEOUT + SLACK)
        answers = parse(received)
    except OSError:
        await asyncio.sleep(0.01)
        return "", 503
    except ValueError as error:
        return str(error), 0
    if not closed:
        return "the connection is still open", 0
    return (a.pictures.complaint([image], answers[0]), answers[0].status) if answers else ("", 503)
