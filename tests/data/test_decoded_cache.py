"""The cache of decoded photos: what it believes, what it does where it cannot be written, and what may be removed."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import Preprocessing, cache, decode, decode_workers, not_images, preprocessing, scan
from neoclassic.data.undecoded import Undecoded

P = Preprocessing((16, 16), 3)
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder of the cache."""
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    decode.say_once.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def garden(tmp_path):
    for name in ("ants", "bees"):
        (tmp_path / "garden" / name).mkdir(parents=True)
        for i in range(12):
            save(tmp_path / "garden" / name / f"{i}.png", 1000 * i + ord(name[0]))
    return tmp_path / "garden"


def save(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)).save(path, "PNG")


def part(garden):
    return scan(garden).split("all", P)


def decoded(place):
    return list((place / "decoded").iterdir())


# ── what it believes ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("several", [False, True])
def test_a_photo_replaced_while_it_is_decoded_and_put_back_is_never_kept(several, garden, place, monkeypatch):
    monkeypatch.setattr(decode_workers, "FEW", 0 if several else 128)
    folder, photo = scan(garden), garden / "ants" / "2.png"
    whole = photo.read_bytes()
    assert folder.infos
    save(photo, 12345)
    with pytest.raises(NeoclassicError, match=r"ants/2\.png: changed while it was read: run again$"):
        folder.split("all", P)
    photo.write_bytes(whole)
    assert decoded(place) == []
    again = part(garden)
    expected = Image.open(photo).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(again.images[again.paths.index(str(photo))], np.asarray(expected))


def test_a_photo_that_is_gone_for_a_moment_is_not_skipped_for_good(garden, place):
    folder, photo = scan(garden), garden / "ants" / "2.png"
    assert folder.infos
    photo.rename(garden / "aside")
    with pytest.raises(NeoclassicError, match="changed while it was read: run again"):
        folder.split("all", P)
    (garden / "aside").rename(photo)
    assert part(garden).skipped == ()


def zero(file):
    content = bytearray(file.read_bytes())
    content[200:900] = bytes(700)
    file.write_bytes(content)


def grow(file):
    file.write_bytes(file.read_bytes() + b"x")


def lie(file):
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"skipped": [[0, "is damaged"]]}))


