"""The book's downloads: files by name or address, with their checksums, and archives.

A file that is already in the folder is used if its checksum is right. Downloads resume, and a file gets its name only
when it is complete. Nothing is printed but progress.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.files import intact
from neoclassic.data.download import DownloadError, fetch

FOLDER = os.path.join("..", "data")  # noqa: PTH118 — readers join it to strings
DATA_URL = "http://d2l-data.s3-accelerate.amazonaws.com/"
DATA_HUB: dict[str, tuple[str, str]] = {
    "kaggle_house_train": (f"{DATA_URL}kaggle_house_pred_train.csv", "585e9cc93e70b39160e7921475f9bcd7d31219ce"),
    "kaggle_house_test": (f"{DATA_URL}kaggle_house_pred_test.csv", "fa19780a7b011d9b009e8bff8e99922a8ee2eb90"),
    "hotdog": (f"{DATA_URL}hotdog.zip", "fba480ffa8aa7e0febbb511d181409f899b9baa5"),
    "cifar10_tiny": (f"{DATA_URL}kaggle_cifar10_tiny.zip", "2068874e4b9a9f0fb07ebe0ad2b29754449ccacd"),
    "dog_tiny": (f"{DATA_URL}kaggle_dog_tiny.zip", "0cb91d09b814ecdc07b50f31f8dcad3e81d6a86d"),
}


def download(
    url: str = "", folder: str = FOLDER, sha1_hash: str | None = None, *, name: str = "", cache_dir: str = ""
) -> str:
    """Download a file into a folder unless it is there, and return its path.

    url              an address, or a name in DATA_HUB, as in `download("hotdog")`
    sha1_hash        the SHA-1 checksum that the file must have; without one, any complete file is taken
    name, cache_dir  the older editions' names for `url` and `folder`

    UsageError for an unknown name; NeoclassicError, which says where the file can be put by hand, if it cannot be
    downloaded.
    """
    url, folder = url or name, cache_dir or folder
    if not url.startswith(("http://", "https://")):
        if url not in DATA_HUB:
            raise unknown("download", url, DATA_HUB)
        url, sha1_hash = DATA_HUB[url]
    file = Path(urlsplit(url).path).name
    if not file:
        raise UsageError(f"{url} names no file: its path must end with a file name")
    target = Path(folder, file)
    if intact(target, sha1_hash or "", "sha1"):
        return str(target)
    try:
        return str(fetch(file, [url.removesuffix(file)], target.parent, sha1_hash or "", "sha1"))
    except DownloadError as error:
        there = "; the file that is there has a different checksum" if target.exists() else ""
        raise DownloadError(
            f"cannot download {url} ({error}): download it in another way and put it at {target.resolve()}{there}"
        ) from None


def extract(filename: str, folder: str | None = None) -> None:
    """Unpack a zip or tar archive into a folder; by default into the one that it is in.

    No member is written outside the folder. NeoclassicError if the file is not such an archive, or is damaged.
    """
    place = folder or Path(filename).parent
    try:
        if zipfile.is_zipfile(filename):
            with zipfile.ZipFile(filename) as archive:
                archive.extractall(place)
        else:
            with tarfile.open(filename) as archive:
                if not hasattr(tarfile, "data_filter"):
                    raise NeoclassicError(f"cannot unpack {filename} safely with this Python: use 3.11.4 or newer")
                archive.extractall(place, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise NeoclassicError(f"cannot unpack {filename} ({error}): remove it and download it again") from None
    except OSError as error:
        raise NeoclassicError(f"cannot unpack {filename} into {place}: {error.strerror or error}") from None


def download_extract(name: str, folder: str | None = None) -> str:
    """Download and unpack an archive. Return the folder that is named like the archive, or `folder` beside it."""
    path = Path(download(name))
    extract(str(path))
    unpacked = path.parent / folder if folder else path.with_name(path.stem.removesuffix(".tar"))
    return str(unpacked)


def download_all() -> None:
    """Download every file in DATA_HUB."""
    for name in DATA_HUB:
        download(name)
