"""The lab in Chromium: draw, click through layer, map and unit, change language; keyboard, screen reader, phone."""

import base64
import json
import re

import numpy as np
import pytest
from labs import Lab
from PIL import Image

from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines import weights as arrays
from neoclassic.model.artefact import Model
from neoclassic.model.opening import load_model
from neoclassic.model.predict import predict
from neoclassic.networks import differences, entry, list_networks
from neoclassic.recipes import list_recipes
from neoclassic.tree import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Identity, Linear, ReLU6, Sequential, Sum

BRANCH = Sequential(depthwise=Conv2d(6, 3, padding=1, groups=6), bn=BatchNorm2d(), relu6=ReLU6(), point=Conv2d(6, 1))
TREE = Sequential(
    Conv2d(6, 3, stride=2, padding=1, bias=False),
    BatchNorm2d(),
    ReLU6(),
    Sum(Identity(), branch=BRANCH),
    AdaptiveAvgPool2d(1),
    Flatten(),
    Linear(2),
)
CLASSES = ("<i>left</i>", "right")


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    """A model with batch norm, a residual sum and a depthwise convolution, for colour images."""
    shape = (3, 24, 24)
    weights = arrays.initial(TREE, shape, seed=2)
    weights["bn.running_mean"] += 0.1
    weights["sum.branch.bn.running_var"] *= 1.5
    path = tmp_path_factory.mktemp("model") / "residual.safetensors"
    Model("own", TREE, shape, CLASSES, Preprocessing((24, 24), 3, mean=(0.4,), std=(0.2,)), weights).save(path)
    return path


@pytest.fixture(scope="module")
def lab(residual):
    one = Lab(residual)
    yield one
    assert one.end() == (0, "")


@pytest.fixture(autouse=True)
def _nothing_is_logged_or_requested_elsewhere(browser, lab):
    with browser.quiet(rf"http://127\.0\.0\.1:{lab.port}/|data:|blob:|about:"):
        yield


def opened(browser, lab, view):
    browser.open(f"{lab.page}#/{view}")
    browser.page.wait_for_selector("h1")
    return browser.page


def looked(page, n):
    page.wait_for_selector(f".model[data-looks='{n}']")
    return page.locator(".best b").first.inner_text()