DAMAGE = {
    "pixels": lambda entry: zero(entry / "images.npy"),
    "cut": lambda entry: os.truncate(entry / "images.npy", 3000),
    "grown": lambda entry: grow(entry / "images.npy"),
    "emptied": lambda entry: (entry / "images.npy").write_bytes(b""),
    "black": lambda entry: np.save(entry / "images.npy", np.zeros((24, 16, 16, 3), np.uint8)),
    "array gone": lambda entry: (entry / "images.npy").unlink(),
    "nothing told": lambda entry: (entry / "skipped.json").write_bytes(b""),
    "no list": lambda entry: (entry / "skipped.json").write_text("[]"),
    "told otherwise": lambda entry: lie(entry / "skipped.json"),
    "no text": lambda entry: (entry / "skipped.json").write_bytes(b"\xff\xfe\0"),
    "all gone": lambda entry: [file.unlink() for file in entry.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_anew(damage, garden, place, capsys):
    before = np.array(part(garden).images)
    (entry,) = decoded(place)
    DAMAGE[damage](entry)
    again = part(garden)
    np.testing.assert_array_equal(again.images, before)
    assert again.skipped == ()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"the decoded photos at {entry} are damaged: decoding them again"
    part(garden)
    assert capsys.readouterr().err == ""


def test_training_on_a_damaged_entry_gives_the_same_model(garden, place, run, tmp_path):
    words = ("--engine", "numpy", "--image-size", 28, "--epochs", 1)
    for name in ("a", "b"):
        code, _, err = run("train", "lenet", "--data", garden, *words, "--out", tmp_path / name)
        assert code == 0, err
        for entry in decoded(place):
            zero(entry / "images.npy")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


# ── where it cannot be written ───────────────────────────────────────────────────────────────────────


def unwritable(tmp_path, how):
    (tmp_path / "file").write_text("")
    return {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "cache", "a device": Path(os.devnull)}[how]


@pytest.mark.parametrize("how", ["a file", "below a file", "a device"])
@pytest.mark.parametrize("temporary", [True, False])
@pytest.mark.parametrize("several", [False, True])
def test_an_unusable_cache_is_done_without(how, temporary, several, garden, tmp_path, monkeypatch, capsys):
    (garden / "ants" / "1.png").write_bytes(b"no image")
    expected = np.array(part(garden).images)
    monkeypatch.setattr(decode_workers, "FEW", 0 if several else 128)
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(unwritable(tmp_path, how)))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(decode.tempfile, "tempdir", str(tmp_path / ("tmp" if temporary else "nowhere")))
    found = part(garden)
    np.testing.assert_array_equal(found.images, expected)
    assert len(found.skipped) == 1
    assert isinstance(found.images.base, np.memmap) == temporary
    assert list((tmp_path / "tmp").iterdir()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cannot use the cache at ")
    assert line.endswith("every run decodes the photos again; set NEOCLASSIC_CACHE to a folder that can be written")


def elsewhere(garden, **changes):
    """A process of another environment that decodes the photos."""
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "NEOCLASSIC_CACHE")}
    code = (
        "import os, pwd, sys; sys.path.insert(0, sys.argv[2]); os.getuid = lambda: 54321\n"  # which has no account
        "from neoclassic.base.errors import NeoclassicError; from neoclassic.data import *\n"
        "try: print(len(scan(sys.argv[1]).split('all', Preprocessing((16, 16), 3)).images))\n"
        "except NeoclassicError as error: print(error.exit_code, error)"
    )
    command = [sys.executable, "-c", code, str(garden), str(SOURCE)]
    done = subprocess.run(command, env={**env, **changes}, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr.strip()


def test_an_account_without_a_home_needs_no_cache(garden):
    out, err = elsewhere(garden)
    assert out == "24"
    assert err == (
        "this account has no home folder to keep a cache in: every run decodes the photos again; "
        "set NEOCLASSIC_CACHE to a folder that can be written"
    )
    assert elsewhere(garden, TMPDIR="/nowhere")[0] == "24"


def test_a_home_that_nobody_has_is_a_wrong_call(garden):
    out, err = elsewhere(garden, NEOCLASSIC_CACHE="~nobody-here/cache")
    assert (out, err) == ("2 NEOCLASSIC_CACHE is '~nobody-here/cache', but there is no such user: set a full path", "")


def test_named_data_sets_need_no_cache_either(monkeypatch):
    def homeless():
        raise NeoclassicError("this account has no home folder")

    monkeypatch.setattr(cache, "folder", homeless)
    from neoclassic.data import load

    assert len(load("fashion-mnist").test) == 10_000


def test_others_can_read_what_one_has_decoded(garden, place):
    before = os.umask(0o022)
    try:
        part(garden)
    finally:
        os.umask(before)
    (entry,) = decoded(place)
    assert entry.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in entry.iterdir()} == {0o644}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_photos_stay_undecoded(code, garden, place, monkeypatch, capsys):
    def full(*_):
        raise OSError(code, os.strerror(code))

    expected = np.array(part(garden).images)
    cache.clear()
    monkeypatch.setattr(decode.os, "posix_fallocate", full)
    found = part(garden)
    assert isinstance(found.images, Undecoded)
    np.testing.assert_array_equal(found.images, expected)
    assert len(capsys.readouterr().err.splitlines()) == 1
    (entry,) = decoded(place)
    assert not (entry / "images.npy").exists()
    assert cache.decoded(entry).about.startswith("checked, but not kept")


