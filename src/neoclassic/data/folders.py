"""Folders of photos, by class, and tables of paths and labels.

    root/{train,val,test}/<class>/…     as it stands; without test, val is the test set
    root/<class>/…                      a fifth of each class is the test set
    table.csv                           columns path and label, perhaps split; paths from the table's folder

`layouts` says what else is understood, `listing` what counts as a photo, `tables` what a table may look like.

A held-out photo is chosen by a hash of its path: photos that are added later move no other one. Classes are
in the order of their names unless they are given, and are matched by name, never by position.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.files import expanded
from neoclassic.data import cache, layouts, tables
from neoclassic.data.dataset import Dataset, Splits
from neoclassic.data.decode import decode
from neoclassic.data.given import same
from neoclassic.data.listing import listed
from neoclassic.data.preprocessing import Preprocessing, header, orientation, read

ORDER: tuple[str, ...] = ("train", "validation", "test")
TEST = 0.2  # of each class, where no test set is set apart
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
CUT = 0.35  # of a photo that a crop may cut away: a 3:2 photo loses a third to a square
ALIKE = 1.1  # of aspect ratios, the largest over the smallest
TOO_FEW = {
    "validation": "add images, or train without one, --validation 0",
    "test": "add images, at least 3 of each class, or a folder for the test set",
}
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
    layout   how the folder or table is read where that is not plain, in words
    doubts   what may be meant otherwise, or is left out, in words
    surplus  files that are not read: no image, or of no class
    divided  the test set was chosen here: the folder has none of its own
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Photo, ...]]
    notes: tuple[str, ...] = ()
    layout: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
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
        readable = [photo for photo in photos if not self.looks[photo.path].error]
        digests = {photo.path: self.looks[photo.path].digest for photo in readable}
        about = f"{self.name} {name}"
        images, lost = decode([photo.path for photo in readable], [digests[p.path] for p in readable], p, about)
        reasons = {photo.path: self.looks[photo.path].error for photo in photos if photo.path not in digests}
        reasons |= {readable[i].path: reason for i, reason in lost}
        named = tuple((str(photo.path), reasons[photo.path]) for photo in photos if photo.path in reasons)
        if strict and named:
            listed = "; ".join(f"{path}: {reason}" for path, reason in named[:3])
            more = f"; and {len(named) - 3} more" if len(named) > 3 else ""
            raise NeoclassicError(f"{len(named)} of {len(photos)} images cannot be read: {listed}{more}")
        kept = [photo for photo in readable if photo.path not in reasons]
        labels = np.array([photo.label for photo in kept], np.int64)
        if name == "train":
            self._all_readable(photos, reasons)
        paths = tuple(str(photo.path) for photo in kept)
        origin = _fingerprint(self.classes, labels, [digests[photo.path] for photo in kept])
        return Dataset(self.name, images, labels, self.classes, paths, named, origin)

    def _all_readable(self, photos: Sequence[Photo], reasons: Mapping[Path, str]) -> None:
        """NeoclassicError for a class without a photo that can be read."""
        there = {photo.label for photo in photos if photo.path not in reasons}
        for label, about in enumerate(self.classes):
            if label not in there:
                first = next((f": {one.path}: {reasons[one.path]}" for one in photos if one.label == label), "")
                raise NeoclassicError(f"{self.root}: no image of class {about!r} can be read{first}")

    def at(self, p: Preprocessing, strict: bool = False) -> Splits:
        """Every part as p wants it. NeoclassicError where there is nothing to train on, to choose or to test with."""
        if not self.parts.get("train"):
            raise NeoclassicError(f"{self.root}: there is no training set")
        if len(self.classes) < 2:
            raise NeoclassicError(f"{self.root}: {one_class(self.classes[0])}")
        self._all_readable(self.parts["train"], {path: look.error for path, look in self.looks.items() if look.error})
        for part, remedy in TOO_FEW.items():
            if part in self.parts and not self.parts[part]:
                raise NeoclassicError(f"{self.root}: no class has enough images for a {part} set: {remedy}")
        train, test = self.part("train", p, strict), self.part("test", p, strict)
        if not train or not test:
            raise NeoclassicError(f"{self.root}: there is no test image that can be read")
        return Splits(train, test, self.part("validation", p, strict))


def one_class(name: str) -> str:
    """What is wrong where there is one class only."""
    return f"all images are of one class, {name!r}: put the photos of each class into a folder of its name"


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
    path = expanded(root)
    if path.is_dir():
        reading = layouts.read(listed(path), classes)
    elif path.is_file() and path.suffix.lower() in tables.ENDINGS:
        reading = tables.read(path)
    else:
        raise UsageError(f"{path} is no folder of photos and no .csv table")
    found = reading.parts
    names = tuple(classes or sorted(found.get("train") or next(iter(found.values()), {})))
    if not names:
        raise NeoclassicError(f"{path}: no photos: put those of each class in a folder of its name")
    known = {same(name): name for name in names}
    for part, by_class in found.items():
        where = path if part == "all" else f"{path}, {part}"
        if stranger := next((name for name in by_class if name not in known), None):
            raise NeoclassicError(f"{where}: {unknown('class', stranger, names)}")
        if missing := next((name for name in known if name not in by_class), None):
            raise NeoclassicError(f"{where}: the class {missing!r} is missing; the classes are {', '.join(names)}")
        empty = next((name for name in known if not by_class[name]), None)
        if empty and classes is None and part in ("all", "train"):
            raise NeoclassicError(f"{where}: the class {empty!r} has no images: add some, or remove its folder")
    parts = {
        part: [Photo(photo, label) for label, name in enumerate(known) for photo in by_class[name]]
        for part, by_class in found.items()
    }
    divided = "all" in parts or parts.keys() == {"train"}
    parts, notes = _divided(parts, path if path.is_dir() else path.parent, validation, seed)
    stem = path.resolve().name if path.is_dir() else path.stem
    ordered = {part: tuple(parts[part]) for part in ORDER if part in parts}
    told = tuple(notes), tuple(reading.layout), tuple(reading.doubts), tuple(reading.surplus)
    return Folder(stem, path, names, ordered, *told, divided)


# ── which are held out ───────────────────────────────────────────────────────────────────────────────


def _divided(
    parts: dict[str, list[Photo]], root: Path, validation: float, seed: int
) -> tuple[dict[str, list[Photo]], list[str]]:
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
    return parts, notes


def _hold_out(photos: list[Photo], root: Path, fraction: float, salt: str) -> tuple[list[Photo], list[Photo]]:
    """Of each class's n photos the ⌊fraction·n + ½⌋ whose salted paths have the smallest hashes, never all."""
    held = set()
    for label in {photo.label for photo in photos}:
        members = [photo for photo in photos if photo.label == label]
        members.sort(key=lambda photo: hashlib.sha256(f"{salt} {_within(photo.path, root)}".encode()).digest())
        held |= set(members[: min(int(fraction * len(members) + 0.5), len(members) - 1)])
    return [p for p in photos if p not in held], [p for p in photos if p in held]


def _within(path: Path, root: Path) -> str:
    return ascii(same((path.relative_to(root) if path.is_relative_to(root) else path).as_posix()))


# ── what the files tell ──────────────────────────────────────────────────────────────────────────────


def look(path: Path) -> Look:
    """Read a file, but decode no pixels. What is wrong with it is said in the result's `error`."""
    try:
        content = read(path)
    except NeoclassicError as error:
        return Look("unread", error=str(error).removeprefix(f"{path}: "))
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
    """`look` at each file, in threads; what is known of a file that has not changed since is taken from the cache.

    A failure is not remembered: rights and plug-ins change without the file."""
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
            before_look = Look(*told)
            if stamp and before == stamp and before_look.height and before_look.width and not before_look.error:
                found[path] = before_look
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        missing = [path for path in stamps if path not in found]
        found |= zip(missing, pool.map(look, missing), strict=True)
    kept = {path: stamp for path, stamp in stamps.items() if stamp and not found[path].error}
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
