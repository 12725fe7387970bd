"""A checksum inside the file that it covers, for a format that has none: ONNX.

The metadata entry `file_sha256` is the SHA-256 of the file's bytes in which 64 zeros stand in place of the checksum.
"""

from __future__ import annotations

import hashlib
import re

KEY, BLANK = "file_sha256", "0" * 64
_ENTRY = re.compile(KEY.encode() + rb'\x12\x42"([0-9a-f]{64})"')  # in protobuf: the key, and a value of 66 bytes


def sealed(content: bytes) -> bytes:
    """The content of an ONNX file whose metadata have BLANK under KEY, with the checksum there instead."""
    place = _place(content)
    assert place is not None
    return content[: place.start] + _checksum(content, place).encode() + content[place.stop :]


def intact(content: bytes) -> bool | None:
    """Whether the file has the checksum of its own bytes; None if it has no checksum."""
    place = _place(content)
    return None if place is None else content[place] == _checksum(content, place).encode()


def _place(content: bytes) -> slice | None:
    entries = list(_ENTRY.finditer(content))
    return slice(*entries[-1].span(1)) if entries else None  # metadata are the last of a file


def _checksum(content: bytes, place: slice) -> str:
    view = memoryview(content)  # of hundreds of megabytes, perhaps, which slices of bytes would copy
    digest = hashlib.sha256(view[: place.start])
    digest.update(BLANK.encode())
    digest.update(view[place.stop :])
    return digest.hexdigest()
