"""The served page and the report in a real browser: names stay text, predictions are right, no console errors."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from neoclassic import networks
from neoclassic.cli import main
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model
from neoclassic.model.predict import predict

MARKUP = (
    "<img src=x onerror=\"document.title='run'\">",
    "<script>document.title='run'</script>",
    "</td></table><h1>x</h1>&amp;&lt;",
    "${document.title='run'}`'\"",
    "\u202eright to left",
)
FILE = "<b onclick=1>&quot; $x.png"


@pytest.fixture(autouse=True)
def _no_console_errors(browser):
    """No page logs an error or a warning, or requests anything from another host."""
    with browser.quiet(r"http://127\.0\.0\.1:|file:|data:|blob:", width=1000):
        yield
        browser.ask("1")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tree, shape = networks.network("lenet:bn", 5), (3, 32, 32)
    made = Model("lenet:bn", tree, shape, MARKUP, Preprocessing((32, 32), 3), arrays.initial(tree, shape, seed=3))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    replace(made, calibration={"temperature": 0.05, "threshold": 0.5, "n": 10}).save(path)
    return path


@pytest.fixture(scope="module")
def address(model):
    command = [sys.executable, "-m", "neoclassic", "serve", str(model), "--port", "0", "--engine", "numpy"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield re.match(r"http://[\d.:]+", process.stderr.readline())[0]
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / FILE, tmp_path / "two.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path)
    return paths


def shown(browser, address, view=""):
    browser.open(f"{address}/{view}")
    browser.wait("document.querySelector('.model h2, #paths tr')")


def answered(browser, n):
    """The five most probable classes that the page shows when it has been answered n times."""
    browser.wait(f"document.querySelector('.model').dataset.looks == {n}")
    lines = "[...document.querySelectorAll('.answers li')].map(li => [...li.children].map(c => c.textContent))"
    return [(label, share) for label, _, share in browser.ask(lines)]


def test_chosen_images_get_the_answers_of_predict_and_names_stay_text(browser, address, model, images):
    shown(browser, address)
    loaded = Model.load(model)
    wanted = [
        [(label, f"{100 * probability:.1f} %") for label, probability in answer.top[:5]]
        for answer in predict(loaded, loaded.engine("numpy"), images)
    ]
    browser.choose("#files", images)
    assert answered(browser, 1) == wanted[0]
    assert browser.ask("[...document.querySelectorAll('.strip button')].map(b => b.textContent)") == [FILE, "two.png"]
    browser.ask("document.querySelectorAll('.strip button')[1].click()")
    assert answered(browser, 2) == wanted[1]
    assert browser.ask("document.title") == "Look · neoclassic"
    assert browser.ask("document.querySelectorAll('main img, main b b, main script, .answers h1').length") == 0


def test_a_file_that_is_not_an_image_gets_its_own_error(browser, address, images, tmp_path):
    (tmp_path / "<i>text").write_text("no image")
    shown(browser, address)
    browser.choose("#files", [tmp_path / "<i>text", images[1]])
    browser.wait("document.querySelector('.error').textContent")
    alert = browser.ask("document.querySelector('.error').textContent")
    assert alert == "<i>text: is not an image, or its format is not supported"
    browser.complaints[:] = [c for c in browser.complaints if "400" not in c]  # the browser logs the refusal, too
    browser.ask("document.querySelectorAll('.strip button')[1].click()")
    answered(browser, 1)
    assert browser.ask("document.querySelector('.error').textContent") == ""


LUMINANCE = """(() => {
  const light = colour => {
    const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4
    const c = colour.match(/[\\d.]+/g).slice(0, 3).map(linear)
    return .2126 * c[0] + .7152 * c[1] + .0722 * c[2]
  }
  const style = getComputedStyle(document.body)
  return [light(style.backgroundColor), light(style.color)]
})()"""


def is_readable(browser, scheme):
    background, ink = browser.ask(LUMINANCE)
    assert (background > ink) == (scheme == "light")
    return (max(background, ink) + 0.05) / (min(background, ink) + 0.05) > 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_light_and_dark_mode_and_fits_a_phone(browser, address, scheme):
    browser.prefer(scheme, width=390)
    for view in ("#/look", "#/http"):
        shown(browser, address, view)
        assert is_readable(browser, scheme)
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), view


def test_the_example_command_works_in_every_shell(browser, address, images):
    shown(browser, address, "#/http")
    example = browser.ask("document.querySelector('#example').textContent")
    words = [f"{address}/predict", "--data-binary", "@photo.jpg"]
    words += [f"{address}/predict?top=3", "-F", "image=@one.jpg", "-F", "image=@two.png"]
    shells = [shell for shell in ("sh", "bash", "dash", "zsh", "ksh") if shutil.which(shell)]
    assert shells
    for shell in shells:
        curl = (
            "function curl; string join -- \\n $argv; end" if shell == "fish" else "curl() { printf '%s\\n' \"$@\"; }"
        )
        done = subprocess.run([shell, "-c", f"{curl}\n{example}"], capture_output=True, text=True)
        assert (done.stdout.splitlines(), done.stderr) == (words, ""), shell
    if shutil.which("curl"):
        for name in ("photo.jpg", "one.jpg"):
            shutil.copy(images[1], images[1].parent / name)
        done = subprocess.run(["sh", "-ec", example], cwd=images[1].parent, capture_output=True, text=True)
        assert done.stdout.count('"error":null') == 3, done.stdout + done.stderr


# ── the report ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a run on photos whose class names are markup."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for k, name in enumerate(
        ("<img src=x onerror=document.title='run'>", "<svg onload=document.title='run'>", "&lt;b&gt;")
    ):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(14):
            pixels = rng.integers(0, 90, (40, 40, 3))
            pixels[..., k] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "data" / name / f"<b>{i}.png")
    call = ["train", "lenet:bn", "--data", folder / "data", "--epochs", 1, "--image-size", 32, "--engine", "numpy"]
    assert main([str(a) for a in [*call, "--out", folder / "run", "--json"]]) == 0
    assert main(["report", str(folder / "run"), "--engine", "numpy"]) == 0
    return folder / "run" / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_escapes_names_is_self_contained_and_follows_light_and_dark_mode(browser, report, scheme):
    browser.prefer(scheme)
    browser.open(report.as_uri())
    assert browser.ask("document.title").startswith("lenet:bn")
    assert browser.ask("document.body.textContent.includes(\"<img src=x onerror=document.title='run'>\")")
    assert browser.ask("document.scripts.length") == 0
    assert browser.ask("document.querySelectorAll('[onerror], [onload], main b b').length") == 0
    assert browser.ask("[...document.images].length > 5 && [...document.images].every(i => i.naturalWidth)")
    assert is_readable(browser, scheme)
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data"}
