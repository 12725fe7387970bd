"""Folders of photos: what is listed, what is held out, what is decoded, and what is wrong with them."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import Dataset, Folder, Preprocessing, cache, decode, decode_workers, file_info, open_dataset, scan
from neoclassic.data.file_info import FileInfo
from neoclassic.data.fit import choose_fit
from neoclassic.data.preprocessing import read_pixels
from neoclassic.data.undecoded import Undecoded

P = Preprocessing((8, 8), 3)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))


def jpeg(seed, size=(12, 9), mode="RGB", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def make(root: Path, **counts: int) -> Path:
    """The given number of photos in each folder; `train__ants` is train/ants. No two files are alike."""
    for seed, (name, n) in enumerate(counts.items()):
        folder = root / name.replace("__", "/")
        folder.mkdir(parents=True)
        for i in range(n):
            (folder / f"{i:03}.jpg").write_bytes(jpeg(1000 * seed + i))
    return root


def names(folder: Folder, part: str) -> list[str]:
    return [str(photo.path.relative_to(folder.root)) for photo in folder.splits[part]]


# ── what is listed ───────────────────────────────────────────────────────────────────────────────────


def test_a_folder_with_splits_is_used_as_it_is(tmp_path):
    make(tmp_path, train__bees=3, train__ants=2, valid__ants=1, valid__bees=1, test__ants=1, test__bees=2)
    folder = scan(tmp_path)
    assert folder.classes == ("ants", "bees")
    assert names(folder, "train")[:3] == ["train/ants/000.jpg", "train/ants/001.jpg", "train/bees/000.jpg"]
    assert [photo.label for photo in folder.splits["test"]] == [0, 1, 1]
    assert {part: len(photos) for part, photos in folder.splits.items()} == {"train": 5, "test": 3, "validation": 2}
    assert folder.notes == ()


def test_without_a_test_set_the_validation_set_is_kept_for_the_end(tmp_path):
    folder = scan(make(tmp_path, train__a=20, val__a=4), validation=0.1)
    assert {part: len(photos) for part, photos in folder.splits.items()} == {"train": 18, "validation": 2, "test": 4}
    assert "the validation set serves as one" in folder.notes[0]
    assert "2 images, are held out" in folder.notes[1]


def test_with_a_training_set_alone_a_fifth_of_it_is_the_test_set(tmp_path):
    folder = scan(make(tmp_path, train__a=20))
    assert {part: len(photos) for part, photos in folder.splits.items()} == {"train": 16, "test": 4}


def test_a_set_to_evaluate_on_needs_no_training_set_and_may_lack_photos_of_a_class(tmp_path):
    folder = scan(make(tmp_path / "a", val__a=3, val__b=0), classes=("b", "a"))
    assert [photo.label for photo in folder.splits["test"]] == [1, 1, 1]
    folder = scan(make(tmp_path / "b", a=3, b=0), classes=("b", "a"))
    assert folder.split("all", P).counts.tolist() == [0, 3]


def test_a_folder_of_classes_is_divided_alike_and_a_new_photo_moves_no_other(tmp_path):
    make(tmp_path, ants=10, bees=20)
    before = scan(tmp_path, validation=0.25)
    counts = {part: np.bincount([p.label for p in photos]).tolist() for part, photos in before.splits.items()}
    assert counts == {"train": [6, 12], "validation": [2, 4], "test": [2, 4]}
    listed = [name for part in before.splits for name in names(before, part)]
    assert sorted(listed) == sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.jpg"))
    (tmp_path / "bees" / "new.jpg").write_bytes(jpeg(99))
    after = scan(tmp_path, validation=0.25)
    assert set(names(before, "test")) <= set(names(after, "test")) | {"bees/new.jpg"}
    assert set(names(after, "test")) - set(names(before, "test")) <= {"bees/new.jpg"}


def test_the_seed_chooses_the_validation_set_and_never_the_test_set(tmp_path):
    make(tmp_path, ants=20, bees=20)
    one, same, other = (scan(tmp_path, validation=0.2, seed=seed) for seed in (0, 0, 1))
    assert one.splits == same.splits
    assert one.splits["test"] == other.splits["test"]
    assert one.splits["validation"] != other.splits["validation"]


def test_where_the_folder_is_does_not_matter(tmp_path):
    one, other = make(tmp_path / "a", ants=20), make(tmp_path / "b" / "c", ants=20)
    assert names(scan(one), "test") == names(scan(other), "test")


def test_hidden_files_are_not_seen_and_others_are_told(tmp_path):
    make(tmp_path, ants=2)
    for name in (".DS_Store", "ants/._000.jpg", "ants/Thumbs.db", "readme.txt", "ants/more/004.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(5))
    folder = scan(tmp_path)
    assert sorted(path.name for path in folder.unused) == ["Thumbs.db", "readme.txt"]
    assert [photo.path.name for photo in folder.photos if photo.path.suffix == ".PNG"] == ["004.PNG"]
    assert len(folder.photos) == 3


def test_a_link_in_a_circle_ends(tmp_path):
    make(tmp_path, ants=2)
    (tmp_path / "ants" / "again").symlink_to(tmp_path / "ants", target_is_directory=True)
    assert len(scan(tmp_path).photos) == 2


def test_the_classes_of_a_model_keep_their_order_and_are_matched_by_name(tmp_path):
    make(tmp_path, train__bees=1, train__ants=2, test__ants=1, test__bees=1)
    folder = scan(tmp_path, classes=("bees", "ants"))
    assert folder.classes == ("bees", "ants")
    assert [photo.label for photo in folder.splits["train"]] == [0, 1, 1]


@pytest.mark.parametrize(
    ("there", "classes", "reason"),
    [
        ({"train__ants": 1, "train__bees": 1, "val__ants": 1}, None, "validation: the class 'bees' is missing"),
        ({"train__ants": 1, "val__ants": 1, "val__antz": 1}, None, "validation: unknown class 'antz'.*'ants'"),
        ({"ants": 1, "bees": 1}, ("ants",), "unknown class 'bees'"),
        ({"ants": 1, "bees": 0}, None, "the class 'bees' has no images"),
        ({"train__a": 1, "val__a": 1, "valid__a": 1}, None, "two folders are the validation set"),
        ({}, None, "no photos: put those of each class in a folder"),
    ],
)
def test_a_class_that_does_not_fit_is_named(tmp_path, there, classes, reason):
    with pytest.raises(NeoclassicError, match=reason) as error:
        scan(make(tmp_path, **there), classes)
    assert "\n" not in str(error.value)


def test_a_table_of_paths_and_labels(tmp_path):
    make(tmp_path / "photos", x=4)
    rows = ["Path,label,split", "photos/x/000.jpg,cat,train", "photos/x/001.jpg,ant,train"]
    rows += ["photos/x/002.jpg,cat,test", "photos/x/nowhere.jpg,ant,test"]
    (tmp_path / "table.csv").write_text("\ufeff" + "\n".join(rows) + "\n", "utf-8")
    folder = scan(tmp_path / "table.csv")
    assert (folder.name, folder.classes) == ("table", ("ant", "cat"))
    assert [(photo.path.name, photo.label) for photo in folder.splits["train"]] == [("001.jpg", 0), ("000.jpg", 1)]
    part = folder.split("test", P)
    assert len(part) == 1
    assert part.skipped == ((str(tmp_path / "photos/x/nowhere.jpg"), "no such image"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no column 'path'"),
        ("where,label\na,b\n", "no column 'path'"),
        ("path,what\na,b\n", "no column 'label'"),
        ("path,label\na.jpg,\n", "line 2: the label is missing"),
        ("path,label,split\na.jpg,x,trian\n", "line 2: unknown split 'trian': did you mean 'train'"),
    ],
)
def test_a_table_that_is_wrong_is_named_with_the_line(tmp_path, text, reason):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(NeoclassicError, match=reason):
        scan(tmp_path / "table.csv")


def test_open_dataset_distinguishes_photos_from_arrays(tmp_path):
    assert isinstance(open_dataset(str(make(tmp_path / "photos", ants=2))), Folder)
    assert open_dataset("fashion-mnist").split("validation", Preprocessing((28, 28), 1)) is None
    with pytest.raises(NeoclassicError, match=r"the classes of fashion-mnist .* are not the model's \(a, b\)"):
        open_dataset("fashion-mnist", classes=("a", "b"))
    with pytest.raises(UsageError, match="no data folder 'photos/nowhere'"):
        open_dataset("photos/nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="is not a folder of photos"):
        open_dataset(str(tmp_path / "notes.txt"))


# ── what is decoded ──────────────────────────────────────────────────────────────────────────────────


def test_the_pixels_are_those_of_a_prediction(tmp_path):
    folder = scan(make(tmp_path, ants=5, bees=5))
    part = folder.split("all", P)
    assert isinstance(part, Dataset)
    for i, path in enumerate(part.paths):
        np.testing.assert_array_equal(part.images[i], read_pixels(path, P))
    assert part.labels.tolist() == [photo.label for photo in folder.photos]
    assert folder.split("validation", P) is None


def test_many_photos_are_decoded_by_several_processes_and_come_in_order(tmp_path, monkeypatch):
    make(tmp_path, ants=20, bees=20)
    (tmp_path / "ants" / "003.jpg").write_bytes(b"no image")
    (tmp_path / "bees" / "naïve \udcff.jpg").write_bytes(b"")
    alone = scan(tmp_path).split("all", P)
    cache.clear()
    monkeypatch.setattr(decode_workers, "FEW", 0)
    monkeypatch.setattr(decode_workers, "_fill", lambda *_: pytest.fail("decoded here"))
    together = scan(tmp_path).split("all", P)
    np.testing.assert_array_equal(alone.images, together.images)
    assert alone.paths == together.paths
    assert len(together) == 39
    assert alone.skipped == together.skipped
    assert {Path(path).name[:3]: reason for path, reason in together.skipped} == {
        "003": "is not an image, or its format is not supported",
        "naï": "is empty",
    }


def test_a_second_run_decodes_nothing(tmp_path, monkeypatch):
    folder = scan(make(tmp_path, ants=5))
    first = folder.split("train", P)
    monkeypatch.setattr(decode, "_make", lambda *_: pytest.fail("decoded again"))
    again = scan(tmp_path).split("train", P)
    np.testing.assert_array_equal(first.images, again.images)
    assert isinstance(again.images, np.memmap)
    other = Preprocessing((8, 8), 3, mean=(0.5,), std=(0.2,))
    np.testing.assert_array_equal(scan(tmp_path).split("train", other).images, first.images)


def test_what_changes_pixels_decodes_anew(tmp_path):
    make(tmp_path, ants=5)
    before = scan(tmp_path).split("all", P)
    (tmp_path / "ants" / "002.jpg").write_bytes(jpeg(77))
    after = scan(tmp_path).split("all", P)
    assert [np.array_equal(a, b) for a, b in zip(before.images, after.images, strict=True)].count(False) == 1
    assert before.fingerprint != after.fingerprint
    assert scan(tmp_path).split("all", Preprocessing((4, 8), 1)).images.shape == (5, 4, 8, 1)
    assert len(list((cache.folder() / "decoded").iterdir())) == 3


def test_the_fingerprint_is_of_files_labels_and_classes(tmp_path):
    one = scan(make(tmp_path / "a", ants=5, bees=5))
    same = scan(make(tmp_path / "b", ants=5, bees=5))
    small = Preprocessing((4, 4), 1)
    assert one.split("train", P).fingerprint == same.split("train", small).fingerprint
    (tmp_path / "b" / "bees").rename(tmp_path / "b" / "wasps")
    assert scan(tmp_path / "b").split("train", P).fingerprint != one.split("train", P).fingerprint


def test_strict_names_what_cannot_be_read(tmp_path):
    make(tmp_path, ants=3)
    (tmp_path / "ants" / "001.jpg").write_bytes(jpeg(1)[:200])
    with pytest.raises(NeoclassicError, match=r"1 of 3 images cannot be read: .*001\.jpg: .*truncated"):
        scan(tmp_path).split("all", P, strict=True)
    assert len(scan(tmp_path).split("all", P)) == 2


def test_a_class_of_which_nothing_can_be_read_ends_the_run(tmp_path):
    make(tmp_path, train__ants=2, train__bees=1, test__ants=1, test__bees=1)
    (tmp_path / "train" / "bees" / "000.jpg").write_bytes(b"")
    with pytest.raises(NeoclassicError, match="no image of class 'bees' can be read"):
        scan(tmp_path).split("train", P)


def test_all_splits_at_once(tmp_path):
    splits = scan(make(tmp_path / "a", ants=10, bees=10), validation=0.25).prepare(P)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 4, 4)
    assert splits.train.shape == (8, 8, 3)
    with pytest.raises(NeoclassicError, match="there is no training set"):
        scan(make(tmp_path / "b", test__a=2)).prepare(P)


def test_a_process_that_dies_is_a_clear_line_and_leaves_nothing(tmp_path, monkeypatch):
    make(tmp_path, ants=5)
    monkeypatch.setattr(decode_workers, "FEW", 0)
    monkeypatch.setattr(decode_workers.sys, "executable", "/bin/false")
    with pytest.raises(NeoclassicError, match="decoding stopped"):
        scan(tmp_path).split("all", P)
    assert list((cache.folder() / "decoded").iterdir()) == []


def test_without_room_in_the_cache_photos_stay_undecoded_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    make(tmp_path / "photos", ants=3)
    expected = np.array(scan(tmp_path / "photos").split("all", P).images)
    cache.clear()
    monkeypatch.setattr(decode.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    part = scan(tmp_path / "photos").split("all", P)
    assert isinstance(part.images, Undecoded)
    np.testing.assert_array_equal(part.images[:], expected)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("3 decoded photos need 0.0 GiB, for which there is no room: each is decoded again in")


def test_the_cache_is_listed_and_cleared(tmp_path):
    scan(make(tmp_path / "photos", ants=3)).split("all", P)
    (cache.folder() / "mnist").mkdir()
    (cache.folder() / "mnist" / "images.gz").write_bytes(b"")
    cache.mark(cache.folder() / "mnist", "images.gz")
    listed = cache.entries()
    assert [entry.about for entry in listed] == ["decoded: photos all, 3 images at 8×8×3", "downloaded: mnist"]
    assert listed[0].bytes > 3 * 8 * 8 * 3
    assert [entry.path.name for entry in cache.clear("decoded")] == [listed[0].path.name]
    assert [entry.path.name for entry in cache.clear()] == ["mnist"]
    assert cache.entries() == []


# ── file info ────────────────────────────────────────────────────────────────────────────────────────


def test_headers_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    make(tmp_path, ants=4)
    before = scan(tmp_path).infos
    read = []
    read_info = file_info.read_info
    monkeypatch.setattr(file_info, "read_info", lambda path: read.append(path.name) or read_info(path))
    assert scan(tmp_path).infos == before
    assert read == []
    time.sleep(0.02)
    (tmp_path / "ants" / "002.jpg").write_bytes(jpeg(50))
    assert scan(tmp_path).infos != before
    assert read == ["002.jpg"]


def test_files_just_written_are_not_remembered(tmp_path):
    assert len(scan(make(tmp_path, ants=4)).infos) == 4
    assert list(cache.folder().glob("looks/*")) == []


def test_what_a_killed_process_left_beside_the_memory_is_swept_after_an_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    looks = cache.folder() / "looks"
    looks.mkdir(parents=True)
    new, old = (looks / f".neoclassic-{gone.pid}-{name}" for name in ("new", "old"))
    living = looks / f".neoclassic-{os.getpid()}-old"
    for path in (new, old, living):
        path.write_text("half")
    for path in (old, living):
        os.utime(path, (time.time() - 4000,) * 2)
    assert scan(make(tmp_path, ants=4)).infos
    assert new.exists()
    assert living.exists()
    assert not old.exists()


def test_a_damaged_memory_is_not_relied_on(tmp_path, monkeypatch):
    monkeypatch.setattr(file_info, "SETTLED", -(10**18))
    before = scan(make(tmp_path, ants=4)).infos
    (memory,) = cache.folder().glob("looks/*")
    text = memory.read_text()
    lines = text.splitlines(keepends=True)
    other = text.replace('"RGB"', '"L"', 1)
    assert other != text
    for damaged in ("", "[]", "[1]", "{", "[" * 100_000, other, "".join(lines[:-1]), "".join(lines[1:])):
        memory.write_text(damaged)
        assert scan(tmp_path).infos == before
    path, stamp, values = json.loads(lines[0])
    lies = ([path, None, None], [path, [], []], [path, stamp, []], [[], stamp, values])
    for wrong in (*lies, "null", "[" * 9000, "\xff"):
        line = (wrong if isinstance(wrong, str) else json.dumps(wrong)).encode("latin-1") + b"\n"
        memory.write_bytes(line + file_info._checksum(hashlib.sha256(line)).encode())
        assert scan(tmp_path).infos == before


def test_file_info_says_what_the_header_says_and_decodes_nothing(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(jpeg(0, size=(12, 9), exif=exif))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    seen = file_info.read_info(tmp_path / "a.jpg")
    assert (seen.width, seen.height, seen.mode, seen.format, seen.orientation) == (9, 12, "RGB", "JPEG", 6)
    assert file_info.read_info(tmp_path / "nowhere.jpg").error == "no such image"


def test_grey_photos_make_one_channel(tmp_path):
    for mode, channels in (("L", 1), ("RGB", 3)):
        (tmp_path / mode / "a").mkdir(parents=True)
        for i in range(3):
            (tmp_path / mode / "a" / f"{i}.jpg").write_bytes(jpeg(i, mode=mode))
        assert scan(tmp_path / mode).preprocessing((8, 8)).channels == channels
    assert scan(tmp_path / "L").preprocessing((8, 8), channels=3, fit="pad") == Preprocessing((8, 8), 3, fit="pad")


@pytest.mark.parametrize(
    ("shapes", "size", "fit"),
    [
        ([(400, 300), (300, 400), (450, 300)], (96, 96), "crop"),
        ([(1920, 1080)] * 20, (96, 96), "stretch"),
        ([(1920, 1080)] * 20, (90, 160), "crop"),
        ([(1920, 1080), (1080, 1920), (300, 300)] * 5, (96, 96), "pad"),
        ([(100, 100)] * 100 + [(1000, 10)], (96, 96), "crop"),
        ([], (96, 96), "crop"),
    ],
)
def test_the_fit_follows_the_shapes(shapes, size, fit):
    chosen, why = choose_fit([FileInfo("", w, h) for w, h in shapes], size)
    assert chosen == fit, why
