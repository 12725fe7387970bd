"""What `check` finds in a folder with everything wrong, and that it finds nothing in a good one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import save
from PIL import Image

from neoclassic.data import copies, scan
from neoclassic.data.check import check


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))


def photo(seed, size=(40, 32)):
    """Smooth blotches: unlike each other, and alike at another size or quality."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def good(tmp_path):
    """60 training and 20 test images of two classes, with nothing wrong."""
    for seed in range(80):
        part, name = "train" if seed < 60 else "test", "ants" if seed % 2 else "bees"
        save(tmp_path / part / name / f"{seed:03}.jpg", photo(seed))
    return tmp_path


def kinds(folder: Path, size=(32, 32)) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.paths for finding in check(scan(folder), size).findings}


def test_nothing_is_found_in_a_good_folder(good):
    report = check(scan(good), (32, 32))
    assert report.findings == ()
    assert report.worst is None
    assert report.counts == {"train": {"ants": 30, "bees": 30}, "test": {"ants": 10, "bees": 10}}
    text = report.text()
    assert "80 images" in text
    assert "no problems were found" in text
    assert text.splitlines()[-1] == f"next: neoclassic train mobilenet-v2 --data {good} --weights imagenet --head"


def test_files_that_cannot_be_read_are_named_with_the_reason(good):
    (good / "train" / "ants" / "empty.jpg").write_bytes(b"")
    whole = (good / "train" / "ants" / "001.jpg").read_bytes()
    (good / "train" / "bees" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    found = kinds(good)
    assert list(found) == ["unreadable"]
    assert [path.partition(".jpg: ")[2] for path in found["unreadable"]] == ["is empty", "is truncated"]


def test_the_same_file_is_found_within_a_class_across_splits_and_across_classes(good):
    for source, target in (
        ("train/ants/001.jpg", "train/ants/copy.jpg"),
        ("train/ants/003.jpg", "test/ants/copy.jpg"),
        ("train/ants/005.jpg", "train/bees/copy.jpg"),
    ):
        shutil.copy(good / source, good / target)
    found = kinds(good)
    assert {kind: paths[0].replace(f"{good}/", "") for kind, paths in found.items()} == {
        "duplicate-classes": "train/ants/005.jpg = train/bees/copy.jpg",
        "duplicate-parts": "train/ants/003.jpg = test/ants/copy.jpg",
        "duplicate": "train/ants/001.jpg = train/ants/copy.jpg",
    }
    report = check(scan(good), (32, 32))
    assert report.worst == "error"
    assert [finding.severity for finding in report.findings] == ["error", "error", "note"]


def test_almost_the_same_picture_is_found_at_another_size_quality_and_brightness(good):
    save(good / "train" / "ants" / "small.jpg", photo(1).resize((60, 48)))
    save(good / "test" / "ants" / "coarse.jpg", photo(3), quality=40)
    save(good / "train" / "bees" / "dark.png", photo(5).point(lambda v: v * 0.6))
    found = kinds(good)
    found.pop("odd-format")
    assert {kind: [Path(p).name for p in paths[0].split(" = ")] for kind, paths in found.items()} == {
        "near-duplicate-classes": ["005.jpg", "dark.png"],
        "near-duplicate-parts": ["003.jpg", "coarse.jpg"],
        "near-duplicate": ["001.jpg", "small.jpg (resized)"],
    }


def test_mirrored_and_turned_copies_are_found_across_splits_and_named(good):
    turns = {7: Image.Transpose.FLIP_LEFT_RIGHT, 9: Image.Transpose.ROTATE_90, 11: Image.Transpose.ROTATE_180}
    for seed, turn in turns.items():
        save(good / "test" / "ants" / f"copy{seed}.jpg", photo(seed).transpose(turn))
    save(good / "test" / "ants" / "copy13.jpg", photo(13).transpose(Image.Transpose.TRANSPOSE).resize((128, 160)))
    found = check(scan(good), (32, 32)).findings
    (finding,) = (each for each in found if each.kind == "near-duplicate-parts")
    assert (finding.severity, len(found)) == ("error", 1)
    assert finding.text == (
        "almost the same picture is in two splits, train and test: the model is tested on images it has seen, "
        "and looks too good "
        "(4 cases: 1 mirrored, 1 mirrored and turned and resized, 1 turned to the left, 1 upside down)"
    )
    assert [tuple(Path(p).name for p in path.split(" = ")) for path in finding.paths] == [
        ("007.jpg", "copy7.jpg (mirrored)"),
        ("009.jpg", "copy9.jpg (turned to the left)"),
        ("011.jpg", "copy11.jpg (upside down)"),
        ("013.jpg", "copy13.jpg (mirrored and turned and resized)"),
    ]


def blotches(n):
    """n thumbnails, uint8 n×32×32, of which no two are alike."""
    return np.stack([np.asarray(photo(seed, (32, 32)).convert("L")) for seed in range(n)])


def test_the_search_finds_exactly_the_pairs_that_correlate(monkeypatch):
    rng, thumbnails = np.random.default_rng(0), blotches(60)
    for i in range(20):  # copies in every pose, some of them just not near enough
        turned = np.rot90(thumbnails[i][:, ::-1] if i % 2 else thumbnails[i], i // 2 % 4)
        noisy = turned + rng.normal(0, i / 2, turned.shape)
        thumbnails[40 + i] = noisy.clip(0, 255)
    one, other = np.triu_indices(60, 1)
    near = copies.poses(thumbnails[one], thumbnails[other])[1] >= copies.NEAR
    assert 5 < near.sum() < 18
    expected = np.arange(60)
    expected[other[near]] = one[near]
    for block, piece in ((1024, 2048), (7, 3)):
        monkeypatch.setattr(copies, "BLOCK", block)
        monkeypatch.setattr(copies, "PIECE", piece)
        assert copies.similar(thumbnails).tolist() == expected.tolist()


def test_pictures_that_are_alike_through_others_are_one_group_whatever_their_order():
    first, last = blotches(2).astype(float)
    chain = np.stack([first + (last - first) * share for share in np.linspace(0, 0.4, 13)]).astype(np.uint8)
    order = np.random.default_rng(1).permutation(len(chain))
    assert copies.poses(chain[:1], chain[-1:])[1] < copies.NEAR
    assert set(copies.similar(chain[order]).tolist()) == {0}
    assert copies.similar(chain[:0]).tolist() == []


def test_pictures_of_one_colour_are_no_duplicates(good):
    save(good / "train" / "ants" / "black.jpg", Image.new("RGB", (40, 32)))
    save(good / "train" / "bees" / "white.jpg", Image.new("RGB", (40, 32), "white"))
    assert kinds(good) == {}


def test_classes_without_photos_with_few_and_with_far_too_many(tmp_path):
    for seed in range(32):
        save(tmp_path / "train" / ("ants" if seed else "bees") / f"{seed}.jpg", photo(seed))
    save(tmp_path / "test" / "bees" / "t.jpg", photo(99))
    (tmp_path / "test" / "ants").mkdir()
    findings = {finding.kind: finding.text for finding in check(scan(tmp_path), (32, 32)).findings}
    assert findings["empty"] == "test has no readable image of ants"
    assert findings["tiny"].startswith("fewer than 10 training images: bees (1); ")
    assert findings["uneven"].startswith("ants has 31 training images, bees only 1")
    (tmp_path / "train" / "bees" / "0.jpg").write_bytes(b"")
    assert check(scan(tmp_path), (32, 32)).worst == "error"


def test_what_is_stored_turned_is_told(good):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(good / "train" / "ants" / "turned.jpg", photo(200, (32, 40)), exif=exif)
    assert kinds(good) == {"turned": (str(path),)}


def test_a_lone_format_and_a_lone_colour_mode_stand_out(good):
    gif = save(good / "train" / "ants" / "imageNotFound.gif", photo(200))
    cmyk = save(good / "train" / "bees" / "print.jpg", photo(201).convert("CMYK"))
    report = check(scan(good), (32, 32))
    assert {(finding.kind, finding.paths) for finding in report.findings} == {
        ("odd-format", (str(gif),)),
        ("odd-mode", (str(gif),)),
        ("odd-mode", (str(cmyk),)),
    }
    assert "1 image stored as GIF, where most are JPEG" in report.text()


def test_shapes_that_a_crop_would_spoil_and_sizes_that_are_too_small(good):
    wide = save(good / "train" / "ants" / "wide.jpg", photo(200, (200, 40)))
    assert kinds(good) == {"cropped": (str(wide),)}
    small = save(good / "train" / "ants" / "wide.jpg", photo(200, (15, 15)))
    assert kinds(good) == {"small": (str(small),)}


def test_files_that_are_not_read_are_told(good):
    (good / "train" / "ants" / "notes.txt").write_text("")
    assert kinds(good) == {"surplus": (str(good / "train" / "ants" / "notes.txt"),)}


def test_the_report_in_json_and_in_words(good):
    for i in range(9):
        (good / "train" / "ants" / f"empty{i}.jpg").write_bytes(b"")
    report = check(scan(good), (32, 32))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["folder"] == str(good)
    assert data["counts"]["train"] == {"ants": 39, "bees": 30}
    assert data["fit"]["fit"] == "crop"
    (finding,) = data["findings"]
    assert (finding["severity"], finding["kind"], len(finding["paths"])) == ("warning", "unreadable", 9)
    assert "… and 4 more" in report.text()
    assert "warning: 9 images cannot be read" in report.text()
