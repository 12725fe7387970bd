"""Files among the photos that are no images: what they are instead, and which are never opened."""

from __future__ import annotations

import stat
from pathlib import Path

LARGEST = 512 << 20  # bytes of a file that is read: as much as the largest image takes uncompressed, at 16 bits
STARTS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the image itself: run 'git lfs pull'"),
    (b"\x00\x05\x16\x07", "is macOS metadata (AppleDouble), not an image: remove it"),
    (b"%PDF", "is a PDF document, not an image"),
    (b"PK\x03\x04", "is a ZIP archive, not an image: unpack it"),
    (b"\x1f\x8b", "is a gzip archive, not an image: unpack it"),
    (b"Rar!", "is a RAR archive, not an image: unpack it"),
    (b"7z\xbc\xaf", "is a 7z archive, not an image: unpack it"),
)
KINDS = (
    (stat.S_ISDIR, "is a folder, not an image"),
    (stat.S_ISFIFO, "is a named pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


def what_is(content: bytes) -> str | None:
    """What the content of a file that is no image is instead, in words; None where that cannot be told."""
    for start, told in STARTS:
        if content.startswith(start):
            return told
    if content and not content.strip(b"\0"):
        return "holds only zeros: the download or copy was not finished"
    text = content[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "is an SVG drawing: convert it to PNG first"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "is an HTML page, not an image: download it again"
    if text.startswith(b"<?xml"):
        return "is an XML document, not an image: download it again"
    if text.startswith((b'{"', b"{\n", b"{\r\n", b"[{")):
        return "is a JSON document, not an image: download it again"
    return None


def refusal(path: Path) -> str | None:
    """Why a file is not opened: it is not there, is no regular file, or is too large. None for one that may be read."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "is a link to a file that is not there" if path.is_symlink() else "no such image"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not stat.S_ISREG(found.st_mode):
        return next((told for is_kind, told in KINDS if is_kind(found.st_mode)), "is not a regular file")
    if found.st_size > LARGEST:
        return f"has {found.st_size / 2**20:,.0f} MB, more than the {LARGEST >> 20} MB that an image may have"
    return None
