"""Images as an array in NumPy's format: the answers are those of the same images as files."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Running, make_model
from starlette.testclient import TestClient

from neoclassic.web.application import application
from neoclassic.web.intake import Limits
from neoclassic.web.service import Service

NPY = {"Content-Type": "application/x-npy"}


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def client():
    model = make_model()
    service = Service(model, model.engine("numpy"), Limits(queue=40, batch=8))
    with TestClient(application(service), "http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize("shape", [(11, 32, 32, 3), (3, 50, 41, 3), (3, 32, 32), (2, 32, 32, 1)])
def test_an_array_is_answered_like_the_files_of_its_images(client, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for array in (images, np.asfortranarray(images)):
        found = client.post("/predict?top=2", content=saved(array), headers=NPY).json()
        files = [("image", (str(i), png(image.squeeze()), "image/png")) for i, image in enumerate(images)]
        assert [(row["path"], row["label"]) for row in found] == [
            (row["path"], row["label"]) for row in client.post("/predict?top=2", files=files).json()
        ]
    assert [len(row["top"]) for row in found] == [2] * len(images)
    answer = client.post("/predict", content=saved(images), headers={**NPY, "Accept": "application/x-npy"})
    rows = np.load(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "application/x-npy"
    assert (rows.dtype, rows.shape) == (np.float32, (len(images), 4))
    assert rows.max(1) == pytest.approx([row["probability"] for row in found], abs=1e-6)


def test_the_example_of_the_document_works(tmp_path):
    make_model().save(tmp_path / "m.safetensors")
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text("utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "x-npy" in block)
    server, names = Running(tmp_path / "m.safetensors", tmp_path, "--engine", "numpy"), {}
    try:
        exec(code.replace("8000", str(server.port)), names)
    finally:
        server.end()
    assert names["probabilities"].shape == (32, 4)


def lying(shape):
    return saved(np.zeros((1, 2, 2), np.uint8)).replace(b"(1, 2, 2)", shape)


WRONG = {
    "no array": (b"\x89PNG", "not an array in NumPy's format"),
    "nothing": (b"", "not an array in NumPy's format"),
    "pickled objects": (saved(np.array([[["x"]]], object)), "the images are object"),
    "floats": (saved(np.zeros((1, 32, 32, 3))), "send uint8"),
    "one image of colours": (saved(np.zeros((32, 32), np.uint8)), "send uint8"),
    "channels first": (saved(np.zeros((1, 3, 32, 32), np.uint8)), "send uint8"),
    "no images": (saved(np.zeros((0, 32, 32), np.uint8)), "send uint8"),
    "a header that promises more": (lying(b"(9, 9, 9)"), "the body has 4 bytes of pixels, but its header says 729"),
    "a negative side": (lying(b"(1,-2,-2)"[:9]), "send uint8"),
    "a header that is no literal": (lying(b"(1, f( ) "), "not an array in NumPy's format"),
    "too many": (saved(np.zeros((41, 4, 4), np.uint8)), "41 images in one request: send at most 40"),
}


@pytest.mark.parametrize("what", WRONG)
def test_other_bodies_are_refused_in_one_line(client, what):
    body, reason = WRONG[what]
    answer = client.post("/predict", content=body, headers=NPY)
    assert answer.status_code == 400
    assert reason in json.loads(answer.text)["error"]
    assert "\n" not in answer.text


def test_the_interface_names_the_type(client):
    described = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert "application/x-npy" in described["requestBody"]["content"]
    assert "application/x-npy" in described["responses"]["200"]["content"]
