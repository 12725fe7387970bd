"""Chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import missing, needs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT = 60.0  # seconds


def chromium() -> str:
    """The path of Chromium. Without it the test is skipped; in CI it fails."""
    if CHROMIUM is None:
        missing("chromium is not installed: apt-get install chromium")
    return CHROMIUM


class Browser:
    """A page, `page` for Playwright.

    `complaints` has the errors and warnings of its console, `requests` the URLs that it requested."""

    def __init__(self, profile: Path) -> None:
        needs("playwright")
        from playwright.sync_api import sync_playwright

        executable = chromium()
        self.playwright = sync_playwright().start()
        camera = [f"--use-fake-{what}-for-media-stream" for what in ("ui", "device")]
        options = ["--no-sandbox", "--disable-gpu", *camera]
        self.context = self.playwright.chromium.launch_persistent_context(
            profile, executable_path=executable, args=options, permissions=["camera"], locale="en-GB"
        )
        self.context.set_default_timeout(1000 * TIMEOUT)
        self.context.add_init_script("Math.random = () => 0.5")  # else every run would see another test image
        self.page = self.context.pages[0] if self.context.pages else self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def open(self, url: str) -> None:
        """Open a page, and return when it is loaded."""
        self.page.goto("about:blank")  # else an address that differs in its fragment only is not loaded again
        self.page.goto(url)

    def ask(self, expression: str):
        """The value of a JavaScript expression; a promise is awaited."""
        return self.page.evaluate(expression)

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        ended = time.monotonic() + TIMEOUT
        while not self.ask(f"Boolean({condition})"):
            assert time.monotonic() < ended, f"never true: {condition}"
            self.page.wait_for_timeout(50)

    def choose(self, selector: str, files: list[Path]) -> None:
        """Choose files in a file input."""
        self.page.set_input_files(selector, files)

    def prefer(self, scheme: str, width: int = 1000) -> None:
        """Set the colour scheme, light or dark, and the width of the window in pixels."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 800})

    @contextmanager
    def quiet(self, own: str = r"http://127\.0\.0\.1:\d+/|data:|blob:|about:", width: int = 1280) -> Iterator[None]:
        """Nothing is logged, and nothing requested but URLs that match `own`, while the body runs. It begins light."""
        self.complaints.clear()
        self.requests.clear()
        self.prefer("light", width)
        yield
        assert self.complaints == []
        assert [url for url in self.requests if not re.match(own, url)] == []

    def assert_fits(self, scheme: str) -> None:
        """Assert that the page does not scroll sideways, in a wide and in a narrow window."""
        for width in (1280, 390):
            self.prefer(scheme, width)
            self.page.wait_for_timeout(100)
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width

    def assert_accessible(self) -> None:
        """Assert that axe finds no serious fault on the page."""
        needs("axe_playwright_python")
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in serious] == []

    def close(self) -> None:
        self.context.close()
        self.playwright.stop()
