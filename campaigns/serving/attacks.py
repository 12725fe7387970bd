"""The table of attacks: bytes that a client may send, and the answers that are right. Every other answer is a failure.

After each of them the sender says that nothing follows, so whatever the server does, it must do at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from campaigns.serving.process import CLASSES, MAX_BODY
from campaigns.serving.wire import BOUNDARY, FORM, form, post

HOST = b"Host: localhost\r\n"
SECOND = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
NONE = 0  # in `wanted`: the server may close the connection without an answer


@dataclass(frozen=True)
class Attack:
    """What is sent, the statuses of which the first answer must have one, and how many answers there must be."""

    kind: str
    name: str
    data: bytes
    wanted: tuple[int, ...]
    most: int = 1
    least: int = 1  # answers, unless there may be none


def attacks(image: bytes) -> Iterator[Attack]:
    """All of them. `image`: a file that the server can read."""
    yield from _chunked(image)
    yield from _smuggled(image)
    yield from _large(image)
    yield from _odd(image)
    yield from _paths_and_methods()
    yield from _hosts(image)
    yield from _bodies(image)
    yield from _queries(image)
    yield from _page(image)


def _chunked(image: bytes) -> Iterator[Attack]:
    top = b"POST /predict HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    whole = b"".join(b"%x\r\n" % len(image[i : i + 99]) + image[i : i + 99] + b"\r\n" for i in range(0, len(image), 99))
    yield Attack("chunks", "an image", top + whole + b"0\r\n\r\n", (200,))
    yield Attack("chunks", "with trailers", top + whole + b"0\r\nX: y\r\n\r\n", (200,))
    yield Attack("chunks", "and a second request", top + whole + b"0\r\n\r\n" + SECOND, (200,), 2, 2)
    yield Attack("chunks", "20,000 of one byte", top + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n", (400,))
    yield Attack("chunks", "larger than the limit", top + (b"10000\r\n" + bytes(1 << 16) + b"\r\n") * 20, (413, NONE))
    wrong = (b"-5", b"0x5", b"+5", b"1_0", b"", b"5 5", b"\xd9\xa3")
    for size in wrong:
        data = top + size + b"\r\nabcde\r\n0\r\n\r\n" + SECOND
        yield Attack("chunks", f"of size {size[:9]!r}", data, (400,))
    for size in (b"f" * 16, b"f" * 20, b"f" * 70_000, b"5;" + b"a=b;" * 50_000):
        data = top + size + b"\r\nabcde"
        yield Attack("chunks", f"of size {size[:9]!r}, unfinished", data, (400, NONE))
    yield Attack("chunks", "whose end is missing", top + b"5\r\nabcdeX0\r\n\r\n" + SECOND, (400,))
    yield Attack("chunks", "trailers without end", top + b"0\r\n" + b"X: y\r\n" * 30_000 + b"\r\n", (400,))
    yield Attack("chunks", "cut", top + whole[: len(whole) // 2], (400, NONE))


def _smuggled(image: bytes) -> Iterator[Attack]:
    """Two programs may disagree about where these end: there must be one answer, and no second."""
    top, end = b"POST /predict HTTP/1.1\r\n" + HOST, b"0\r\n\r\n" + SECOND
    chunked = b"Transfer-Encoding: chunked\r\n"
    yield Attack("smuggling", "length, chunks", top + b"Content-Length: 6\r\n" + chunked + b"\r\n" + end, (400,))
    yield Attack("smuggling", "chunks, length", top + chunked + b"Content-Length: 3\r\n\r\n" + end, (400,))
    yield Attack("smuggling", "chunks, HTTP/1.0", top.replace(b"1.1", b"1.0") + chunked + b"\r\n" + end, (400,))
    lengths = (b"+2", b"-1", b"9" * 30, b"9" * 5000, b"0x10", "٣".encode(), b"2, 3", b"", b"1_0", b"2 2", b"2;")
    for length in lengths:
        data = top + b"Content-Length: " + length + b"\r\n\r\nab" + SECOND
        yield Attack("smuggling", f"length {length[:9]!r}", data, (413, 400) if length[:1] == b"9" else (400,))
    yield Attack("smuggling", "two lengths", top + b"Content-Length: 0\r\nContent-Length: 49\r\n\r\n" + SECOND, (400,))
    codings = (
        b"xchunked",
        b"chunked, identity",
        b"gzip, chunked",
        b"identity",
        b"chunked\r\nTransfer-Encoding: chunked",
    )
    for coding in codings:
        data = top + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + end
        yield Attack("smuggling", f"coding {coding[:18]!r}", data, (400, 501))
    for line in (
        b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked",
        b"X: a\0b",
        b"X Y: a",
        b"X: a\rY: b",
        b":",
    ):
        yield Attack("smuggling", f"line {line[:19]!r}", top + line + b"\r\n\r\n" + end, (400, 421))
    yield Attack("smuggling", "no Host", b"GET /healthz HTTP/1.1\r\n\r\n" + SECOND, (400,))
    yield Attack("smuggling", "two Hosts", b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n" + SECOND, (400,))
    yield Attack("pipelining", "three requests", SECOND + post(image) + SECOND, (200,), 3, 3)
    yield Attack("pipelining", "and nonsense", SECOND + b"nonsense\r\n\r\n", (200,), 2, 2)
    yield Attack("pipelining", "200 requests", SECOND * 200, (200,), 200, 200)


def _large(image: bytes) -> Iterator[Attack]:
    top = b"GET /healthz HTTP/1.1\r\n" + HOST
    many = b"".join(b"X-%d: y\r\n" % i for i in range(10_000))
    yield Attack("headers", "10,000", top + many + b"\r\n", (200, 400, NONE))
    yield Attack("headers", "one of 1 MB", top + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", (400, NONE))
    yield Attack(
        "headers", "a query of 1 MB", b"GET /?" + b"a=1&" * 250_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", (400, NONE)
    )
    yield Attack("headers", "only line ends", b"\r\n" * 50_000, (400, NONE))
    yield Attack("headers", "a cookie of 16 KB", top + b"Cookie: " + b"c" * 16_000 + b"\r\n\r\n", (200,))
    yield Attack("body size", "at the limit", post(bytes(MAX_BODY)), (400,))
    yield Attack("body size", "one byte more", post(bytes(MAX_BODY + 1)), (413,))
    yield Attack("body size", "three times", post(bytes(3 * MAX_BODY)), (413,))
    for length in (5 * MAX_BODY, 1 << 40):
        data = b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length + image
        yield Attack("body size", f"{length:,} announced", data, (413,))
    expect = b"Expect: 100-continue\r\n"
    yield Attack("body size", "Expect", post(image, more=expect), (200,))
    yield Attack("body size", "Expect, too large", post(bytes(2 * MAX_BODY), more=expect), (413, NONE))


def _odd(image: bytes) -> Iterator[Attack]:
    yield Attack("not HTTP", "HTTP/0.9", b"GET /\r\n", (400, NONE))
    yield Attack("not HTTP", "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", (400, 404), most=2)
    yield Attack("not HTTP", "HTTP/3.7", b"GET / HTTP/3.7\r\n" + HOST + b"\r\n", (200, 400))
    yield Attack("not HTTP", "TLS", bytes.fromhex("16030100c8010000c40303") + bytes(range(190)), (400, NONE))
    yield Attack("not HTTP", "zeros", bytes(100_000), (400, NONE))
    yield Attack("not HTTP", "nothing", b"", (NONE,))
    upgrade = b"Connection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhl\r\n"
    for protocol in (b"websocket", b"h2c"):
        data = b"GET /healthz HTTP/1.1\r\n" + HOST + upgrade % protocol + b"\r\n"
        yield Attack("not HTTP", f"upgrade to {protocol.decode()}", data, (200,))
    for end in (1, 10, 40, 70, 120, len(post(image)) - 1):
        yield Attack("half requests", f"{end} bytes", post(image)[:end], (400, NONE))


def _paths_and_methods() -> Iterator[Attack]:
    paths = (
        b"/../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/..%5c..%5cetc",
        b"//etc/passwd",
        b"/%00",
        b"/page.html",
    )
    more = (
        b"/predict/../model",
        b"/%ff",
        b"/predict%0d%0aX:y",
        b"/" + b"a" * 60_000,
        b"http://evil/healthz",
        b"*",
        b"/model/",
    )
    for path in (*paths, *more):
        yield Attack("paths", repr(path[:30]), b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n", (404, 307))
    for path in (b"/\xff", b"", b"/a b", b"/\0"):
        yield Attack("paths", repr(path), b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n", (400,))
    for method in (b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"PATCH", b"GETS", b"get", b"A" * 3000):
        for path in (b"/predict", b"/healthz", b"/"):
            data = method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"Cookie: secret\r\n\r\n"
            yield Attack("methods", f"{method[:9].decode()} {path.decode()}", data, (405,))
    yield Attack("methods", "CONNECT", b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n", (404, 405, 400))
    yield Attack("methods", "GET /predict", b"GET /predict HTTP/1.1\r\n" + HOST + b"\r\n", (405,))


def _hosts(image: bytes) -> Iterator[Attack]:
    own = (b"localhost:1", b"127.0.0.1", b"[::1]:8000", b"10.1.2.3", b"a.localhost", b"LOCALHOST.")
    foreign = (
        b"evil.example",
        b"evil.example:8000",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"1.2.3",
        b"",
    )
    odd = (
        b"[::1",
        b"localhost@evil.example",
        b"xn--n3h",
        b"localhost:evil",
        b"0x7f.1",
        b"localhost,evil.example",
        b"a" * 9999,
    )
    for path in (b"/", b"/model", b"/healthz", b"/metrics", b"/nowhere"):
        for host in (*foreign, *odd):
            data = b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
            yield Attack("Host", f"{host[:30]!r} {path.decode()}", data, (421,))
    for host in own:
        yield Attack("Host", repr(host), b"GET /model HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", (200,))
    for host in foreign:
        yield Attack("Host", f"{host!r} POST", post(image, host=host), (421,))
    own_sites = ((b"http://127.0.0.1:81", b"127.0.0.1:81"), (b"http://localhost:81", b"localhost:81"))
    for site, host in own_sites:
        yield Attack("Origin", repr(site), post(image, more=b"Origin: " + site + b"\r\n", host=host), (200,))
    foreign_sites = (
        b"http://evil.example",
        b"null",
        b"",
        b"http://localhost:3000",
        b"http://127.0.0.1@evil.example",
        b"//",
    )
    for site in (*foreign_sites, b"http://[", b"\xff", b"http://evil.example/\x80"):
        yield Attack("Origin", repr(site), post(image, more=b"Origin: " + site + b"\r\n"), (403, 400))


def _bodies(image: bytes) -> Iterator[Attack]:
    yield Attack("bodies", "gzip", post(image, more=b"Content-Encoding: gzip\r\n"), (415,))
    for kind, body in ((b"application/json", b"[" * 100_000), (b"text/plain", b"hello"), (b"image/png", b"")):
        yield Attack("bodies", kind.decode(), post(body, kind), (400,))
    yield Attack("bodies", "kind \xff", post(image, b"\xff"), (200, 400))
    good, mark = form([(b"a.png", image)]), b"--" + BOUNDARY
    yield Attack("forms", "64 files", post(form([(b"a", image[:900])] * 64), FORM), (400,))
    yield Attack("forms", "65 files", post(form([(b"a", b"b")] * 65), FORM), (400,))
    yield Attack("forms", "5,000 files", post(form([(b"a", b"b")] * 5000), FORM), (400,))
    fields = (mark + b'\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n') * 5000 + mark + b"--\r\n"
    yield Attack("forms", "5,000 fields", post(fields, FORM), (400,))
    for kind in (b"", b"=", b"=zzz", b"=" + b"z" * 9999, b'="', b"=\xff"):
        yield Attack("forms", f"boundary{kind[:5]!r}", post(good, b"multipart/form-data; boundary" + kind), (400,))
    for charset in (b"nonsense", b"utf-16", b"base64", b"idna", b"rot13", b"zlib", b"\xff", b"undefined", b"utf-7"):
        yield Attack("forms", f"charset {charset!r}", post(good, FORM + b"; charset=" + charset), (200, 400))
    for name in (b"../../../etc/passwd", b"\x1b[31m<img src=x>\xff", b"a" * 9999, b'\\"', b"", b"%00", b"\xed\xa0\x80"):
        yield Attack("forms", f"file name {name[:9]!r}", post(form([(name, image)]), FORM), (200, 400))
    heads = (
        b"X: y",
        b'Content-Disposition: form-data; filename="x"',
        b"Content-Disposition: " + b"a" * 99_999,
        b"X",
        b":",
    )
    more = (
        b"Content-Disposition: form-data; name=i; filename*=UTF-8''%e2%82%ac",
        b"\r\n".join(b"X%d: y" % i for i in range(5000)),
    )
    for head in (*heads, *more):
        body = mark + b"\r\n" + head + b"\r\n\r\n" + image + b"\r\n" + mark + b"--\r\n"
        yield Attack("forms", f"part {head[:25]!r}", post(body, FORM), (200, 400))
    floods = (b"\r" * 999_999, b"\r\n" * 499_999, b"-" * 999_999, (b"\r\n" + mark[:-1]) * 40_000, mark * 40_000)
    for flood in floods:
        yield Attack("forms", f"flood {flood[:5]!r}", post(flood, FORM), (400,))
        yield Attack(
            "forms", f"part of {flood[:5]!r}", post(good[:140] + flood + b"\r\n" + mark + b"--\r\n", FORM), (400,)
        )
    for end in (len(mark), 60, 140, len(good) - 3):
        yield Attack("forms", f"cut at {end}", post(good[:end], FORM), (400, 200))
    yield Attack("forms", "and what follows", post(good + bytes(500_000), FORM), (200, 400))


def _queries(image: bytes) -> Iterator[Attack]:
    right = (
        b"",
        b"?top=1",
        b"?top=999999",
        b"?threshold=0.5",
        b"?threshold=stored",
        b"?top=2&threshold=1",
        b"?&&",
        b"?top=1&top=2",
    )
    for query in right:
        yield Attack("queries", repr(query), post(image, query=query), (200,))
    tops = (b"0", b"-1", b"1e3", b"1000000", b"%D9%A3", b"9" * 9999, b"1.0", b"", b"%00", b"+1", b"1%0a", b"[1]")
    thresholds = (b"nan", b"inf", b"-0.1", b"1.1", b"0x1", b"1" * 5000, b"%ff", b"x")
    for query in (
        *(b"?top=" + t for t in tops),
        *(b"?threshold=" + t for t in thresholds),
        b"?x=1",
        b"?TOP=1",
        b"?%00=1",
        b"?__proto__=1",
    ):
        yield Attack("queries", repr(query[:20]), post(image, query=query), (400,))


def _page(image: bytes) -> Iterator[Attack]:
    """The interface of the page, to which a browser sends images and the pixels of the model's input, 32×32×3."""

    def sent(path: bytes, body: bytes, kind: bytes = b"application/octet-stream") -> bytes:
        length = b"Content-Type: " + kind + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
        return b"POST /lab/" + path + b" HTTP/1.1\r\n" + HOST + length + body

    pixels, model = bytes(32 * 32 * 3), b"model=lenet:bn"
    yield Attack("page", "one unit", sent(b"unit?path=conv1&unit=1,2,3&" + model, pixels), (200,))
    yield Attack("page", "half an image", sent(b"look?" + model, image, b"image/*")[:-9], (400, NONE))
    wrong = (
        (b"look?" + model, pixels + b"x"),
        (b"look?" + model, b""),
        (b"look?model=/etc/passwd", pixels),
        (b"look", pixels),
        (b"map?path=conv1&channel=6&" + model, pixels),
        (b"map?path=../conv1&" + model, pixels),
        (b"map?path=conv1&channel=-1&" + model, pixels),
        (b"unit?path=conv1&unit=&" + model, pixels),
        (b"unit?path=conv1&unit=" + b"1," * 9999 + b"&" + model, pixels),
        (b"unit?path=conv1&unit=1,2,99&" + model, pixels),
        (b"cam?class=4&" + model, pixels),
        (b"cam?class=" + b"9" * 99 + b"&" + model, pixels),
    )
    for path, body in wrong:
        yield Attack("page", repr(path[:30]), sent(path, body), (400,))
    yield Attack("page", "no image", sent(b"look?" + model, b"nothing", b"image/*"), (400,))
    for path in (b"sample?" + model, b"zoo", b"network?name=lenet", b"../application.py"):
        data = b"GET /lab/" + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        yield Attack("page", repr(path[:30]), data, (404,))


def complaint(attack: Attack, statuses: list[int], bodies: list[bytes]) -> str:
    """What is wrong with these answers, or an empty string."""
    if len(statuses) < (0 if NONE in attack.wanted else attack.least):
        return f"{len(statuses)} answers" if statuses else "no answer"
    if statuses and statuses[0] not in attack.wanted:
        return f"answered {statuses[0]}, not {' or '.join(map(str, attack.wanted))}: {bodies[0][:100]!r}"
    if len(statuses) > attack.most:
        return f"{len(statuses)} answers to {attack.most}"
    if any(word in body for body in bodies for word in (b"root:", b"secret", b"Traceback", b"evil.example/healthz")):
        return "the answer tells what it should not"
    classes = [name for name in CLASSES if b'"%s"' % name.encode() in b"".join(bodies)]
    return "the model's classes are told" if statuses[:1] == [421] and classes else ""
