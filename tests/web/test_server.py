"""The server: it gives the answers of `predict` and refuses hostile requests with a clear message."""

import http.client
import io
import json
import re
import signal
import socket
import struct
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from PIL import Image
from serving import NAMES, SECONDS, Running, form, picture

from neoclassic.base.errors import install
from neoclassic.model.artefact import Model
from neoclassic.model.predict import predict
from neoclassic.web.pages import FOLDER


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


def test_an_image_as_the_body_gets_the_answer_of_predict(running, model, tmp_path):
    contents = [picture(0), picture(1, kind="JPEG"), picture(2, kind="WEBP")]
    answers = [running.predict(content) for content in contents]
    assert [status for status, _ in answers] == [200] * 3
    assert_as_predicted(model, contents, [rows[0] for _, rows in answers], tmp_path)


def test_a_photo_gets_the_same_answer_in_every_format(running, model, tmp_path):
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


def test_the_images_of_a_form_are_answered_in_order_with_their_names(running, model, tmp_path):
    contents = [picture(seed) for seed in range(10)]
    body, headers = form(*((f"{i}.png", content) for i, content in enumerate(contents)))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert [a["path"] for a in answers] == [f"{i}.png" for i in range(10)]
    assert_as_predicted(model, contents, answers, tmp_path)


def test_concurrent_clients_each_get_their_own_answer(running, model, tmp_path):
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


def test_a_connection_that_stays_open_does_not_wait_for_acknowledgements(running):
    """With Nagle's algorithm, each answer but the first few would take 40 ms."""
    connection, seconds = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20), []
    for _ in range(60):
        started = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        seconds.append(time.perf_counter() - started)
    connection.close()
    assert min(seconds[-20:]) < 0.03


def test_top_and_threshold(running):
    image = picture(0)
    assert [len(running.predict(image, f"?top={n}")[1][0]["top"]) for n in (1, 3, 9)] == [1, 3, 4]
    sure, unsure = (running.predict(image, f"?threshold={t}")[1][0] for t in ("0", "1"))
    assert sure["label"] in NAMES
    assert (unsure["label"], unsure["index"]) == ("unknown", None)
    assert unsure["probability"] == sure["probability"] < 1
    stored = running.predict(image, "?threshold=stored")[1][0]
    assert (stored["label"] == "unknown") == (sure["probability"] < 0.9)


def test_the_server_describes_itself(running):
    assert running.ask("GET", "/healthz")[::2] == (200, '{"status":"ok"}')
    facts = json.loads(running.ask("GET", "/model")[2])
    assert (facts["network"], facts["classes"], facts["engine"]) == ("lenet:bn", list(NAMES), "numpy")
    interface = json.loads(running.ask("GET", "/openapi.json")[2])
    for path, verbs in interface["paths"].items():
        for verb in verbs:
            assert running.ask(verb.upper(), path)[0] in (200, 400), path
    status, headers, page = running.ask("GET", "/")
    assert status == 200
    assert page == (FOLDER / "index.html").read_text("utf-8")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert not re.search(r"https?://", page), "the page requests other hosts"


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


FORM = form()[1]["Content-Type"]
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
    (form(("a", b"b"))[0], {"Content-Type": f"{FORM}; charset=undefined"}, 400, "the form cannot be read"),
    (*form(*[("a", b"b")] * 65), 400, "Too many files"),
]


@pytest.mark.parametrize(("body", "headers", "status", "reason"), HOSTILE, ids=[f"{i}" for i in range(len(HOSTILE))])
def test_hostile_requests_are_refused_in_one_line(running, body, headers, status, reason):
    found, _, text = running.ask("POST", "/predict", body, headers)
    answer = json.loads(text)
    line = answer["error"] if isinstance(answer, dict) else answer[0]["error"]
    assert found == status, line
    assert reason in line
    assert "\n" not in line
    assert running.predict(picture(0))[0] == 200


@pytest.mark.parametrize("query", ["?top=0", "?top=x", "?top=1e9", "?threshold=2", "?threshold=nan", "?treshold=1"])
def test_invalid_parameters_are_refused(running, query):
    status, answer = running.predict(picture(0), query)
    assert status == 400
    assert answer["error"]


def test_other_paths_and_methods_are_refused(running):
    assert running.ask("GET", "/predict")[0] == 405
    assert running.ask("POST", "/model")[0] == 405
    assert running.ask("GET", "/../../etc/passwd")[0] == 404
    assert running.ask("GET", "/%2e%2e/%2e%2e/etc/passwd")[0] == 404


