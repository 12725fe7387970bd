"""A server on this machine in place of the Hugging Face Hub, as far as reading repositories needs it."""

import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from mirrors import serving

MAIN = "a" * 40  # the commit that `main` is


@contextmanager
def hub(repositories):
    """Serve {"owner/name": {file: bytes}}. Yields the address and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[0] == "api":
                self.tree("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
            elif len(parts) > 4 and parts[2] == "resolve":
                self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            else:
                self.answer(404)

        do_HEAD = do_GET  # noqa: N815

        def refused(self, repository, revision):
            if repository == "some/gated":
                self.answer(403, error="GatedRepo")
            elif repository not in repositories:
                self.answer(404, error="RepoNotFound")
            elif revision not in ("main", MAIN):
                self.answer(404, error="RevisionNotFound")
            else:
                return False
            return True

        def tree(self, repository, revision):
            if not self.refused(repository, revision):
                files = [
                    {"type": "file", "path": name, "size": len(content), "oid": "b" * 40}
                    for name, content in repositories[repository].items()
                ]
                self.answer(200, json.dumps(files).encode(), {"Content-Type": "application/json"})

        def file(self, repository, revision, name):
            if self.refused(repository, revision):
                return
            if name not in repositories[repository]:
                self.answer(404, error="EntryNotFound", headers={"X-Repo-Commit": MAIN})
                return
            content = repositories[repository][name]
            tag = hashlib.sha256(content).hexdigest()
            self.answer(200, content, {"X-Repo-Commit": MAIN, "ETag": f'"{tag}"'})

        def answer(self, status, content=b"", headers=None, error=None):
            self.send_response(status)
            for key, value in {**(headers or {}), **({"X-Error-Code": error} if error else {})}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with serving(Handler) as address:
        yield address, asked
