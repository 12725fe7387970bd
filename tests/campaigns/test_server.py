"""The campaign against the server finds each fault that is planted; `test_short.py` shows that it finds none else."""

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
contains = Headers.__contains__
Headers.__contains__ = lambda self, name: name != "transfer-encoding" and contains(self, name)
"""
BODY = """
from dataclasses import replace
from neoclassic.web.service import Service
init = Service.__init__
Service.__init__ = lambda self, model, engine, limits: init(self, model, engine, replace(limits, body=1 << 26))
"""
CHARSET = "import neoclassic.web.service as s; s.UnicodeError = s.FormParserError"
HALF = "from neoclassic.web.server import _Protocol; del _Protocol.eof_received"
LEAK = """
import os
from neoclassic.web.service import Service
options = Service._options
Service._options = lambda self, query: (os.dup(0), options(self, query))[1]
"""
SLOW = "from neoclassic.web.server import _Protocol; _Protocol._update_deadline = lambda self: None"
LATE = "import asyncio; timeout = asyncio.timeout; asyncio.timeout = lambda seconds: timeout(3600)"
UNREAD = "from neoclassic.web.server import _Protocol; del _Protocol.pause_writing"
NAN = "import numpy; from neoclassic.model import predict; numpy.isfinite = numpy.ones_like"
MIXED = """
import neoclassic.web.service as s
computed = s.probabilities
s.probabilities = lambda model, engine, pixels: computed(model, engine, pixels)[::-1]
"""
CUT = """
import neoclassic.web.server as s
configured = s._config
s._config = lambda app, limits: setattr(config := configured(app, limits), "timeout_graceful_shutdown", 0) or config
"""


@pytest.fixture
def counts(tmp_path, monkeypatch):
    """What one part of a short campaign counts, with a fault planted in it; `kind`: of the table, only these."""
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


def test_faults_in_what_is_refused_are_found_each_by_its_own_attacks(counts):
    found = counts("table", "\n".join((HOST, ENDS, BODY, CHARSET, LEAK)))
    kinds = ("Host", "Origin", "smuggling", "body size", "forms", "open files and memory")
    assert all(found[kind].failed for kind in kinds), found
    assert not any(found[kind].failed for kind in ("paths", "methods", "queries", "pipelining", "half requests")), found


def test_half_closed_senders_without_an_answer_are_found(counts):
    assert counts("table", HALF, "pipelining")["pipelining"].failed > 0


def test_deadlines_that_are_missing_are_found(counts):
    found = counts("slow", "\n".join((SLOW, LATE, UNREAD)))
    kinds = ("slow headers", "slow bodies", "bytes after an answer", "unread answers")
    assert all(found[kind].failed for kind in kinds), found


def test_answers_that_are_no_numbers_are_found(counts):
    assert counts("numbers", NAN)["answers that are no numbers"].failed > 0


def test_answers_that_are_mixed_up_are_found(counts):
    assert counts("crowd", MIXED)["crowd, images"].failed > 0


def test_a_shutdown_that_cuts_what_was_begun_is_found(counts):
    assert counts("life", CUT)["requests begun before SIGTERM"].failed > 0
