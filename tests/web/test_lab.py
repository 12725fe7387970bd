"""The server of the lab: it answers only its own page, with the same numbers as the engine, and refuses the rest."""

import json
import subprocess
import sys

import numpy as np
import pytest
from labs import Lab
from serving import make_model, picture

from neoclassic.data.preprocessing import to_input
from neoclassic.insight.attribution import target_layer
from neoclassic.insight.sheets import shown
from neoclassic.measure import measure
from neoclassic.model.opening import load_model
from neoclassic.model.predict import probabilities


@pytest.fixture(scope="module")
def lab():
    one = Lab()
    yield one
    assert one.end() == (0, "")


@pytest.fixture(scope="module")
def digit():
    return np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)


API = (
    "/lab/session",
    "/lab/zoo",
    "/lab/network?name=lenet",
    "/lab/model?model=deepconvnet%40mnist",
    "/lab/teach",
    "/lab/teach/zip",
    "/",
    "/nowhere",
)


@pytest.mark.parametrize("path", API)
def test_a_request_without_the_token_is_refused(lab, path):
    assert lab.ask("GET", path, token=False)[0] == 403
    assert lab.ask("GET", path, headers={"Authorization": f"Bearer {lab.token}x"})[0] == 403
    status, text = lab.ask("GET", f"{path}{'&' if '?' in path else '?'}token=wrong", token=False)
    assert status == 403
    assert "neoclassic lab" in json.loads(text)["error"]


def test_only_the_page_takes_its_token_from_the_address(lab):
    assert lab.ask("GET", f"/?token={lab.token}", token=False)[0] == 200
    assert lab.ask("GET", f"/lab/zoo?token={lab.token}", token=False)[0] == 403
    assert lab.ask("GET", "/page/app.js", token=False)[0] == 200  # holds nothing of the user's


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1.attacker.example"},
        {"Origin": "http://attacker.example"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},  # a page on another port
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/lab/zoo"), ("POST", "/lab/look?model=deepconvnet%40mnist")])
def test_other_pages_are_refused_even_with_the_token(lab, method, path, headers):
    assert lab.ask(method, path, b"x" if method == "POST" else None, headers)[0] == 403


def test_the_page_is_found_whole_and_no_other_file(lab):
    for path in (
        "/page/",
        "/page/../application.py",
        "/page/%2e%2e/application.py",
        "/page/index.js",
        "/application.py",
    ):
        assert lab.ask("GET", path)[0] == 404, path


def test_an_image_gets_the_answer_of_predict_and_all_layers(lab, digit):
    model = load_model("deepconvnet@mnist")
    header, content = lab.packed("/lab/look?model=deepconvnet%40mnist", digit.tobytes())
    row = probabilities(model, model.engine("numpy"), digit[None])[0]
    assert {one["label"]: one["probability"] for one in header["top"]} == pytest.approx(
        {model.classes[i]: float(row[i]) for i in np.argsort(-row)[:5]}, abs=1e-6
    )
    assert content[: digit.size] == digit.tobytes()
    assert [one["path"] for one in header["sheets"]] == shown(measure(model.tree, model.input))
    sizes = sum(one["maps"] * one["height"] * one["width"] for one in header["sheets"])
    assert len(content) == digit.size + sizes


def test_a_map_is_what_the_engine_computes_and_comes_with_its_kernels(lab, digit):
    model = load_model("lenet@fashion-mnist")
    exact = model.engine("numpy").features(to_input(digit[None], model.preprocessing), ["conv2"])["conv2"][0, 3]
    header, content = lab.packed("/lab/map?model=lenet%40fashion-mnist&path=conv2&channel=3", digit.tobytes())
    numbers = np.frombuffer(content, "<f4")
    assert numbers[: exact.size].reshape(exact.shape) == pytest.approx(exact, abs=1e-6)
    assert header["kernels"]["n"] == 6
    assert (numbers[exact.size :] == model.weights["conv2.weight"][3].ravel()).all()


def test_the_evidence_covers_the_image(lab, digit):
    model = load_model("lenet@fashion-mnist")
    header, heat = lab.packed("/lab/cam?model=lenet%40fashion-mnist&class=8", digit.tobytes())
    assert header["path"] == target_layer(measure(model.tree, model.input))
    assert (len(heat), max(heat)) in ((784, 255), (784, 0))


