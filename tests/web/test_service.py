"""The service: batches, limits, and class names and numbers that are hard to write as JSON."""

import asyncio
import json
import math
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from serving import form, make_model, picture

from neoclassic import networks
from neoclassic.model.predict import probabilities
from neoclassic.web import lanes, npy
from neoclassic.web.application import application
from neoclassic.web.intake import Limits
from neoclassic.web.responses import Refusal
from neoclassic.web.service import Service

# ── odd class names and numbers ──────────────────────────────────────────────────────────────────────

ODD = ('"quoted" \\ back', "line\nbreak\u2028", "<img src=x onerror=alert(1)>", "\x1b[31mred\ud800")


def asked(model, engine, method, path, body=b""):
    """Status and body of the application's response, without a server."""
    service = Service(model, engine)
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    async def ask():
        async with service.running(None):
            await application(service)(scope, receive, send)

    asyncio.run(ask())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def strict(text):
    def constant(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=constant)


def test_odd_class_names_are_returned_unchanged():
    odd = replace(make_model(), classes=ODD)
    assert strict(asked(odd, SlowEngine(), "GET", "/model")[1])["classes"] == list(ODD)
    answer = strict(asked(odd, SlowEngine(), "POST", "/predict", picture(0))[1])
    assert [guess["label"] for guess in answer[0]["top"]] == list(ODD)


def test_nan_metrics_are_null_and_nan_predictions_are_an_error():
    odd = replace(make_model(), metrics={"loss": math.nan, "each": [1.0, math.inf]})
    engine = SlowEngine(answer=math.nan)
    assert strict(asked(odd, engine, "GET", "/model")[1])["metrics"] == {"loss": None, "each": [1.0, None]}
    status, answer = asked(odd, engine, "POST", "/predict", picture(0))
    assert status == 400
    assert "not numbers" in strict(answer)[0]["error"]


@pytest.mark.parametrize("name", ['a"b.png', "<b>.png", "caf\u00e9.png", "\x1b[31m.png", "-rf", "\u202egnp.exe"])
def test_a_file_name_is_returned_unchanged(running, name):
    body, headers = form((name.replace('"', "%22"), picture(0)), (name.replace('"', "%22"), b"nothing"))
    status, answers = running.predict(body, **headers)
    assert status == 200
    assert [answer["path"] for answer in answers] == [name.replace('"', "%22")] * 2
    assert "\n" not in answers[1]["error"]


def test_the_metrics_are_in_the_format_of_prometheus(running):
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(running.ask("GET", "/metrics")[2]))
    assert {"neoclassic_requests", "neoclassic_batch_images"} <= {family.name for family in families}


# ── limits that need a slow engine ───────────────────────────────────────────────────────────────────


class SlowEngine:
    """Returns equal logits after half a second and records the sizes of its batches."""

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
    """The results of concurrent requests, given the number of images of each."""

    async def ask():
        async with service.running(None):
            files = [("a.png", picture(0))]
            calls = [service._predictions(files * n, 5, 0.0) for n in requests]
            return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(ask())


def test_waiting_images_become_batches_up_to_the_limit():
    engine = SlowEngine()
    found = answers_of(Service(make_model(), engine, Limits(batch=4)), [1] * 9)
    assert all(rows[0].probability == 0.25 for rows in found)
    assert sum(engine.seen) == 9
    assert max(engine.seen) == 4
    assert len(engine.seen) <= 4


def test_arrays_are_computed_whole_or_in_parts_up_to_the_limit():
    engine = SlowEngine()
    service = Service(make_model(), engine, Limits(batch=4))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)

    async def ask():
        async with service.running(None):
            bodies = [npy.body_of(images[:2]), npy.body_of(images), npy.body_of(np.concatenate([images, images]))]
            return await asyncio.gather(*(service._rows_of_array(body) for body in bodies))

    assert [rows.shape for rows in asyncio.run(ask())] == [(2, 4), (3, 4), (6, 4)]
    assert sum(engine.seen) == 11
    assert max(engine.seen) <= 4
    assert service.waiting == 0


class Copies:
    """The engine of a small network. Those with some of the cores meet in pairs, and would fail one by one."""

    name, device, tree, input = "copies", "cpu", make_model().tree, make_model().input

    def __init__(self, threads=0, other=None):
        self.threads, self.begun = threads, other.begun if other else []
        self.pair = other.pair if other else threading.Barrier(2, timeout=20)

    def with_threads(self, threads):
        return Copies(threads, self)

    def holds(self, nbytes):
        return False

    def logits(self, images, exact=True):
        self.begun.append(self.threads)
        if self.threads:
            self.pair.wait()
        return images.mean((1, 2, 3))[:, None] * np.arange(4)


def test_full_batches_are_computed_side_by_side_and_one_alone_by_all_cores(monkeypatch):
    monkeypatch.setattr(lanes, "cores", lambda: 2)
    engine = Copies()
    service = Service(make_model(), engine, Limits(batch=4))
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 32, 32, 3), np.uint8)

    async def ask():
        async with service.running(None):
            first = await service._rows_of_array(npy.body_of(images[0]))
            return [first, *await asyncio.gather(*(service._rows_of_array(npy.body_of(each)) for each in images[1:]))]

    rows = asyncio.run(ask())
    assert engine.begun == [0, 1, 1, 1, 1]
    for each, found in zip(images, rows, strict=True):
        np.testing.assert_allclose(found, probabilities(service.model, Copies(), each), atol=1e-6)


@pytest.mark.parametrize(("network", "batch", "size"), [("lenet", 256, 2), ("vgg11:taught", 1, 0)])
def test_only_small_networks_have_engines_side_by_side(monkeypatch, network, batch, size):
    monkeypatch.setattr(lanes, "cores", lambda: 2)
    tree, shape = networks.network(network, 10), networks.entry(network).input
    engine = SimpleNamespace(tree=tree, input=shape, with_threads=lambda threads: None)
    assert lanes.Lanes.of(engine, batch).size == size


def test_images_beyond_the_queue_are_refused_at_once():
    service = Service(make_model(), SlowEngine(), Limits(queue=3))
    found = answers_of(service, [2, 1, 1, 4])
    refused = [isinstance(f, Refusal) and f.status == 503 for f in found]
    assert refused == [False, False, True, True]
    assert service.waiting == 0


def test_an_exception_of_the_engine_fails_only_its_batch():
    service = Service(make_model(), SlowEngine(ValueError("broken")), Limits(batch=1))
    found = answers_of(service, [1, 1])
    assert [str(f) for f in found] == ["broken", "broken"]


def test_the_bodies_of_all_requests_have_a_limit():
    service = Service(make_model(), SlowEngine(), Limits(body=100))

    async def stream():
        for _ in range(10):
            yield bytes(10)

    async def hold(n):
        request = SimpleNamespace(headers={}, stream=stream)
        if n == 0:
            return service.body_bytes
        async with service._body(request):
            return await hold(n - 1)

    assert asyncio.run(hold(8)) == 800
    with pytest.raises(Refusal, match="too many requests"):
        asyncio.run(hold(9))
    assert service.body_bytes == 0
