"""Images and labels as Python users have them: each works as meant, or is refused in one line; never a wrong answer."""

import collections
import io

import numpy as np
import pytest
from PIL import Image

import neoclassic as nc
from neoclassic.data.preprocessing import Preprocessing, read_pixels

# the networks are tiny: what is tested is what they are trained on
pytestmark = pytest.mark.filterwarnings("ignore:the model is no better than chance", "ignore:the calibration stopped")


def pictures(n, seed=0, size=(32, 32), channels=3):
    """Dark above or dark below, with noise; and which they are."""
    rng, kinds = np.random.default_rng(seed), np.arange(n) % 2
    ramp = np.linspace(30, 220, size[0])[:, None] + rng.normal(0, 20, (n, *size))
    images = np.where(kinds[:, None, None], ramp, ramp[:, ::-1])[..., None].repeat(channels, 3)
    return images.clip(0, 255).astype(np.uint8), kinds


def small(**given):
    return nc.Classifier(
        "lenet:bn", **{"epochs": 4, "batch_size": 16, "learning_rate": 0.01, "engine": "numpy"} | given
    )


@pytest.fixture(scope="module")
def colour():
    return small().fit(*pictures(80))


@pytest.fixture(scope="module")
def grey():
    X, y = pictures(80, channels=1)
    return small().fit(X, y)