def test_a_7_that_is_drawn_with_the_mouse_is_a_7(browser, lab):
    page = opened(browser, lab, "look/deepconvnet%40mnist")
    box = page.locator("#pad").bounding_box()
    points = [(0.25, 0.2), (0.5, 0.2), (0.75, 0.2), (0.6, 0.5), (0.45, 0.85)]
    places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
    browser.wait("document.querySelector('.best b')?.textContent === '7'")
    inked = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v > 200)"
    assert page.locator("canvas.input").first.evaluate(inked)
    assert page.locator("li.row").count() == 19


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("lenet@fashion-mnist", ("conv1", "sigmoid1", "pool1", "conv2", "fc1")),
        ("residual.safetensors", ("conv", "bn", "sum.branch.depthwise", "sum.branch.point", "sum", "pool", "fc")),
    ],
)
def test_the_arithmetic_that_is_shown_is_that_of_the_engine(browser, lab, residual, tmp_path, name, paths):
    model = Model.load(residual) if name.startswith("residual") else load_model(name)
    channels, height, width = model.input
    pixels = np.random.default_rng(4).integers(0, 256, (height, width, channels), dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(tmp_path / "image.png")
    values = model.engine("numpy").features(to_input(pixels[None], model.preprocessing), paths)
    page = opened(browser, lab, f"look/{name.replace('@', '%40')}")
    browser.choose("#files", [tmp_path / "image.png"])
    looked(page, 1)
    for path in paths:
        canvas = page.locator(f"li.row[data-path='{path}'] button.maps canvas")
        canvas.click(position={"x": 5, "y": 5})  # the first map, or the first number
        page.wait_for_selector(f".detail[data-path='{path}'] #formula")
        if values[path].ndim == 4 and values[path].shape[2] > 1:
            before = page.locator(".detail").get_attribute("data-unit")
            large = page.locator(".detail canvas.map")
            box = large.bounding_box()
            large.click(position={"x": 0.8 * box["width"], "y": 0.3 * box["height"]})
            browser.wait(f"document.querySelector('.detail').dataset.unit !== '{before}'")
        unit = tuple(map(int, page.locator(".detail").get_attribute("data-unit").split(",")))
        exact = float(values[path][(0, *unit)])
        shown = page.locator("#formula").inner_text().rpartition("= ")[2].replace("−", "-")
        assert float(shown) == pytest.approx(exact, abs=1e-5), (path, unit)
    assert unit == (0,)


def test_the_evidence_and_a_hidden_part_are_shown(browser, lab, tmp_path):
    pixels = np.random.default_rng(4).integers(0, 256, (28, 28), dtype=np.uint8)  # no class is certain
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    page = opened(browser, lab, "look/lenet%40fashion-mnist")
    browser.choose("#files", [tmp_path / "noise.png"])
    looked(page, 1)
    page.locator(".answers button").first.click()
    browser.wait("document.querySelector('.picture .hint').textContent.includes('Grad-CAM')")
    before = page.locator(".answers").inner_text()
    page.get_by_role("button", name="Hide a part").click()
    looked(page, 2)
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    browser.wait(f"document.querySelector('.answers').innerText !== {json.dumps(before)}")
    page.get_by_role("button", name="Hide a part").click()
    browser.wait(f"document.querySelector('.answers').innerText === {json.dumps(before)}")


def test_the_keyboard_reaches_a_unit_and_comes_back(browser, lab):
    page = opened(browser, lab, "look/lenet%40fashion-mnist")
    page.click("#sample")
    looked(page, 1)
    page.locator("li.row[data-path='conv1'] button.maps").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail #formula")
    _, row, column = map(int, page.locator(".detail").get_attribute("data-unit").split(","))
    page.locator(".detail canvas.map").focus()
    page.keyboard.press("ArrowUp" if row else "ArrowDown")
    page.wait_for_selector(f".detail[data-unit='0,{row - 1 if row else 1},{column}']")
    page.keyboard.press("Escape")
    assert page.locator(".detail").count() == 0
    assert page.evaluate("document.activeElement.closest('li').dataset.path") == "conv1"


EVENTS = ("DragEvent('drop', { dataTransfer", "ClipboardEvent('paste', { clipboardData: dataTransfer")


@pytest.mark.parametrize("event", EVENTS, ids=["drop", "paste"])
def test_a_photo_that_lies_on_its_side_is_taken_and_stands_upright(browser, lab, residual, tmp_path, event):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = 220  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "on its side.jpg", exif=exif)
    page = opened(browser, lab, "look/residual.safetensors")
    page.wait_for_selector(".model")  # from now on the page takes what is dropped or pasted
    content = base64.b64encode((tmp_path / "on its side.jpg").read_bytes()).decode()
    page.evaluate(
        """content => {
          const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0)), dataTransfer = new DataTransfer()
          dataTransfer.items.add(new File([bytes], 'on its side.jpg', { type: 'image/jpeg' }))
          document.body.dispatchEvent(new EVENT, bubbles: true, cancelable: true }))
        }""".replace("EVENT", event),
        content,
    )
    model = Model.load(residual)
    (wanted,) = predict(model, model.engine("numpy"), [tmp_path / "on its side.jpg"])
    assert looked(page, 1) == wanted.label
    column = "c => [...c.getContext('2d').getImageData(c.width / 2, 0, 1, c.height).data].filter((_, i) => i % 4 === 0)"
    light = page.locator("canvas.input").first.evaluate(column)
    assert light[len(light) // 5] > 180 > 60 > light[-len(light) // 5]
    assert page.locator(".answers i").evaluate_all("all => all.filter(i => i.textContent)") == []  # names stay text


def test_the_camera_takes_a_picture(browser, lab):
    page = opened(browser, lab, "look/residual.safetensors")
    page.get_by_role("button", name="Camera").click()
    browser.wait("document.querySelector('video')?.videoWidth > 0")
    page.get_by_role("button", name="Take the picture").click()
    assert looked(page, 1) in CLASSES


def test_two_models_see_the_same_image(browser, lab):
    page = opened(browser, lab, "look/lenet%40fashion-mnist/with/residual.safetensors")
    page.click("#sample")
    browser.wait("document.querySelectorAll('.model[data-looks]').length === 2")
    assert page.locator(".best b").all_inner_texts()[1] in CLASSES


def test_a_layer_of_a_drawing_is_explained(browser, lab):
    page = opened(browser, lab, "zoo")
    page.get_by_role("link", name="lenet as taught").click()
    page.wait_for_selector(".drawing svg")
    page.locator("rect[data-layer=conv2]").click()
    card = page.locator(".layer-card")
    for text in ("conv2 = Conv2d(16, 5)", "(5·5·6+1)·16 = 2,416", "6×14×14 → 16×10×10", "240,000"):
        assert text in card.inner_text()
    page.locator("button[data-path=fc1]").click()
    assert "48,120" in card.inner_text()
    width = page.locator(".frame svg").bounding_box()["width"]
    page.get_by_role("button", name="Larger").click()
    assert page.locator(".frame svg").bounding_box()["width"] > 1.2 * width
    page.get_by_label("Classes").fill("3")
    page.get_by_label("Classes").press("Enter")
    browser.wait("document.querySelector('main').innerText.includes('3 logits')")
    page.get_by_label("Input size in pixels").fill("4")
    page.get_by_label("Input size in pixels").press("Enter")
    browser.wait("document.querySelector('.error').textContent.includes('smallest square image')")
    browser.complaints[:] = [c for c in browser.complaints if "400" not in c]  # the browser logs the refusal, too


def test_two_networks_are_compared(browser, lab):
    page = opened(browser, lab, "zoo/alexnet")
    page.get_by_label("Compare with").select_option("alexnet:taught")
    browser.wait("document.querySelector('main').innerText.includes('-14,200,478')")
    assert page.locator(".drawing svg").count() == 2


VIEWS = ("zoo", "zoo/mobilenet-v2", "zoo/alexnet/with/alexnet%3Ataught", "look/deepconvnet%40mnist")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_page_fits_and_has_no_serious_fault_of_access(browser, lab, view, scheme):
    page = opened(browser, lab, view)
    if view.startswith("look"):
        page.locator("#pad").click()
        looked(page, 1)
        page.locator("button.maps").first.click(position={"x": 5, "y": 5})
        page.wait_for_selector("#formula")
    browser.assert_fits(scheme)
    browser.assert_accessible()


def test_every_text_is_in_both_languages_and_the_page_switches(browser, lab):
    page = opened(browser, lab, "zoo")
    texts = "Promise.all(['en', 'zh'].map(async l => Object.entries((await import(`./page/texts/${l}.js`))[l])))"
    english, chinese = map(dict, page.evaluate(texts))
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese[key])), key
    page.click("#language")
    browser.wait("document.querySelector('h1')?.textContent === '经典网络'")
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.click("#language")
    browser.wait("document.querySelector('h1')?.textContent === 'The classic networks'")


