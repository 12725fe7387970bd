"""The book's downloads: files by name, their checksums, archives; and what is said without a network."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from mirrors import BODY, dead, mirror

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.compat import d2l

SHA1 = hashlib.sha1(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _in_a_chapter(tmp_path, monkeypatch):
    """The book's notebooks lie in one folder per chapter, beside its `data`."""
    (tmp_path / "chapter").mkdir()
    monkeypatch.chdir(tmp_path / "chapter")


def test_a_file_is_downloaded_once_by_the_name_that_the_reader_gives_it(monkeypatch, tmp_path):
    with mirror(cut=(300_000,)) as (address, requests):
        monkeypatch.setitem(d2l.DATA_HUB, "shapes", (f"{address}shapes.bin", SHA1))
        found = d2l.download("shapes")
        assert d2l.download(name="shapes", cache_dir="../data") == found
    assert found == "../data/shapes.bin"
    assert (tmp_path / "data" / "shapes.bin").read_bytes() == BODY
    assert requests == [("/shapes.bin", None), ("/shapes.bin", "bytes=300000-")]


def test_an_address_needs_no_name_and_no_checksum(tmp_path):
    with mirror() as (address, _):
        assert d2l.download(f"{address}a.bin", "here") == "here/a.bin"
        assert d2l.download(f"{address}b.bin", "here", SHA1) == "here/b.bin"
        with pytest.raises(NeoclassicError, match="wrong checksum"):
            d2l.download(f"{address}c.bin", "here", "0" * 40)
    assert {p.name for p in Path("here").glob("*.bin")} == {"a.bin", "b.bin"}


def test_without_a_network_the_error_says_where_a_file_can_be_put(monkeypatch, tmp_path):
    monkeypatch.setitem(d2l.DATA_HUB, "shapes", (f"{dead()}shapes.bin", SHA1))
    place = tmp_path / "data" / "shapes.bin"
    with pytest.raises(NeoclassicError) as error:
        d2l.download("shapes")
    assert str(error.value).endswith(f"download it in another way and put it at {place}")
    place.write_bytes(b"an older file")
    with pytest.raises(NeoclassicError, match="the file that is there has a different checksum"):
        d2l.download("shapes")
    assert place.read_bytes() == b"an older file"
    place.write_bytes(BODY)
    assert d2l.download("shapes") == "../data/shapes.bin"


def test_the_books_names_are_known_and_others_are_refused():
    assert {"hotdog", "cifar10_tiny", "dog_tiny", "kaggle_house_train", "kaggle_house_test"} <= set(d2l.DATA_HUB)
    assert all(url.startswith(d2l.DATA_URL) and len(sha1) == 40 for url, sha1 in d2l.DATA_HUB.values())
    with pytest.raises(UsageError, match="unknown download 'hotdogs': did you mean 'hotdog'"):
        d2l.download("hotdogs")
    with pytest.raises(UsageError, match="names no file"):
        d2l.download("https://d2l.ai/")


def test_all_of_them_are_downloaded(monkeypatch, tmp_path):
    d2l_hub = dict(d2l.DATA_HUB)
    with mirror() as (address, _):
        for name in d2l_hub:
            monkeypatch.setitem(d2l.DATA_HUB, name, (f"{address}{name}.bin", SHA1))
        d2l.download_all()
    assert {p.stem for p in (tmp_path / "data").glob("*.bin")} == set(d2l_hub)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("shapes/a.txt", "a")
        archive.writestr("../../outside.txt", "x")
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("shapes/a.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"a"))
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "body"), [("shapes.zip", zipped()), ("shapes.tar.gz", tarred())])
def test_archives_are_unpacked_beside_themselves_and_nowhere_else(monkeypatch, tmp_path, name, body):
    if name.endswith(".tar.gz") and not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python cannot unpack a tar archive safely")
    with mirror(body) as (address, _):
        monkeypatch.setitem(d2l.DATA_HUB, "shapes", (f"{address}{name}", hashlib.sha1(body).hexdigest()))
        assert d2l.download_extract("shapes") == "../data/shapes"
        assert d2l.download_extract("shapes", "other") == "../data/other"
    assert (tmp_path / "data" / "shapes" / "a.txt").read_text() == "a"
    assert not list(tmp_path.glob("outside.txt"))
    d2l.extract(f"../data/{name}", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "shapes" / "a.txt").exists()


def test_what_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"not an archive")
    with pytest.raises(NeoclassicError, match=r"cannot unpack .*a\.zip .*: remove it and download it again"):
        d2l.extract(str(tmp_path / "a.zip"))
    with pytest.raises(NeoclassicError, match=r"cannot unpack .*b\.zip .*No such file"):
        d2l.extract(str(tmp_path / "b.zip"))


def test_a_tar_that_leaves_its_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../outside.txt"))
    with pytest.raises(NeoclassicError, match="cannot unpack"):
        d2l.extract(str(tmp_path / "a.tar"), str(tmp_path / "inside"))
    assert not (tmp_path / "outside.txt").exists()
