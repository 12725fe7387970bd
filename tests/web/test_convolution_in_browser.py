"""The view Convolution in Chromium: the numbers that it shows are those of the NumPy engine."""

import numpy as np
import pytest
from labs import Lab

from neoclassic.engines.numpy import NumpyEngine
from neoclassic.tree import Conv2d, Sequential


@pytest.fixture(scope="module")
def lab():
    one = Lab()
    yield one
    assert one.end() == (0, "")


@pytest.fixture(autouse=True)
def page(browser, lab):
    with browser.quiet(rf"http://127\.0\.0\.1:{lab.port}/|data:|blob:|about:"):
        browser.open(f"{lab.page}#/convolution")
        browser.page.wait_for_selector("#output button[data-value]")
        yield browser.page


def values(page, place, shape):
    """The numbers that a part of the page shows, and float32 values behind them."""
    found = page.locator(f"#{place} [data-value]")
    exact = [float(v) for v in found.evaluate_all("all => all.map(one => one.dataset.value)")]
    texts = found.evaluate_all("all => all.map(one => one.value ?? one.textContent)")
    if place == "output":
        texts = found.all_inner_texts()
    assert [float(text.replace("−", "-")) for text in texts] == pytest.approx(exact, rel=1e-2)
    return np.array(exact, np.float32).reshape(shape)


def settled(browser, unit):
    browser.wait(f"document.querySelector('.convolving').dataset.unit === '{unit}'")


@pytest.mark.parametrize(
    ("kind", "layer", "per"),
    [
        ("standard", Conv2d(4, 3, padding=1), 4),
        ("grouped", Conv2d(4, 3, padding=1, groups=2), 2),
        ("depthwise", Conv2d(4, 3, padding=1, groups=4), 1),
        ("pointwise", Conv2d(4, 1), 4),
    ],
)
def test_the_output_that_is_shown_is_that_of_the_engine(browser, page, kind, layer, per):
    page.click(f"[data-kind={kind}]")
    browser.wait(f"document.querySelector('#code').textContent === 'nc.{layer!r}'")
    x = values(page, "input", (4, 6, 6))
    k = layer.kernel_size
    kernels, bias = [], []
    for o in range(4):  # the kernels of an output channel are shown with its units
        page.locator(f"#output figure:nth-of-type({o + 1}) button").first.click()
        settled(browser, f"{o},0,0")
        numbers = values(page, "kernel", (per * k * k + 1,))
        kernels.append(numbers[:-1].reshape(per, k, k))
        bias.append(numbers[-1])
    weights = {"conv.weight": np.stack(kernels), "conv.bias": np.array(bias, np.float32)}
    exact = NumpyEngine(Sequential(conv=layer), x.shape, weights).features(x[None], ["conv"])["conv"][0]
    assert values(page, "output", exact.shape) == pytest.approx(exact, abs=1e-5)
    for unit in ((3, 0, 0), (1, 2, 5), (0, 5, 0)):
        page.locator(f"#output figure:nth-of-type({unit[0] + 1}) button").nth(unit[1] * 6 + unit[2]).click()
        settled(browser, ",".join(map(str, unit)))
        shown = page.locator(".convolving").evaluate("e => [e.dataset.value, e.dataset.result].map(Number)")
        assert shown == pytest.approx([float(exact[unit])] * 2, abs=1e-5)
        assert page.locator(".sums .term" if k > 1 else ".sums tbody tr").count() == per
        assert page.locator("#input figure:not(.dim)").count() == per
        assert page.locator("#input td.framed").count() == per * k * k


def test_one_steps_through_and_edits_a_number(browser, page):
    page.click("#next")
    settled(browser, "0,0,1")
    page.get_by_role("button", name="Step back").click()
    settled(browser, "0,0,0")
    before = values(page, "output", (4, 6, 6))
    cell = page.get_by_label("channel 2, row 1, column 1", exact=True).first
    cell.fill("100.5")
    cell.press("Enter")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel") == "channel 2, row 1, column 2"
    browser.wait(f"document.querySelector('.convolving').dataset.value != {before[0, 0, 0]}")
    after = values(page, "output", (4, 6, 6))
    assert (after != before)[:, 0:3, 0:3].any()
    assert (after == before)[:, 3:].all()
    cell.fill("no number")
    cell.press("Enter")
    browser.wait(
        "document.querySelector('#input figure:nth-of-type(3) input[aria-label*=\"row 1, column 1\"]').value === '101'"
    )


def test_it_plays_to_the_end(browser, page):
    page.get_by_label("Input size").fill("3")
    page.get_by_label("Input size").press("Enter")
    page.get_by_label("Padding").fill("0")
    page.get_by_label("Padding").press("Enter")
    browser.wait("document.querySelectorAll('#output button').length === 4")
    page.click("#play")
    settled(browser, "3,0,0")
    browser.wait("document.querySelector('#play').textContent === 'Play'")


def test_settings_that_do_not_fit_are_told(browser, page):
    page.get_by_label("Groups").fill("3")
    page.get_by_label("Groups").press("Enter")
    browser.wait("document.querySelector('.error').textContent.includes('groups must divide')")
    assert not page.locator(".convolving").is_visible()
    page.click("[data-kind=grouped]")
    browser.wait("document.querySelector('.error').textContent === ''")
    assert page.locator(".convolving").is_visible()
    browser.complaints[:] = [c for c in browser.complaints if "400" not in c]  # the browser logs the refusal, too


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_in_both_languages_and_has_no_serious_fault_of_access(browser, page, scheme):
    for _ in "en", "zh":
        browser.assert_fits(scheme)
        page.click("#language")
        page.wait_for_selector("#output button[data-value]")
    browser.assert_accessible()
