"""The server: the answers of `predict`, and a clear no to everything that would harm it."""

import asyncio
import http.client
import io
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from neoclassic import networks
from neoclassic.base.errors import install
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model
from neoclassic.model.predict import predict
from neoclassic.web import server
from neoclassic.web.names import is_loopback
from neoclassic.web.server import Limits, Refusal, Service

SECONDS = 2.0  # the server's --timeout
MAIN = "import sys; sys.modules['torch'] = None; from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"
NAMES = ("ant", "bee", "cat", "dog")


def make_model():
    tree, shape = networks.network("lenet:bn", 4), (3, 32, 32)
    preprocessing = Preprocessing((32, 32), 3, mean=(0.4,), std=(0.2,))
    calibration = {"temperature": 0.5, "threshold": 0.9, "n": 10}
    weights = arrays.initial(tree, shape, seed=3)
    return Model("lenet:bn", tree, shape, NAMES, preprocessing, weights, calibration=calibration)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    make_model().save(path)
    return path


class Running:
    """The server as a user starts it, without torch, in folders of its own."""

    def __init__(self, model, home, *options):
        self.home = home
        for name in ("tmp", "here"):
            (home / name).mkdir()
        environment = {**os.environ, "TMPDIR": str(home / "tmp"), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [
            "serve",
            str(model),
            "--port",
            "0",
            "--timeout",
            str(SECONDS),
            "--max-body",
            "1",
            "--max-pixels",
            "1",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *command, *options],
            cwd=home / "here",
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = line = self.process.stderr.readline()
        assert "answers with" in line, line + self.process.stderr.read()
        self.port = int(re.search(r":(\d+) ", line)[1])

    def end(self):
        """Exit code, and what else stood on stderr."""
        self.process.terminate()
        said = self.process.communicate(timeout=15)[1]
        return self.process.returncode, said

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def predict(self, body, query="", **headers):
        status, _, text = self.ask("POST", f"/predict{query}", body, headers)
        return status, json.loads(text)

    def written(self):
        """The files that stand in the server's own folders."""
        return [p for p in self.home.rglob("*") if p.is_file()]


@pytest.fixture(scope="module")
def running(model, tmp_path_factory):
    one = Running(model, tmp_path_factory.mktemp("home"), "--engine", "numpy")
    yield one
    assert one.end() == (0, "")


def picture(seed, size=(40, 36), kind="PNG", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def form(*files):
    """Body and headers of multipart/form-data with (name, content) files."""
    mark = "x7MA4YWxkTrZu0gW"
    head = 'Content-Disposition: form-data; name="image"; filename="{}"\r\nContent-Type: image/png\r\n\r\n'
    parts = [f"--{mark}\r\n{head.format(name)}".encode() + content + b"\r\n" for name, content in files]
    return b"".join(parts) + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


def assert_as_predicted(model, contents, answers, tmp_path):
    paths = [tmp_path / f"{i}.img" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    loaded = Model.load(model)
    expected = list(predict(loaded, loaded.engine("numpy"), paths))
    assert [a["label"] for a in answers] == [e.label for e in expected]
    for answer, wanted in zip(answers, expected, strict=True):
        assert {t["label"]: t["probability"] for t in answer["top"]} == pytest.approx(dict(wanted.top), abs=1e-6)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_image_as_the_body_is_answered_as_by_predict(running, model, tmp_path):
    contents = [picture(0), picture(1, kind="JPEG"), picture(2, kind="WEBP")]
    answers = [running.predict(content) for content in contents]
    assert [status for status, _ in answers] == [200] * 3
    assert_as_predicted(model, contents, [rows[0] for _, rows in answers], tmp_path)


def test_a_photo_is_answered_alike_however_it_is_stored(running, model, tmp_path):
    upright = Image.open(io.BytesIO(picture(3)))
    lying = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose that each EXIF orientation undoes
    stored = [(upright, "BMP"), (upright.convert("RGBA"), "PNG"), (upright.convert("CMYK"), "TIFF")]
    exifs = [Image.Exif() for _ in stored]
    for kind in ("PNG", "WEBP", "TIFF"):
        for tag, turn in lying.items():
            exifs.append(Image.Exif())
            exifs[-1][0x0112] = tag
            stored.append((upright if turn is None else upright.transpose(turn), kind))
    contents = []
    for (image, kind), exif in zip(stored, exifs, strict=True):
        stream = io.BytesIO()
        image.save(stream, kind, **({"exif": exif} if exif else {}), **({"lossless": True} if kind == "WEBP" else {}))
        contents.append(stream.getvalue())
    body, headers = form(("upright.png", picture(3)), *((f"{i}.img", c) for i, c in enumerate(contents)))
    status, (first, *others) = running.predict(body, **headers)
    assert status == 200
    assert len(others) == 27
    for answer in others:
        assert answer["error"] is None
        assert [t["label"] for t in answer["top"]] == [t["label"] for t in first["top"]]
        assert [t["probability"] for t in answer["top"]] == pytest.approx([t["probability"] for t in first["top"]])


def test_many_images_of_a_form_are_answered_in_order_under_their_names(running, model, tmp_path):
    contents = [picture(seed) for seed in range(10)]
    body, headers = form(*((f"{i}.png", content) for i, content in enumerate(contents)))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert [a["path"] for a in answers] == [f"{i}.png" for i in range(10)]
    assert_as_predicted(model, contents, answers, tmp_path)


def test_many_senders_at_once_get_each_their_own_answer(running, model, tmp_path):
    contents = [picture(seed) for seed in range(48)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(running.predict, contents))
    assert {status for status, _ in answers} == {200}
    assert_as_predicted(model, contents, [rows[0] for _, rows in answers], tmp_path)
    metrics = running.ask("GET", "/metrics")[2]
    alone, total = (
        float(re.search(rf"neoclassic_batch_images_{what} (.*)", metrics)[1]) for what in ('bucket{le="1.0"}', "count")
    )
    assert alone < total, "no two images were ever computed together"


def test_top_and_threshold(running):
    image = picture(0)
    assert [len(running.predict(image, f"?top={n}")[1][0]["top"]) for n in (1, 3, 9)] == [1, 3, 4]
    sure, unsure = (running.predict(image, f"?threshold={t}")[1][0] for t in ("0", "1"))
    assert sure["label"] in NAMES
    assert (unsure["label"], unsure["index"]) == ("unknown", None)
    assert unsure["probability"] == sure["probability"] < 1
    stored = running.predict(image, "?threshold=stored")[1][0]
    assert (stored["label"] == "unknown") == (sure["probability"] < 0.9)


def test_what_the_server_says_of_itself(running):
    assert running.ask("GET", "/healthz")[::2] == (200, '{"status":"ok"}')
    facts = json.loads(running.ask("GET", "/model")[2])
    assert (facts["network"], facts["classes"], facts["engine"]) == ("lenet:bn", list(NAMES), "numpy")
    interface = json.loads(running.ask("GET", "/openapi.json")[2])
    for path, verbs in interface["paths"].items():
        for verb in verbs:
            assert running.ask(verb.upper(), path)[0] in (200, 400), path
    status, headers, page = running.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert not re.search(r"https?://", page), "the page asks other machines"


# ── hostile input ────────────────────────────────────────────────────────────────────────────────────


def png(width, height, pixels=b""):
    """A PNG whose header claims a size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb", bytes(10_000_000))
    return stream.getvalue()


HOSTILE = [
    (b"", {}, 400, "no image in the request"),
    (b"hello", {}, 400, "is not an image"),
    (archive(), {}, 400, "is a ZIP archive, not an image"),
    (png(50_000, 50_000), {}, 400, "pixels"),
    (png(2000, 1000, bytes(2000 * 1000 * 3 + 1000)), {}, 400, "more than 1 million pixels"),
    (png(100, 100), {}, 400, "image"),
    (picture(0)[:-200], {}, 400, "truncated"),
    (picture(0, kind="JPEG")[:300], {}, 400, "image"),
    (bytes(1 << 20) + b"1", {}, 413, "larger than 1,048,576 bytes"),
    (bytes(3 << 20), {}, 413, "larger than 1,048,576 bytes"),
    (b"", {"Content-Length": "99999999999"}, 413, "larger than"),
    (picture(0), {"Content-Encoding": "gzip"}, 415, "without Content-Encoding"),
    (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "no image in the request"),
    (b"no form", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "the form cannot be read"),
    (b"no form", {"Content-Type": "multipart/form-data"}, 400, "the form cannot be read"),
    (*form(*[("a", b"b")] * 65), 400, "Too many files"),
]


@pytest.mark.parametrize(("body", "headers", "status", "reason"), HOSTILE, ids=[f"{i}" for i in range(len(HOSTILE))])
def test_what_cannot_be_answered_is_refused_in_one_line(running, body, headers, status, reason):
    found, _, text = running.ask("POST", "/predict", body, headers)
    answer = json.loads(text)
    line = answer["error"] if isinstance(answer, dict) else answer[0]["error"]
    assert found == status, line
    assert reason in line
    assert "\n" not in line
    assert running.predict(picture(0))[0] == 200


@pytest.mark.parametrize("query", ["?top=0", "?top=x", "?top=1e9", "?threshold=2", "?threshold=nan", "?treshold=1"])
def test_parameters_that_cannot_be_are_refused(running, query):
    status, answer = running.predict(picture(0), query)
    assert status == 400
    assert answer["error"]


def test_other_paths_and_methods_are_refused(running):
    assert running.ask("GET", "/predict")[0] == 405
    assert running.ask("POST", "/model")[0] == 405
    assert running.ask("GET", "/../../etc/passwd")[0] == 404
    assert running.ask("GET", "/%2e%2e/%2e%2e/etc/passwd")[0] == 404


def test_a_long_thin_image_and_a_wrong_name_are_images_like_others(running, model, tmp_path):
    thin, wrong = picture(5, (1, 10_000)), picture(6, kind="JPEG")
    body, headers = form(("thin.png", thin), ("really-a.png", wrong))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert_as_predicted(model, [thin, wrong], answers, tmp_path)


def test_one_bad_image_among_good_ones_is_told_apart(running):
    body, headers = form(("good.png", picture(0)), ("bad.png", b"nothing"), ("fine.png", picture(1)))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert [a["label"] is None for a in answers] == [False, True, False]
    assert answers[1]["error"] == "bad.png: is not an image, or its format is not supported"


def test_names_that_lead_elsewhere_are_cut_to_their_last_part(running):
    names = ["../../etc/passwd", "..\\..\\boot.ini", "/abs/olute.png", "a" * 400, "dir/"]
    body, headers = form(*((name, picture(0)) for name in names))
    _, answers = running.predict(body, **headers)
    assert [a["path"] for a in answers] == ["passwd", "boot.ini", "olute.png", "a" * 255, "image"]


def connect(running, data):
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    connection.sendall(data)
    return connection


def until_closed(connection):
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_slow_senders_are_sent_away_and_hold_up_nobody(running):
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    silent, started, stuck = (connect(running, data) for data in (b"", b"POST /pred", head + b"only a little"))
    begun = time.monotonic()
    assert running.predict(picture(0))[0] == 200
    assert time.monotonic() - begun < SECONDS
    assert until_closed(silent) == until_closed(started) == b""
    answer = until_closed(stuck)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"not sent within 2 seconds" in answer


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/predict"])
def test_a_byte_now_and_then_keeps_no_connection_open(running, path):
    """A body that never ends is waited for as long as the limit says, whoever would have read it."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    connection = connect(running, head.encode())
    connection.settimeout(0.2)
    ended = time.monotonic() + 5 * SECONDS
    with connection, suppress(ConnectionError):
        while time.monotonic() < ended:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                if not connection.recv(65536):
                    break
    assert time.monotonic() < ended


def test_a_second_request_may_not_stop_half_way_either(running):
    connection = connect(running, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b'{"status":"ok"}'):
        answer += connection.recv(65536)
    connection.sendall(b"GET /heal")
    assert until_closed(connection) == b""


def test_no_http_is_refused(running):
    assert until_closed(connect(running, b"\x16\x03\x01 what is this\r\n\r\n")).startswith(b"HTTP/1.1 400")


def test_a_sender_that_leaves_is_forgotten(running):
    for _ in range(20):
        connect(running, b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc").close()
    assert running.predict(picture(0))[0] == 200


def test_zz_nothing_was_written(running):
    """The last of this server's tests: images above the size at which forms usually go to disk were among them."""
    body, headers = form(("large.png", picture(0, (480, 700))))
    assert len(body) > 900_000
    assert running.predict(body, **headers)[0] == 200
    assert running.written() == []


# ── only by its own names, and for no page of another site ───────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "a.localhost",
        "127.0.0.1:1",
        "[::1]:8000",
        "192.168.1.20",
        socket.gethostname(),
    ],
)
def test_its_own_names_and_addresses_are_answered(running, host):
    assert running.ask("GET", "/model", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:8000",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "",
        "[x",
        "a b",
        "1.2.3",
    ],
)
@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/metrics", "/nowhere"])
def test_a_name_that_is_not_its_own_is_refused(running, host, path):
    status, _, text = running.ask("GET", path, headers={"Host": host})
    assert status == 421
    assert "--allow-host" in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # no browser
        ({"Origin": "http://127.0.0.1:PORT"}, 200),
        ({"Origin": "https://models.example.org", "Sec-Fetch-Site": "same-origin"}, 200),  # through a proxy
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "http://attacker.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:PORT@attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_a_page_of_another_site_may_not_send_images(running, headers, status):
    headers = {name: value.replace("PORT", str(running.port)) for name, value in headers.items()}
    found, sent, text = running.ask("POST", "/predict", picture(0), headers)
    assert found == status, text
    assert "access-control-allow-origin" not in {name.lower() for name in sent}
    if status == 403:
        assert "--allow-host" in json.loads(text)["error"]


def test_names_can_be_added(model, tmp_path):
    one = Running(model, tmp_path, "--engine", "numpy", "--allow-host", "Models.example.org", "--allow-host", "model")
    host, origin = {"Host": "models.example.org"}, {"Origin": "https://models.example.org"}
    assert one.ask("GET", "/model", headers=host)[0] == 200
    assert one.ask("GET", "/model", headers={"Host": "model:8000"})[0] == 200
    assert one.ask("POST", "/predict", picture(0), {**host, **origin})[0] == 200
    assert one.ask("POST", "/predict", picture(0), origin)[0] == 200
    assert one.ask("GET", "/model", headers={"Host": "example.org"})[0] == 421
    assert one.end() == (0, "")


def test_every_name_can_be_allowed():
    from neoclassic.web.names import Names

    everywhere = Names.of(["*"])
    assert everywhere.refusal("GET", {"host": "attacker.example"}) is None
    assert everywhere.refusal("POST", {"host": "a.example", "origin": "http://b.example"}) is None


def test_a_url_is_no_name(model, run):
    code, out, err = run("serve", model, "--port", 0, "--allow-host", "http://models.example.org/")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "models.example.org, not 'http" in err


# ── names and numbers of a model are data ────────────────────────────────────────────────────────────

ODD = ('"quoted" \\ back', "line\nbreak\u2028", "<img src=x onerror=alert(1)>", "\x1b[31mred\ud800")


def asked(model, engine, method, path, body=b""):
    """Status and body of the application's answer, without a server."""
    service = Service(model, engine)
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    async def ask():
        async with service.running(None):
            await server.application(service)(scope, receive, send)

    asyncio.run(ask())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def strict(text):
    def constant(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=constant)


def test_odd_class_names_come_back_as_they_are():
    odd = replace(make_model(), classes=ODD)
    assert strict(asked(odd, SlowEngine(), "GET", "/model")[1])["classes"] == list(ODD)
    answer = strict(asked(odd, SlowEngine(), "POST", "/predict", picture(0))[1])
    assert [guess["label"] for guess in answer[0]["top"]] == list(ODD)


def test_numbers_that_are_none_are_null_and_an_answer_of_none_is_an_error():
    odd = replace(make_model(), metrics={"loss": math.nan, "each": [1.0, math.inf]})
    engine = SlowEngine(answer=math.nan)
    assert strict(asked(odd, engine, "GET", "/model")[1])["metrics"] == {"loss": None, "each": [1.0, None]}
    status, answer = asked(odd, engine, "POST", "/predict", picture(0))
    assert status == 400
    assert "is not a number" in strict(answer)[0]["error"]


@pytest.mark.parametrize("name", ['a"b.png', "<b>.png", "caf\u00e9.png", "\x1b[31m.png", "-rf", "\u202egnp.exe"])
def test_a_name_of_a_file_comes_back_as_it_was_sent(running, name):
    body, headers = form((name.replace('"', "%22"), picture(0)), (name.replace('"', "%22"), b"nothing"))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert [answer["path"] for answer in answers] == [name.replace('"', "%22")] * 2
    assert "\n" not in answers[1]["error"]


def test_the_metrics_are_what_prometheus_reads(running):
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(running.ask("GET", "/metrics")[2]))
    assert {"neoclassic_requests", "neoclassic_batch_images"} <= {family.name for family in families}


