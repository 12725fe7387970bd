"""Embeddings and similar photos: the commands as they are typed, the Python call, and the page."""

import html
import shutil

import numpy as np
import pytest
from browser import Browser
from helpers import fill_photos
from PIL import Image

import neoclassic as nc
from neoclassic import networks
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.embedding import cosine
from neoclassic.model.evaluate import logits_of

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fill_photos(tmp_path_factory.mktemp("photos") / "pets", ("cat", "dog", "fox"), 4)


def made(tree, shape, classes, name="lenet:bn"):
    p = Preprocessing(shape[1:], shape[0])
    return Model(name, tree, shape, classes, p, initial(tree, shape, "he", 3))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An artefact with random weights."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    made(networks.network("lenet:bn", 3), (3, 28, 28), ("cat", "dog", "fox")).save(path)
    return path


def test_the_features_are_what_the_last_layer_sees(model, photos, tmp_path, run_json, run):
    out = tmp_path / "features.npz"
    told = run_json("embed", model, photos, "--out", out, "--engine", "numpy")
    assert (told["photos"], told["features"], told["labels"]) == (12, 84, True)
    with np.load(out) as kept:
        arrays = dict(kept)
    assert arrays["features"].dtype == np.float32
    assert [path.split("/")[-2] for path in arrays["paths"]] == list(arrays["labels"]) == sorted(arrays["labels"])
    loaded = Model.load(model)
    assert str(arrays["model"]) == loaded.checksum == told["model"]
    found = nc.embed(model, photos, engine="numpy")
    assert np.array_equal(found, arrays["features"])
    logits = logits_of(loaded.engine("numpy"), found.pixels, loaded.preprocessing)
    ours = found.features @ loaded.weights["fc3.weight"].T + loaded.weights["fc3.bias"]
    assert ours == pytest.approx(logits, abs=1e-4)
    before = out.read_bytes()
    assert run("embed", model, photos, "--out", out, "--engine", "numpy")[0] == 0
    assert out.read_bytes() == before


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_every_engine_gives_the_same_features(model, photos, engine):
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    numpy, other = (nc.embed(model, photos, engine=name, device="cpu").features for name in ("numpy", engine))
    assert other == pytest.approx(numpy, rel=1e-4, abs=1e-4)


def test_embed_takes_images_and_fitted_models(model, photos):
    paths = sorted(map(str, photos.glob("*/*.jpg")))
    whole = nc.embed(nc.load(model, "numpy"), photos, engine="numpy")
    assert nc.embed(Model.load(model), paths, engine="numpy").features == pytest.approx(whole.features, abs=1e-5)
    assert nc.embed(model, Image.open(paths[3]), engine="numpy").features == pytest.approx(
        whole.features[3:4], abs=1e-5
    )
    assert len(whole) == 12
    with pytest.raises(UsageError, match="not fitted"):
        nc.embed(nc.Classifier(), photos)


def test_photos_without_classes_have_no_labels_and_unreadable_ones_are_told(model, photos, tmp_path, run):
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted(photos.glob("*/*.jpg"))):
        shutil.copy(path, flat / f"{i}.jpg")
    (flat / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, err = run("embed", model, flat, "--out", tmp_path / "f.npz", "--engine", "numpy")
    assert code == 0
    assert "12 photos, 84 features of lenet:bn, no labels" in out
    assert "1 of 13 images cannot be read" in err
    with np.load(tmp_path / "f.npz") as kept:
        assert set(kept) == {"features", "paths", "model"}


def test_the_nearest_photos_are_of_the_same_class_and_not_the_photo_itself(model, photos, run_json, run):
    photo = photos / "dog" / "2.jpg"
    found = run_json("similar", model, photo, photos, "--top", 2, "--engine", "numpy")["similar"]
    assert [near["label"] for near in found] == ["dog"] * 2
    assert str(photo) not in [near["path"] for near in found]
    cosines = [near["cosine"] for near in found]
    assert cosines == sorted(cosines, reverse=True)
    whole = nc.embed(model, photos, engine="numpy")
    index = [whole.paths.index(path) for path in (str(photo), found[0]["path"])]
    one, other = whole.features[index].astype(float)
    assert cosines[0] == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    code, out, _ = run("similar", model, photo, photos, "--engine", "numpy")
    assert code == 0
    assert len(out.splitlines()) == 10
    assert all(line.split("  ")[-1] in whole.paths for line in out.splitlines()[1:])  # whole paths


def test_cosines_of_zero_are_zero():
    assert cosine(np.zeros(3, np.float32), np.ones((2, 3), np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (("embed", "m.onnx", "photos", "--out", "f.npz"), 2, "m.onnx has no features, only answers"),
        (("similar", "m.onnx", "photos/cat/0.jpg", "photos"), 2, "name the .safetensors file or the run folder"),
        (("embed", "model", "photos", "--out", "f.csv"), 2, "must end in .npz"),
        (("embed", "model", "empty", "--out", "f.npz"), 2, "no images in empty"),
        (("embed", "nin", "photos", "--out", "f.npz"), 2, "nin:cifar has no features"),
        (("similar", "model", "nothing.jpg", "photos"), 1, "nothing.jpg"),
        (("similar", "model", "photos/cat/0.jpg", "photos", "--out", "-"), 2, "give --out a file"),
    ],
)
def test_failures_are_one_line(model, photos, tmp_path, monkeypatch, run, line, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.onnx").write_bytes(b"")
    nin = networks.network("nin:cifar", 10)
    made(nin, (3, 32, 32), tuple("abcdefghij"), "nin:cifar").save("nin.safetensors")
    (tmp_path / "photos").symlink_to(photos)
    names = {"model": model, "nin": "nin.safetensors"}
    found, out, err = run(*(names.get(word, word) for word in line), "--engine", "numpy")
    assert (found, out) == (code, "")
    assert says in err.splitlines()[-1]
    assert not (tmp_path / "f.npz").exists()


def test_an_exported_model_says_to_use_the_artefact(model, photos):
    with pytest.raises(NeoclassicError, match="only answers"):
        nc.embed("exported.onnx", photos)


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    """A page about photos whose names and class are HTML."""
    from neoclassic.cli import main

    root = tmp_path_factory.mktemp("html")
    folder = fill_photos(root / "a<b>", ("<i>cat", "dog&<script>alert(1)"), 5)
    (folder / "<i>cat" / "0.jpg").rename(folder / "<i>cat" / '"><img src=x onerror=alert(1)>.jpg')
    out = root / "similar.html"
    photo = folder / "dog&<script>alert(1)" / "1.jpg"
    assert main(["similar", str(model), str(photo), str(folder), "--out", str(out), "--engine", "numpy"]) == 0
    return out


def test_the_page_escapes_what_users_wrote(page):
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "<img src=x" not in text
    assert html.escape("<i>cat") in text
    assert text.count("<figure>") == 10
    assert "http" not in text


def test_the_page_fits_narrow_and_wide_windows_and_runs_nothing(page, tmp_path):
    browser = Browser(tmp_path)
    try:
        for scheme in ("light", "dark"):
            for width in (360, 1200):
                browser.prefer(scheme, width)
                browser.open(page.as_uri())
                assert browser.ask("document.documentElement.scrollWidth") <= width
                assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
                assert browser.ask("document.images.length") == 10
                assert browser.ask("document.images[0].alt").endswith("dog&<script>alert(1)/1.jpg")
        assert browser.complaints == []
    finally:
        browser.close()
