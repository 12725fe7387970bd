"""Folders of photos, by class, and tables of paths and labels.

    root/{train,val,test}/<class>/…     as it stands; without test, val is the test set
    root/<class>/…                      a fifth of each class is the test set
    table.csv                           columns path and label, perhaps split; paths from the table's folder

A held-out photo is chosen by a hash of its path: photos that are added later move no other one. Classes are
in the order of their names unless they are given, and are matched by name, never by position.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from neoclassic import files
from neoclassic.data import cache
from neoclassic.data.dataset import Dataset, Splits
from neoclassic.data.decode import decode
from neoclassic.data.preprocessing import Preprocessing, header, orientation
from neoclassic.errors import NeoclassicError, UsageError, unknown

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
ORDER: tuple[str, ...] = ("train", "validation", "test")
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pnm"),
)
TEST = 0.2  # of each class, where no test set is set apart
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
CUT = 0.35  # of a photo that a crop may cut away: a 3:2 photo loses a third to a square
ALIKE = 1.1  # of aspect ratios, the largest over the smallest
SETTLED = 2_000_000_000  # nanoseconds after which a file's times can be relied on


@dataclass(frozen=True)
class Photo:
    """A file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Look:
    """What a file tells before it is decoded: the SHA-256 of its content, and what its header says.

    width and height are those of the upright image; error says why there is no header, and they are 0.
    """

    digest: str
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    orientation: int = 1
    error: str = ""


@dataclass(frozen=True, eq=False)
class Folder:
    """Photos that are listed but not decoded.

    name     of the folder
    root     where it is
    classes  in the order of the labels
    parts    the photos of "train", "validation" and "test", as far as they exist, by path
    notes    what was decided about the parts, in words
    surplus  files that are not read: no image by their ending, or of no class
    divided  the test set was chosen here: the folder has none of its own
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Photo, ...]]
    notes: tuple[str, ...] = ()
    surplus: tuple[Path, ...] = ()
    divided: bool = False

    @property
    def photos(self) -> tuple[Photo, ...]:
        """Of every part."""
        return tuple(photo for part in self.parts.values() for photo in part)

    @cached_property
    def looks(self) -> dict[Path, Look]:
        """What each file tells, read once."""
        return look_at([photo.path for photo in self.photos], self.root)

    @property
    def marks(self) -> dict[str, list[str]]:
        """What an artefact keeps of its photos: of each part, the first 12 digits of the files' SHA-256."""
        return {part: [self._mark(photo) for photo in photos] for part, photos in self.parts.items()}

    def _mark(self, photo: Photo) -> str:
        return self.looks[photo.path].digest[:12]

    def preprocessing(
        self, size: tuple[int, int], channels: int | None = None, fit: str | None = None
    ) -> Preprocessing:
        """The record that brings these photos to a size; what is not given is chosen: see `choose_fit`.

        One channel if every photo is grey, else three."""
        seen = [look for look in self.looks.values() if not look.error]
        if channels is None:
            channels = 1 if seen and all(look.mode in GREY for look in seen) else 3
        return Preprocessing(size, channels, fit or choose_fit(seen, size)[0])

    def part(self, name: str, p: Preprocessing, strict: bool = False) -> Dataset | None:
        """ "train", "validation", "test" or "all", decoded; None where there is no such part.

        Photos that cannot be read are left out and stand in `skipped`; strict: NeoclassicError that names
        them. NeoclassicError if a class of the training set has none left.
        """
        photos = self.photos if name == "all" else self.parts.get(name)
        return None if photos is None else self._decoded(photos, name, p, strict)

    def test_set(self, p: Preprocessing, learnt: Mapping[str, Sequence[str]] | None = None) -> Dataset:
        """What a model is tested on: the test set, or of a folder without one, all photos that were not learnt.

        learnt: the `marks` of the photos that the model was trained and chosen with. NeoclassicError where
        nothing is left, or nothing of it can be read.
        """
        known = {mark for part in ("train", "validation") for mark in (learnt or {}).get(part, ())}
        photos = self.parts.get("test", ())
        if self.divided:
            photos = tuple(photo for photo in self.photos if self._mark(photo) not in known)
            if not photos:
                raise NeoclassicError(f"{self.root}: the model was trained on all of it: name other images with --data")
        test = self._decoded(photos, "test", p, strict=False)
        if not test:
            raise NeoclassicError(f"{self.root}: there is no test image that can be read")
        return test

    def _decoded(self, photos: Sequence[Photo], name: str, p: Preprocessing, strict: bool) -> Dataset:
        digests = [self.looks[photo.path].digest for photo in photos]
        images, skipped = decode([photo.path for photo in photos], digests, p, f"{self.name} {name}")
        lost = dict(skipped)
        named = tuple((str(photos[i].path), reason) for i, reason in skipped)
        if strict and named:
            listed = "; ".join(f"{path}: {reason}" for path, reason in named[:3])
            more = f"; and {len(named) - 3} more" if len(named) > 3 else ""
            raise NeoclassicError(f"{len(named)} of {len(photos)} images cannot be read: {listed}{more}")
        kept = [photo for i, photo in enumerate(photos) if i not in lost]
        labels = np.array([photo.label for photo in kept], np.int64)
        for label, about in enumerate(self.classes):
            if name == "train" and label not in labels:
                raise NeoclassicError(f"{self.root}: no image of class {about!r} can be read")
        paths = tuple(str(photo.path) for photo in kept)
        origin = _fingerprint(self.classes, labels, [digests[i] for i in range(len(photos)) if i not in lost])
        return Dataset(self.name, images, labels, self.classes, paths, named, origin)

    def at(self, p: Preprocessing, strict: bool = False) -> Splits:
        """Every part as p wants it. NeoclassicError where there is nothing to train on or to test with."""
        train, test = self.part("train", p, strict), self.part("test", p, strict)
        if not train or not test:
            raise NeoclassicError(f"{self.root}: there is no {'test' if train else 'training'} set")
        return Splits(train, test, self.part("validation", p, strict))