# ── limits that need a slow engine ───────────────────────────────────────────────────────────────────


class SlowEngine:
    """Equal logits, half a second late; writes down how many images it saw."""

    name, device = "slow", "cpu"

    def __init__(self, error=None, answer=0.0):
        self.seen, self.error, self.answer = [], error, answer

    def holds(self, nbytes):
        return False

    def logits(self, images, exact=True):
        self.seen.append(len(images))
        time.sleep(0.5)
        if self.error:
            raise self.error
        return np.full((len(images), 4), self.answer, np.float32)


def answers_of(service, requests):
    """The outcomes of requests of so many images each, all at once."""

    async def ask():
        async with service.running(None):
            files = [("a.png", picture(0))]
            calls = [service._predictions(files * n, 5, 0.0) for n in requests]
            return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(ask())


def test_what_waits_becomes_batches_up_to_the_limit():
    engine = SlowEngine()
    found = answers_of(Service(make_model(), engine, Limits(batch=4)), [1] * 9)
    assert all(rows[0].probability == 0.25 for rows in found)
    assert sum(engine.seen) == 9
    assert max(engine.seen) == 4
    assert len(engine.seen) <= 4


def test_more_than_the_queue_holds_is_refused_at_once():
    service = Service(make_model(), SlowEngine(), Limits(queue=3))
    found = answers_of(service, [2, 1, 1, 4])
    refused = [isinstance(f, Refusal) and f.status == 503 for f in found]
    assert refused == [False, False, True, True]
    assert service.waiting == 0