def test_photos_that_had_no_room_are_decoded_once_there_is_room(garden, place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(decode.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
        assert isinstance(part(garden).images, Undecoded)
        patch.setattr(decode_workers, "_fill", lambda *_: pytest.fail("checked again"))
        assert isinstance(part(garden).images, Undecoded)
    assert isinstance(part(garden).images.base, np.memmap)


def test_the_whole_room_is_taken_before_anything_is_decoded(garden, place, monkeypatch):
    seen = []
    fill = decode_workers._fill

    def look(images, *rest):
        (file,) = place.glob("decoded/.making-*/images.npy")
        seen.append(file.stat().st_blocks * 512 >= 24 * 16 * 16 * 3)
        return fill(images, *rest)

    monkeypatch.setattr(decode_workers, "_fill", look)
    part(garden)
    assert set(seen) == {True}


def test_a_file_system_that_cannot_reserve_is_no_obstacle(garden, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(decode.os, "posix_fallocate", unknown)
    assert len(part(garden)) == 24


# ── what killed processes leave ──────────────────────────────────────────────────────────────────────

HOLD = (
    "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from neoclassic.data import cache\n"
    "with cache.making(Path(sys.argv[2])) as work:\n"
    "    (work / 'images.npy').write_bytes(b'half'); print(work, flush=True); time.sleep(60)"
)


@pytest.fixture
def holding(place):
    """A process that fills a folder of the cache."""
    command = [sys.executable, "-c", HOLD, str(SOURCE), str(place / "decoded")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_fills_is_not(garden, holding):
    process, work = holding
    part(garden)
    assert work.is_dir()
    assert cache.entries()[0].path != work
    process.kill()
    process.wait()
    assert "unfinished" in cache.entries()[0].about
    (garden / "ants" / "0.png").unlink()
    part(garden)
    assert not work.exists()


def test_a_process_killed_while_it_moves_the_finished_folder_leaves_nothing_for_long(garden, place, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(work, target):
        shutil.copytree(work, place / "decoded" / ".making-copy")  # as the kill would leave it, its lock included
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            part(garden)
    assert (place / "decoded" / ".making-copy" / "lock").exists()
    part(garden)
    assert [path.name for path in decoded(place) if path.name.startswith(".")] == []
    (entry,) = decoded(place)
    assert not (entry / "lock").exists()


@pytest.mark.parametrize(("days", "swept"), [(1, False), (8, True)])
def test_what_another_machine_left_is_swept_after_a_week(days, swept, garden, place):
    work = place / "decoded" / ".making-abc"
    work.mkdir(parents=True)
    (work / "lock").write_text("another machine's\n")
    for path in (work / "lock", work):
        os.utime(path, (time.time() - days * 86400,) * 2)
    part(garden)
    assert work.exists() != swept


def test_an_older_versions_leftover_is_swept_after_a_week_too(garden, place):
    work = place / "decoded" / ".making-0ldone"
    work.mkdir(parents=True)
    (work / "images.npy").write_bytes(b"half")
    part(garden)
    assert work.exists()
    for path in (work / "images.npy", work):
        os.utime(path, (0, 0))
    shutil.rmtree(garden / "ants")
    shutil.copytree(garden / "bees", garden / "ants")
    part(garden)
    assert not work.exists()


# ── what may be removed ──────────────────────────────────────────────────────────────────────────────


def test_only_what_neoclassic_made_is_listed_and_removed(garden, place, run, run_json):
    own = [
        *("thesis/thesis.tex", "mnist/train.csv", "decoded/holiday/film.mp4", "decoded/notes.txt", "looks/mine.json"),
        *("fetched/notes.txt", "top.txt"),
    ]
    for name in own:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("years of work")
    (place / "fetched" / "images.gz").write_text("x")
    cache.mark(place / "fetched", "images.gz")
    part(garden)
    (entry,) = (path for path in decoded(place) if len(path.name) == 32)
    (entry / "own.txt").write_text("years of work")
    listed = [e["path"] for e in run_json("cache")["entries"]]
    assert listed == [str(entry), str(place / "fetched")]
    code, _, err = run("cache", "--clear", "*")
    assert (code, err) == (0, "")
    left = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert left == {*own, f"decoded/{entry.name}/own.txt"}
    (entry / "own.txt").unlink()


def test_a_mark_cannot_name_what_is_elsewhere(place, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (place / "mnist").mkdir(parents=True)
    (place / "mnist" / cache.MARK).write_text("../../thesis.tex\n..\n\n/etc/hostname\n")
    cache.clear()
    assert (tmp_path / "thesis.tex").exists()


def test_a_linked_folder_is_not_emptied(place, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "images.npy").write_text("years of work")
    (place / "decoded").mkdir(parents=True)
    (place / "decoded" / ("0" * 32)).symlink_to(tmp_path / "photos")
    assert cache.clear() == []
    assert (tmp_path / "photos" / "images.npy").exists()


# ── what is opened ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
def test_only_regular_files_of_a_reasonable_size_are_opened(kind, tmp_path, monkeypatch):
    path = tmp_path / "x.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, not_images.MAX_FILE_BYTES + 1)
    what = {"pipe": "is a named pipe", "device": "is a device", "huge": "more than the limit of 512 MB"}[kind]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_, **__: pytest.fail("opened"))
        with pytest.raises(NeoclassicError, match=what):
            preprocessing.read_pixels(path, P)
    images, skipped = decode.decode([path], ["unread"], P, "a photo")
    assert (len(images), len(skipped)) == (0, 1)


def test_a_usage_error_is_not_taken_for_a_missing_cache(monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", "~nobody-here/x")
    with pytest.raises(UsageError):
        cache.path("decoded")
