"""The view Train in Chromium: a training is started, steered and finished, and its folder is an ordinary run."""

import re
import signal
import subprocess
import sys
import time

import pytest
from labs import Lab

from neoclassic.train.loop import resume
from neoclassic.train.run import Run

PHASE = "document.querySelector('#training')?.dataset.phase === '{}'"
ROWS = "document.querySelectorAll('.epochs tbody tr').length"
EPOCHS = 8
POINTS = "Number(document.querySelector('.curve[data-curve=loss] polyline.of-train')?.dataset.points)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder):
    one = Lab(folder=folder)
    yield one
    assert one.end() == (0, "")


@pytest.fixture(autouse=True)
def _nothing_is_logged_or_requested_elsewhere(browser):
    with browser.quiet():
        yield


def opened(browser, lab):
    browser.open(f"{lab.page}#/train")
    browser.page.wait_for_selector("#training[data-phase]", state="attached")
    return browser.page


def chosen_anew(page):
    if not page.locator("#start").is_visible():
        page.locator("summary").click()


def begun(page, data, **knobs):
    chosen_anew(page)
    page.fill("#data", str(data))
    page.locator("#data").blur()
    page.wait_for_selector(f"#knobs[data-of='{data}']")
    for name, value in {"epochs": EPOCHS, "batch_size": 10, **knobs}.items():  # some seconds of training
        page.fill(f"#knob-{name}", str(value))
    page.click("#start")


def test_a_training_is_started_paused_changed_and_finished(browser, lab, folder, idx_folder):
    page = opened(browser, lab)
    page.select_option("#recipe", "d2l-zh:lenet")
    browser.wait("document.querySelector('#knob-learning_rate').value === '0.9'")
    begun(page, idx_folder, learning_rate=0.1)
    browser.wait(PHASE.format("running"))
    page.select_option("#speed", "0.5")
    browser.wait(f"{POINTS} > 0")
    page.click("#pause")
    browser.wait(PHASE.format("resting"))
    points = browser.ask(POINTS)
    step = "document.querySelector('dl.cards').innerText"
    before = browser.ask(step)
    page.click("#step")
    browser.wait(f"{POINTS} > {points}")
    browser.wait(f"{step} !== {before!r}")
    page.fill("#rate", "0.05")
    page.locator("#rate").blur()
    browser.wait("document.querySelector('dl.cards').innerText.includes('0.05')")
    page.select_option("#speed", "0")
    over = browser.ask(ROWS)
    page.click("#epoch")
    browser.wait(f"{ROWS} === {over + 1}")
    browser.wait(PHASE.format("resting"))
    page.click("#go")
    browser.wait(PHASE.format("finished"))
    page.click("#look")
    page.wait_for_selector(".model")
    page.goto(f"{lab.page}#/train")
    browser.wait(PHASE.format("finished"))
    run = Run(folder / "runs" / "lenet-tiny-1")
    assert [row.learning_rate for row in run.log()][over:] == pytest.approx([0.05] * (EPOCHS - over))
    assert "test accuracy" in page.locator("dl.cards").inner_text()
    assert resume(run.folder) == run.result()  # finished: nothing is left to do


def test_what_is_inside_is_shown_and_can_be_chosen(browser, lab, idx_folder):
    page = opened(browser, lab)
    begun(page, idx_folder)
    browser.wait(PHASE.format("running"))
    page.click("#pause")
    browser.wait(PHASE.format("resting"))
    browser.wait("document.querySelector('#inside').dataset.glances > 0")
    assert page.get_by_role("img", name=re.compile("Kernels of the first convolution, conv1")).count() == 1
    assert 0 < page.locator(".mistakes figure").count() <= 12
    assert page.locator(".spreads tbody tr").count() == 12
    assert page.locator(".spreads svg.gradients").count() == 5
    size = "document.querySelectorAll('#inside canvas.sheet')[1].toDataURL()"
    before = browser.ask(size)
    page.select_option("#layer", "conv2")
    browser.wait(f"{size} !== {before!r}")
    label, glances = page.locator(".shown figcaption").inner_text(), browser.ask(size)
    page.click("#another")
    browser.wait(f"{size} !== {glances!r}")
    assert label.startswith("It shows: ")
    page.click("#language")
    browser.wait("document.querySelector('h1')?.textContent === '训练一个网络'")
    browser.wait(PHASE.format("resting"))  # the page finds the training again
    page.click("#language")
    browser.wait("document.querySelector('h1')?.textContent === 'Train a network'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_training_fits_and_has_no_serious_fault_of_access(browser, lab, scheme):
    opened(browser, lab)
    browser.wait("document.querySelector('#inside').dataset.glances > 0")  # that of the test before
    browser.assert_fits(scheme)
    browser.assert_accessible()


def test_a_training_that_is_stopped_is_resumed_from_the_page(browser, lab, folder):
    page = opened(browser, lab)
    browser.wait(PHASE.format("resting"))
    page.click("#stop")
    browser.wait(PHASE.format("stopped"))
    assert "neoclassic train --resume runs/lenet-tiny-2" in page.locator("#training").inner_text()
    assert (folder / "runs" / "lenet-tiny-2" / "checkpoint.safetensors").exists()
    page.click("#resume")
    browser.wait(PHASE.format("finished"))
    assert Run(folder / "runs" / "lenet-tiny-2").result().epochs == EPOCHS


def test_a_wrong_choice_is_told_and_a_data_set_with_markup_stays_text(browser, lab):
    page = opened(browser, lab)
    chosen_anew(page)
    page.fill("#data", "<img src=x>")
    page.locator("#data").blur()
    browser.wait("document.querySelector('.choosing [role=alert]').textContent.includes('<img src=x>')")
    browser.complaints[:] = [line for line in browser.complaints if "400" not in line]  # the browser logs the refusal


def test_a_run_of_the_terminal_is_watched(browser, idx_folder, tmp_path):
    out = tmp_path / "run"
    command = ["train", "lenet", "--data", idx_folder, "--epochs", 3000, "--batch-size", 500, "--engine", "numpy"]
    process = subprocess.Popen([sys.executable, "-m", "neoclassic", *map(str, command), "--out", out], stderr=-3)
    while not (out / "log.csv").exists():
        time.sleep(0.05)
    one = Lab(out)
    try:
        browser.open(one.page)
        browser.wait(f"{PHASE.format('elsewhere')} && {ROWS} > 0")
        before = browser.ask(ROWS)
        browser.wait(f"{ROWS} > {before}")
        process.send_signal(signal.SIGINT)
        process.wait(60)
        browser.wait(PHASE.format("stopped"))
        browser.wait("document.querySelector('#inside').dataset.glances > 0")
        assert str(out) in browser.page.locator("dl.cards").inner_text()
        browser.page.goto("about:blank")
    finally:
        process.kill()
        process.wait()
        assert one.end() == (0, "")