def test_a_fault_of_the_engine_is_an_error_of_its_batch_alone():
    service = Service(make_model(), SlowEngine(ValueError("broken")), Limits(batch=1))
    found = answers_of(service, [1, 1])
    assert [str(f) for f in found] == ["broken", "broken"]


def test_bodies_together_have_a_limit():
    service = Service(make_model(), SlowEngine(), Limits(body=100))

    async def stream():
        for _ in range(10):
            yield bytes(10)

    async def hold(n):
        request = SimpleNamespace(headers={}, stream=stream)
        if n == 0:
            return service.held
        async with service._body(request):
            return await hold(n - 1)

    assert asyncio.run(hold(8)) == 800
    with pytest.raises(Refusal, match="too many requests"):
        asyncio.run(hold(9))
    assert service.held == 0


# ── beginning and end ────────────────────────────────────────────────────────────────────────────────


def test_sigterm_lets_what_has_begun_be_answered(model, tmp_path):
    one = Running(model, tmp_path, "--engine", "onnx")
    image = picture(0)
    begun = connect(
        one, f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n".encode() + image[:100]
    )
    time.sleep(0.3)
    one.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    begun.sendall(image[100:])
    assert until_closed(begun).startswith(b"HTTP/1.1 200")
    assert one.end() == (0, "")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", one.port))


