"""Photos that a user gives to a class, in memory: as they were given, and small for the page."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from neoclassic.base.errors import UsageError, unknown
from neoclassic.data.image_files import header
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.contract import Array
from neoclassic.web.intake import pixels_of

SMALL = Preprocessing((64, 64), 3, "crop")  # what the page shows
MOST = 2000  # photos
BYTES = 512 << 20  # of all photos
ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}  # of others: the format's name


@dataclass(frozen=True)
class Photo:
    """One photo. small: its pixels for the page, H×W×3 uint8."""

    number: int
    label: str
    content: bytes = field(repr=False)
    small: Array = field(repr=False)

    def pixels(self, p: Preprocessing) -> Array:
        """Its pixels for a network. NeoclassicError if it cannot be read."""
        return pixels_of(f"photo {self.number}", self.content, p)


class Photos:
    """The photos of all classes, in the order in which they came."""

    def __init__(self) -> None:
        self._all: dict[int, Photo] = {}
        self._next = 1
        self._lock = Lock()

    def __iter__(self) -> Iterator[Photo]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, label: str, content: bytes) -> Photo:
        """Keep a photo. One that its class has already, byte for byte, is returned as it is.

        UsageError for an invalid name, a photo that another class has, or too many of them; NeoclassicError if it
        cannot be read.
        """
        label = checked(label)
        small = pixels_of("photo", content, SMALL)
        with self._lock:
            for other in self._all.values():
                if other.content != content:
                    continue
                if other.label == label:
                    return other
                raise UsageError(f"this photo is in the class {other.label!r} already")
            if len(self._all) == MOST or sum(len(p.content) for p in self._all.values()) + len(content) > BYTES:
                raise UsageError(f"there is room for {MOST:,} photos of {BYTES >> 20} MiB in all: remove some")
            photo = self._all[self._next] = Photo(self._next, label, content, small)
            self._next += 1
        return photo

    def remove(self, numbers: list[int]) -> None:
        """Remove some. UsageError for one that is not there."""
        with self._lock:
            if missing := [n for n in numbers if n not in self._all]:
                raise unknown("photo", str(missing[0]), map(str, self._all))
            for n in numbers:
                del self._all[n]

    def rename(self, old: str, new: str) -> None:
        """Give the photos of a class another one. UsageError as from `add`."""
        new = checked(new)
        with self._lock:
            for n, photo in self._all.items():
                if photo.label == old:
                    self._all[n] = replace(photo, label=new)

    def zipped(self) -> bytes:
        """A zip file with a folder for each class, which `neoclassic train` reads once it is unpacked."""
        folders: dict[str, str] = {}
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for photo in self:
                if photo.label not in folders:
                    folders[photo.label] = _folder(photo.label, {name.lower() for name in folders.values()})
                kind = header(photo.content, "photo").format or "img"
                ending = ENDINGS.get(kind, kind.lower())
                archive.writestr(f"photos/{folders[photo.label]}/{photo.number:04}.{ending}", photo.content)
        return stream.getvalue()


def checked(label: str) -> str:
    """The name of a class, without needless spaces. UsageError for one that is empty, too long or not printable."""
    label = " ".join(label.split())
    if not label or len(label) > 60 or not label.isprintable():
        raise UsageError("the name of a class must have 1 to 60 printable characters")
    return label


def _folder(label: str, taken: set[str]) -> str:
    """A name that every file system takes, and that no other class has."""
    name = re.sub(r"[^\w -]", "_", label).strip(" _") or "class"
    if re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name, re.IGNORECASE):
        name += "_"
    return next(each for each in (name, *(f"{name}-{n}" for n in range(2, MOST))) if each.lower() not in taken)


def smalls(photos: list[Photo]) -> Array:
    """N×64×64×3 bytes of the photos."""
    return np.array([photo.small for photo in photos], np.uint8).reshape(len(photos), *SMALL.size, 3)
