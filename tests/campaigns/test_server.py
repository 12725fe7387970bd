"""The campaign against the server finds each fault that is planted, and none where none is."""

import sys

import pytest

from campaigns import server
from campaigns.common import Session
from campaigns.serving import attacker, process
from campaigns.serving.attacks import attacks

START = "from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"

HOST = "from neoclassic.web.hosts import AllowedHosts as A; A.refusal = lambda self, method, headers: None"
ENDS = """
from neoclassic.web.application import Headers
right = Headers.__contains__
Headers.__contains__ = lambda self, name: name != "transfer-encoding" and right(self, name)
"""
BODY = """
from dataclasses import replace
from neoclassic.web.service import Service
right = Service.__init__
Service.__init__ = lambda self, model, engine, limits: right(self, model, engine, replace(limits, body=1 << 26))
"""
CHARSET = "import neoclassic.web.service as s; s.UnicodeError = s.FormParserError"
HALF = "from neoclassic.web.server import _Protocol; del _Protocol.eof_received"
LEAK = """
import os
from neoclassic.web.service import Service
right = Service._options
Service._options = lambda self, query: (os.dup(0), right(self, query))[1]
"""
SLOW = "from neoclassic.web.server import _Protocol; _Protocol._update_deadline = lambda self: None"
UNREAD = "from neoclassic.web.server import _Protocol; del _Protocol.pause_writing"
NAN = "import numpy; from neoclassic.model import predict; numpy.isfinite = numpy.ones_like"
MIXED = """
import neoclassic.web.service as s
right = s.probabilities
s.probabilities = lambda model, engine, pixels: right(model, engine, pixels)[::-1]
"""
CUT = """
import neoclassic.web.server as s
right = s._config
s._config = lambda app, limits: setattr(config := right(app, limits), "timeout_graceful_shutdown", 0) or config
"""


@pytest.fixture
def counts(tmp_path, monkeypatch):
    """What one part of a short campaign counts, with a fault planted in the server; `kind`: of the table, only these."""
    monkeypatch.setattr(server, "SLACK", 2.0)
    monkeypatch.setattr(attacker, "IDLE", -5.0)

    def run(part, fault="", kind=None):
        monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", f"import sys\n{fault}\n{START}"))
        table = (lambda image: [a for a in attacks(image) if a.kind == kind]) if kind else attacks
        monkeypatch.setattr(server, "attacks", table)
        session = Session("server", 0.5, 7, tmp_path, tmp_path / "kept")
        server.run(session, [getattr(server, part)])
        return session.counts

    return run


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(HOST, "Host", id="the Host header is not checked"),
        pytest.param(HOST, "Origin", id="the Origin header is not checked"),
        pytest.param(ENDS, "smuggling", id="two statements of a length are accepted"),
        pytest.param(BODY, "body size", id="the limit of a body is raised"),
        pytest.param(CHARSET, "forms", id="an odd charset is an internal error"),
        pytest.param(HALF, "pipelining", id="a half-closed sender is not answered"),
    ],
)
def test_a_fault_in_the_protocol_is_found(fault, kind, counts):
    assert counts("table", fault, kind)[kind].failed > 0


def test_a_file_that_stays_open_after_each_request_is_found(counts):
    assert counts("table", LEAK, "queries")["open files and memory"].failed > 0


def test_deadlines_that_are_missing_are_found(counts):
    found = counts("slow", SLOW + "\n" + UNREAD)
    assert all(found[kind].failed for kind in ("slow headers", "slow bodies", "bytes after an answer", "unread answers"))


def test_answers_that_are_no_numbers_are_found(counts):
    assert counts("numbers", NAN)["answers that are no numbers"].failed > 0


def test_answers_that_are_mixed_up_are_found(counts):
    assert counts("crowd", MIXED)["crowd, images"].failed > 0


def test_a_shutdown_that_cuts_what_was_begun_is_found(counts):
    assert counts("life", CUT)["requests begun before SIGTERM"].failed > 0


@pytest.mark.parametrize("part", ["table", "crowd"])
def test_without_a_fault_none_is_found(part, counts):
    found = counts(part)
    assert {kind: c.failed for kind, c in found.items() if c.failed} == {}
    assert sum(c.tried for c in found.values()) > 100
