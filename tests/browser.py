"""Chromium, controlled through two pipes with its DevTools protocol; no package is needed."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

from helpers import missing

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT = 60.0  # seconds


def chromium() -> str:
    """The path of Chromium. Without it the test is skipped; in CI it fails."""
    if CHROMIUM is None:
        missing("chromium is not installed: apt-get install chromium")
    return CHROMIUM


class Browser:
    """A page. `complaints` has the errors and warnings of its console, `requests` the URLs that it requested."""

    def __init__(self, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        self.write, self.read = ours[1], theirs[0]
        given = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ours[0], theirs[1])]
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [chromium(), *options, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=lambda: [os.dup2(fd, n) for fd, n in zip(given, (3, 4), strict=True)],
            stderr=subprocess.DEVNULL,
        )
        for fd in (*given, ours[0], theirs[1]):
            os.close(fd)
        self.count, self.rest, self.session = 0, b"", None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        """Send a command of the protocol, and return its result."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self._note(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _next(self):
        ended = time.monotonic() + TIMEOUT
        while b"\0" not in self.rest:
            assert select.select([self.read], [], [], max(ended - time.monotonic(), 0))[0], (
                "the browser does not answer"
            )
            received = os.read(self.read, 1 << 20)
            assert received, "the browser has ended"
            self.rest += received
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event) -> None:
        method, what = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([argument.get("value") for argument in what["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(what["exceptionDetails"]))
        elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(what["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, url: str) -> None:
        """Open a page, and return when it is loaded."""
        self.loaded = False
        self.call("Page.navigate", url=url)
        while not self.loaded:
            self._note(self._next())

    def ask(self, expression: str):
        """The value of a JavaScript expression; a promise is awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        ended = time.monotonic() + TIMEOUT
        while not self.ask(f"Boolean({condition})"):
            assert time.monotonic() < ended, f"never true: {condition}"
            time.sleep(0.05)

    def choose(self, selector: str, files: list[Path]) -> None:
        """Choose files in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def prefer(self, scheme: str, width: int = 1000) -> None:
        """Set the colour scheme, light or dark, and the width of the window in pixels."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for fd in (self.write, self.read):
            os.close(fd)
