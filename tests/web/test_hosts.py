"""Requests are answered only under the server's own host names, and never for pages of other sites."""

import json
import socket

import pytest
from serving import Running, picture

from neoclassic.web.hosts import AllowedHosts, is_loopback


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
def test_own_names_and_addresses_are_answered(running, host):
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
def test_another_host_name_is_refused(running, host, path):
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
        ({"Origin": "http://["}, 403),
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
    everywhere = AllowedHosts.of(["*"])
    assert everywhere.refusal("GET", {"host": "attacker.example"}) is None
    assert everywhere.refusal("POST", {"host": "a.example", "origin": "http://b.example"}) is None


def test_a_url_is_not_a_host_name(model, run):
    code, out, err = run("serve", model, "--port", 0, "--allow-host", "http://models.example.org/")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "models.example.org, not 'http" in err


def test_loopback():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert not is_loopback("0.0.0.0")