class Series:
    """What pandas has: an array behind an odd index, whose `[0]` is not the first."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def __getitem__(self, key):
        raise KeyError(key)

    def __len__(self):
        return len(self.values)


# ── images to predict ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", [Image.fromarray, lambda a: a, lambda a: a[None], lambda a: [Image.fromarray(a)]])
def test_one_image_has_one_answer(form, colour):
    X, y = pictures(2, seed=1, size=(48, 64))
    for image, kind in zip(X, y, strict=True):
        assert colour.predict(form(image)).tolist() == [kind]


def test_one_grey_image_has_one_answer_or_is_refused(grey):
    X, y = pictures(1, seed=1, channels=1)
    assert grey.predict(X[0]).tolist() == grey.predict([X[0, :, :, 0]]).tolist() == y.tolist()
    with pytest.raises(nc.UsageError, match=r"images are uint8 32×32: .* one image with X\[None\]"):
        grey.predict(X[0, :, :, 0])


def test_an_open_file_and_its_content_are_one_image(colour, tmp_path):
    X, y = pictures(1, seed=1, size=(48, 64))
    Image.fromarray(X[0]).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        assert colour.predict(file).tolist() == y.tolist()
    content = (tmp_path / "a.png").read_bytes()
    assert colour.predict(content).tolist() == colour.predict([bytearray(content)]).tolist() == y.tolist()
    with (tmp_path / "a.png").open(encoding="latin-1") as file, pytest.raises(nc.UsageError, match="with mode 'rb'"):
        colour.predict(file)
    with pytest.raises(nc.NeoclassicError, match="image 0: is not an image"):
        colour.predict(b"nothing to see")


FORMS = {
    "int64": lambda X: X.astype(np.int64),
    "uint16 up to 255": lambda X: X.astype(np.uint16),
    "channels first": lambda X: X.transpose(0, 3, 1, 2),
    "channels first, one by one": lambda X: list(X.transpose(0, 3, 1, 2)),
    "opaque": lambda X: np.concatenate([X, np.full_like(X[..., :1], 255)], 3),
    "opaque, one by one": lambda X: [Image.fromarray(x).convert("RGBA") for x in X],
    "a tuple": tuple,
    "a generator": lambda X: (x for x in X),
    "a map of images": lambda X: map(Image.fromarray, X),
    "a deque": collections.deque,
    "an array of objects": lambda X: _objects([Image.fromarray(x) for x in X]),
    "a series of arrays": lambda X: Series(_objects(list(X))),
    "nested lists": lambda X: X.tolist(),
    "read-only": lambda X: np.frombuffer(X.tobytes(), np.uint8).reshape(X.shape),
    "turned around": lambda X: X[:, ::-1][:, ::-1],
}


def _objects(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.mark.parametrize("form", FORMS)
def test_the_same_images_have_the_same_answers(form, colour):
    X, _ = pictures(6, seed=2)
    np.testing.assert_allclose(colour.predict_proba(FORMS[form](X)), colour.predict_proba(X), atol=1e-6)


def test_tensors_have_the_same_answers(colour):
    torch = pytest.importorskip("torch")
    X, y = pictures(6, seed=2)
    tensor, expected = torch.tensor(X), colour.predict_proba(X)
    for form in (tensor, tensor.permute(0, 3, 1, 2), list(tensor), list(tensor.permute(0, 3, 1, 2))):
        np.testing.assert_allclose(colour.predict_proba(form), expected, atol=1e-6)
    assert colour.score(tensor, torch.tensor(y)) == colour.score(X, y)
    with pytest.raises(nc.UsageError, match="3×32×32: that may be one in colour or three in grey"):
        colour.predict(tensor[0].permute(2, 0, 1))


def test_paths_in_every_form_have_the_same_answers(colour, tmp_path):
    X, _ = pictures(4, seed=3)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, pixels in zip(paths, X, strict=True):
        Image.fromarray(pixels).save(path)
    texts = list(map(str, paths))
    for form in (np.array(texts), _objects(texts), _objects(paths), Series(_objects(texts)), iter(paths), tuple(texts)):
        np.testing.assert_allclose(colour.predict_proba(form), colour.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (lambda X: X / 255, r"float64 4×32×32×3: give uint8, 0 to 255, as \(X \* 255\).round"),
        (lambda X: X.astype(np.float32), r"float32 4×32×32×3: give uint8, 0 to 255, as X.round\(\)"),
        (lambda X: (X - 100.0) / 50, "before they were standardised"),
        (lambda X: X * 0.0, "give uint8"),
        (lambda X: X * np.nan, "give uint8"),
        (lambda X: X.astype(np.uint16) * 257, "uint16 .*give uint8, 0 to 255, by scaling"),
        (lambda X: X.astype(np.int32) - 1000, "int32 .*give uint8"),
        (lambda X: list(X / 255), "image 0 is float64 32×32×3: give uint8"),
        (lambda X: X[..., :2], "images are uint8 4×32×32×2"),
        (lambda X: X.reshape(4, -1), r"images are uint8 4×3072: .*reshape\(-1, HEIGHT, WIDTH\)"),
        (lambda X: X.astype(complex), "images are complex128"),
        (lambda X: X.ravel(), "images are uint8 12288"),
        (lambda X: [X[0], None], "image 1 must be a file"),
        (lambda X: [X[0], 7], "image 1 must be a file"),
        (lambda X: [(X[0], 1)], "image 0 must be a file"),
        (lambda X: {"image": X}, "images are of type dict"),
        (lambda X: iter(()), "no images"),
        (lambda X: None, "images are of type NoneType"),
        (lambda X: 7, "images are of type int"),
    ],
)
@pytest.mark.parametrize("door", ["predict", "fit"])
def test_what_may_be_meant_otherwise_is_refused_in_one_line(form, reason, door, colour):
    X, _ = pictures(4)
    given = form(X)
    labels = np.arange(len(given) if isinstance(given, list | dict) else 4) % 2
    with pytest.raises(nc.UsageError, match=reason) as error:
        colour.predict(given) if door == "predict" else small().fit(given, labels)
    assert "\n" not in str(error.value)


# ── images to fit ────────────────────────────────────────────────────────────────────────────────────


def mixed(n):
    """Each of its own size."""
    sizes = [(32 + i % 7, 40 - i % 5) for i in range(n)]
    return [Image.fromarray(pictures(2, i, size)[0][i % 2]) for i, size in enumerate(sizes)], np.arange(n) % 2


def test_images_of_several_sizes_and_their_files_learn_alike(tmp_path):
    images, y = mixed(80)
    paths = [tmp_path / f"{i}.png" for i in range(80)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    X, kinds = pictures(30, seed=9)
    found = []
    for form in (images, [np.asarray(image) for image in images], paths, np.array(list(map(str, paths)))):
        clf = small(image_size=28).fit(form, y)
        assert clf.score(X, kinds) > 0.9
        found.append(clf.predict_proba(X))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    assert clf.model_.preprocessing.size == (28, 28)
    assert clf.model_.preprocessing.channels == 3


def test_grey_images_of_several_sizes_make_a_grey_network():
    images, y = mixed(60)
    clf = small(epochs=1).fit([image.convert("L") for image in images], y)
    assert clf.model_.preprocessing.channels == 1
    assert small(epochs=1).fit([images[0], *(i.convert("L") for i in images[1:])], y).model_.preprocessing.channels == 3


def test_a_list_of_one_size_is_the_array():
    X, y = pictures(60)
    one, other = (small(epochs=1).fit(form, y).predict_proba(X) for form in (X, list(X)))
    np.testing.assert_array_equal(one, other)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "3.png").write_bytes(b"no image")
    images, y = mixed(20)
    with pytest.raises(nc.NeoclassicError, match=r"3\.png: is not an image"):
        small().fit([*images[:19], tmp_path / "3.png"], y)
    with pytest.raises(nc.UsageError, match="2 images but 3 labels"):
        small().fit([tmp_path / "3.png"] * 2, [0, 1, 0])


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────

LABELS = {
    "a list": lambda y: y.tolist(),
    "a tuple": lambda y: tuple(y.tolist()),
    "a generator": lambda y: (int(v) for v in y),
    "a series": Series,
    "a column": lambda y: y[:, None],
    "whole floats": lambda y: y.astype(np.float64),
    "a series of floats": lambda y: Series(y.astype(np.float32)),
    "objects": lambda y: y.astype(object),
    "integers of eight bits": lambda y: y.astype(np.uint8),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_in_every_form_are_the_integers_that_they_are(form):
    X, y = pictures(40)
    clf = small(epochs=1).fit(X, LABELS[form](y))
    assert clf.classes_.tolist() == [0, 1]
    assert clf.classes_.dtype.kind == "i"
    assert clf.score(X, LABELS[form](y)) == clf.score(X, y)


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y.astype(object), lambda y: y.astype("S"), Series, list])
def test_names_in_every_form_are_names(form):
    X, y = pictures(40)
    names = np.array(["up", "down"])[y]
    clf = small(epochs=1).fit(X, form(names))
    assert clf.classes_.tolist() == ["down", "up"]
    assert clf.score(X, form(names)) == clf.score(X, names)


def test_booleans_stay_booleans_even_through_a_file(tmp_path):
    X, y = pictures(40)
    clf = small(epochs=1).fit(X, y == 1)
    clf.save(tmp_path / "m.safetensors")
    for one in (clf, nc.load(tmp_path / "m.safetensors", engine="numpy")):
        assert one.classes_.tolist() == [False, True]
        assert one.predict(X).dtype == bool
        assert one.score(X, y == 1) == clf.score(X, (y == 1).tolist())


def test_labels_of_pandas_if_it_is_there():
    pandas = pytest.importorskip("pandas")
    X, y = pictures(40)
    names = pandas.Series(np.array(["up", "down"])[y], index=range(100, 60, -1))
    for form in (names, names.astype("category"), names.astype("string"), pandas.DataFrame({"kind": names})):
        assert small(epochs=1).fit(X, form).classes_.tolist() == ["down", "up"]
    assert small(epochs=1).fit(X, pandas.Series(y, dtype="Int64")).classes_.tolist() == [0, 1]
    with pytest.raises(nc.UsageError, match="the label of image 1 is missing"):
        small().fit(X[:3], pandas.Series([1, None, 2], dtype="Int64"))


class NAType:
    """pandas.NA, which refuses to be compared."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0.0, np.nan, 1.0, 1.0], "the label of image 1 is missing"),
        (["a", None, "b", "b"], "the label of image 1 is missing"),
        (["a", float("nan"), "b", "b"], "the label of image 1 is missing"),
        (["a", 1, "b", "b"], "labels are a string and a number .image 1.: give one"),
        (Series(_objects(["a", float("nan"), "b", "b"])), "the label of image 1 is missing"),
        (Series(_objects([1, NAType(), 2, 2])), "the label of image 1 is missing"),
        ([0.5, 1.5, 0.5, 1.5], "labels are float64, such as 0.5"),
        ([np.inf, 1.0, 1.0, 1.0], "labels are float64, such as inf"),
        (Series(_objects(["a", 1, "b", 2])), "labels are a string and a number"),
        (np.eye(2, dtype=int)[[0, 1, 0, 1]], r"y.argmax\(1\)"),
        (np.array(["2020-01-01"] * 4, "M8[D]"), "labels are datetime64"),
        (["cat"] * 4, "all labels are 'cat'"),
        ([], "4 images but 0 labels"),
        ("cats", "labels are a str"),
    ],
)
def test_labels_that_cannot_be_are_told_in_one_line(labels, reason):
    X, _ = pictures(4)
    with pytest.raises(nc.UsageError, match=reason) as error:
        small().fit(X, labels)
    assert "\n" not in str(error.value)


def test_a_png_without_its_palette_is_refused(tmp_path):
    file = io.BytesIO()
    Image.new("P", (4, 4)).save(file, "PNG")
    content = file.getvalue()
    start = content.index(b"PLTE") - 4
    size = int.from_bytes(content[start : start + 4], "big")
    (tmp_path / "a.png").write_bytes(content[:start] + content[start + size + 12 :])
    with pytest.raises(nc.NeoclassicError, match=r"a\.png: is damaged: it has no palette"):
        read_pixels(tmp_path / "a.png", Preprocessing((4, 4), 3))
