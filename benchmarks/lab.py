"""How long the lab takes from the last stroke, or from an image that is dropped, until all maps are on the screen.

    python benchmarks/lab.py [--times 30]

The browser is Chromium, without a window, on the same machine. LeNet and DeepConvNet are those of the package, and are
drawn for with the mouse; MobileNet V2 has random weights, and gets an image of 224×224 pixels. Prints medians and
writes results/lab.json.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from neoclassic import networks
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model

RESULTS = Path(__file__).parent.parent / "results"
NETWORK, SHAPE = "mobilenet-v2", (3, 224, 224)

# `begun` is the time of the last stroke, `shown` that of the frame that shows its maps
WATCH = """() => {
  window.begun = window.shown = 0
  document.addEventListener('pointermove', event => { if (event.buttons) window.begun = performance.now() }, true)
  const painted = () => requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now() }))
  new MutationObserver(painted).observe(document.querySelector('.model'), { attributeFilter: ['data-looks'] })
}"""
DROP = """content => {
  const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0)), dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], 'image.png', { type: 'image/png' }))
  window.begun = performance.now()
  document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))
}"""


def waited(page: Page) -> float:
    """Milliseconds from the last stroke to the maps, when nothing changes any more."""
    before = -1.0
    while (now := page.evaluate("window.shown")) != before or now <= page.evaluate("window.begun"):
        before = now
        page.wait_for_timeout(400)
    return float(page.evaluate("window.shown - window.begun"))


def drawn(page: Page, rng: np.random.Generator) -> float:
    """A stroke with the mouse."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    places = rng.uniform(0.15, 0.85, (3, 2)) * (box["width"], box["height"]) + (box["x"], box["y"])
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()
    return waited(page)


def dropped(page: Page, rng: np.random.Generator) -> float:
    """An image of random pixels."""
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*SHAPE[1:], 3), dtype=np.uint8)).save(stream, "PNG", compress_level=1)
    page.evaluate(DROP, base64.b64encode(stream.getvalue()).decode())
    return waited(page)


def measured(page: Page, address: str, model: str, times: int) -> list[float]:
    """Milliseconds of each time, after three that do not count."""
    page.goto("about:blank")
    page.goto(f"{address}#/look/{model.replace('@', '%40')}")
    page.wait_for_selector(".model")
    page.evaluate(WATCH)
    rng, one = np.random.default_rng(0), drawn if "mnist" in model else dropped
    return [one(page, rng) for _ in range(times + 3)][3:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=30)
    times = parser.parse_args().times
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / f"{NETWORK}.safetensors"
        tree, names = networks.network(NETWORK, 1000), tuple(map(str, range(1000)))
        Model(NETWORK, tree, SHAPE, names, Preprocessing(SHAPE[1:], 3), arrays.initial(tree, SHAPE)).save(file)
        lab = subprocess.Popen([sys.executable, "-m", "neoclassic", "lab", file], stderr=subprocess.PIPE, text=True)
        assert lab.stderr is not None
        address = re.match(r"\S+", lab.stderr.readline())[0]  # type: ignore[index]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        models = ("lenet@fashion-mnist", "deepconvnet@mnist", file.name)
        found = {model: measured(page, address, model, times) for model in models}
        version = browser.version
        browser.close()
        lab.terminate()
        lab.wait(30)
    result = {
        "benchmark": "lab",
        "what": "milliseconds from the last stroke, or the drop, until all maps are on the screen",
        "times": times,
        **{m: {"median": round(median(ms), 1), "longest": round(max(ms), 1)} for m, ms in found.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": f"Chromium {version}, numpy {np.__version__}",
    }
    (RESULTS / "lab.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for model, ms in found.items():
        print(f"{model:26} median {median(ms):7.1f} ms   longest {max(ms):7.1f} ms")


if __name__ == "__main__":
    main()
