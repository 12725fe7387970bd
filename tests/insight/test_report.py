"""The report of a run: one self-contained file that fits 390 and 1280 pixels in a real browser."""

import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from browser import chromium
from PIL import Image

from neoclassic.cli import cli, main
from neoclassic.insight.reproduce import command
from neoclassic.recipes import recipe

# A page that loads the report in frames of both widths and leaves its measurements in a <pre>.
HARNESS = """<!doctype html><body><pre id="found"></pre><script>
const found = {errors: []};
for (const width of [390, 1280]) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.onload = () => {
    const page = frame.contentDocument;
    const images = [...page.images];
    found[width] = {
      scroll: page.documentElement.scrollWidth, width: frame.contentWindow.innerWidth,
      images: images.length, missing: images.filter(i => !i.complete || !i.naturalWidth).length,
      drawings: page.querySelectorAll("svg").length, scripts: page.scripts.length,
      fetched: frame.contentWindow.performance.getEntriesByType("resource")
        .filter(r => !r.name.startsWith("data:")).length,
      wider: [...page.querySelectorAll("main *")].filter(e => !e.closest(".wide, pre")
        && e.getBoundingClientRect().right > frame.contentWindow.innerWidth + 1).length,
    };
    document.getElementById("found").textContent = JSON.stringify(found);
  };
  frame.src = "REPORT";
  document.body.append(frame);
}
</script></body>"""


@pytest.fixture(scope="module")
def fashion_run(idx_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashion") / "run"
    call = ["train", "lenet", "--data", idx_folder, "--epochs", "2", "--engine", "torch", "--device", "cpu"]
    assert main([str(a) for a in [*call, "--out", folder, "--json"]]) == 0
    return folder


@pytest.fixture(scope="module")
def photo_run(tmp_path_factory):
    """A residual network trained for a few steps on three classes of photos of several shapes."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for k, name in enumerate(("a_rather_long_name_of_a_class", "leaf", "sky & sea <1>")):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 90, (90 + i, 120, 3))
            pixels[..., k] += 120
            place = folder / "data" / name / f"a long file name, number {i} of the lot.jpg"
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    call = ["train", "resnet20", "--data", folder / "data", "--epochs", "1", "--engine", "torch", "--device", "cpu"]
    assert main([str(a) for a in [*call, "--image-size", "48", "--out", folder / "run", "--json"]]) == 0
    return folder / "run"


def reported(folder):
    assert main(["report", str(folder), "--engine", "torch"]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module", params=["fashion_run", "photo_run"])
def written(request):
    """The folder of a run, and its report."""
    folder = request.getfixturevalue(request.param)
    return folder, reported(folder)


def test_the_report_is_self_contained_and_complete(written):
    folder, file = written
    text, result = file.read_text(), json.loads((folder / "result.json").read_text())
    assert file.stat().st_size < 5_000_000
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert not re.search(r"url\((?!data:)", text)
    for text_part in (f"{result['test_accuracy']:.2%}", result["network"], "How to reproduce it", "Where it looked"):
        assert text_part in text
    assert text.count("<figure>") >= 5


def test_the_report_fits_a_phone_and_a_desktop(written, tmp_path):
    _, file = written
    (tmp_path / "harness.html").write_text(HARNESS.replace("REPORT", file.resolve().as_uri()))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    call = [chromium(), *options, "--virtual-time-budget=8000", f"--user-data-dir={tmp_path}/profile"]
    done = subprocess.run([*call, (tmp_path / "harness.html").as_uri()], capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[1])
    for width in ("390", "1280"):
        frame = found[width]
        assert frame["width"] == int(width)
        assert frame["scroll"] <= int(width), "the page scrolls sideways"
        assert frame["wider"] == 0
        assert frame["images"] > 10
        assert frame["missing"] == 0
        assert frame["drawings"] == 1
        assert frame["scripts"] == frame["fetched"] == 0


def test_without_its_data_the_report_says_so(fashion_run, tmp_path):
    shutil.copytree(fashion_run, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "recipe.json").read_text())
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(written))
    import neoclassic.insight.report as module

    def gone(*_args, **_options):
        raise module.NeoclassicError("tiny is not on this machine")

    original, module.of_model = module.of_model, gone
    try:
        text = reported(tmp_path / "run").read_text()
    finally:
        module.of_model = original
    assert "tiny is not on this machine" in text
    assert "How to deploy it" in text


def test_a_missing_or_unfinished_run_is_a_usage_error(fashion_run, tmp_path, run):
    shutil.copytree(fashion_run, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    code, _, err = run("report", tmp_path / "run")
    assert code == 2
    assert "--resume" in err
    assert run("report", tmp_path / "nowhere")[0] == 2


def test_the_command_that_reproduces_a_run_has_only_options_of_train():
    published = recipe("d2l-zh:lenet")
    assert command(published, "numpy") == ("neoclassic train lenet --recipe d2l-zh:lenet --engine numpy", [])
    changed = published.but(epochs=3, learning_rate=0.25, seed=7, momentum=0.5, standardise=True)
    line, rest = command(changed, "torch")
    words = shlex.split(line)
    known = {option for parameter in cli.commands["train"].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    for pair in ("--epochs 3", "--lr 0.25", "--seed 7", "--momentum 0.5", "--standardise"):
        assert pair in line
    assert rest == []
