"""Hostile and crowded clients of the prediction server: it must answer rightly, or refuse, and go on answering.

A real server with a small LeNet listens on the loopback in a process of its own. Each round tries, in random order:

table     raw HTTP, hosts, origins, paths, methods, bodies, forms and queries (`serving/attacks.py`)
mutated   damaged requests and forms; damaged images
crowd     up to 64 clients at once, also while others send slowly, do not read, or leave
flood     some hundred connections that say nothing
slow      requests that come byte by byte, and clients that never read their answers
numbers   a model whose probabilities are not numbers
life      SIGTERM under load; SIGKILL, and a start on the same port

A failure is: an answer other than the one stated or, for an image, other than what `predict` computes in this process;
a status 500; invalid JSON; a cut answer; a connection that is held beyond its time; anything on standard error; a file
that is written; a health check that is not answered in 5 seconds; open files or memory that grow beyond a bound.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from campaigns.common import Session, minimised, mutated
from campaigns.serving.attacker import SLACK, Attacker
from campaigns.serving.attacker import complaint as said
from campaigns.serving.attacks import NONE, Attack, attacks, complaint
from campaigns.serving.life import life
from campaigns.serving.pictures import Pictures, answer_to
from campaigns.serving.process import TIMEOUT, Server, make_model
from campaigns.serving.slow import SLOW, deaf, trickle
from campaigns.serving.wire import FORM, HEALTH, Client, exchange, form, parse, post

STATUSES = (200, 307, 400, 403, 404, 405, 408, 413, 415, 421, 431, 501, 503)
MUCH = 1 << 16  # bytes of a request that the server need not read before it closes the connection

Part = Callable[[Attacker], Coroutine[None, None, None]]


# ── one request ──────────────────────────────────────────────────────────────────────────────────────


async def tried(port: int, attack: Attack) -> tuple[str, int]:
    """What is wrong with the answers to an attack, or an empty string; and the first status."""
    begun = time.monotonic()
    try:
        received, closed = await exchange(port, attack.data, TIMEOUT + 1 + SLACK)
        answers = parse(received)
        for answer in answers:
            if answer.headers.get(b"content-type") == b"application/json":
                answer.json()
    except ValueError as error:
        if NONE in attack.wanted and len(attack.data) > MUCH:
            return "", 0  # the system drops the end of an answer if the server closes before it has read everything
        return str(error), 0
    except OSError as error:
        return f"no connection: {error}", 0
    if not closed:
        return f"the connection is still open after {time.monotonic() - begun:.1f} s", 0
    statuses = [answer.status for answer in answers]
    problem = complaint(attack, statuses, [answer.body for answer in answers])
    return problem, statuses[0] if statuses else 0


async def at_once(clients: int, todo: Sequence[Callable[[], Coroutine[None, None, None]]]) -> None:
    """Run all of them, as many at a time as there are clients."""
    queue = list(reversed(todo))

    async def client() -> None:
        while queue:
            await queue.pop()()

    await asyncio.gather(*(client() for _ in range(clients)))


# ── the parts of a round ─────────────────────────────────────────────────────────────────────────────


async def table(a: Attacker) -> None:
    """Every attack of the table, in random order, 8 at a time."""
    listed = list(attacks(a.pictures.good[0]))

    async def one(attack: Attack) -> None:
        problem, status = await tried(a.server.port, attack)
        a.count(attack.kind, problem and f"{attack.name}: {problem}", status, attack.data)

    await at_once(8, [lambda i=i: one(listed[i]) for i in a.rng.permutation(len(listed))])


async def mutated_requests(a: Attacker) -> None:
    """Requests and forms with damage anywhere: any status but 500, and no more answers than requests."""
    image = a.pictures.good[0][:300]
    originals = [HEALTH, HEALTH * 3, post(image), post(form([(b"a.png", image), (b"b.png", image)]), FORM)]
    originals += [post(image, query=b"?top=3&threshold=0.5", more=b"Origin: http://localhost\r\n")]

    def attack_with(data: bytes) -> Attack:
        return Attack("mutated requests", "", data, (*STATUSES, NONE), most=len(re.findall(rb"\n\r?\n", data)) + 1)

    async def one() -> None:
        attack = attack_with(mutated(originals[int(a.rng.integers(len(originals)))], a.rng))
        problem, status = await tried(a.server.port, attack)
        data = attack.data
        if problem:
            data = await shortest(data, lambda data: tried(a.server.port, attack_with(data)))
        a.count(attack.kind, problem, status, data)

    end = time.monotonic() + a.seconds(10)
    while time.monotonic() < end:
        await at_once(8, [one] * 80)


async def mutated_images(a: Attacker) -> None:
    """Images with damage anywhere: the answer is that of `predict`."""

    async def asked(content: bytes) -> tuple[str, int]:
        client = Client(a.server.port)
        try:
            return await answer_to(client, post(content), [content], a.pictures)
        finally:
            client.close()

    async def one() -> None:
        content = mutated(a.pictures.good[int(a.rng.integers(len(a.pictures.good)))], a.rng)
        problem, status = await asked(content)
        a.count("mutated images", problem, status, await shortest(content, asked) if problem else content)

    end = time.monotonic() + a.seconds(10)
    while time.monotonic() < end:
        await at_once(8, [one] * 40)


async def shortest(data: bytes, problem: Callable[[bytes], Coroutine[None, None, tuple[str, int]]]) -> bytes:
    """A shorter input that has a problem too."""
    return await asyncio.to_thread(minimised, data, lambda data: bool(asyncio.run(problem(data))[0]), 5.0)


async def crowd(a: Attacker, clients: int = 64) -> None:
    """Up to 64 clients, each comparing every answer; some leave before theirs."""
    end = time.monotonic() + a.seconds(20)

    async def one(seed: int) -> None:
        rng, client = np.random.default_rng(seed), Client(a.server.port)
        while time.monotonic() < end:
            await _one_of_a_crowd(a, rng, client)
        client.close()

    seeds = a.rng.integers(1 << 62, size=int(a.rng.integers(8, clients + 1)))
    await asyncio.gather(*(one(int(seed)) for seed in seeds))


async def _one_of_a_crowd(a: Attacker, rng: np.random.Generator, client: Client) -> None:
    some = [a.pictures.any(rng) for _ in range(int(rng.integers(2, 9)))]
    dice = rng.random()
    if dice < 0.7:
        problem, status = await answer_to(client, post(some[0], query=b"?top=4"), some[:1], a.pictures)
        a.count("crowd, images", problem, status, some[0])
    elif dice < 0.85:
        body = form([(b"image", content) for content in some])
        problem, status = await answer_to(client, post(body, FORM, query=b"?top=4"), some, a.pictures)
        a.count("crowd, forms", problem, status, body)
    elif dice < 0.93:
        data = post(some[0])
        with suppress(OSError):
            part = data[: int(rng.integers(1, len(data)))]
            await exchange(a.server.port, part, 0.01, half_close=bool(rng.random() < 0.5))
        a.count("crowd, clients that leave", "")
    else:
        path = (b"/healthz", b"/metrics", b"/model", b"/", b"/openapi.json")[int(rng.integers(5))]
        try:
            answer = await client.ask(HEALTH.replace(b"/healthz", path))
            problem = "" if answer.status == 200 else f"{path!r} is not answered"
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            client.close()
            problem = f"{path!r}: {type(error).__name__}: {error}"
        a.count("crowd, other pages", problem, 200)


async def flood(a: Attacker, connections: int = 300) -> None:
    """Connections that say nothing: others are answered meanwhile, and they are closed when their time is over."""
    streams = [await asyncio.open_connection("127.0.0.1", a.server.port) for _ in range(connections)]
    image, client = a.pictures.good[0], Client(a.server.port)
    problem, status = await answer_to(client, post(image), [image], a.pictures)
    client.close()
    a.count("floods", problem and f"while {connections} are silent: {problem}", status)
    try:
        async with asyncio.timeout(TIMEOUT + SLACK):
            told = await asyncio.gather(*(reader.read() for reader, _ in streams), return_exceptions=True)
        problem = "" if set(told) == {b""} else f"silent clients are told {next(filter(None, told))!r}"
    except TimeoutError:
        problem = "silent connections are held"
    for _, writer in streams:
        writer.transport.abort()
    a.count("floods", problem, 400)


async def slow(a: Attacker) -> None:
    """Clients that send byte by byte or never read are disconnected in time; a crowd is answered meanwhile."""

    async def one(kind: str, start: bytes, drip: bytes, wanted: tuple[int, ...]) -> None:
        received, took = await trickle(a.server.port, start, drip, TIMEOUT + 1 + SLACK)
        try:
            statuses = [answer.status for answer in parse(received)]
        except ValueError as error:
            return a.count(kind, str(error), 0, start)
        problem = "the connection is still open" if took is None else ""
        if not problem and (statuses or [NONE])[0] not in wanted:
            problem = f"answered {statuses}, not {wanted}"
        return a.count(kind, problem and f"{start[:60]!r}, then {drip!r}: {problem}", (statuses or [400])[0], start)

    async def unread() -> None:
        took = await deaf(a.server.port, TIMEOUT + SLACK)
        a.count("unread answers", "the connection is still open" if took is None else "", 400)

    await asyncio.gather(*(one(*row) for row in SLOW for _ in range(3)), unread(), unread(), crowd(a, 16))


async def numbers(a: Attacker) -> None:
    """A model whose probabilities are not numbers: an error for each image, in valid JSON."""
    path = a.session.work / "infinite.safetensors"
    if not path.exists():
        make_model(1, infinite=True).save(path)
    with Server(path, a.session.work / "infinite") as server:
        client = Client(server.port)
        for query in (b"", b"?top=1", b"?threshold=0", b"?threshold=1", b"?threshold=stored"):
            for picture in a.pictures.good[:4]:
                try:
                    answer = await client.ask(post(picture, query=query))
                    (row,) = answer.json()
                    right = answer.status == 400 and row["label"] is None and "not numbers" in row["error"]
                    problem = "" if right else f"answered {answer.status} {answer.body[:200]!r}"
                except (OSError, EOFError, TimeoutError, ValueError, TypeError, KeyError) as error:
                    client.close()
                    problem = f"{type(error).__name__}: {error}"
                a.count("answers that are no numbers", problem, 400, picture)
        client.close()
        a.count("silence", said(server))


PARTS = (table, mutated_requests, mutated_images, crowd, flood, slow, numbers, life)


def run(session: Session, parts: Sequence[Part] = PARTS) -> None:
    """Attack until the time is over, by these parts in random order; by each at least once."""
    path = session.work / "model.safetensors"
    model = make_model(int(session.rng.integers(1 << 30)))
    model.save(path)
    asyncio.run(_rounds(session, path, Pictures(model, session.work, session.rng), parts))


async def _rounds(session: Session, model: Path, pictures: Pictures, parts: Sequence[Part]) -> None:
    with Server(model, session.work / "home") as server:
        client = Client(server.port)
        for content in pictures.good:
            await answer_to(client, post(content), [content], pictures)
        client.close()
        attacker, tried_all = Attacker(session, model, server, pictures), False
        while not tried_all or session.goes_on():
            for i in session.rng.permutation(len(parts)):
                if not tried_all or session.goes_on():
                    await parts[i](attacker)
                    await attacker.check()
            tried_all = True
