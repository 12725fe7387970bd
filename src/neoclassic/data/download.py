"""Files from mirrors, with a checksum: resumed where they were cut, and never half a file under its name."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from tqdm import tqdm

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.progress import QUIET
from neoclassic.data import cache

TIMEOUT = 10  # seconds without a byte
TRIES = 3  # of one mirror, each going on where the last was cut
BLOCK = 1 << 16
NETWORK = (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


class DownloadError(NeoclassicError):
    """No mirror gave the file. The message says what each of them did."""


def fetch(name: str, mirrors: Iterable[str], folder: Path, md5: str) -> Path:
    """The file of that name in the folder, downloaded from the first mirror that gives it whole.

    What has come stands in `name.part` until the checksum is right, and is gone on from by the next call.
    DownloadError when no mirror does; NeoclassicError when the folder cannot be written. The folder is marked as one
    whose file `neoclassic cache --clear` may remove.
    """
    target, part = folder / name, folder / f"{name}.part"
    faults = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cache.mark(folder, name)
        for mirror in mirrors:
            host = urlsplit(mirror).netloc
            for _ in range(TRIES):
                resumed = part.exists()
                try:
                    whole = _get(mirror + name, part)
                except NETWORK as error:
                    faults.append(f"{host}: {_reason(error)}")
                    break
                if whole and _md5(part) == md5:
                    os.replace(part, target)  # noqa: PTH105 — atomic on every system
                    return target
                if whole:
                    part.unlink()
                    if not resumed:
                        faults.append(f"{host}: wrong checksum")
                        break
            else:
                faults.append(f"{host}: cut {TRIES} times")
    except OSError as error:
        raise NeoclassicError(f"cannot write {part}: {error.strerror or error}; set NEOCLASSIC_CACHE") from None
    raise DownloadError("; ".join(faults) or "no mirror is known")


def _get(url: str, part: Path) -> bool:
    """Append to `part` what is missing of it; whether it is whole."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "neoclassic", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        with build_opener().open(Request(url, headers=headers), timeout=TIMEOUT) as response:  # today's proxies
            if response.status != 206:  # the mirror starts over
                start = 0
            length = int(response.headers.get("Content-Length") or -1)
            with (
                part.open("ab" if start else "wb") as file,
                tqdm(desc=part.stem, total=start + max(length, 0) or None, initial=start, **_BAR) as bar,
            ):
                while block := response.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
        return length < 0 or part.stat().st_size == start + length
    except HTTPError as error:
        if error.code == 416 and start:  # there is nothing after the part: it is whole, or wrong
            return True
        raise


_BAR = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "disable": None, "leave": False, "file": QUIET}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"answers {error.code}"
    return " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
