"""Any image to pixels to input: agreement with torchvision, every mode and orientation, and files that are none."""

import io
import json
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import (
    Dataset,
    Preprocessing,
    load,
    open_image,
    resize_all,
    resizing,
    statistics,
    to_input,
    to_pixels,
)
from neoclassic.data.preprocessing import FITS, bright_border, read_pixels
from neoclassic.data.resizing import Enlarged, Resized, resize

RNG = np.random.default_rng(0)
IMAGENET = Preprocessing((224, 224), 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), keep=224 / 256)


def photo(h, w, mode="RGB"):
    """Noise: the hardest image to resize alike."""
    return Image.fromarray(RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)).convert(mode)


def gradient(h=30, w=40):
    """Every corner another colour, smooth enough for JPEG."""
    y, x = np.mgrid[0:h, 0:w]
    return Image.fromarray(np.stack([255 * y // h, 255 * x // w, 128 + 0 * x], 2).astype(np.uint8))


def assert_close(pixels, other, most):
    worst = np.abs(pixels.astype(int) - np.asarray(other).reshape(pixels.shape)).max()
    assert worst <= most, f"largest difference {worst}"


# ── geometry ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (100, 700), (64, 64), (31, 40), (224, 224)])
@pytest.mark.parametrize("keep", [1.0, 0.875])
def test_crop_is_torchvisions_resize_and_center_crop(size, keep):
    image = photo(*size)
    pixels = to_pixels(image, Preprocessing((96, 96), 3, keep=keep))
    theirs = CenterCrop(96)(Resize(round(96 / keep))(image))
    np.testing.assert_array_equal(pixels, np.asarray(theirs))


@pytest.mark.parametrize("size", [(500, 375), (28, 28), (20, 300)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_stretch_is_torchvisions_resize(size, mode):
    image = photo(*size, mode)
    pixels = to_pixels(image, Preprocessing((64, 96), len(mode), fit="stretch"))
    np.testing.assert_array_equal(pixels, np.asarray(Resize((64, 96))(image)).reshape(pixels.shape))


def test_the_whole_way_to_the_input_is_torchvisions():
    image = photo(256, 256)
    theirs = Compose([CenterCrop(224), ToTensor(), Normalize(IMAGENET.mean, IMAGENET.std)])(image)
    np.testing.assert_array_equal(to_input(to_pixels(image, IMAGENET)[None], IMAGENET)[0], theirs.numpy())


def test_pad_shows_the_whole_image_on_black():
    white = Image.new("L", (40, 20), 255)
    pixels = to_pixels(white, Preprocessing((10, 10), 1, fit="pad"))[..., 0]
    expected = np.zeros((10, 10), np.uint8)
    expected[2:7] = 255
    np.testing.assert_array_equal(pixels, expected)


def test_crop_takes_the_middle():
    image = Image.fromarray(np.repeat(np.arange(90, dtype=np.uint8)[None], 30, 0))
    pixels = to_pixels(image, Preprocessing((30, 30), 1))[..., 0]
    np.testing.assert_array_equal(pixels[0], np.arange(30, 60))


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (2, 3)])
@pytest.mark.parametrize("fit", FITS)
def test_odd_shapes_neither_fail_nor_grow(size, fit):
    pixels = to_pixels(Image.new("RGB", size, (10, 20, 30)), Preprocessing((224, 112), 3, fit=fit))
    assert pixels.shape == (224, 112, 3)
    assert pixels.max(axis=(0, 1)).tolist() == [10, 20, 30]


def test_invert_turns_the_figure_but_not_the_padding():
    paper = Image.new("L", (20, 10), 255)
    paper.paste(0, (8, 4, 12, 6))
    pixels = to_pixels(paper, Preprocessing((20, 20), 1, fit="pad", invert=True))[..., 0]
    expected = np.zeros((20, 20), np.uint8)
    expected[9:11, 8:12] = 255
    np.testing.assert_array_equal(pixels, expected)


def test_a_record_may_be_larger_in_one_direction():
    pixels = to_pixels(photo(50, 50), Preprocessing((20, 40), 3))
    assert pixels.shape == (20, 40, 3)


# ── colours and orientation ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_same_pixels(orientation):
    upright = gradient()
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Transpose constants
    stored = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    p = Preprocessing((30, 40), 3)
    np.testing.assert_array_equal(read_pixels(io.BytesIO(file.getvalue()), p), np.asarray(upright))


def test_a_broken_exif_block_is_no_reason_to_fail():
    file = io.BytesIO()
    gradient().save(file, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\xff junk")
    pixels = read_pixels(io.BytesIO(file.getvalue()), Preprocessing((30, 40), 3))
    np.testing.assert_array_equal(pixels, np.asarray(gradient()))


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return io.BytesIO(file.getvalue())


@pytest.mark.parametrize(
    ("mode", "kind", "options", "most"),
    [
        ("RGB", "PNG", {}, 0),
        ("RGB", "BMP", {}, 0),
        ("RGB", "TIFF", {}, 0),
        ("RGB", "PPM", {}, 0),
        ("RGB", "WEBP", {"lossless": True}, 0),
        ("RGB", "JPEG", {"quality": 95}, 12),
        ("CMYK", "TIFF", {}, 0),
        ("CMYK", "JPEG", {"quality": 95}, 12),
        ("RGBA", "PNG", {}, 0),
        ("P", "PNG", {}, 51),
        ("P", "GIF", {}, 51),
    ],
)
def test_every_colour_mode_shows_the_same_photo(mode, kind, options, most):
    pixels = read_pixels(saved(gradient().convert(mode), kind, **options), Preprocessing((30, 40), 3))
    assert_close(pixels, gradient(), most)


@pytest.mark.skipif("AVIF" not in Image.registered_extensions().values(), reason="this Pillow has no AVIF")
def test_avif():
    assert_close(read_pixels(saved(gradient(), "AVIF", quality=95), Preprocessing((30, 40), 3)), gradient(), 12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "I"])
def test_grey_images_give_the_same_grey_in_one_channel_and_in_three(mode):
    grey = np.array([[0, 255, 0], [255, 0, 255]], np.uint8)
    if mode in ("I;16", "I"):
        image = Image.fromarray(grey.astype(np.uint16 if mode == "I;16" else np.int32) * 257)
    else:
        image = Image.fromarray(grey).convert(mode)
    assert image.mode == mode
    np.testing.assert_array_equal(to_pixels(image, Preprocessing((2, 3), 1))[..., 0], grey)
    np.testing.assert_array_equal(to_pixels(image, Preprocessing((2, 3), 3)), np.repeat(grey[..., None], 3, 2))


def test_16_bits_are_scaled_to_8_not_cut():
    wide = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    for image in (Image.fromarray(wide), open_image(saved(Image.fromarray(wide)))):
        assert to_pixels(image, Preprocessing((1, 6), 1)).ravel().tolist() == [0, 0, 1, 1, 128, 255]


def test_what_is_transparent_lies_on_white():
    half = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    half.putpixel((1, 0), (0, 0, 0, 255))
    p = Preprocessing((1, 2), 1)
    assert to_pixels(half, p).ravel().tolist() == [255, 0]
    assert to_pixels(half.convert("LA"), p).ravel().tolist() == [255, 0]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    assert to_pixels(open_image(saved(palette, transparency=0)), p).ravel().tolist() == [255, 0]
    assert to_pixels(open_image(saved(palette, transparency=b"\0\xff")), p).ravel().tolist() == [255, 0]
    assert to_pixels(open_image(saved(Image.new("L", (2, 1), 9), transparency=9)), p).ravel().tolist() == [255, 255]


def test_a_gif_shows_its_first_frame():
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), v) for v in (200, 50)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert read_pixels(io.BytesIO(file.getvalue()), Preprocessing((4, 4), 1)).max() == 200


@pytest.mark.parametrize("image", [Image.new("F", (4, 4), 0.5), Image.fromarray(np.full((4, 4), -1, np.int32))])
def test_pixels_without_a_known_range_are_refused(image, tmp_path):
    with pytest.raises(NeoclassicError, match="convert it to 8 or 16 bits first"):
        to_pixels(image, Preprocessing((4, 4), 1))
    image.save(tmp_path / "deep.tiff")
    with pytest.raises(NeoclassicError, match=r"deep\.tiff: has .* convert it"):
        read_pixels(tmp_path / "deep.tiff", Preprocessing((4, 4), 1))


# ── whole data sets ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("c", [1, 3])
def test_images_of_the_right_size_pass_bit_for_bit(c):
    images = RNG.integers(0, 256, (5, 8, 9, c), dtype=np.uint8)
    for fit in FITS:
        p = Preprocessing((8, 9), c, fit=fit)
        assert resize_all(images, p) is images
        one = Image.fromarray(images[0, ..., 0] if c == 1 else images[0])
        np.testing.assert_array_equal(to_pixels(one, p), images[0])


@pytest.mark.parametrize(("c", "channels"), [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_a_data_set_is_resized_as_its_images_are(c, channels):
    images = RNG.integers(0, 256, (600, 8, 9, c), dtype=np.uint8)
    p = Preprocessing((12, 10), channels, keep=0.9, invert=True)
    seen = []
    pixels = resize_all(images, p, progress=seen.append)
    assert sum(seen) == 600
    for i in (0, 255, 256, 599):
        one = Image.fromarray(images[i, ..., 0] if c == 1 else images[i])
        np.testing.assert_array_equal(pixels[i], to_pixels(one, p))


def test_images_that_would_take_much_memory_are_resized_when_asked_for(monkeypatch):
    images, p = RNG.integers(0, 256, (300, 8, 9, 1), dtype=np.uint8), Preprocessing((20, 20), 1)
    assert isinstance(resize(images, p), np.ndarray)
    monkeypatch.setattr(resizing, "LARGE", 300 * 400)
    later, now = resize(images, p), resize_all(images, p)
    assert isinstance(later, Resized)
    assert (later.shape, later.nbytes, len(later)) == (now.shape, now.nbytes, len(now))
    assert isinstance(resize(images, Preprocessing((9, 9), 1)), np.ndarray)  # hardly more than the images
    some = RNG.permutation(300)[:40]
    for index in (0, -1, slice(3, 290, 7), some):
        np.testing.assert_array_equal(later[index], now[index])
    np.testing.assert_array_equal(np.asarray(later), now)
    assert statistics(later) == statistics(now)
    every = Dataset("small", later, np.zeros(300, np.int64), ("a",))
    np.testing.assert_array_equal(every.subset(some).images[5:], now[some[5:]])
    assert isinstance(every.subset(some).images, Resized)


@pytest.mark.parametrize(("xp", "put"), [(np, np.asarray), (torch, torch.from_numpy)], ids=["numpy", "torch"])
@pytest.mark.parametrize(("old", "new", "c"), [(28, 224, 1), (28, 96, 1), (28, 67, 1), (7, 224, 3), (32, 33, 3)])
def test_enlarged_by_whole_numbers_as_pillow_does_it(xp, put, old, new, c):
    images = RNG.integers(0, 256, (9, old, old, c), dtype=np.uint8)
    images[0], images[1] = 0, 255
    later = Resized(images, Preprocessing((new, new), c))
    assert later.enlarges
    found = Enlarged(later, xp, put)
    for index in (slice(2, 9), RNG.permutation(9)):
        there = found[index if isinstance(index, slice) else put(index)]
        np.testing.assert_array_equal(np.asarray(there), later[index])
    np.testing.assert_array_equal(np.asarray(found.all()), later)


@pytest.mark.parametrize(
    "p",
    [
        Preprocessing((40, 40), 1, filter="bicubic"),
        Preprocessing((40, 41), 1),
        Preprocessing((20, 20), 1),
        Preprocessing((40, 40), 3),
        Preprocessing((40, 40), 1, invert=True),
        Preprocessing((40, 40), 1, keep=0.875),
    ],
    ids=str,
)
def test_what_pillow_alone_can_resize(p):
    assert not Resized(np.zeros((1, 28, 28, 1), np.uint8), p).enlarges


def test_to_input_is_the_formula_in_float32():
    pixels = RNG.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    x = to_input(pixels, IMAGENET)
    assert (x.dtype, x.shape, x.flags.c_contiguous) == (np.float32, (3, 3, 4, 5), True)
    torchs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    torchs = (torchs - torch.tensor(IMAGENET.mean)[:, None, None]) / torch.tensor(IMAGENET.std)[:, None, None]
    np.testing.assert_array_equal(x, torchs.numpy())
    np.testing.assert_array_equal(to_input(pixels, Preprocessing((4, 5), 3))[:, 1], pixels[..., 1] / np.float32(255))


def test_statistics_are_exact():
    images = RNG.integers(0, 256, (2100, 4, 5, 3), dtype=np.uint8)
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    assert statistics(np.full((2, 3, 3, 1), 51, np.uint8)) == ((0.2,), (0.0,))
    with pytest.raises(NeoclassicError, match="no images"):
        statistics(images[:0])


def test_the_statistics_of_fashion_mnist_are_the_published_ones():
    mean, std = statistics(load("fashion-mnist").train.images)
    assert (round(mean[0], 4), round(std[0], 4)) == (0.2860, 0.3530)


def test_paper_has_a_bright_border_and_a_screen_has_not():
    paper = np.full((8, 8, 1), 240, np.uint8)
    paper[2:6, 2:6] = 0
    assert bright_border(paper)
    assert not bright_border(255 - paper)
    assert not bright_border(load("fashion-mnist").test.images[0])


# ── the record ───────────────────────────────────────────────────────────────────────────────────────


def test_the_record_goes_through_json():
    p = Preprocessing((96, 64), 3, "pad", "bicubic", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), invert=True)
    for record in (p, IMAGENET):
        assert Preprocessing.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert Preprocessing.from_dict({"size": [28, 28], "channels": 1}) == Preprocessing((28, 28), 1)


GOOD = IMAGENET.to_dict()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        "crop",
        {"size": [28, 28]},
        GOOD | {"size": 28},
        GOOD | {"size": [28]},
        GOOD | {"size": [0, 28]},
        GOOD | {"size": [10**9, 10**9]},
        GOOD | {"size": [28.0, 28.0]},
        GOOD | {"size": [True, True]},
        GOOD | {"channels": 4},
        GOOD | {"channels": "3"},
        GOOD | {"fit": "croop"},
        GOOD | {"fit": ["crop"]},
        GOOD | {"filter": None},
        GOOD | {"mean": [0.1, 0.2]},
        GOOD | {"mean": "0.5"},
        GOOD | {"mean": [float("nan")]},
        GOOD | {"std": [0.0]},
        GOOD | {"std": []},
        GOOD | {"std": {"0": 1}},
        GOOD | {"invert": 1},
        GOOD | {"keep": 0},
        GOOD | {"keep": 10**400},
        GOOD | {"execute": "rm"},
    ],
)
def test_a_record_that_lies_is_refused_in_one_line(data):
    with pytest.raises(NeoclassicError, match=r"^not a preprocessing record: ") as error:
        Preprocessing.from_dict(data)
    assert "\n" not in str(error.value)