def _fingerprint(classes: Sequence[str], labels: np.ndarray, digests: Sequence[str]) -> str:
    return hashlib.sha256(repr((classes, labels.tolist(), digests)).encode()).hexdigest()[:16]


# ── what is there ────────────────────────────────────────────────────────────────────────────────────


def scan(
    root: str | os.PathLike[str], classes: Sequence[str] | None = None, validation: float = 0.0, seed: int = 0
) -> Folder:
    """List a folder, or a CSV table, of photos.

    classes: those of a model, whose order is kept. validation: the fraction of each class's training photos
    that is held out, where there is no validation part; chosen by the seed. UsageError for a path that is
    neither; NeoclassicError for a class that is unknown or missing, named, and for one without photos.
    """
    path = Path(root).expanduser()
    if path.is_dir():
        found, surplus = _folders(path)
    elif path.is_file() and path.suffix.lower() == ".csv":
        found, surplus = _table(path), []
    else:
        raise UsageError(f"{path} is no folder of photos and no .csv table")
    names = tuple(classes or sorted(found.get("train") or next(iter(found.values()), {})))
    if not names:
        raise NeoclassicError(f"{path}: no photos: put those of each class in a folder of its name")
    for part, by_class in found.items():
        where = path if part == "all" else f"{path}, {part}"
        if stranger := next((name for name in by_class if name not in names), None):
            raise NeoclassicError(f"{where}: {unknown('class', stranger, names)}")
        if missing := next((name for name in names if name not in by_class), None):
            raise NeoclassicError(f"{where}: the class {missing!r} is missing; the classes are {', '.join(names)}")
        empty = next((name for name in names if not by_class[name]), None)
        if empty and classes is None and part in ("all", "train"):
            raise NeoclassicError(f"{where}: the class {empty!r} has no images: add some, or remove its folder")
    parts = {
        part: [Photo(photo, label) for label, name in enumerate(names) for photo in by_class[name]]
        for part, by_class in found.items()
    }
    divided = "all" in parts or parts.keys() == {"train"}
    parts, notes = _divided(parts, path if path.is_dir() else path.parent, validation, seed)
    stem = path.resolve().name if path.is_dir() else path.stem
    ordered = {part: tuple(parts[part]) for part in ORDER if part in parts}
    return Folder(stem, path, names, ordered, notes, tuple(surplus), divided)


