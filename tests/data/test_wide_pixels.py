"""Grey images of 16 and 32 bits that use fewer: their levels are kept, by one rule, in every way to a prediction."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from neoclassic import networks
from neoclassic.data import Preprocessing, open_image, to_pixels
from neoclassic.data.pixels import guessed_depth
from neoclassic.data.preprocessing import read_pixels
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.export import export, standalone
from neoclassic.model.predict import predict

P = Preprocessing((64, 64), 1)
RAMP = np.arange(64 * 64).reshape(64, 64)


def scaled(top, least=0):
    """A picture of smooth values from `least` to `top`."""
    return (least + RAMP * (top - least) // RAMP.max()).astype(np.uint16)


def save(values, path, told=None):
    """By its ending: PNG, 32-bit TIFF (.tiff), 16-bit TIFF (.tif), PGM. told: MaxSampleValue or maxval."""
    if path.suffix == ".pgm":
        head = f"P5\n{values.shape[1]} {values.shape[0]}\n{told or 65535}\n".encode()
        path.write_bytes(head + values.astype(">u2").tobytes())
    else:
        image = Image.fromarray(values.astype(np.int32) if path.suffix == ".tiff" else values)
        image.save(path, **({"tiffinfo": {281: told}} if told else {}))
    return path


FORMS = ("png", "tif", "tiff", "pgm")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_levels_are_kept_however_many_bits_are_used(form, bits, tmp_path):
    top = 2**bits - 1
    pixels = read_pixels(save(scaled(top), tmp_path / f"a.{form}"), P)
    assert len(np.unique(pixels)) == 256
    np.testing.assert_array_equal(pixels[..., 0], np.round(scaled(top) * 255.0 / top))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top", [16384, 40000, 65535])
def test_what_uses_16_bits_gives_the_pixels_that_it_always_gave(form, top, tmp_path):
    pixels = read_pixels(save(scaled(top), tmp_path / f"a.{form}"), P)
    np.testing.assert_array_equal(pixels[..., 0], (scaled(top).astype(int) + 128) // 257)


@pytest.mark.parametrize(
    ("form", "told"), [("pgm", 4095), ("tif", 4095), ("tiff", 4095), ("pgm", 1000), ("tif", 65535)]
)
def test_what_the_header_tells_goes_before_the_largest_value(form, told, tmp_path):
    path = save(scaled(900), tmp_path / f"dark.{form}", told)
    expected = {4095: 255 * 900 / 4095, 1000: 255 * 900 / 1000, 65535: 255 * 900 / 65535}[told]
    assert read_pixels(path, P).max() == pytest.approx(expected, abs=0.6)
    assert guessed_depth(open_image(path)) is None


def test_a_header_that_tells_less_than_there_is_counts_for_nothing(tmp_path):
    assert read_pixels(save(scaled(4095), tmp_path / "a.tif", 7), P).max() == 255
    assert len(np.unique(read_pixels(tmp_path / "a.tif", P))) == 256


def test_a_tiff_of_12_bits_a_value_has_12_bits():
    packed = np.zeros((8, 12), np.uint8)
    packed[:, 1::3] = 0x03  # values below 1024: by the largest alone, 10 bits would be enough
    head = b"II*\0" + (8 + packed.size).to_bytes(4, "little")
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: packed.size}
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags.items()
    )
    content = head + packed.tobytes() + len(tags).to_bytes(2, "little") + entries + b"\0\0\0\0"
    image = open_image(io.BytesIO(content))
    largest = int(np.asarray(image).max())
    assert 0 < largest < 1024
    assert guessed_depth(image) is None
    assert to_pixels(image, Preprocessing((8, 8), 1)).max() == round(largest * 255 / 4095)


def test_an_image_in_memory_is_read_as_its_file_is(tmp_path):
    path = save(scaled(3800, 300), tmp_path / "a.png")
    np.testing.assert_array_equal(to_pixels(Image.fromarray(scaled(3800, 300)), P), read_pixels(path, P))
    with Image.open(path) as image:
        np.testing.assert_array_equal(to_pixels(image, P), read_pixels(path, P))


def test_black_stays_black():
    assert to_pixels(Image.fromarray(np.zeros((4, 4), np.uint16)), P).max() == 0


def test_every_way_to_a_prediction_reads_them_alike(tmp_path):
    tree = networks.network("lenet", 2)
    model = Model("lenet", tree, (1, 28, 28), ("a", "b"), Preprocessing((28, 28), 1), initial(tree, (1, 28, 28)))
    export(model, tmp_path / "model.onnx")
    paths = [
        *(save(scaled(top), tmp_path / f"{top}.{form}") for top in (200, 900, 3800, 9000, 40000) for form in FORMS),
        save(scaled(900), tmp_path / "told.tif", 4095),
        save(scaled(900), tmp_path / "told.pgm", 4095),
    ]
    alone = standalone(tmp_path / "model.onnx", [str(path) for path in paths])
    answers = [dict(answer.top) for answer in predict(model, model.engine("numpy"), paths)]
    np.testing.assert_allclose(alone, [[row["a"], row["b"]] for row in answers], atol=1e-5)


# ── check ────────────────────────────────────────────────────────────────────────────────────────────


def folder(root, image, n=3):
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(n):
            image(i + 10 * (name == "b"), root / name / str(i))
    return root


def found(run_json, root, kind):
    return [f for f in run_json("check", root, "--image-size", 64)["findings"] if f["kind"] == kind]


def noise(i, top):
    return np.random.default_rng(i).integers(0, top + 1, (64, 64)).astype(np.uint16)


def test_check_says_how_many_bits_images_seem_to_use(run_json, tmp_path):
    root = folder(tmp_path / "xray", lambda i, stem: save(noise(i, 3800), stem.with_suffix(".png")))
    (finding,) = found(run_json, root, "depth")
    assert (finding["severity"], len(finding["paths"])) == ("note", 6)
    assert finding["text"].startswith("6 images stored in 16 or 32 bits seem to use fewer")
    assert "12 bits (6)" in finding["text"]


def test_check_warns_where_some_become_brighter_than_others(run_json, tmp_path):
    root = folder(tmp_path / "xray", lambda i, stem: save(noise(i, 700 if i == 2 else 3800), stem.with_suffix(".tif")))
    (finding,) = found(run_json, root, "depth")
    assert finding["severity"] == "warning"
    assert "10 bits (1), 12 bits (5)" in finding["text"]


def test_check_is_silent_where_nothing_is_guessed(run_json, tmp_path):
    root = folder(tmp_path / "told", lambda i, stem: save(noise(i, 700), stem.with_suffix(".pgm"), 4095))
    assert found(run_json, root, "depth") == []
    root = folder(tmp_path / "full", lambda i, stem: save(noise(i, 60000), stem.with_suffix(".png")))
    assert found(run_json, root, "depth") == []


def test_check_warns_of_colours_of_which_only_the_lowest_are_used(run_json, tmp_path):
    def colours(top):
        def image(i, stem):
            values = np.random.default_rng(i).integers(0, top + 1, (32, 32, 3)).astype(">u2")
            write_png(stem.with_suffix(".png"), values)

        return image

    (finding,) = found(run_json, folder(tmp_path / "raw", colours(4095)), "dark")
    assert (finding["severity"], len(finding["paths"])) == ("warning", 6)
    assert found(run_json, folder(tmp_path / "full", colours(65535)), "dark") == []


def write_png(path, values):
    """16 bits a colour, which Pillow does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    h, w, _ = values.shape
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
