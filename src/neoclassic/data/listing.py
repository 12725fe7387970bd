"""What a folder holds: photos, other files, folders.

A photo is a file with the ending of an image format that is read here, or one with another ending, or none, whose
first bytes are those of an image. Hidden files and what systems keep beside photos are not seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.given import same
from neoclassic.data.suspects import refusal

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pnm"),
)
# Raw files begin like TIFF, but what is read of them is a preview; .thm and .db are thumbnails of cameras and Windows.
_RAW = "3fr arw cr2 dcr dng erf iiq k25 kdc mef mos mrw nef nrw orf pef raw rw2 rwl sr2 srf srw x3f"
NEVER = tuple(f".{name}" for name in f"{_RAW} db thm".split())
JUNK = (
    *("__macosx", "@eadir", "@__thumb", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"),
    *("system volume information", "network trash folder", "temporary items", "lost+found", "lost.dir", "__pycache__"),
)
STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes that a header of this format may have


@dataclass(eq=False)
class Place:
    """A folder and what is in it, without what is hidden.

    path        of the folder
    files       that are in the folder itself
    folders     inside it, linked ones among them
    unfollowed  links to folders that were read already, or that this one stands in
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Place] = field(default_factory=list)
    unfollowed: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the folder, in composed form."""
        return same(self.path.name)

    @cached_property
    def photos(self) -> list[Path]:
        """In the folder itself."""
        return [path for path in self.files if is_photo(path)]

    @cached_property
    def all_photos(self) -> list[Path]:
        """In it and in the folders inside it."""
        own = [(path.name, [path]) for path in self.photos]
        inner = [(folder.path.name, folder.all_photos) for folder in self.folders]
        return [photo for _, photos in sorted([*own, *inner]) for photo in photos]

    @property
    def places(self) -> Iterator[Place]:
        """This one and all inside it."""
        yield self
        for folder in self.folders:
            yield from folder.places


def listed(folder: str | os.PathLike[str]) -> Place:
    """What is in a folder. A linked folder is read where that cannot go on for ever and nothing is read twice.

    NeoclassicError for a folder that cannot be read."""
    read: set[str] = set()
    links: list[tuple[Place, Path]] = []
    root = _walk(Path(folder), read, links)
    while links:
        place, link = links.pop(0)
        target = os.path.realpath(link)
        if target in read or Path(os.path.realpath(place.path)).is_relative_to(target):
            place.unfollowed.append(link)
        else:
            place.folders.append(_walk(link, read, links))
    for place in root.places:
        place.folders.sort(key=lambda inner: inner.path.name)
    return root


def _walk(folder: Path, read: set[str], links: list[tuple[Place, Path]]) -> Place:
    read.add(os.path.realpath(folder))
    place = Place(folder)
    try:
        with os.scandir(folder) as entries:
            seen = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise NeoclassicError(f"{folder}: {error.strerror or error}") from None
    for entry in seen:
        path = folder / entry.name
        if not _is_folder(entry):
            place.files.append(path)
        elif entry.is_symlink():
            links.append((place, path))
        elif os.path.realpath(path) not in read:
            place.folders.append(_walk(path, read, links))
    return place


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def photos_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The photos in a folder and in those inside it, by name. NeoclassicError for a folder that cannot be read."""
    return listed(folder).all_photos


def is_photo(path: Path) -> bool:
    """Whether a file counts as a photo: by its ending, or for an ending that tells nothing by its first bytes."""
    ending = path.suffix.lower()
    if ending in ENDINGS or ending in NEVER:
        return ending in ENDINGS
    if refusal(path):
        return False
    try:
        with path.open("rb") as file:
            return _begins_as_image(file.read(32))
    except OSError:
        return False


def _begins_as_image(start: bytes) -> bool:
    if start.startswith(STARTS):
        return True
    if start[:4] == b"RIFF":
        return start[8:12] == b"WEBP"
    if start[4:8] == b"ftyp":
        return start[8:12] in BRANDS
    if start[:2] == b"BM":
        return int.from_bytes(start[14:18], "little") in BMP_HEADERS
    return start[:2] in (b"P4", b"P5", b"P6") and start[2:3].isspace() and (start[3:4].isdigit() or start[3:4] == b"#")