def test_a_wrong_record_from_python_is_a_wrong_call():
    with pytest.raises(UsageError, match="unknown fit 'croop': did you mean 'crop'"):
        Preprocessing((28, 28), 1, fit="croop")


# ── files that are no images ─────────────────────────────────────────────────────────────────────────


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


JPEG = saved(photo(64, 64), "JPEG").getvalue()
PNG = saved(photo(64, 64)).getvalue()
NO_IMAGES = {
    "empty": (b"", "is empty"),
    "text": (b"These are not the pixels you are looking for.", "is not an image"),
    "pdf": (b"%PDF-1.4\n", "is a PDF document, not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not an image"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half a png": (PNG[: len(PNG) // 2], "truncated"),
    "a jpeg's beginning": (JPEG[:20], "is not an image|truncated"),
    "damaged png": (PNG[:200] + bytes(200) + PNG[400:], "is damaged"),
    "70 megapixels": (png_header(7_000, 10_000), "more than 67 million pixels"),
    "100 megapixels": (png_header(10_000, 10_000), "more than 67 million pixels"),
    "200 gigapixels": (png_header(500_000, 400_000), "more than 67 million pixels"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_a_file_that_is_no_image_is_named_with_the_reason(tmp_path, name):
    contents, reason = NO_IMAGES[name]
    path = tmp_path / "photo.jpg"
    path.write_bytes(contents)
    for file, called in ((path, str(path)), (str(path), str(path)), (io.BytesIO(contents), "the image")):
        with pytest.raises(NeoclassicError, match=reason) as error:
            open_image(file)
        assert str(error.value).startswith(f"{called}: ")
        assert "\n" not in str(error.value)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(NeoclassicError, match="million pixels"):
        open_image(io.BytesIO(png_header(9_000, 9_000)))


def test_what_is_not_a_file_is_named(tmp_path):
    with pytest.raises(NeoclassicError, match=r"nowhere\.jpg: no such image"):
        open_image(tmp_path / "nowhere.jpg")
    with pytest.raises(NeoclassicError, match="is a folder, not an image"):
        open_image(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NeoclassicError, match="is a named pipe, not a file"):
        open_image(tmp_path / "pipe")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_no_damage_to_a_file_gets_past_the_one_clear_line(kind):
    rng, p = np.random.default_rng(0), Preprocessing((16, 16), 3)
    whole = saved(photo(20, 24), kind).getvalue()
    lines = []
    for _ in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), rng.choice([60, len(whole)])), rng.choice([1, 5, 30])):
            damaged[at] = rng.integers(256)
        try:
            assert read_pixels(io.BytesIO(bytes(damaged)), p).shape == (16, 16, 3)
        except NeoclassicError as error:
            lines.append(str(error))
    assert len(lines) > 10
    assert all(line.startswith("the image: ") and "\n" not in line for line in lines)


def test_opening_in_threads_leaves_the_warnings_as_they_were():
    before = list(warnings.filters)
    p = Preprocessing((16, 16), 3)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: read_pixels(io.BytesIO(PNG), p), range(64)))
    assert all(np.array_equal(r, results[0]) for r in results)
    assert warnings.filters == before