def test_a_test_image_of_the_package_comes_with_its_label(lab):
    status, content = lab.ask("GET", "/lab/sample?model=lenet%40fashion-mnist&index=10003")
    assert status == 200
    assert b'"n":10000' in content
    assert lab.ask("GET", "/lab/sample?model=lenet%40fashion-mnist&index=3")[1] == content


def test_networks_are_measured_as_by_show(lab, run_json):
    found = lab.json("/lab/network?name=lenet&classes=3&input=1x32x32")
    shown = run_json("show", "lenet", "--classes", 3, "--input", "1x32x32")
    assert (found["parameters"], found["macs"]) == (shown["parameters"], shown["macs"])
    conv2 = next(layer for layer in found["layers"] if layer["path"] == "conv2")
    assert conv2["code"] == "Conv2d(16, 5)"
    assert conv2["formulas"]["parameters"] == "(5·5·6+1)·16 = 2,416"
    zoo = {one["name"]: one for one in lab.json("/lab/zoo")}
    assert set(zoo) == {row["network"] for row in run_json("list")}
    assert zoo["mobilenet-v2"]["accuracy"] == pytest.approx(0.7215, abs=1e-3)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/lab/network?name=lenett", None),
        ("GET", "/lab/network?name=lenet&classes=0", None),
        ("GET", "/lab/network?name=lenet&input=1x9999x9999", None),
        ("GET", "/lab/network?name=vgg11&input=3x8x8", None),
        ("GET", "/lab/network?name=/etc/passwd", None),
        ("GET", "/lab/diff?first=lenet&second=x", None),
        ("GET", "/lab/model?model=../../etc/passwd", None),
        ("GET", "/lab/model?model=resnet18%40nowhere", None),
        ("POST", "/lab/look?model=deepconvnet%40mnist", b"no image"),
        ("POST", "/lab/unit?model=deepconvnet%40mnist&path=conv1&unit=0,0,0", b"short"),
        ("POST", "/lab/unit?model=deepconvnet%40mnist&path=conv1&unit=0,-1,0", bytes(784)),
        ("POST", "/lab/unit?model=deepconvnet%40mnist&path=conv99&unit=0,0,0", bytes(784)),
        ("POST", "/lab/map?model=deepconvnet%40mnist&path=conv1&channel=16", bytes(784)),
        ("POST", "/lab/cam?model=deepconvnet%40mnist&class=10", bytes(784)),
    ],
)
def test_a_wrong_request_is_told_in_one_line(lab, method, path, body):
    status, text = lab.ask(method, path, body)
    assert status == 400
    assert "\n" not in json.loads(text)["error"]


def test_a_run_or_a_file_can_be_looked_into(tmp_path):
    make_model().save(tmp_path / "model.safetensors")
    one = Lab(tmp_path / "model.safetensors")
    try:
        session = one.json("/lab/session")
        assert (session["start"], session["models"][0]) == ("look", "model.safetensors")
        status, _ = one.ask("POST", "/lab/look?model=model.safetensors", picture(0), {"Content-Type": "image/png"})
        assert status == 200
    finally:
        assert one.end() == (0, "")


def test_a_network_of_ones_own_can_be_shown(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import neoclassic as nc\ntiny = nc.Sequential(nc.Conv2d(4, 3), nc.Flatten(), nc.Linear(2))"
    )
    one = Lab(f"{tmp_path / 'mine.py'}:tiny")
    try:
        assert one.json("/lab/session")["start"] == "zoo/mine.py:tiny"
        assert one.json("/lab/network?name=mine.py:tiny")["classes"] == 2
        assert one.json("/lab/zoo")[0]["name"] == "mine.py:tiny"
    finally:
        assert one.end() == (0, "")


def test_an_unknown_model_is_told_before_the_server_starts(run):
    code, out, err = run("lab", "lenet@nothing")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_serving_loads_no_matplotlib():
    code = (
        "import sys, neoclassic.web.server, neoclassic.web.lab\nassert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
