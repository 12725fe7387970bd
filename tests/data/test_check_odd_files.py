"""Files among the photos that are no images, or should not be opened: each is named, and none is waited for."""

import hashlib
import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.data import file_info, image_files, not_images, scan

TRAIN = ("train", "lenet", "--engine", "numpy", "--image-size", 28, "--epochs", 1, "--max-steps", 1)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8))


@pytest.fixture
def root(tmp_path):
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10):
            picture(100 * k + i).save(tmp_path / "data" / name / f"{i}.jpg")
    return tmp_path / "data"


@pytest.fixture
def unreadable(run):
    """What `check` says of the files that cannot be read, by name."""

    def call(folder):
        report = json.loads(run("check", folder, "--image-size", 28, "--json")[1])
        told = [line for f in report["findings"] if f["kind"] == "unreadable" for line in f["paths"]]
        return {Path(line.partition(": ")[0]).name: line.partition(": ")[2] for line in told}

    return call


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
CONTENTS = {
    "lfs.jpg": (LFS, "is a Git LFS pointer, not the image itself: run 'git lfs pull'"),
    "page.jpg": (b"\n <!DOCTYPE html>\n<html>404", "is an HTML page, not an image: download it again"),
    "bare.png": (b"<HTML><body>", "is an HTML page, not an image: download it again"),
    "denied.jpg": (b'<?xml version="1.0"?><Error>', "is an XML document, not an image: download it again"),
    "api.jpg": (b'{"error": "rate limit"}', "is a JSON document, not an image: download it again"),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing: convert it to PNG first"),
    "resource.jpg": (b"\0\5\x16\7\0\2\0\0Mac OS X", "is macOS metadata (AppleDouble), not an image: remove it"),
    "scan.jpg": (b"%PDF-1.7", "is a PDF document, not an image"),
    "zeros.jpg": (bytes(5000), "holds only zeros: the download or copy was not finished"),
    "empty.jpg": (b"", "is empty"),
}


def test_files_that_are_no_images_are_named_as_what_they_are(root, unreadable, run):
    for name, (content, _) in CONTENTS.items():
        (root / "cat" / name).write_bytes(content)
    whole = (root / "cat" / "0.jpg").read_bytes()
    (root / "cat" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    expected = {name: reason for name, (_, reason) in CONTENTS.items()} | {"half.jpg": "is truncated"}
    assert unreadable(root) == expected
    assert run(*TRAIN, "--data", root, "--out", root.parent / "run")[0] == 0
    skipped = (root.parent / "run" / "skipped.csv").read_text("utf-8")
    assert all(reason.partition(",")[0] in skipped for reason in expected.values())


@pytest.mark.parametrize("content", [LFS, b"<html>", b"", b"no image"], ids=range(4))
def test_where_no_photo_can_be_read_check_says_why_and_train_too(content, root, run):
    for path in root.rglob("*.jpg"):
        path.write_bytes(content)
    code, out, err = run("check", root)
    assert code == 1
    assert "error: no image can be read" in out
    assert str(root / "cat" / "0.jpg") in out
    assert "findings spoil the result" in err
    code, out, err = run(*TRAIN, "--data", root, "--out", root.parent / "run")
    assert (code, out) == (1, "")
    assert "no image of class 'cat' can be read: " in err.splitlines()[-1]
    if reason := not_images.describe(content):
        assert err.splitlines()[-1].endswith(reason)


@pytest.mark.skipif(sys.platform == "win32", reason="no such files")
def test_pipes_sockets_devices_and_links_to_nothing_are_named_and_never_opened(root, unreadable, run, monkeypatch):
    os.mkfifo(root / "cat" / "pipe.jpg")
    os.mkfifo(root / "cat" / "pipe")
    (root / "cat" / "zero.png").symlink_to("/dev/zero")
    (root / "cat" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "cat" / "circle.jpg").symlink_to("circle.jpg")
    monkeypatch.chdir(root / "dog")  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        found = unreadable(root)
        assert found.pop("circle.jpg")
        assert found == {
            "pipe.jpg": "is a named pipe, not a file",
            "zero.png": "is a device, not a file",
            "gone.jpg": "is a link to a file that does not exist",
            "socket.jpg": "is a socket, not a file",
        }
        code, _, err = run(*TRAIN, "--data", root, "--out", root.parent / "run")
        assert code == 0, err
        assert "5 images that cannot be read are left out" in err


def test_a_file_that_is_too_large_is_named_and_not_read(root, unreadable, run, monkeypatch):
    for name in ("huge.jpg", "huge"):
        with (root / "cat" / name).open("wb") as file:
            file.truncate(600 << 20)  # takes no room
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: pytest.fail("read") if p.stem == "huge" else read(p))
    assert unreadable(root) == {"huge.jpg": "has 600 MB, more than the limit of 512 MB for an image"}
    assert run(*TRAIN, "--data", root, "--out", root.parent / "run")[0] == 0


def test_a_table_names_what_it_lists_and_cannot_be_read(root, unreadable):
    (root / "folder.jpg").mkdir()
    (root / "cat" / "lfs.jpg").write_bytes(LFS)
    rows = [f"{name}/{i}.jpg,{name}" for name in ("cat", "dog") for i in range(10)]
    (root / "t.csv").write_text(
        "\n".join(["path,label", *rows, "folder.jpg,cat", "cat/lfs.jpg,cat", "nowhere.jpg,dog"])
    )
    assert unreadable(root / "t.csv") == {
        "folder.jpg": "is a folder, not an image",
        "lfs.jpg": CONTENTS["lfs.jpg"][1],
        "nowhere.jpg": "no such image",
    }