ByClass = dict[str, list[Path]]


def _folders(root: Path) -> tuple[dict[str, ByClass], list[Path]]:
    """The photos of each class of each part ("all" where the folder has no parts), and what is not read."""
    inside = _inside(root)
    parts = [entry for entry in inside if entry.is_dir() and entry.name.lower() in PARTS]
    if not any(child.is_dir() for part in parts for child in _inside(part.path)):
        parts = []
    found: dict[str, ByClass] = {}
    surplus = [Path(entry.path) for entry in inside if parts and entry not in parts]
    for place, role in [(part.path, PARTS[part.name.lower()]) for part in parts] or [(os.fspath(root), "all")]:
        if role in found:
            raise NeoclassicError(f"{root}: two folders are the {role} set; {place} is one")
        by_class = found.setdefault(role, {})
        for entry in _inside(place):
            if entry.is_dir():
                paths = list(files_in(entry.path))
                by_class[entry.name] = [path for path in paths if path.suffix.lower() in ENDINGS]
                surplus += [path for path in paths if path.suffix.lower() not in ENDINGS]
            else:
                surplus.append(Path(entry.path))
    return found, surplus


def _inside(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """What a folder holds, by name, without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise NeoclassicError(f"{os.fspath(folder)}: {error.strerror or error}") from None


def files_in(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The files in a folder and in those inside it, by name, without what is hidden. NeoclassicError for none such."""
    for entry in _inside(folder):
        if not entry.is_dir():
            yield Path(entry.path)
        elif not entry.is_symlink():  # it may lead in a circle
            yield from files_in(entry.path)


def _table(path: Path) -> dict[str, ByClass]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
            columns = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NeoclassicError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    for column in ("path", "label"):
        if column not in columns:
            raise NeoclassicError(f"{path}: no column {column!r}: the first line names path, label and perhaps split")
    found: dict[str, ByClass] = {}
    names = {(row[columns["label"]] or "").strip() for row in rows}
    for line, row in enumerate(rows, 2):
        photo, name = (row[columns["path"]] or "").strip(), (row[columns["label"]] or "").strip()
        part = (row[columns["split"]] or "").strip() if "split" in columns else "all"
        if not photo or not name:
            raise NeoclassicError(f"{path}, line {line}: the {'label' if photo else 'path'} is missing")
        if part != "all" and part.lower() not in PARTS:
            raise NeoclassicError(f"{path}, line {line}: {unknown('split', part, PARTS)}")
        by_class = found.setdefault(PARTS.get(part.lower(), part), {name: [] for name in sorted(names)})
        by_class[name].append(path.parent / photo)
    return found


# ── which are held out ───────────────────────────────────────────────────────────────────────────────


def _divided(
    parts: dict[str, list[Photo]], root: Path, validation: float, seed: int
) -> tuple[dict[str, list[Photo]], tuple[str, ...]]:
    notes = []
    if "all" in parts or parts.keys() == {"train"}:
        train, test = _hold_out(next(iter(parts.values())), root, TEST, "test")
        parts = {"train": train, "test": test}
        notes.append(f"{TEST:.0%} of each class, {len(test):,} images, are the test set")
    elif "test" not in parts:
        parts = {"test" if part == "validation" else part: photos for part, photos in parts.items()}
        notes.append("there is no test set: the validation set serves as one, and is used once, at the end")
    if validation and "train" in parts and "validation" not in parts:
        train, held = _hold_out(parts["train"], root, validation, f"validation {seed}")
        parts = {"train": train, "validation": held} | {k: v for k, v in parts.items() if k != "train"}
        notes.append(f"{validation:.0%} of each class of the training set, {len(held):,} images, are held out")
    return parts, tuple(notes)


def _hold_out(photos: list[Photo], root: Path, fraction: float, salt: str) -> tuple[list[Photo], list[Photo]]:
    """Of each class's n photos the ⌊fraction·n + ½⌋ whose salted paths have the smallest hashes, never all."""
    held = set()
    for label in {photo.label for photo in photos}:
        members = [photo for photo in photos if photo.label == label]
        members.sort(key=lambda photo: hashlib.sha256(f"{salt} {_within(photo.path, root)}".encode()).digest())
        held |= set(members[: min(int(fraction * len(members) + 0.5), len(members) - 1)])
    return [p for p in photos if p not in held], [p for p in photos if p in held]


def _within(path: Path, root: Path) -> str:
    return ascii(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix())


# ── what the files tell ──────────────────────────────────────────────────────────────────────────────


def look(path: Path) -> Look:
    """Read a file, but decode no pixels. What is wrong with it is said in the result's `error`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return Look("unread", error=error.strerror or str(error))
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = header(content, str(path))
    except NeoclassicError as error:
        return Look(digest, error=str(error).removeprefix(f"{path}: "))
    turned = orientation(image)
    w, h = image.size
    if image.format == "TIFF":  # which Pillow turns itself
        w, h = (int(image.tag_v2[side]) for side in (256, 257))  # type: ignore[attr-defined]
    w, h = (w, h) if turned < 5 else (h, w)
    return Look(digest, w, h, image.mode, image.format or "", turned)


def look_at(paths: Sequence[Path], root: Path) -> dict[Path, Look]:
    """`look` at each file, in threads; what is known of a file that has not changed since is taken from the cache."""
    place = cache.place("looks", f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.json")
    try:
        known = dict(json.loads(place.read_text("utf-8"))) if place else {}
    except (OSError, ValueError, TypeError):
        known = {}

    stamps = {path: _stamp(path) for path in paths}
    found = {}
    for path, stamp in stamps.items():
        with suppress(KeyError, TypeError, ValueError):
            before, told = known[os.fspath(path)]
            if stamp and before == stamp and not Look(*told).error:
                found[path] = Look(*told)
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        missing = [path for path in stamps if path not in found]
        found |= zip(missing, pool.map(look, missing), strict=True)
    kept = {path: stamp for path, stamp in stamps.items() if stamp and not found[path].error}  # errors may pass
    told_now = {os.fspath(path): [stamp, list(vars(found[path]).values())] for path, stamp in kept.items()}
    if place and told_now != known:
        with suppress(OSError, NeoclassicError):  # without a cache it only takes longer
            place.parent.mkdir(parents=True, exist_ok=True)
            files.write(place, json.dumps(told_now))
    return found


def _stamp(path: Path) -> list[int]:
    """What changes with a file; nothing for one that is gone, or so new that it may change within the clock's tick."""
    try:
        stat = path.stat()
    except OSError:
        return []
    recent = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < SETTLED
    return [] if recent else [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def choose_fit(looks: Sequence[Look], size: tuple[int, int]) -> tuple[str, str]:
    """How photos of these shapes best become a size, and why, in words.

    "crop" where nine in ten keep at least 1 − CUT of their area; else "stretch" where all are of one shape,
    so that all are bent alike; else "pad".
    """
    if not looks:
        return "crop", "there is nothing to see"
    ratios = np.array([look.width / look.height for look in looks])
    lost = cut(ratios, size)
    typical, most = np.quantile(lost, (0.5, 0.9))
    if most <= CUT:
        return "crop", f"a crop to the middle cuts {typical:.0%} off a typical image, and {most:.0%} off one in ten"
    low, high = np.quantile(ratios, (0.05, 0.95))
    if high <= ALIKE * low:
        return (
            "stretch",
            f"all images are about {np.median(ratios):.2f} times as wide as high; a crop cuts {typical:.0%}",
        )
    return "pad", f"shapes go from {low:.2f} to {high:.2f} times as wide as high; a crop cuts {most:.0%} off one in ten"


def cut(ratios: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of the area that a centre crop to a size cuts off images of these widths over heights."""
    relative = ratios * size[0] / size[1]
    return 1 - np.minimum(relative, 1 / relative)
