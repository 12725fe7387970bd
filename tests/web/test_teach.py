"""The server behind the view Teach: photos in, a model out, and one line for what is wrong."""

import io
import json
import time
import zipfile

import numpy as np
import pytest
from labs import Lab
from PIL import Image

from neoclassic.model.artefact import Model
from neoclassic.web.look import unpacked

KINDS = ("<b>stripes</b>", "../dots")


@pytest.fixture
def lab():
    one = Lab()
    yield one
    assert one.end() == (0, "")


def photo(kind, seed, form="PNG"):
    """Stripes or dots, as an image file."""
    rng = np.random.default_rng([kind, seed])
    pixels = rng.integers(0, 40, (48, 48), dtype=np.uint8)
    first = int(rng.integers(0, 8))
    pixels[first::8] += 180
    if kind:
        pixels = np.minimum(pixels, pixels.T[:, ::-1])
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def give(lab, label, content):
    name = "".join(f"%{byte:02x}" for byte in label.encode())
    return lab.ask("POST", f"/lab/teach/photo?class={name}", content, {"Content-Type": "image/*"})


def taught(lab, way):
    lab.json(f"/lab/teach/train?{way}", "POST", b"")
    while (state := lab.json("/lab/teach/state"))["running"]:
        time.sleep(0.05)
    return state


def filled(lab, n=10):
    for kind, label in enumerate(KINDS):
        for seed in range(n):
            assert give(lab, label, photo(kind, seed))[0] == 200


def error(answer):
    status, text = answer
    assert status == 400
    assert "\n" not in json.loads(text)["error"]
    return json.loads(text)["error"]


def test_two_classes_of_ten_photos_are_trained_saved_and_asked(lab, tmp_path):
    filled(lab)
    state = taught(lab, "way=head&name=lenet%40fashion-mnist")
    assert (state["error"], state["model"], state["network"]) == ("", "taught-1", "lenet")
    assert state["classes"] == sorted(KINDS)
    assert state["held_out"]["n"] == 20  # each is held out once, in folds
    assert state["held_out"]["accuracy"] >= 0.8
    (tmp_path / "mine.safetensors").write_bytes(lab.ask("GET", "/lab/teach/model")[1])
    model = Model.load(tmp_path / "mine.safetensors")
    assert (model.classes, "test" in model.metrics) == (tuple(sorted(KINDS)), False)
    status, content = lab.ask("POST", "/lab/look?model=taught-1", photo(0, 99), {"Content-Type": "image/png"})
    assert (status, unpacked(content)[0]["top"][0]["label"]) == (200, KINDS[0])
    assert "taught-1" in lab.json("/lab/session")["models"]


def test_a_small_network_is_trained_from_scratch_and_stopped(lab):
    filled(lab, 4)
    lab.json("/lab/teach/train?way=scratch&name=lenet:bn", "POST", b"")
    assert "is in progress" in error(lab.ask("POST", "/lab/teach/train?way=scratch&name=lenet:bn", b""))
    while not (state := lab.json("/lab/teach/state"))["progress"]["log"]:
        time.sleep(0.02)
    assert state["progress"]["epochs"] == 100
    lab.json("/lab/teach/stop", "POST", b"")
    while (state := lab.json("/lab/teach/state"))["running"]:
        time.sleep(0.02)
    assert (state["error"], state["model"], state["network"]) == ("", "taught-1", "lenet:bn")


def test_the_photos_come_back_as_folders_in_a_zip_that_train_reads(lab, tmp_path, run_json):
    contents = [photo(0, seed, "JPEG") for seed in range(3)]
    for content in contents:
        assert give(lab, "a/b: c", content)[0] == 200
    for seed in range(3):
        give(lab, "../dots", photo(1, seed))
        give(lab, "nul", photo(1, 10 + seed))
    with zipfile.ZipFile(io.BytesIO(lab.ask("GET", "/lab/teach/zip")[1])) as archive:
        names = archive.namelist()
        assert names[:3] == [f"photos/a_b_ c/000{n}.jpg" for n in (1, 2, 3)]
        assert {name.split("/")[1] for name in names} == {"a_b_ c", "dots", "nul_"}
        assert [archive.read(name) for name in names[:3]] == contents
        archive.extractall(tmp_path)
    recipe = ("--epochs", 1, "--image-size", 28, "--engine", "numpy", "--validation", 0)
    result = run_json("train", "lenet:bn", "--data", tmp_path / "photos", *recipe, "--out", tmp_path / "run")
    assert Model.load(tmp_path / "run").classes == ("a_b_ c", "dots", "nul_")
    assert result["skipped"] == 0


def test_photos_are_renamed_and_removed(lab):
    filled(lab, 2)
    assert give(lab, KINDS[0], photo(0, 0))[0] == 200  # the class has it already
    lab.json("/lab/teach/rename?from=..%2Fdots&to=points", "POST", b"")
    lab.json("/lab/teach/remove?photos=1,4", "POST", b"")
    header, pixels = unpacked(lab.ask("GET", "/lab/teach")[1])
    assert [(one["photo"], one["class"]) for one in header["photos"]] == [(2, KINDS[0]), (3, "points")]
    assert len(pixels) == 2 * 64 * 64 * 3


def test_what_is_wrong_is_told_in_one_line(lab):
    assert "no photos yet" in error(lab.ask("GET", "/lab/teach/zip"))
    assert "no model yet" in error(lab.ask("GET", "/lab/teach/model"))
    assert "two classes" in error(lab.ask("POST", "/lab/teach/train?way=head&name=lenet%40fashion-mnist", b""))
    assert "name of a class" in error(give(lab, " ", photo(0, 0)))
    assert "name of a class" in error(give(lab, "a\x00b", photo(0, 0)))
    assert "photo" in error(give(lab, "a", b"no image"))
    filled(lab, 2)
    assert "is in the class" in error(give(lab, "other", photo(0, 0)))
    assert "at least 3 photos" in error(lab.ask("POST", "/lab/teach/train?way=head&name=lenet%40fashion-mnist", b""))
    for way in ("way=head&name=/etc/passwd", "way=scratch&name=vgg19", "way=magic&name=lenet"):
        assert "unknown" in error(lab.ask("POST", f"/lab/teach/train?{way}", b""))
    assert "photos must be" in error(lab.ask("POST", "/lab/teach/remove?photos=x", b""))
    assert "unknown photo" in error(lab.ask("POST", "/lab/teach/remove?photos=77", b""))


def test_the_server_ends_while_it_trains():
    one = Lab()
    filled(one, 4)
    one.json("/lab/teach/train?way=scratch&name=mnist-residual", "POST", b"")
    assert one.end() == (0, "")
