"""Many photos: read in one pass, in bounded memory, and trained on without room for them decoded."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.data import Preprocessing, decode, decode_workers, file_info, scan, undecoded
from neoclassic.data.file_info import read_info
from neoclassic.data.undecoded import Undecoded

P = Preprocessing((16, 16), 3)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder of the cache."""
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    decode.say_once.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def several(monkeypatch):
    """Another process reads and decodes even few photos."""
    monkeypatch.setattr(decode_workers, "FEW", 0)
    monkeypatch.setattr(decode_workers, "cores", lambda: 1)
    monkeypatch.setattr(undecoded, "cores", lambda: 1)


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr(decode.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))


@pytest.fixture
def garden(tmp_path):
    """30 photos of each of two classes, and one of each that cannot be read: its header, and its pixels."""
    for name in ("ants", "bees"):
        for i in range(30):
            save(tmp_path / "garden" / name / f"{i:02}.jpg", 1000 * i + ord(name[0]))
    whole = (tmp_path / "garden" / "ants" / "03.jpg").read_bytes()
    (tmp_path / "garden" / "ants" / "03.jpg").write_bytes(whole[:-100])
    (tmp_path / "garden" / "bees" / "07.jpg").write_bytes(b"no image")
    return tmp_path / "garden"


def save(path, seed, size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)).save(path)


def same(one, other):
    for a, b in ((one.train, other.train), (one.validation, other.validation), (one.test, other.test)):
        np.testing.assert_array_equal(np.asarray(a.images), np.asarray(b.images))
        np.testing.assert_array_equal(a.labels, b.labels)
        assert (a.paths, a.skipped, a.fingerprint) == (b.paths, b.skipped, b.fingerprint)


# ── one pass ─────────────────────────────────────────────────────────────────────────────────────────


def test_one_pass_finds_what_two_find(garden, place, several, monkeypatch):
    monkeypatch.setattr(decode_workers, "cores", lambda: 2)
    expected = scan(garden, validation=0.2)
    infos, splits = expected.infos, expected.prepare(P)
    shutil.rmtree(place)
    folder = scan(garden, validation=0.2)
    folder.look(P.size)
    for name in ("_make", "decode_unread"):
        monkeypatch.setattr(decode, name, lambda *_: pytest.fail("decoded again"))
    assert folder.infos == infos
    assert [path.name for path, info in infos.items() if info.error] == ["07.jpg"]
    monkeypatch.setattr(
        file_info, "read_info", lambda path: pytest.fail(path) if path.name != "07.jpg" else infos[path]
    )
    assert scan(garden, validation=0.2).infos == infos
    assert folder.preprocessing(P.size) == P
    same(folder.prepare(P), splits)


def test_a_sample_that_is_not_typical_costs_time_and_changes_nothing(garden, place, several, monkeypatch):
    for i in range(40):
        save(garden / "ants" / f"wide{i}.jpg", i, (90, 20))
    expected = scan(garden, validation=0.2)
    p = expected.preprocessing(P.size)
    splits = expected.prepare(p)
    shutil.rmtree(place)
    monkeypatch.setattr("neoclassic.data.folders.SAMPLE", 1)
    folder = scan(garden, validation=0.2)
    folder.look(P.size)
    assert (p.fit, folder.preprocessing(P.size)) == ("pad", p)
    same(folder.prepare(p), splits)