def test_a_port_that_is_taken_is_an_error_of_one_line(model, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = run("serve", model, "--engine", "numpy", "--port", taken.getsockname()[1])
    assert (code, out) == (1, "")
    assert re.fullmatch(r"neoclassic: cannot listen on 127.0.0.1 port \d+: Address already in use; .*--port\n", err)


def test_without_its_packages_serve_says_what_to_install(model, run, monkeypatch):
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else found(name))
    assert run("serve", model)[::2] == (2, f"neoclassic: serve needs uvicorn: {install('uvicorn')}\n")
    assert {"pip", "install", "uvicorn", "starlette", "prometheus-client"} <= set(install("uvicorn").split())


def test_it_listens_on_loopback_unless_told_otherwise():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not is_loopback("0.0.0.0")
    assert Path(server.PAGE).is_file()


@pytest.mark.parametrize("harm", ["truncated", "another class", "no model"])
def test_a_model_that_is_damaged_is_not_served(model, tmp_path, run, harm):
    content = model.read_bytes()
    harmed = {
        "truncated": content[:-100],
        "another class": content.replace(rb"\"ant\"", rb"\"elk\""),
        "no model": b"\0" * 100,
    }[harm]
    assert harmed != content
    (tmp_path / "model.safetensors").write_bytes(harmed)
    code, out, err = run("serve", tmp_path / "model.safetensors", "--port", 0)
    assert (code, out) == (1, "")
    assert err.startswith(f"neoclassic: {tmp_path / 'model.safetensors'}: ")
    assert err.count("\n") == 1
