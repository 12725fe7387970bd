"""Servers on this machine, in place of the hosts from which files are downloaded."""

import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 4000


@contextmanager
def mirror(body=BODY, cut=(), ranges=True, status=None, before=None):
    """A server of one file. cut: after how many bytes each of the first answers ends. Yields address and requests.

    before: called before each answer.
    """
    requests, cuts = [], list(cut)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            requests.append((self.path, asked))
            if before:
                before()
            start = int(asked[6:-1]) if asked and ranges else 0
            self.send_response(status or (416 if start >= len(body) else 206 if start else 200))
            self.send_header("Content-Length", str(max(len(body) - start, 0)))
            self.end_headers()
            with suppress(ConnectionError):  # a client whose disk is full goes away
                self.wfile.write(body[start:][: cuts.pop(0) if cuts else None])

        def log_message(self, *_):
            pass

    with serving(Handler) as address:
        yield f"{address}/", requests


@contextmanager
def serving(handler):
    """Serve HTTP on this machine; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def dead():
    """An address where nothing listens."""
    with mirror() as (address, _):
        return address
