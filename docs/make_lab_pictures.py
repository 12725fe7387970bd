"""Make the pictures of the lab in docs/pictures/: python docs/make_lab_pictures.py (needs Playwright and Chromium)."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from neoclassic.data import sources

PICTURES = Path(__file__).parent / "pictures"
SEVEN = ((0.25, 0.2), (0.5, 0.2), (0.75, 0.2), (0.6, 0.5), (0.45, 0.85))


def look(page: Page) -> None:
    """Draw a 7, and open a map of the second convolution."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + SEVEN[0][0] * box["width"], box["y"] + SEVEN[0][1] * box["height"])
    page.mouse.down()
    for x, y in SEVEN[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
    page.mouse.up()
    page.locator("li.row[data-path=conv2] canvas").click(position={"x": 100, "y": 20})
    page.wait_for_selector("#formula")


def zoo(page: Page) -> None:
    """Choose a depthwise convolution of the drawing."""
    page.locator("rect.layer.depthwise").nth(1).click()


def train(page: Page) -> None:
    """Train LeNet with batch norm for an epoch and a half."""
    page.select_option("#network", "lenet:bn")
    page.wait_for_timeout(1000)  # the knobs of its recipe
    page.fill("#knob-epochs", "3")
    page.click("#start")
    page.wait_for_selector(".epochs tbody tr", timeout=600_000)
    page.wait_for_timeout(5000)
    page.click("#pause")
    page.wait_for_selector("#training[data-phase=resting]")


def teach(page: Page) -> None:
    """Train on ten boots and ten bags, and try a bag."""
    test = sources.load("fashion-mnist").test
    for i, label in enumerate((9, 8)):
        photos = []
        for n in np.flatnonzero(test.labels == label)[:11]:
            stream = io.BytesIO()
            Image.fromarray(test.images[n, ..., 0]).save(stream, "PNG")
            photos.append({"name": f"{n}.png", "mimeType": "image/png", "buffer": stream.getvalue()})
        page.get_by_label("Name of the class").nth(i).fill(("boots", "bags")[i])
        page.get_by_label("Name of the class").nth(i).press("Enter")
        page.locator(".class input[type=file]").nth(i).set_input_files(photos[:10])
        page.wait_for_selector(f".class:nth-of-type({i + 1})[data-count='10']")
    page.select_option("#way", "head lenet:bn@fashion-mnist")
    page.click("#train")
    page.wait_for_selector("[data-model]")
    page.set_input_files("#try", photos[10])


def convolve(page: Page) -> None:
    """Choose a unit in the middle."""
    page.locator("#output button").nth(14).click()


VIEWS = {
    "lab-zoo": ("zoo", 1000, None),
    "lab-network": ("zoo/mobilenet-v3-small", 1000, zoo),
    "lab-look": ("look/deepconvnet%40mnist", 1320, look),
    "lab-teach": ("teach", 900, teach),
    "lab-convolution": ("convolution/grouped", 1300, convolve),
    "lab-train": ("train", 1700, train),  # last, because a training that is paused keeps Teach from training
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:  # where the run folder of Train is made
        command = [sys.executable, "-m", "neoclassic", "lab"]
        lab = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
        try:
            draw(lab)
        finally:
            lab.terminate()
            lab.wait(60)


def draw(lab: subprocess.Popen[str]) -> None:
    """Make the picture of every view."""
    assert lab.stderr is not None
    address = re.match(r"\S+", lab.stderr.readline())[0]  # type: ignore[index]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (view, height, act) in VIEWS.items():
            page = browser.new_page(viewport={"width": 1280, "height": height})
            page.goto(f"{address}#/{view}")
            page.wait_for_selector("main h1")
            page.wait_for_timeout(1000)
            if act:
                act(page)
                page.wait_for_timeout(1000)
            page.evaluate("scrollTo(0, 0)")
            file = PICTURES / f"{name}.png"
            page.screenshot(path=file)
            with Image.open(file) as image:
                image.thumbnail((900, 1600))
                image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
