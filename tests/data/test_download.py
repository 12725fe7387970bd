"""Downloads against servers on this machine: cut, resumed, altered, dead."""

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from neoclassic.base.errors import NeoclassicError
from neoclassic.data import SOURCES, cache, download, load, sources
from neoclassic.data.download import DownloadError, fetch

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()


@contextmanager
def mirror(body=BODY, cut=(), ranges=True, status=None):
    """A server of one file. cut: after how many bytes each of the first answers ends. Yields address and requests."""
    requests, cuts = [], list(cut)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            requests.append((self.path, asked))
            start = int(asked[6:-1]) if asked and ranges else 0
            self.send_response(status or (416 if start >= len(body) else 206 if start else 200))
            self.send_header("Content-Length", str(max(len(body) - start, 0)))
            self.end_headers()
            self.wfile.write(body[start:][: cuts.pop(0) if cuts else None])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def dead():
    """An address where nothing listens."""
    with mirror() as (address, _):
        return address


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