def test_a_long_thin_image_and_a_wrong_suffix_are_accepted(running, model, tmp_path):
    thin, wrong = picture(5, (1, 10_000)), picture(6, kind="JPEG")
    body, headers = form(("thin.png", thin), ("really-a.png", wrong))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert_as_predicted(model, [thin, wrong], answers, tmp_path)


def test_a_bad_image_among_good_ones_gets_its_own_error(running):
    body, headers = form(("good.png", picture(0)), ("bad.png", b"nothing"), ("fine.png", picture(1)))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert [a["label"] is None for a in answers] == [False, True, False]
    assert answers[1]["error"] == "bad.png: is not an image, or its format is not supported"


def test_only_the_last_part_of_a_file_name_is_kept(running):
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


def test_slow_clients_are_disconnected_and_delay_nobody(running):
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
def test_a_slow_body_does_not_keep_a_connection_open(running, path):
    """The deadline of a body holds for every path, also for those that do not read it."""
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


def test_the_deadline_holds_for_a_second_request_on_a_connection(running):
    connection = connect(running, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b'{"status":"ok"}'):
        answer += connection.recv(65536)
    connection.sendall(b"GET /heal")
    assert until_closed(connection) == b""


def test_a_client_that_has_closed_its_side_gets_the_answers_to_all_its_requests(running):
    image = picture(0)
    top = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    connection = connect(running, (top + image) * 3)
    connection.shutdown(socket.SHUT_WR)
    begun = time.monotonic()
    assert until_closed(connection).count(b"HTTP/1.1 200 OK") == 3
    assert time.monotonic() - begun < SECONDS + 3, "the connection was kept for nothing"


def test_half_a_request_of_a_client_that_has_closed_its_side_is_dropped_at_once(running):
    connection = connect(running, b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(SECONDS - 0.5)
    assert until_closed(connection) == b""


def test_a_client_that_does_not_read_is_disconnected(running):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", running.port))
        connection.settimeout(SECONDS + 5)
        requests = b"GET /page/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000_000
        with pytest.raises(ConnectionError):  # and no TimeoutError
            connection.sendall(requests)


def test_a_request_with_two_statements_of_its_length_is_refused_and_ends_the_connection(running):
    second = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    top = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = until_closed(connect(running, top + b"0\r\n\r\n" + second))
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_bytes_that_are_not_http_are_refused(running):
    assert until_closed(connect(running, b"\x16\x03\x01 what is this\r\n\r\n")).startswith(b"HTTP/1.1 400")


def test_a_client_that_disconnects_does_no_harm(running):
    for _ in range(20):
        connect(running, b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc").close()
    assert running.predict(picture(0))[0] == 200


def damaged_tiff(tag, count):
    """A TIFF whose entry for a tag claims to have `count` values."""
    content = bytearray(picture(0, kind="TIFF"))
    start = struct.unpack_from("<I", content, 4)[0] + 2
    for place in range(start, len(content) - 12, 12):
        if struct.unpack_from("<H", content, place)[0] == tag:
            struct.pack_into("<I", content, place + 4, count)
            return bytes(content)
    raise AssertionError(tag)


@pytest.mark.parametrize(("tag", "count"), [(258, 9999), (284, 99_999), (273, 99_999), (259, 0)])
def test_what_pillow_says_of_a_damaged_image_reaches_no_terminal(running, tag, count):
    """The end of the shared server finds that its standard error is empty."""
    assert running.predict(damaged_tiff(tag, count))[0] in (200, 400)


def test_zz_nothing_was_written(running):
    """The last test of the shared server. Parsers usually write files as large as this one to disk."""
    body, headers = form(("large.png", picture(0, (480, 700))))
    assert len(body) > 900_000
    assert running.predict(body, **headers)[0] == 200
    assert running.written() == []


# ── start and shutdown ───────────────────────────────────────────────────────────────────────────────


def test_sigterm_lets_running_requests_finish(model, tmp_path):
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


def test_a_port_in_use_is_an_error_of_one_line(model, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = run("serve", model, "--engine", "numpy", "--port", taken.getsockname()[1])
    assert (code, out) == (1, "")
    assert re.fullmatch(r"neoclassic: cannot listen on 127.0.0.1 port \d+: Address already in use; .*--port\n", err)


def test_without_its_packages_serve_says_what_to_install(model, run, monkeypatch):
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else found(name))
    assert run("serve", model)[::2] == (2, f"neoclassic: serve needs uvicorn: {install('uvicorn')}\n")
    assert {"pip", "install", "uvicorn", "starlette", "prometheus-client"} <= set(install("uvicorn").split())


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
