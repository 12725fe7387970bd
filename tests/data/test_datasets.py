"""Data sets: arrays, splits, batches, IDX and CIFAR files, and where they are searched for."""

import gzip
import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import (
    SOURCES,
    Dataset,
    Splits,
    batches,
    cache,
    cifar,
    idx,
    load,
    open_dataset,
    sources,
    stratified_split,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4), dtype=np.uint8)
LABELS = np.arange(40) % 10


def idx_bytes(array, magic=None, shape=None):
    header = magic or bytes((0, 0, 8, array.ndim))
    return header + np.array(shape or array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, n=(40, 40, 20, 20), labels=LABELS, dot="-", pack=gzip.compress) -> Path:
    """A folder of four IDX files; n: train images and labels, test images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, images, count in (("train", n[0], n[1]), ("t10k", n[2], n[3])):
        suffix = "" if pack is bytes else ".gz"
        (folder / f"{part}-images{dot}idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(IMAGES[:images])))
        (folder / f"{part}-labels{dot}idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(labels[:count])))
    return folder


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "debian")


# ── arrays ───────────────────────────────────────────────────────────────────────────────────────────


def test_arrays_of_python_get_their_classes_from_the_labels():
    grey = Dataset.from_arrays(IMAGES, np.where(LABELS % 2, "odd", "even"))
    assert grey.classes == ("even", "odd")
    assert grey.labels.tolist() == (LABELS % 2).tolist()
    assert grey.shape == (5, 4, 1)
    assert grey.counts.tolist() == [20, 20]
    colour = Dataset.from_arrays(np.zeros((3, 2, 2, 3), np.uint8), [7, -1, 7])
    assert colour.classes == ("-1", "7")
    assert colour.labels.tolist() == [1, 0, 1]


def test_arrays_with_classes_given_keep_their_order():
    by_name = Dataset.from_arrays(IMAGES[:3], ["bee", "ant", "bee"], classes=["bee", "ant", "wasp"])
    assert by_name.labels.tolist() == [0, 1, 0]
    assert Dataset.from_arrays(IMAGES[:2], [2, 0], classes=["bee", "ant", "wasp"]).classes == ("bee", "ant", "wasp")


@pytest.mark.parametrize(
    ("images", "labels", "classes", "reason"),
    [
        (IMAGES.astype(np.float32), LABELS, None, "images are float32 40×5×4: give uint8"),
        (IMAGES[:, :, 0], LABELS, None, "images are uint8 40×5: give uint8, 0 to 255, N×H×W"),
        (np.zeros((40, 5, 4, 2), np.uint8), LABELS, None, "40×5×4×2"),
        (IMAGES, LABELS[:39], None, "40 images but 39 labels"),
        (IMAGES, LABELS / 2, None, "labels are float64"),
        (IMAGES, np.stack([LABELS, LABELS], 1), None, "labels are int64 40×2"),
        (IMAGES, LABELS, list("abcdefghi"), "label 9 of image 9 is out of range 0 to 8"),
        (IMAGES, LABELS - 1, list("abcdefghij"), "label -1 of image 0 is out of range"),
        (IMAGES[:2], ["cat", "dog"], ["cat", "cow"], "label 'dog' is not among the classes cat, cow"),
        (IMAGES[:1], [0], ["cat", "cat"], "the class name 'cat' is used twice"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(images, labels, classes, reason):
    with pytest.raises(UsageError, match=reason) as error:
        Dataset.from_arrays(images, labels, classes)
    assert "\n" not in str(error.value)


def test_the_fingerprint_is_of_the_data_and_of_nothing_else():
    one, same = Dataset.from_arrays(IMAGES, LABELS), Dataset.from_arrays(IMAGES.copy(), LABELS, name="other")
    touched = IMAGES.copy()
    touched[39, 4, 3] ^= 1
    others = [
        Dataset.from_arrays(touched, LABELS),
        Dataset.from_arrays(IMAGES, LABELS[::-1]),
        Dataset.from_arrays(IMAGES, LABELS, classes=list("abcdefghij")),
        Dataset.from_arrays(IMAGES.reshape(40, 4, 5), LABELS),
    ]
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, *(o.fingerprint for o in others)}) == 5


def test_splits_must_agree_on_the_classes():
    one = Dataset.from_arrays(IMAGES, LABELS)
    with pytest.raises(NeoclassicError, match="has different classes"):
        Splits(one, Dataset.from_arrays(IMAGES, LABELS % 5))


def test_splits_are_brought_to_a_size_and_keep_their_fingerprint():
    one = Dataset.from_arrays(IMAGES, LABELS)
    splits = Splits(one, one.subset(np.arange(5)))
    p = splits.preprocessing((10, 8))
    assert (p.size, p.channels) == ((10, 8), 1)
    resized = splits.prepare(p)
    assert (resized.train.images.shape, resized.test.images.shape) == ((40, 10, 8, 1), (5, 10, 8, 1))
    assert resized.validation is None
    assert resized.train.fingerprint == one.fingerprint != resized.test.fingerprint


# ── splits and batches ───────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 4), max_size=200), st.floats(0, 0.99), st.integers(0, 2**32))
def test_a_stratified_split_divides_every_class_by_the_same_fraction(labels, fraction, seed):
    labels = np.array(labels, np.int64)
    kept, held = stratified_split(labels, fraction, seed)
    assert np.sort(np.concatenate([kept, held])).tolist() == list(range(len(labels)))
    for label in np.unique(labels):
        n = np.count_nonzero(labels == label)
        out = np.count_nonzero(labels[held] == label)
        assert out < n
        assert abs(out - fraction * n) <= 0.5 or out == n - 1


def test_a_split_is_exact_and_depends_on_the_seed_alone():
    labels = np.repeat(np.arange(3), (50, 100, 7))
    kept, held = stratified_split(labels, 0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [5, 10, 1]
    again, other = stratified_split(labels, 0.1, seed=0)[1], stratified_split(labels, 0.1, seed=1)[1]
    assert held.tolist() == again.tolist() != other.tolist()
    assert len(kept) == 141
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        stratified_split(labels, 1.0, seed=0)


def test_batches_are_a_permutation_of_the_seed_and_the_epoch():
    epoch = batches(10, 4, seed=0, epoch=3)
    assert [len(b) for b in epoch] == [4, 4, 2]
    assert sorted(np.concatenate(epoch).tolist()) == list(range(10))
    assert [b.tolist() for b in batches(10, 4, seed=0, epoch=3)] == [b.tolist() for b in epoch]
    assert [b.tolist() for b in batches(10, 4, seed=0, epoch=4)] != [b.tolist() for b in epoch]
    assert [b.tolist() for b in batches(10, 4, seed=1, epoch=3)] != [b.tolist() for b in epoch]
    assert np.concatenate(batches(10, 4, 0, 0, shuffle=False)).tolist() == list(range(10))
    assert batches(0, 4, 0, 0) == []


# ── IDX ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_folder_of_idx_files_comes_back(tmp_path, dot, pack):
    splits = load(str(write_idx(tmp_path / "mine", dot=dot, pack=pack)))
    assert splits.train.images.tolist() == IMAGES[..., None].tolist()
    assert splits.train.labels.tolist() == LABELS.tolist()
    assert splits.test.labels.tolist() == LABELS[:20].tolist()
    assert splits.classes == tuple("0123456789")
    assert splits.train.name == "mine"


def test_classes_txt_names_the_classes(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij") + "\n")
    assert load(str(tmp_path)).classes == tuple("abcdefghij")


WHOLE = idx_bytes(IMAGES)
BAD_FILES = {
    "empty": (b"", "ends inside the header"),
    "short header": (WHOLE[:9], "ends inside the header"),
    "text": (b"label,pixel0,pixel1", "wrong magic number 0x6c616265, not 0x00000803"),
    "labels": (idx_bytes(LABELS), "wrong magic number 0x00000801, not 0x00000803"),
    "floats": (idx_bytes(IMAGES, bytes((0, 0, 13, 3))), "wrong magic number 0x00000d03"),
    "truncated": (WHOLE[:-1], "truncated: 799 bytes of 800"),
    "surplus": (WHOLE + b"x", "damaged: it does not end after the 800 bytes that its header announces"),
    "claims much": (idx_bytes(IMAGES, shape=(2**32 - 1, 2**16, 2**16)), "its header claims 17,179,869,180 GiB"),
    "claims some": (idx_bytes(IMAGES, shape=(60_000, 28, 28)), "truncated: 800 bytes of 47,040,000"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_wrong_idx_file_is_named_with_what_is_wrong(tmp_path, name, pack):
    contents, reason = BAD_FILES[name]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(pack(contents))
    with pytest.raises(NeoclassicError) as error:
        idx.read(path, ndim=3)
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (gzip.compress(WHOLE)[:-200], "truncated"),
        (gzip.compress(WHOLE)[:-4], "does not end"),
        (gzip.compress(WHOLE)[:-8] + bytes(8), "damaged: .*incorrect data check"),
        (gzip.compress(WHOLE) + b"more", "does not end"),
        (b"\x1f\x8b" + bytes(100), "damaged"),
    ],
)
def test_a_damaged_gzip_file_is_refused(tmp_path, contents, reason):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(contents)
    with pytest.raises(NeoclassicError, match=reason):
        idx.read(path, ndim=3)


def test_a_bomb_is_not_unpacked_beyond_its_header(tmp_path, monkeypatch):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(WHOLE + bytes(1 << 24)))
    sizes = []
    unpack = idx._unpack
    monkeypatch.setattr(idx, "_unpack", lambda data, n: sizes.append(len(unpack(data, n)[0])) or unpack(data, n))
    with pytest.raises(NeoclassicError, match="does not end after"):
        idx.read(path, ndim=3)
    assert max(sizes) == len(WHOLE) + 1


@pytest.mark.parametrize(
    ("n", "labels", "reason"),
    [
        ((40, 39, 20, 20), LABELS, "train-labels.*: 40 images but 39 labels"),
        ((40, 40, 20, 19), LABELS, "t10k-labels.*: 20 images but 19 labels"),
        ((40, 40, 20, 20), np.where(np.arange(40) == 7, 255, LABELS), "labels reach 255, but no image has label 10"),
        ((9, 9, 20, 20), LABELS, "t10k-labels.*: label 9 of image 9 is out of range 0 to 8"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, n, labels, reason):
    write_idx(tmp_path, n, labels)
    with pytest.raises(NeoclassicError, match=reason):
        load(str(tmp_path))


def test_a_label_that_a_named_data_set_does_not_have_is_refused(tmp_path):
    write_idx(tmp_path / "mnist", labels=np.where(np.arange(40) == 7, 10, LABELS))
    with pytest.raises(NeoclassicError, match=r"train-labels.*: label 10 of image 7 is out of range 0 to 9"):
        load("mnist", tmp_path)


def test_a_missing_file_is_named(tmp_path):
    (write_idx(tmp_path / "mnist") / "t10k-labels-idx1-ubyte.gz").unlink()
    for name, data_dir in ((str(tmp_path / "mnist"), None), ("mnist", tmp_path)):
        with pytest.raises(NeoclassicError, match=r"the test labels are missing \(t10k-labels-idx1-ubyte, plain or"):
            load(name, data_dir)


# ── CIFAR-10 ─────────────────────────────────────────────────────────────────────────────────────────


def cifar_files(label=9):
    photo = np.arange(3 * 32 * 32).reshape(3, 32, 32) % 251
    records = {role: bytes([i]) + photo.astype(np.uint8).tobytes() for i, role in enumerate(cifar.ROLES)}
    return records | {"test_batch.bin": bytes([label]) + photo.astype(np.uint8).tobytes()}


def cifar_archive(path: Path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, contents in files.items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_10_is_read_from_its_files_or_its_archive(tmp_path, packed):
    if packed:
        cifar_archive(tmp_path / cifar.ARCHIVE, cifar_files())
    else:
        (tmp_path / cifar.FOLDER).mkdir()
        for name, contents in cifar_files().items():
            (tmp_path / cifar.FOLDER / name).write_bytes(contents)
    splits = load("cifar-10", tmp_path)
    assert (
        splits.train.fingerprint
        == load(str(tmp_path)).train.fingerprint
        == open_dataset(str(tmp_path)).train.fingerprint
    )
    assert splits.train.labels.tolist() == [0, 1, 2, 3, 4]
    assert splits.classes[splits.test.labels[0]] == "truck"
    assert splits.test.shape == (32, 32, 3)
    assert splits.test.images[0, 1, 2].tolist() == [34, (1024 + 34) % 251, (2048 + 34) % 251]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (cifar_files() | {"data_batch_3.bin": b"\0" * 3072}, "data_batch_3.bin: truncated"),
        (cifar_files(label=10), "test_batch.bin: label 10 of image 0 is out of range 0 to 9"),
        ({k: v for k, v in cifar_files().items() if k != "test_batch.bin"}, "test_batch.bin is missing"),
    ],
)
def test_a_wrong_cifar_archive_is_refused(tmp_path, files, reason):
    cifar_archive(tmp_path / cifar.ARCHIVE, files)
    with pytest.raises(NeoclassicError, match=reason):
        load("cifar-10", tmp_path)


def odd_archive(path, name, **about):
    """The archive, and one member more."""
    with tarfile.open(path, "w:gz") as archive:
        for role, contents in cifar_files().items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{role}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
        member = tarfile.TarInfo(name)
        for key, value in about.items():
            setattr(member, key, value)
        archive.addfile(member)


@pytest.mark.parametrize(
    ("name", "about", "reason"),
    [
        ("x/test_batch.bin", {"type": tarfile.SYMTYPE, "linkname": "nowhere"}, "is not a regular file"),
        ("x/test_batch.bin", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}, "is not a regular file"),
        ("x/data_batch_1.bin", {"type": tarfile.FIFOTYPE}, "is not a regular file"),
        ("x/data_batch_1.bin", {"type": tarfile.DIRTYPE}, "is not a regular file"),
        ("../../outside/data_batch_1.bin", {}, "points outside its folder"),
        ("/tmp/readme.html", {}, "points outside its folder"),
    ],
)
def test_a_cifar_archive_with_a_link_or_a_name_that_leads_out_is_refused(tmp_path, name, about, reason):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    odd_archive(tmp_path / "deep" / "er" / cifar.ARCHIVE, name, **about)
    with pytest.raises(NeoclassicError, match=f"{cifar.ARCHIVE}: damaged: .*{reason}"):
        load("cifar-10", tmp_path / "deep" / "er")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [cifar.ARCHIVE]


def test_no_damage_to_a_cifar_archive_gets_past_the_one_clear_line(tmp_path):
    cifar_archive(tmp_path / cifar.ARCHIVE, cifar_files())
    plain = gzip.decompress((tmp_path / cifar.ARCHIVE).read_bytes())
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(100):
        damaged = bytearray(plain)
        for at in rng.integers(0, 1024, rng.choice([1, 3, 9])):
            damaged[at] = rng.integers(256)
        (tmp_path / cifar.ARCHIVE).write_bytes(gzip.compress(bytes(damaged), 1))
        try:
            load("cifar-10", tmp_path)
        except NeoclassicError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not any("\n" in line for line in refused)


def test_a_cut_cifar_archive_is_refused(tmp_path):
    cifar_archive(tmp_path / cifar.ARCHIVE, cifar_files())
    whole = (tmp_path / cifar.ARCHIVE).read_bytes()
    (tmp_path / cifar.ARCHIVE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NeoclassicError, match="damaged"):
        load("cifar-10", tmp_path)


@pytest.mark.parametrize("damage", [lambda d: d[:-8] + bytes(8), lambda d: d[:-8], lambda d: d + b"no gzip"])
def test_a_cifar_archive_is_verified_to_its_end(tmp_path, damage):
    cifar_archive(tmp_path / cifar.ARCHIVE, cifar_files())
    whole = (tmp_path / cifar.ARCHIVE).read_bytes()
    (tmp_path / cifar.ARCHIVE).write_bytes(damage(whole))
    with pytest.raises(NeoclassicError, match="damaged"):
        load("cifar-10", tmp_path)


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────


def test_fashion_mnist_is_in_the_package_as_published():
    source = SOURCES["fashion-mnist"]
    files = idx.find_files(sources.PACKAGE / source.packaged)
    sums = {role: hashlib.md5(gzip.decompress(path.read_bytes())).hexdigest() for role, path in files.items()}
    assert sums == {
        "train-images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels": "9018921c3c673c538a1fc5bad174d6f9",
        "test-images": "8181f5470baa50b63fa0f6fddb340f0a",
        "test-labels": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    assert "MIT" in (sources.PACKAGE / source.packaged / "LICENSE").read_text("utf-8")


def test_fashion_mnist_loads():
    splits = load("fashion-mnist")
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    assert splits.train.counts.tolist() == [6_000] * 10
    assert [splits.classes[label] for label in splits.train.labels[:4]] == ["ankle boot", "t-shirt", "t-shirt", "dress"]


def test_damage_to_the_packaged_files_is_seen(tmp_path, monkeypatch):
    write_idx(tmp_path / "fashion_mnist")
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    with pytest.raises(NeoclassicError, match="damaged: its checksum is wrong"):
        load("fashion-mnist")


@pytest.mark.parametrize("place", [".", "mnist", "raw", "MNIST/raw"])
def test_mnist_is_found_in_the_usual_places_of_a_data_folder(tmp_path, place):
    write_idx(tmp_path / "data" / place)
    splits = load("mnist", tmp_path / "data")
    assert len(splits.train) == 40
    assert splits.train.name == "mnist"


def test_the_folder_given_comes_before_the_package_the_cache_before_debian(tmp_path):
    write_idx(tmp_path / "debian" / "mnist", n=(20, 20, 20, 20))
    assert len(load("mnist").train) == 20
    write_idx(tmp_path / "cache" / "mnist", n=(30, 30, 20, 20))
    assert len(load("mnist").train) == 30
    write_idx(tmp_path / "data" / "fashion-mnist")
    assert len(load("fashion-mnist", tmp_path / "data").train) == 40


def test_a_name_or_folder_that_is_not_there_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match="unknown data set 'fashion-minst': did you mean 'fashion-mnist'"):
        load("fashion-minst")
    with pytest.raises(UsageError, match="no data folder 'photos/nowhere'"):
        load("photos/nowhere")
    with pytest.raises(UsageError, match=r"no data folder '.*nowhere'"):
        load("mnist", tmp_path / "nowhere")


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("NEOCLASSIC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "neoclassic"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))  # the account may have none
    monkeypatch.setattr("sys.platform", "linux")
    assert cache.folder() == Path.home() / ".cache" / "neoclassic"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache.folder() == Path.home() / "Library" / "Caches" / "neoclassic"


def test_files_of_another_data_set_with_the_same_names_are_told(tmp_path, run):
    shutil.copytree(sources.PACKAGE / "fashion_mnist", tmp_path / "clothes")
    code, out, err = run("train", "lenet", "--data", "mnist", "--data-dir", tmp_path / "clothes", "--max-steps", 1)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"neoclassic: {tmp_path / 'clothes'} holds fashion-mnist, not mnist: "
        "use --data fashion-mnist, or another --data-dir"
    )
