"""Folders of photos, by class, and tables of paths and labels.

    root/{train,val,test}/<class>/…     used as it is; without a test folder, val is the test set, or is kept if a
                                        fraction is given for the test set
    root/<class>/…                      a fifth of each class becomes the test set, or that fraction
    table.csv                           columns path and label, optionally split; paths are relative to the table

`layouts` describes the other layouts that are understood, `listing` which files are photos, and `tables` the tables.

A photo is held out according to a hash of its path, so photos that are added later move no others. Classes are sorted
by name unless they are given, and are matched by name, never by position.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.files import expanded
from neoclassic.data import class_names, tables
from neoclassic.data.dataset import Dataset, Splits
from neoclassic.data.decode import decode, decode_unread
from neoclassic.data.decode_workers import number, workers
from neoclassic.data.file_info import FileInfo, read_all, read_info, read_infos
from neoclassic.data.fit import choose_fit
from neoclassic.data.layouts import PhotosByClass, read_layout
from neoclassic.data.listing import read_directory
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.data.user_text import nfc

ORDER: tuple[str, ...] = ("train", "validation", "test")
TEST = 0.2  # of each class, if there is no test set
SAMPLE = 256  # photos that show which preprocessing all of them will get
SHOWN = 20  # names of classes in a message
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
TOO_FEW = {
    "validation": "train with --head, which validates on folds; or add images, or use --validation 0",
    "test": "with 2 of each, use --test 0.5; or add images, at least 3 of each class, or a folder for the test set",
}


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True, eq=False)
class Folder:
    """Photos that are listed but not decoded.

    name      of the folder
    root      its path
    classes   in the order of the labels
    splits    the photos of "train", "validation" and "test", for those that exist, by path
    notes     how the splits were chosen, in words
    layout    how the folder or table is read, in words, if that is not obvious
    warnings  what may be meant differently, or is left out, in words
    unused    files that are not read: they are no images, or belong to no class
    test_of   the set that the test set was taken from: "test", "validation", or "train" if it was chosen here
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Photo, ...]]
    notes: tuple[str, ...] = ()
    layout: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unused: tuple[Path, ...] = ()
    test_of: str = "test"

    @cached_property
    def photos(self) -> tuple[Photo, ...]:
        """The photos of every split, each once."""
        return tuple(dict.fromkeys(photo for photos in self.splits.values() for photo in photos))

    @cached_property
    def infos(self) -> dict[Path, FileInfo]:
        """What each file says before it is decoded, read once."""
        return read_infos([photo.path for photo in self.photos], self.root)

    def look(
        self,
        size: tuple[int, int],
        channels: int | None = None,
        fit: str | None = None,
        keep: float | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        """Read many new photos in one pass: `infos`, and the pixels that `prepare` will look for in the cache.

        The parameters are those of `preprocessing`, and the fraction that a crop keeps. A sample of the photos chooses
        what is not given; if all of them choose otherwise in the end, `prepare` decodes them again. before: is called
        first, if there are any new photos.
        """

        def read(missing: Sequence[Path]) -> Iterable[FileInfo]:
            if missing:
                before()
            if len(missing) < len(self.photos):
                return read_all(missing)
            sample = [read_info(photo.path) for photo in self.photos[:: len(self.photos) // SAMPLE + 1]]
            p = _preprocessing(sample, size, channels, fit)
            p = replace(p, keep=keep or p.keep)
            infos: dict[Path, FileInfo] = {}
            with workers(number(len(missing))) as crew:
                for name, photos in self.splits.items():
                    if paths := [photo.path for photo in photos if photo.path not in infos]:
                        infos |= zip(paths, decode_unread(paths, p, f"{self.name} {name}", crew), strict=True)
            return [infos[path] for path in missing]

        if number(len(self.photos)) and "infos" not in vars(self):
            with suppress(OSError):  # without a cache they are read and decoded one after the other
                vars(self)["infos"] = read_infos([photo.path for photo in self.photos], self.root, read)

    @property
    def digests(self) -> dict[str, list[str]]:
        """What an artefact stores about its photos: the first 12 hex digits of each file's SHA-256, by split."""
        return {split: [self._digest(photo) for photo in photos] for split, photos in self.splits.items()}

    def _digest(self, photo: Photo) -> str:
        return self.infos[photo.path].digest[:12]

    def preprocessing(
        self, size: tuple[int, int], channels: int | None = None, fit: str | None = None
    ) -> Preprocessing:
        """Return the record that brings these photos to a height and width.

        channels: by default 1 if every photo is grey, else 3. fit: by default chosen by `choose_fit`.
        """
        return _preprocessing(self.infos.values(), size, channels, fit)

    def split(self, name: str, p: Preprocessing, strict: bool = False) -> Dataset | None:
        """Decode "train", "validation", "test" or "all" as p says; None if there is no such split.

        Photos that cannot be read are left out and listed in `skipped`; with `strict`, a NeoclassicError names them.
        NeoclassicError if a class of the training set has no photo that can be read.
        """
        photos = self.photos if name == "all" else self.splits.get(name)
        return None if photos is None else self._decode(photos, name, p, strict)

    def test_set(self, p: Preprocessing, trained_on: Mapping[str, Sequence[str]] | None = None) -> Dataset:
        """Decode the test set, or, if the folder has none, all photos that the model was not trained on.

        trained_on: the `digests` that the model's artefact stores. A folder's validation set is its test set unless it
        chose the model. NeoclassicError if nothing is left, or nothing of it can be read.
        """
        known = {split: set((trained_on or {}).get(split, ())) for split in ORDER}
        photos = self.splits.get("test", ())
        chose = self.test_of == "validation" and any(self._digest(photo) in known["validation"] for photo in photos)
        if self.test_of == "train" or chose:
            unseen = [photo for photo in self.photos if self._digest(photo) not in known["train"] | known["validation"]]
            photos = tuple(unseen or (photo for photo in self.photos if self._digest(photo) in known["test"]))
            if not photos:
                raise NeoclassicError(f"{self.root}: the model was trained on all of it: name other images with --data")
        test = self._decode(photos, "test", p, strict=False)
        if not test:
            raise self._nothing_to_test(test)
        return test

    def prepare(self, p: Preprocessing, strict: bool = False) -> Splits:
        """Decode every split as p says. NeoclassicError if there is nothing to train on, to validate or to test on."""
        if not self.splits.get("train"):
            raise NeoclassicError(f"{self.root}: there is no training set")
        if len(self.classes) < 2:
            raise NeoclassicError(f"{self.root}: {one_class(self.classes[0])}")
        errors = {path: info.error for path, info in self.infos.items() if info.error}
        self._require_every_class(self.splits["train"], errors)
        for split, remedy in TOO_FEW.items():
            if split in self.splits and not self.splits[split]:
                raise NeoclassicError(f"{self.root}: no class has enough images for a {split} set: {remedy}")
        train, test = self.split("train", p, strict), self.split("test", p, strict)
        if not train or not test:
            raise self._nothing_to_test(test)
        return Splits(train, test, self.split("validation", p, strict))

    def _nothing_to_test(self, test: Dataset | None) -> NeoclassicError:
        """The error for a test set without an image that can be read."""
        why = f": {': '.join(test.skipped[0])}" if test is not None and test.skipped else ""
        return NeoclassicError(f"{self.root}: no test image can be read{why}")

    def _decode(self, photos: Sequence[Photo], name: str, p: Preprocessing, strict: bool) -> Dataset:
        readable = [photo for photo in photos if not self.infos[photo.path].error]
        digests = {photo.path: self.infos[photo.path].digest for photo in readable}
        about = f"{self.name} {name}"
        images, skipped = decode([photo.path for photo in readable], [digests[p.path] for p in readable], p, about)
        errors = {photo.path: self.infos[photo.path].error for photo in photos if photo.path not in digests}
        errors |= {readable[i].path: error for i, error in skipped}
        unreadable = tuple((str(photo.path), errors[photo.path]) for photo in photos if photo.path in errors)
        if strict and unreadable:
            first = "; ".join(f"{path}: {error}" for path, error in unreadable[:3])
            more = f"; and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
            see = f"; 'neoclassic check {self.root} --out findings.csv' lists them all" if more else ""
            raise NeoclassicError(f"{len(unreadable)} of {len(photos)} images cannot be read: {first}{more}{see}")
        decoded = [photo for photo in readable if photo.path not in errors]
        labels = np.array([photo.label for photo in decoded], np.int64)
        if name == "train":
            self._require_every_class(photos, errors)
        paths = tuple(str(photo.path) for photo in decoded)
        origin = _fingerprint(self.classes, labels, [digests[photo.path] for photo in decoded])
        return Dataset(self.name, images, labels, self.classes, paths, unreadable, origin)

    def _require_every_class(self, photos: Sequence[Photo], errors: Mapping[Path, str]) -> None:
        """NeoclassicError for a class without a photo that can be read."""
        present = {photo.label for photo in photos if photo.path not in errors}
        for label, name in enumerate(self.classes):
            if label not in present:
                first = next((f": {one.path}: {errors[one.path]}" for one in photos if one.label == label), "")
                raise NeoclassicError(f"{self.root}: no image of class {name!r} can be read{first}")


def _preprocessing(
    infos: Iterable[FileInfo], size: tuple[int, int], channels: int | None, fit: str | None
) -> Preprocessing:
    """`Folder.preprocessing` of photos with these infos."""
    readable = [info for info in infos if not info.error]
    if channels is None:
        channels = 1 if readable and all(info.mode in GREY for info in readable) else 3
    return Preprocessing(size, channels, fit or choose_fit(readable, size)[0])


def one_class(name: str) -> str:
    """The message if there is only one class."""
    return f"all images are of one class, {name!r}: put the photos of each class into a folder named after it"


def _fingerprint(classes: Sequence[str], labels: np.ndarray, digests: Sequence[str]) -> str:
    return hashlib.sha256(repr((classes, labels.tolist(), digests)).encode()).hexdigest()[:16]


# ── listing ──────────────────────────────────────────────────────────────────────────────────────────


def scan(
    root: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    validation: float = 0.0,
    seed: int = 0,
    test: float | None = None,
    split_seed: int | None = None,
) -> Folder:
    """List a folder, or a CSV table, of photos.

    classes: those of a model, whose order is kept. validation: the fraction of each class's training photos to hold
    out if there is no validation set; chosen by the seed. test: the fraction for the test set, and 0 for none beside
    the validation set; by default a fifth, or the folder's validation set. split_seed: chooses the test set too.

    UsageError for a path that is neither a folder nor a table, and for `test` where there is a test set;
    NeoclassicError, naming the class, if it is unknown, or if it is missing or without photos and no model's.
    """
    path = expanded(root)
    if path.is_dir():
        layout = read_layout(read_directory(path), classes)
    elif path.is_file() and path.suffix.lower() in tables.EXTENSIONS:
        layout = tables.read(path)
    else:
        raise UsageError(f"{path} is not a folder of photos or a .csv table")
    names = tuple(classes or sorted(layout.splits.get("train") or next(iter(layout.splits.values()), {})))
    if not names:
        raise NeoclassicError(f"{path}: no photos: put those of each class in a folder named after it")
    _check_classes(path, layout.splits, names, may_be_empty=classes is not None)
    if absent := [name for name in map(nfc, names) if not any(part.get(name) for part in layout.splits.values())]:
        layout.notes.append(f"there are no images of {_listed(absent)}")
    labels = {name: label for label, name in enumerate(dict.fromkeys(map(nfc, names)))}
    photos = {
        split: [Photo(photo, label) for name, label in labels.items() for photo in by_class.get(name, ())]
        for split, by_class in layout.splits.items()
    }
    if test is not None and "test" in photos:
        raise UsageError(f"{path} has a test set of its own: leave out --test")
    test_of = next((split for split in ("test", "validation") if split in photos), "train")
    salts = _salts(seed, split_seed)
    splits, notes = _divide(photos, path if path.is_dir() else path.parent, validation, test, salts)
    return Folder(
        path.resolve().name if path.is_dir() else path.stem,
        path,
        names,
        {split: tuple(splits[split]) for split in ORDER if split in splits},
        tuple(notes),
        tuple(layout.notes),
        (*layout.warnings, *([] if classes else class_names.doubtful(names))),
        tuple(layout.unused),
        test_of,
    )


def _check_classes(path: Path, splits: Mapping[str, PhotosByClass], names: Sequence[str], may_be_empty: bool) -> None:
    """NeoclassicError for a class that is unknown, is missing from a split, or has nothing to train on.

    may_be_empty: a model that is evaluated needs no images of all its classes.
    """
    known = {nfc(name): name for name in names}
    for split, by_class in splits.items():
        where = path if split == "all" else f"{path}, {split}"
        if stranger := next((name for name in by_class if name not in known), None):
            raise NeoclassicError(f"{where}: {unknown('class', stranger, names, see=f'known: {_listed(names)}')}")
        if may_be_empty:
            continue
        if missing := next((name for name in known if name not in by_class), None):
            raise NeoclassicError(f"{where}: the class {missing!r} is missing; the classes are {_listed(names)}")
        empty = next((name for name in known if not by_class[name]), None)
        if empty and split in ("all", "train"):
            raise NeoclassicError(f"{where}: the class {empty!r} has no images: add some, or remove its folder")


def _listed(names: Sequence[str]) -> str:
    """The names with commas between them; of many only the first."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


# ── holding out ──────────────────────────────────────────────────────────────────────────────────────


def _salts(seed: int, split_seed: int | None) -> dict[str, str]:
    """What decides, with a photo's path, whether it is held out. By default no seed chooses the test set."""
    if split_seed is None:
        return {"test": "test", "validation": f"validation {seed}"}
    return {"test": f"test {split_seed}", "validation": f"validation {split_seed}"}


def _divide(
    splits: dict[str, list[Photo]], root: Path, validation: float, test: float | None, salts: Mapping[str, str]
) -> tuple[dict[str, list[Photo]], list[str]]:
    """Choose a test set and a validation set where they are missing, and say how. Parameters as in `scan`."""
    notes = []
    whole = "all" in splits or splits.keys() == {"train"}
    splits = {"train" if split == "all" else split: photos for split, photos in splits.items()}
    if whole or (test and "train" in splits):
        fraction = TEST if test is None else test
        if fraction:
            splits["train"], splits["test"] = _hold_out(splits["train"], root, fraction, salts["test"])
            of = "" if whole else " of the training set"
            notes.append(f"{fraction:.0%} of each class{of}, {len(splits['test']):,} images, are the test set")
    elif "test" not in splits and test is None:
        splits = {"test" if split == "validation" else split: photos for split, photos in splits.items()}
        notes.append("there is no test set: the validation set serves as one, and is used once, at the end")
    if validation and "train" in splits and "validation" not in splits:
        splits["train"], splits["validation"] = _hold_out(splits["train"], root, validation, salts["validation"])
        count = f"{validation:.0%} of each class of the training set, {len(splits['validation']):,} images,"
        notes.append(f"{count} are held out for validation")
    if "test" not in splits:
        if "validation" not in splits:
            raise UsageError(f"{root}: with --test 0 and --validation 0 nothing is held out: leave one of them out")
        splits["test"] = splits["validation"]
        notes.append(
            "there is no test set: the accuracy at the end is that of the validation set, which chose the model"
        )
    return splits, notes


def _hold_out(photos: list[Photo], root: Path, fraction: float, salt: str) -> tuple[list[Photo], list[Photo]]:
    """Return the photos to keep and to hold out.

    Of each class's n photos, ⌊fraction·n + ½⌋ are held out, never all: those whose salted paths have the smallest
    hashes.
    """
    by_label: dict[int, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo)
    held_out: set[Photo] = set()
    for members in by_label.values():
        members.sort(key=lambda photo: hashlib.sha256(f"{salt} {_relative(photo.path, root)}".encode()).digest())
        held_out |= set(members[: min(int(fraction * len(members) + 0.5), len(members) - 1)])
    return [p for p in photos if p not in held_out], [p for p in photos if p in held_out]


def _relative(path: Path, root: Path) -> str:
    return ascii(nfc((path.relative_to(root) if path.is_relative_to(root) else path).as_posix()))
