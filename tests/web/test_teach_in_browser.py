"""The view Teach in Chromium: photos by file, drop and camera; train; try; take the model and the photos along."""

import base64
import io
import zipfile

import numpy as np
import pytest
from labs import Lab
from PIL import Image

from neoclassic.model.artefact import Model
from neoclassic.model.predict import predict

KINDS = ("<b>stripes</b>", "dots")


@pytest.fixture
def lab():
    one = Lab()
    yield one
    assert one.end() == (0, "")


@pytest.fixture
def page(browser, lab):
    browser.page.goto("about:blank")  # what the page of the test before still asks for is not this one's
    with browser.quiet(rf"http://127\.0\.0\.1:{lab.port}/|data:|blob:|about:"):
        browser.open(f"{lab.page}#/teach")
        browser.page.wait_for_selector(".class")
        yield browser.page


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Eleven photos of stripes and eleven of dots."""
    folder = tmp_path_factory.mktemp("photos")
    found = []
    for kind in range(2):
        for seed in range(11):
            rng = np.random.default_rng([kind, seed])
            pixels = rng.integers(0, 40, (48, 48), dtype=np.uint8)
            pixels[int(rng.integers(0, 8)) :: 8] += 180
            if kind:
                pixels = np.minimum(pixels, pixels.T[:, ::-1])
            found.append(folder / f"{kind}-{seed:02}.png")
            Image.fromarray(pixels).save(found[-1])
    return found[:11], found[11:]


def name(page, i, text):
    field = page.get_by_label("Name of the class").nth(i)
    field.fill(text)
    field.press("Enter")


def counted(browser, i, n):
    browser.wait(f"document.querySelectorAll('.class')[{i}]?.dataset.count === '{n}'")


def drop(page, selector, file):
    content = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(
        """([selector, content]) => {
          const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0)), dataTransfer = new DataTransfer()
          dataTransfer.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }))
          const event = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })
          document.querySelector(selector).dispatchEvent(event)
        }""",
        [selector, content],
    )


def saved(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value.path()


def test_two_classes_of_ten_images_are_collected_trained_tried_and_saved(browser, page, files):
    for i in range(2):
        name(page, i, KINDS[i])
        page.locator(".class input[type=file]").nth(i).set_input_files(files[i][:9])
        counted(browser, i, 9)
        drop(page, f".class:nth-of-type({i + 1})", files[i][9])
        counted(browser, i, 10)
    page.select_option("#way", "head lenet@fashion-mnist")
    page.click("#train")
    browser.wait("document.querySelector('#state').textContent.includes('on 20 photos')")
    for i in range(2):
        page.set_input_files("#try", files[i][10])
        browser.wait(f"document.querySelector('.best b')?.textContent === {KINDS[i]!r}")
    model = Model.load(saved(page, "#save"))
    answers = predict(model, model.engine("numpy"), [files[i][10] for i in range(2)])
    assert [one.label for one in answers] == list(KINDS)
    with zipfile.ZipFile(io.BytesIO(saved(page, "#zip").read_bytes())) as archive:
        assert [archive.read(one) for one in archive.namelist()] == [
            f.read_bytes() for i in range(2) for f in files[i][:10]
        ]
    page.get_by_role("link", name="Look into it").click()
    page.wait_for_selector(".sources")
    assert page.locator(".model h2").inner_text() == "taught-1"


def test_a_network_is_trained_from_scratch_while_its_curve_grows(browser, page, files):
    for i in range(2):
        page.locator(".class input[type=file]").nth(i).set_input_files(files[i][:4])
        counted(browser, i, 4)
    page.select_option("#way", "scratch lenet:bn")
    page.click("#train")
    page.wait_for_selector(".taught polyline.held")
    page.click("#language")  # the view is made anew: the photos and the training are still there
    browser.wait("document.querySelector('#state')?.textContent.includes('100')")
    counted(browser, 1, 4)
    page.get_by_role("button", name="停止").click()
    browser.wait("document.querySelector('[data-model=taught-1]')")
    page.click("#language")


def test_the_camera_gives_photos_and_live_answers(browser, page, files):
    page.click("#camera")
    browser.wait("document.querySelector('video').videoWidth > 0")
    shutter = page.get_by_role("button", name="Take pictures").first
    box = shutter.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    browser.wait("Number(document.querySelector('.class').dataset.count) >= 3")
    page.mouse.up()
    page.locator(".class input[type=file]").nth(1).set_input_files(files[1][:4])
    counted(browser, 1, 4)
    page.click("#train")
    browser.wait("document.querySelector('.best b')?.textContent === 'class 1'")
    page.click("#camera")


def test_photos_and_classes_are_removed_and_faults_are_told(browser, page, files, tmp_path):
    (tmp_path / "no <i>image.png").write_bytes(b"no image")
    page.locator(".class input[type=file]").first.set_input_files([tmp_path / "no <i>image.png", files[0][0]])
    counted(browser, 0, 1)
    assert page.locator(".error").inner_text().startswith("no <i>image.png: ")
    page.click("#train")
    browser.wait("document.querySelector('.error').textContent.includes('two classes')")
    page.click(".thumb")
    counted(browser, 0, 0)
    page.click("#add-class")
    name(page, 2, "class 1")
    browser.wait("document.querySelector('.error').textContent.includes('a name of its own')")
    page.get_by_role("button", name="Remove class 3").click()
    assert page.locator(".class").count() == 2
    browser.complaints[:] = [c for c in browser.complaints if "400" not in c]  # the browser logs the refusals, too


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_in_both_languages_and_has_no_serious_fault_of_access(browser, page, files, scheme):
    for i in range(2):
        page.locator(".class input[type=file]").nth(i).set_input_files(files[i][:3])
        counted(browser, i, 3)
    page.click("#train")
    page.wait_for_selector("[data-model]")
    page.set_input_files("#try", files[0][10])
    for _ in "en", "zh":
        browser.assert_fits(scheme)
        page.click("#language")
        page.wait_for_selector("[data-model]")
    browser.assert_accessible()
