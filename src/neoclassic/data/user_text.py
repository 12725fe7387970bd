"""Text that users provide, as their systems write it: file names in either Unicode form, and text files."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from pathlib import Path

from neoclassic.base.errors import NeoclassicError

BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def nfc(name: str) -> str:
    """Return a file name as composed Unicode (NFC), so that names from different systems compare equal.

    macOS decomposes accents, and Python escapes their bytes if the locale does not know them.
    """
    with suppress(UnicodeError):
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", name)


def read_text(path: Path) -> str:
    r"""Return the text of a file in UTF-8, or in UTF-16 as Excel and PowerShell write it; every line ends with \n.

    NeoclassicError, naming the file and the line, if it cannot be read, has another encoding or contains NUL bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NeoclassicError(f"{path}: {error.strerror or error}") from None
    encoding = _encoding(content)
    try:
        text = content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NeoclassicError(f"{path}, line {line}: this is not UTF-8 text: save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise NeoclassicError(f"{path}, line {line}: there is a NUL byte in the text: save the file again as UTF-8")
    return text


def _encoding(content: bytes) -> str:
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    if len(content) >= 8:  # in UTF-16 without a mark, every second byte of ASCII letters is zero
        if not any(content[1:8:2]) and all(content[0:8:2]):
            return "utf-16-le"
        if not any(content[0:8:2]) and all(content[1:8:2]):
            return "utf-16-be"
    return "utf-8"