# ── what check says, training does ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("channels", [1, 3])
def test_check_reads_what_training_reads(channels, root, unreadable, run_json):
    """Colours that can become red, green and blue, but not grey: what counts is what training makes of them."""
    if channels == 1:
        for path in root.rglob("*.jpg"):
            Image.open(path).convert("L").save(path)
    kinds = {"lab": "LAB", "float": "F", "wide": "I", "cmyk": "CMYK", "bits": "1", "hsv": "YCbCr"}
    for name, mode in kinds.items():
        image = picture(7).convert("RGB")
        image = (
            Image.new("LAB", (12, 9), (90, 120, 130)) if mode == "LAB" else image.convert("L" if mode in "FI" else mode)
        )
        image = image.convert(mode) if mode in "FI" else image
        image = image.point(lambda v: v * 70_000) if mode == "I" else image
        image.save(root / "cat" / f"{name}.tif")
    told = unreadable(root)
    result = run_json(*TRAIN, "--data", root, "--out", root.parent / "run")
    skipped = (root.parent / "run" / "skipped.csv").read_text("utf-8") if result["skipped"] else ""
    assert {name for name in told if name in skipped} == told.keys()
    assert len(told) == result["skipped"]


# ── what could not be read once ──────────────────────────────────────────────────────────────────────


def test_a_photo_that_can_be_read_by_now_is_read(root, unreadable, run, monkeypatch):
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    opened = image_files.Image.open

    def without_png(file, *args, **options):
        image = opened(file, *args, **options)
        if image.format == "PNG":
            raise image_files.UnidentifiedImageError
        return image

    picture(50).save(root / "cat" / "new.png")
    with monkeypatch.context() as patch:  # as if its plug-in were missing
        patch.setattr(image_files.Image, "open", without_png)
        assert unreadable(root) == {"new.png": "is not an image, or its format is not supported"}
        assert run(*TRAIN, "--data", root, "--out", root.parent / "one")[0] == 0
    assert unreadable(root) == {}
    assert run(*TRAIN, "--data", root, "--out", root.parent / "two")[0] == 0
    assert (root.parent / "one" / "skipped.csv").exists()
    assert not (root.parent / "two" / "skipped.csv").exists()


@pytest.mark.parametrize("told", [["x", 0, 0, "", "", 1, "denied"], ["x", 0, 0, "RGB", "JPEG", 1, ""], ["x", 1], []])
def test_a_failure_that_is_remembered_is_not_believed(told, root, run, monkeypatch):
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    before = run("check", root)
    (memory,) = (Path(os.environ["NEOCLASSIC_CACHE"])).glob("looks/*")
    *lines, _ = memory.read_bytes().splitlines()
    lies = b"".join(json.dumps([*json.loads(line)[:2], told]).encode() + b"\n" for line in lines)
    memory.write_bytes(lies + file_info._checksum(hashlib.sha256(lies)).encode())
    assert run("check", root) == before


def test_a_file_that_cannot_be_inspected_and_can_be_read_a_moment_later_does_no_harm(root, run, monkeypatch):
    read_info = file_info.read_info
    failed = file_info.FileInfo("unread", error="Permission denied")
    monkeypatch.setattr(file_info, "read_info", lambda path: failed if path.name == "3.jpg" else read_info(path))
    code, out, _ = run("check", root)
    assert code == 0
    assert "warning: 2 images cannot be read" in out
    assert run(*TRAIN, "--data", root, "--out", root.parent / "run")[0] == 0


def test_check_needs_no_place_for_a_cache(root, run, monkeypatch):
    def nowhere():
        raise NeoclassicError("there is no place for a cache")

    before = run("check", root)
    monkeypatch.setattr(file_info.cache, "folder", nowhere)
    assert run("check", root) == before


# ── too few to hold some out ─────────────────────────────────────────────────────────────────────────


def test_classes_that_are_too_small_are_told_the_way_out(run, tmp_path):
    for k in range(20):
        (tmp_path / "data" / f"c{k:02}").mkdir(parents=True)
        for i in range(3):
            picture(10 * k + i).save(tmp_path / "data" / f"c{k:02}" / f"{i}.jpg")
    code, out, _ = run("check", tmp_path / "data")
    assert code == 0
    assert "train with --validation 0, or --head, or add images" in out
    train = (*TRAIN, "--data", tmp_path / "data", "--out", tmp_path / "run")
    code, out, err = run(*train)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].endswith("or add images, or use --validation 0")
    assert run(*train, "--validation", 0)[0] == 0


def test_classes_of_one_photo_are_told_that_nothing_is_left_to_test_on(run, tmp_path):
    for k in range(5):
        (tmp_path / "data" / f"c{k}").mkdir(parents=True)
        picture(k).save(tmp_path / "data" / f"c{k}" / "0.jpg")
    code, _, err = run(*TRAIN, "--data", tmp_path / "data", "--validation", 0, "--out", tmp_path / "run")
    assert code == 1
    assert err.splitlines()[-1].endswith("add images, at least 3 of each class, or a folder for the test set")


def test_a_photo_without_rights_is_read_once_it_has_them(root, monkeypatch):
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    read = Path.read_bytes

    def denied(path):
        if path.name == "3.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        assert sum(info.error == "Permission denied" for info in scan(root).infos.values()) == 2
    assert not any(info.error for info in scan(root).infos.values())
