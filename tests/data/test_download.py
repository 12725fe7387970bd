"""Downloads against servers on this machine: cut, resumed, altered, dead."""

import hashlib
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mirrors import BODY, dead, mirror

from neoclassic.base import locks
from neoclassic.base.errors import NeoclassicError, NeoclassicWarning
from neoclassic.data import SOURCES, cache, download, load, sources
from neoclassic.data.download import DownloadError, fetch

MD5 = hashlib.md5(BODY).hexdigest()


def test_a_file_is_fetched_and_nothing_is_left_over(tmp_path):
    with mirror() as (address, requests):
        path = fetch("a.gz", [address], tmp_path / "new", MD5)
    assert path.read_bytes() == BODY
    assert {p.name for p in path.parent.iterdir()} == {"a.gz", cache.MARK}
    assert requests == [("/a.gz", None)]


def test_a_cut_download_goes_on_where_it_was_cut(tmp_path):
    with mirror(cut=(300_000,)) as (address, requests):
        assert fetch("a.gz", [address], tmp_path, MD5).read_bytes() == BODY
    assert requests == [("/a.gz", None), ("/a.gz", "bytes=300000-")]


def test_what_an_earlier_run_left_is_gone_on_from(tmp_path):
    (tmp_path / "a.gz.part").write_bytes(BODY[:1000])
    with mirror() as (address, requests):
        assert fetch("a.gz", [address], tmp_path, MD5).read_bytes() == BODY
    assert requests == [("/a.gz", "bytes=1000-")]


def test_a_mirror_without_ranges_starts_over(tmp_path):
    (tmp_path / "a.gz.part").write_bytes(BODY[:1000])
    with mirror(ranges=False) as (address, _):
        assert fetch("a.gz", [address], tmp_path, MD5).read_bytes() == BODY


@pytest.mark.parametrize("left", [BODY, BODY + b"surplus", b"wrong" * 100])
def test_a_leftover_that_is_whole_or_wrong_does_not_stand_in_the_way(tmp_path, left):
    (tmp_path / "a.gz.part").write_bytes(left)
    with mirror() as (address, _):
        assert fetch("a.gz", [address], tmp_path, MD5).read_bytes() == BODY


def test_a_wrong_checksum_a_refusal_and_silence_lead_to_the_next_mirror(tmp_path):
    with mirror(BODY[::-1]) as (altered, _), mirror(status=404) as (refusing, _), mirror() as (good, _):
        assert fetch("a.gz", [altered, refusing, dead(), good], tmp_path, MD5).read_bytes() == BODY


def test_when_no_mirror_gives_it_each_is_named_with_its_fault(tmp_path):
    with (
        mirror(BODY[::-1]) as (altered, _),
        mirror(status=503) as (down, _),
        mirror(cut=(9, 9, 9)) as (cutting, _),
        pytest.raises(DownloadError) as error,
    ):
        fetch("a.gz", [altered, down, cutting, dead()], tmp_path, MD5)
    faults = str(error.value).split("; ")
    assert [fault.partition(": ")[2] for fault in faults[:3]] == [
        "wrong checksum",
        "answered 503",
        "interrupted 3 times",
    ]
    assert "refused" in faults[3]
    assert not (tmp_path / "a.gz").exists()


def test_a_mirror_that_hangs_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    release = threading.Event()

    class Hanging(BaseHTTPRequestHandler):
        def do_GET(self):
            release.wait()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        with pytest.raises(DownloadError, match="timed out"):
            fetch("a.gz", [f"http://127.0.0.1:{server.server_port}/"], tmp_path, MD5)
    finally:
        release.set()
        server.shutdown()
        server.server_close()


def test_a_longer_checksum_of_another_kind_is_checked_too(tmp_path):
    sha = hashlib.sha256(BODY).hexdigest()
    with mirror() as (address, _):
        assert fetch("a.gz", [address], tmp_path, sha[:8], "sha256").read_bytes() == BODY
        with pytest.raises(DownloadError, match="wrong checksum"):
            fetch("b.gz", [address], tmp_path, MD5[:8], "sha256")


def test_what_a_killed_process_left_does_not_stand_in_the_way(tmp_path):
    (tmp_path / "a.gz.lock").write_text("not even JSON")
    with mirror() as (address, _):
        fetch("a.gz", [address], tmp_path, MD5)
    assert {p.name for p in tmp_path.iterdir()} == {"a.gz", cache.MARK}


def test_of_two_that_want_a_file_one_downloads_it_and_the_other_waits(tmp_path, monkeypatch):
    """The server answers when the second one waits."""
    asked, waiting, paths = threading.Event(), threading.Event(), []
    monkeypatch.setattr(locks.time, "sleep", lambda _: waiting.set())
    with mirror(before=lambda: (asked.set(), waiting.wait(60))) as (address, requests):

        def want():
            paths.append(fetch("a.gz", [address], tmp_path, MD5))

        first = threading.Thread(target=want)
        first.start()
        assert asked.wait(60)
        with pytest.warns(NeoclassicWarning, match=f"download of a.gz is in progress in process {os.getpid()}: wait"):
            want()
        first.join()
    assert paths == [tmp_path / "a.gz"] * 2
    assert len(requests) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"a.gz", cache.MARK}


def test_a_full_disk_is_a_clear_line_and_what_was_got_is_kept(tmp_path):
    (tmp_path / "a.gz.part").symlink_to("/dev/full")
    with (
        mirror() as (address, _),
        pytest.raises(NeoclassicError, match="No space left on device; set NEOCLASSIC_CACHE"),
    ):
        fetch("a.gz", [address], tmp_path, MD5)
    assert not (tmp_path / "a.gz").exists()


def test_a_folder_that_cannot_be_written_is_a_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NeoclassicError, match=r"cannot write .*a\.gz\.part: .*set NEOCLASSIC_CACHE"):
        fetch("a.gz", [dead()], tmp_path / "file" / "cache", MD5)


def test_a_data_set_that_is_nowhere_says_where_it_was_looked_for_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "debian")
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], mirrors=(dead(), dead())))
    with pytest.raises(NeoclassicError) as error:
        load("mnist", tmp_path)
    line = str(error.value)
    assert "\n" not in line
    for part in (tmp_path / "mnist", tmp_path / "cache", tmp_path / "debian", "refused", "--data-dir", "t10k-labels"):
        assert str(part) in line
    assert error.value.exit_code == 1
