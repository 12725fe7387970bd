"""Cropped copies: what `check` says of them, and that it claims none where there are none."""

from functools import partial
from pathlib import Path

import helpers
import numpy as np
import pytest
from PIL import Image, ImageOps

from neoclassic.data import crops, load, scan
from neoclassic.data.check import check

save = partial(helpers.save, quality=75)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))


def photo(seed, size=(240, 180)):
    """Blotches of two sizes: unlike each other."""
    rng = np.random.default_rng(seed)
    coarse, fine = (Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)) for n in (6, 20))
    return Image.blend(*(each.resize(size, Image.Resampling.BICUBIC) for each in (coarse, fine)), 0.4)


def window(image, rng):
    """A random window of 50 to 95 % of the area."""
    area = rng.uniform(0.5, 0.95)
    width = rng.uniform(max(area, 0.55), min(area / 0.55, 1))
    w, h = round(width * image.width), round(area / width * image.height)
    left, top = rng.integers(image.width - w + 1), rng.integers(image.height - h + 1)
    return image.crop((left, top, left + w, top + h))


@pytest.fixture
def garden(tmp_path):
    """24 training and 6 test images of two classes."""
    for seed in range(30):
        part, name = "train" if seed < 24 else "test", "ants" if seed % 2 else "bees"
        save(tmp_path / part / name / f"{seed:02}.jpg", photo(seed))
    return tmp_path


def near(folder):
    """The near duplicates that `check` finds: the text and the names in each group, by kind."""
    found = [each for each in check(scan(folder), (64, 64)).findings if each.kind.startswith("near-duplicate")]
    return {
        each.kind: (each.text, [[Path(p).name for p in path.split(" = ")] for path in each.paths]) for each in found
    }


def test_cropped_copies_are_found_across_splits_and_named(garden):
    box = (30, 10, 230, 160)
    save(garden / "test/ants/a.jpg", photo(1).crop(box).resize((100, 75)))
    save(garden / "test/ants/b.jpg", ImageOps.mirror(photo(3).crop(box)))
    save(garden / "test/ants/c.jpg", photo(5).crop((0, 0, 140, 180)).resize((160, 160)))
    save(garden / "train/ants/z.jpg", photo(25).crop(box))  # here the copy comes first
    text, groups = near(garden)["near-duplicate-parts"]
    assert text == (
        "almost the same picture is in two splits, train and test: the model is tested on images it has seen, "
        "and looks too good (4 cases: 3 cropped, 1 mirrored and cropped)"
    )
    assert groups == [
        ["01.jpg", "a.jpg (cropped)"],
        ["03.jpg", "b.jpg (mirrored and cropped)"],
        ["05.jpg", "c.jpg (cropped)"],
        ["z.jpg (cropped)", "25.jpg"],
    ]
    assert list(near(garden)) == ["near-duplicate-parts"]


def test_a_picture_its_copies_and_its_crops_are_one_group(garden):
    part = photo(7).crop((20, 20, 220, 160))
    save(garden / "train/ants/m.jpg", ImageOps.mirror(photo(7)))
    save(garden / "train/ants/p.jpg", part)
    save(garden / "train/ants/q.jpg", part.resize((100, 70)))
    assert near(garden)["near-duplicate"][1] == [
        ["07.jpg", "m.jpg (mirrored)", "p.jpg (cropped)", "q.jpg (cropped)"],
    ]


def test_among_too_many_images_one_line_says_that_crops_were_not_looked_for(garden, monkeypatch):
    save(garden / "test/ants/a.jpg", photo(1).crop((30, 10, 230, 160)))
    save(garden / "test/ants/b.jpg", ImageOps.mirror(photo(3)))
    monkeypatch.setattr(crops, "MOST", 31)
    report = check(scan(garden), (64, 64))
    assert {each.kind: each.severity for each in report.findings} == {
        "crops-unknown": "note",
        "near-duplicate-parts": "error",
    }
    assert "note: cropped copies were not looked for, because there are more than 31 images" in report.text()
    monkeypatch.setattr(crops, "MOST", 32)
    assert "crops-unknown" not in {each.kind for each in check(scan(garden), (64, 64)).findings}


def grey(image):
    return np.asarray(image.convert("L").resize(crops.THUMBNAIL, Image.Resampling.BILINEAR))


def test_at_least_nine_in_ten_of_random_crops_are_found_and_nothing_else(monkeypatch):
    rng = np.random.default_rng(0)
    photos = [photo(seed) for seed in range(100)]
    parts = [window(each, rng) for each in photos[:60]]
    parts[::3] = map(ImageOps.mirror, parts[::3])
    thumbnails = np.stack([*map(grey, photos), *map(grey, parts)])
    found = crops.cropped(thumbnails)
    assert len(found.whole) >= 54
    assert (found.part == found.whole + 100).all()
    assert (found.mirrored == (found.whole % 3 == 0)).all()
    for name, value in (("ROWS", 3), ("COLUMNS", 50), ("PIECE", 17)):
        monkeypatch.setattr(crops, name, value)
    again = crops.cropped(thumbnails)
    assert again.whole.tolist() == found.whole.tolist()
    assert again.part.tolist() == found.part.tolist()


def test_images_too_plain_to_tell_are_not_claimed():
    ramp = np.linspace(0, 255, crops.SIDE)
    slopes = [np.add.outer(a * ramp, b * ramp) / 2 for a in (0.3, 0.6, 1) for b in (0.3, 0.6, 1)]
    plain = np.stack([np.full(crops.THUMBNAIL, 90), *slopes]).astype(np.uint8)
    clothes = np.stack([grey(Image.fromarray(image[..., 0])) for image in load("fashion-mnist").test.images[:250]])
    assert crops.cropped(np.concatenate([plain, clothes])).part.tolist() == []
    assert crops.cropped(plain[:0]).part.tolist() == []
