"""Serve an application over HTTP with uvicorn."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.signals import handling
from neoclassic.web.application import application
from neoclassic.web.hosts import is_loopback
from neoclassic.web.intake import Limits
from neoclassic.web.service import Service

SWITCH = 0.0005  # seconds that one thread may keep Python while another waits: Python's 5 ms outlast many a batch


class _Protocol(H11Protocol):
    """uvicorn's protocol with deadlines for both sides; uvicorn itself waits for ever.

    The headers have `seconds` from the start of the connection or the end of the last request. The body has one second
    more, in which the application can answer 408. A byte now and then does not extend a deadline. A client that does
    not read has `seconds` to take what is written to it. One that has sent its requests and closed its own side still
    gets its answers.
    """

    seconds = Limits.seconds
    deadline: asyncio.TimerHandle | None = None
    deadline_state: Any = None  # the h11 state that the deadline is for
    unread: asyncio.TimerHandle | None = None  # runs while the client does not take what is written to it
    ended = False  # whether the client has closed its side

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio leaves Nagle's algorithm on if a socket's protocol is 0, as after socket.create_server. The body of an
        # answer would then wait 40 ms for the client to acknowledge its headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(0)  # `pause_writing` is called whenever anything waits to be taken
        self._update_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._cancel_unread()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open: while a whole request waits for its answer."""
        self.ended = True
        return self._answering() and self.conn.their_state is not h11.SEND_BODY

    def on_response_complete(self) -> None:
        super().on_response_complete()  # goes on to the next request that was received, if there is one
        if self.ended and not self._answering():
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cancel_unread()
        self.unread = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_unread()

    def _cancel_unread(self) -> None:
        if self.unread is not None:
            self.unread.cancel()
            self.unread = None

    def _update_deadline(self) -> None:
        state = self.conn.their_state
        if state is self.deadline_state and self.deadline is not None:
            return
        self._cancel_deadline()
        if state in (h11.IDLE, h11.SEND_BODY):
            self.deadline_state = state
            self.deadline = self.loop.call_later(self.seconds + (state is h11.SEND_BODY), self._close)

    def _close(self) -> None:
        self.deadline = None
        if self.conn.their_state is self.deadline_state and not self.transport.is_closing():
            self.transport.close()

    def _cancel_deadline(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def serve(service: Service, host: str = "127.0.0.1", port: int = 8000, hosts: Iterable[str] = ()) -> None:
    """Serve predictions on host and port until SIGTERM or Ctrl-C, then finish the requests that have begun.

    hosts: further host names to answer to. Port 0 takes any free port; the line on stderr names it. NeoclassicError if
    the server cannot listen on host and port.
    """
    about = f"answers with {service.model.network} on the {service.engine.name} engine"

    def tell(address: str) -> None:
        print(f"{address} {about}; Ctrl-C ends it", file=sys.stderr)
        if not is_loopback(host):
            print("there is no password: every machine that reaches this one can use the server", file=sys.stderr)

    run(application(service, (host, *hosts)), service.limits, host, port, tell)


def run(app: Any, limits: Limits, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Run an application, as `serve` does. tell: called with the address when the server listens."""
    listener = _listen(host, port)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    quiet = handling((signal.SIGINT, signal.SIGTERM), lambda *_: None)  # uvicorn raises them again after its shutdown
    with closing(listener), quiet:
        named = f"[{host}]" if listener.family == socket.AF_INET6 else host
        tell(f"http://{named}:{listener.getsockname()[1]}")
        sys.stderr.flush()
        sys.setswitchinterval(SWITCH)
        server = uvicorn.Server(_config(app, limits))
        app.state.leaving = lambda: server.should_exit  # a response that would never end ends then
        server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise NeoclassicError(f"cannot listen on {host} port {port}: {reason}; try another --host or --port") from None


def _config(app: Any, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=type("Protocol", (_Protocol,), {"seconds": limits.seconds}),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # clients get their errors in the response
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=max(1024, 4 * limits.queue),
        timeout_graceful_shutdown=round(limits.seconds) + 1,
    )
