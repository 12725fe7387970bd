"""Files among the photos that are not images: what they are, and which are never opened."""

from __future__ import annotations

import stat
from pathlib import Path

MAX_FILE_BYTES = 512 << 20  # what the largest image takes uncompressed, with 16 bits per sample
SIGNATURES = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the image itself: run 'git lfs pull'"),
    (b"\x00\x05\x16\x07", "is macOS metadata (AppleDouble), not an image: remove it"),
    (b"%PDF", "is a PDF document, not an image"),
    (b"PK\x03\x04", "is a ZIP archive, not an image: unpack it"),
    (b"\x1f\x8b", "is a gzip archive, not an image: unpack it"),
    (b"Rar!", "is a RAR archive, not an image: unpack it"),
    (b"7z\xbc\xaf", "is a 7z archive, not an image: unpack it"),
)
FILE_TYPES = (
    (stat.S_ISDIR, "is a folder, not an image"),
    (stat.S_ISFIFO, "is a named pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


def describe(content: bytes) -> str | None:
    """Say what a file that is not an image is, judging by its content; None if it cannot be recognised."""
    for signature, description in SIGNATURES:
        if content.startswith(signature):
            return description
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
    """Say why a file must not be opened: it is missing, is not a regular file, or is too large. None if it may be."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "is a link to a file that does not exist" if path.is_symlink() else "no such image"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not stat.S_ISREG(status.st_mode):
        return next((words for is_type, words in FILE_TYPES if is_type(status.st_mode)), "is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        return f"has {status.st_size / 2**20:,.0f} MB, more than the limit of {MAX_FILE_BYTES >> 20} MB for an image"
    return None