def test_formats_that_say_more_once_they_are_decoded_give_the_same_pixels(tmp_path, several):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, kind in enumerate(["png", "tif", "webp", "gif", "jpg", "bmp"] * 2):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), np.uint8)
        (tmp_path / f"photos/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"photos/{i % 2}/{i}.{kind}", exif=exif)
    folder = scan(tmp_path / "photos")
    folder.look(P.size)
    part = folder.split("all", folder.preprocessing(P.size))
    for image, path in zip(part.images, part.paths, strict=True):
        np.testing.assert_array_equal(image, decode_workers.read_pixels(path, P), err_msg=path)
    assert folder.infos == {photo.path: read_info(photo.path) for photo in folder.photos}


def test_a_killed_reading_goes_on_where_it_was_saved(garden, monkeypatch):
    monkeypatch.setattr(file_info, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(file_info, "RARELY", 0)
    folder = scan(garden)

    class Killed(BaseException):
        pass

    def killed(paths):
        yield from map(read_info, paths[:20])
        raise Killed

    with pytest.raises(Killed):
        file_info.read_infos([photo.path for photo in folder.photos], garden, killed)
    read = []
    monkeypatch.setattr(file_info, "read_info", lambda path: read.append(path) or read_info(path))
    assert len(scan(garden).infos) == 60
    assert 40 <= len(read) <= 41  # the one whose header is damaged is never remembered


# ── bounded memory ───────────────────────────────────────────────────────────────────────────────────


PEAKS = """
import os, sys, tracemalloc
from pathlib import Path
from neoclassic.data import Preprocessing, decode, decode_workers, file_info, scan
file_info.SETTLED, decode_workers.FEW, decode_workers.cores = -(10**18), 0, lambda: 1
decode.shutil.disk_usage = lambda _: type("Usage", (), {"free": 10})
size, photo, root = (16, 16), Path(sys.argv[1]), Path(sys.argv[2])
for n in (150, 500, 2000):  # what is imported and made once counts for the first only
    for i in range(n):
        (root / f"{n}/{i % 10}").mkdir(parents=True, exist_ok=True)
        os.link(photo, root / f"{n}/{i % 10}/ILSVRC2012_train_{i:08}.jpg")
    tracemalloc.start()
    for _ in ("new", "known"):
        folder = scan(root / str(n), validation=0.1)
        folder.look(size)
        splits = folder.prepare(Preprocessing(size, 3))
        assert len(splits.train) + len(splits.validation) + len(splits.test) == n
        assert len(folder.digests["train"]) == len(splits.train)
        del folder, splits
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_memory_grows_by_less_than_two_kilobytes_a_photo(tmp_path):
    """All that Python takes to prepare photos for training without room for them decoded."""
    save(tmp_path / "photo.jpg", 0)
    command = [sys.executable, "-c", PEAKS, tmp_path / "photo.jpg", tmp_path / "photos"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, few, many = map(int, done.stdout.split())
    assert 0 < (many - few) / 1500 < 2000


# ── without room ─────────────────────────────────────────────────────────────────────────────────────


def test_training_without_room_gives_the_same_model(garden, place, several, run, tmp_path, monkeypatch):
    words = ("--engine", "numpy", "--image-size", 28, "--epochs", 2, "--batch-size", 16)
    words += ("--colour", 0.1, "--standardise")
    assert run("train", "lenet", "--data", garden, *words, "--out", tmp_path / "a")[0] == 0
    shutil.rmtree(place)
    monkeypatch.setattr(decode.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    code, _, err = run("train", "lenet", "--data", garden, *words, "--out", tmp_path / "b")
    assert code == 0, err
    assert "for which there is no room: each is decoded again in every epoch" in err
    assert not list(place.rglob("images.npy"))
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert one == other
    assert (tmp_path / "a/skipped.csv").read_text() == (tmp_path / "b/skipped.csv").read_text()


def test_undecoded_photos_are_indexed_like_an_array(garden, several, no_room):
    images = scan(garden).split("all", P).images
    assert isinstance(images, Undecoded)
    every = np.asarray(images)
    assert every.shape == images.shape == (58, 16, 16, 3)
    np.testing.assert_array_equal(images[5], every[5])
    np.testing.assert_array_equal(images[-1], every[-1])
    np.testing.assert_array_equal(images[40:10:-7], every[40:10:-7])
    np.testing.assert_array_equal(images[np.arange(58) % 3 == 0], every[::3])
    images.expect(np.array([3, 1, 2]))
    np.testing.assert_array_equal(images[[7, 8]], every[7:9])  # something else than what was expected
    images.expect(np.arange(20, 50))
    np.testing.assert_array_equal(images[20:50], every[20:50])
    np.testing.assert_array_equal(images.subset(np.array([4, 2]))[:], every[[4, 2]])


def test_a_photo_that_changes_during_training_is_named(garden, several, no_room):
    images = scan(garden).split("all", P).images
    save(garden / "ants" / "05.jpg", 77)
    with pytest.raises(NeoclassicError, match=r"ants/05\.jpg: changed while it was read"):
        images[:]


def test_more_than_memory_holds_is_refused_where_all_photos_are_needed_at_once(garden, no_room, monkeypatch):
    monkeypatch.setattr("neoclassic.data.undecoded.TOGETHER", 1000)
    with pytest.raises(NeoclassicError, match=r"58 decoded photos would take .* of memory: set NEOCLASSIC_CACHE"):
        np.asarray(scan(garden).split("all", P).images)


def test_bad_weights_are_told_before_anything_is_decoded(garden, several, run, tmp_path, monkeypatch):
    monkeypatch.setattr("neoclassic.data.folders.decode_unread", lambda *_: pytest.fail("decoded"))
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    code, _, err = run(
        "train", "lenet", "--data", garden, "--weights", tmp_path / "bad.safetensors", "--engine", "numpy"
    )
    assert code == 1
    assert "bad.safetensors" in err.splitlines()[-1]
