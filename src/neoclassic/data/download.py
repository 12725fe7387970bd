"""Downloading files from mirrors. Interrupted downloads resume, and a file gets its name only when it is complete.

Of several processes that want the same file, one downloads it, and the others wait.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from neoclassic.base import locks
from neoclassic.base.errors import NeoclassicError
from neoclassic.base.files import intact
from neoclassic.base.progress import progress_bar
from neoclassic.data import cache

TIMEOUT = 10  # seconds without a byte
TRIES = 3  # per mirror, each resuming where the last one was cut off
BLOCK = 1 << 16
NETWORK_ERRORS = (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


class DownloadError(NeoclassicError):
    """No mirror delivered the file. The message says what each of them did."""


def fetch(name: str, mirrors: Iterable[str], folder: Path, digest: str, algorithm: str = "md5") -> Path:
    """Download a file into a folder from the first mirror that delivers all of it, and return its path.

    digest, algorithm: see `files.intact`. Until the checksum is right, the content is in `name.part`, and the next call
    resumes from it. The file is marked as one that `neoclassic cache --clear` may remove. A file that another process
    has finished in the meantime is returned as it is. DownloadError if no mirror delivers it; NeoclassicError if the
    folder cannot be written.
    """
    target, part = folder / name, folder / f"{name}{cache.PART}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cache.mark(folder, name)
        with locks.awaited(folder / f"{name}{cache.LOCKED}", f"the download of {name}"):
            if not intact(target, digest, algorithm):
                _deliver(name, mirrors, part, digest, algorithm)
                os.replace(part, target)  # noqa: PTH105 — atomic on every system
    except OSError as error:
        raise NeoclassicError(f"cannot write {part}: {error.strerror or error}; set NEOCLASSIC_CACHE") from None
    return target


def _deliver(name: str, mirrors: Iterable[str], part: Path, digest: str, algorithm: str) -> None:
    """Fill `part` with the whole file. DownloadError if no mirror delivers it."""
    failures = []
    for mirror in mirrors:
        host = urlsplit(mirror).netloc
        for _ in range(TRIES):
            resumed = part.exists()
            try:
                complete = _get(mirror + name, part)
            except NETWORK_ERRORS as error:
                failures.append(f"{host}: {_reason(error)}")
                break
            if complete and intact(part, digest, algorithm):
                return
            if complete:
                part.unlink()
                if not resumed:
                    failures.append(f"{host}: wrong checksum")
                    break
        else:
            failures.append(f"{host}: interrupted {TRIES} times")
    raise DownloadError("; ".join(failures) or "it has no mirror")


def _get(url: str, part: Path) -> bool:
    """Append what is missing to `part`. Return whether it is complete now."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "neoclassic", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        # a new opener reads the proxy settings as they are now
        with build_opener().open(Request(url, headers=headers), timeout=TIMEOUT) as response:
            if response.status != 206:  # the mirror sends the file from its beginning
                start = 0
            length = int(response.headers.get("Content-Length") or -1)
            with (
                part.open("ab" if start else "wb") as file,
                progress_bar(desc=part.stem, total=start + max(length, 0) or None, initial=start, **_BAR) as bar,
            ):
                while block := response.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
        return length < 0 or part.stat().st_size == start + length
    except HTTPError as error:
        if error.code == 416 and start:  # nothing comes after `part`: it is complete, or wrong
            return True
        raise


_BAR: Mapping[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False}


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"answered {error.code}"
    return " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