def test_what_is_said_of_networks_and_recipes_is_there_in_chinese_too(browser, lab):
    page = opened(browser, lab, "zoo/nin:taught")
    facts = page.evaluate("import('./page/texts/facts_zh.js').then(found => found.facts)")
    said = {text for name in list_networks() for text in (entry(name).about, differences(name)) if text}
    said |= {recipe.about for recipe in list_recipes() if recipe.about}
    assert set(facts) == said
    assert page.locator("em").inner_text() == "Dive into Deep Learning"
    page.click("#language")
    browser.wait("document.querySelector('.lead')?.textContent.includes('用于 Fashion-MNIST')")
    page.click("#language")


def test_an_address_without_the_token_shows_no_page(browser, lab):
    browser.page.goto("about:blank")
    answer = browser.page.goto(lab.page.partition("?")[0])
    assert answer.status == 403
    browser.complaints[:] = [c for c in browser.complaints if "403" not in c]


def test_a_server_that_has_ended_is_told(browser, residual):
    one = Lab(residual)
    page = opened(browser, one, "look/lenet%40fashion-mnist")
    page.click("#sample")
    looked(page, 1)
    assert one.end() == (0, "")
    page.locator(".answers button").first.click()
    page.wait_for_selector("#trouble:not([hidden])")
    assert "still running" in page.locator("#trouble").inner_text()
    page.goto("about:blank")
    browser.complaints.clear()  # the browser logs the refused connection
    browser.requests.clear()
