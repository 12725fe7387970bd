"""Listing a folder: its photos, its other files, and the folders inside it.

A file is a photo if its extension is one of the supported image formats, or if it has another extension, or none, and
its first bytes are those of an image. Hidden files, and what operating systems store next to photos, are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.not_images import refusal
from neoclassic.data.user_text import nfc

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pnm"),
)
# Raw files begin like TIFF, but only their preview could be read; .thm and .db are thumbnails of cameras and Windows.
_RAW = "3fr arw cr2 dcr dng erf iiq k25 kdc mef mos mrw nef nrw orf pef raw rw2 rwl sr2 srf srw x3f"
NEVER_PHOTOS = tuple(f".{name}" for name in f"{_RAW} db thm".split())
SYSTEM_FOLDERS = (
    *("__macosx", "@eadir", "@__thumb", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"),
    *("system volume information", "network trash folder", "temporary items", "lost+found", "lost.dir", "__pycache__"),
)
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".directory")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)  # bytes


@dataclass(eq=False)
class Directory:
    """A folder and what is in it, except what is hidden.

    path           of the folder
    files          directly in the folder
    folders        inside it, including linked ones
    skipped_links  links to folders that were read already, or that contain this one
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Directory] = field(default_factory=list)
    skipped_links: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's name, in composed Unicode."""
        return nfc(self.path.name)

    @cached_property
    def photos(self) -> list[Path]:
        """The photos directly in the folder."""
        return [path for path in self.files if is_photo(path)]

    @cached_property
    def all_photos(self) -> list[Path]:
        """The photos in the folder and in all folders inside it, by name."""
        own = [(path.name, [path]) for path in self.photos]
        inner = [(folder.path.name, folder.all_photos) for folder in self.folders]
        return [photo for _, photos in sorted([*own, *inner]) for photo in photos]

    def walk(self) -> Iterator[Directory]:
        """Yield this folder and all folders inside it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()


def read_directory(folder: str | os.PathLike[str]) -> Directory:
    """List a folder. Linked folders are followed unless that would be endless or read something twice.

    NeoclassicError for a folder that cannot be read.
    """
    read: set[str] = set()
    links: list[tuple[Directory, Path]] = []
    root = _walk(Path(folder), read, links)
    while links:
        parent, link = links.pop(0)
        target = os.path.realpath(link)
        if target in read or Path(os.path.realpath(parent.path)).is_relative_to(target):
            parent.skipped_links.append(link)
        else:
            parent.folders.append(_walk(link, read, links))
    for directory in root.walk():
        directory.folders.sort(key=lambda inner: inner.path.name)
    return root


def _walk(folder: Path, read: set[str], links: list[tuple[Directory, Path]]) -> Directory:
    read.add(os.path.realpath(folder))
    directory = Directory(folder)
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise NeoclassicError(f"{folder}: {error.strerror or error}") from None
    for entry in visible:
        path = folder / entry.name
        if not _is_folder(entry):
            directory.files.append(path)
        elif entry.is_symlink():
            links.append((directory, path))
        elif os.path.realpath(path) not in read:
            directory.folders.append(_walk(path, read, links))
    return directory


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def is_of_system(name: str) -> bool:
    """Return whether systems keep files or folders of this name next to photos: `__MACOSX`, `Thumbs.db`, `._1.jpg`."""
    lower = name.lower()
    return lower.startswith("._") or lower in (*SYSTEM_FOLDERS, *SYSTEM_FILES, ".thumbnails")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link
        return False


def photos_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the photos in a folder and in all folders inside it, by name.

    NeoclassicError for a folder that cannot be read.
    """
    return read_directory(folder).all_photos


def is_photo(path: Path) -> bool:
    """Return whether a file counts as a photo, by its extension or, if that is not known, by its first bytes."""
    extension = path.suffix.lower()
    if extension in EXTENSIONS or extension in NEVER_PHOTOS:
        return extension in EXTENSIONS
    if refusal(path):
        return False
    try:
        with path.open("rb") as file:
            return _begins_as_image(file.read(32))
    except OSError:
        return False


def _begins_as_image(start: bytes) -> bool:
    if start.startswith(SIGNATURES):
        return True
    if start[:4] == b"RIFF":
        return start[8:12] == b"WEBP"
    if start[4:8] == b"ftyp":
        return start[8:12] in BRANDS
    if start[:2] == b"BM":
        return int.from_bytes(start[14:18], "little") in BMP_HEADER_SIZES
    return start[:2] in (b"P4", b"P5", b"P6") and start[2:3].isspace() and (start[3:4].isdigit() or start[3:4] == b"#")
