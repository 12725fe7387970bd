"""What can be wrong with a folder of photos, apart from duplicates: one function for each kind of finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neoclassic.data.fit import crop_loss
from neoclassic.data.folders import Folder, Photo, one_class
from neoclassic.data.image_files import header, read_file
from neoclassic.data.pixels import guessed_depth

TOO_FEW = 10  # training photos of a class
HOLDABLE = 5  # photos of a class of which a tenth rounds to one
RARE = 0.02  # of the photos: a format or colour mode this rare stands out
UNEVEN = 10  # the largest class over the smallest
CAN_BE_16_BIT = ("PNG", "TIFF", "PPM")  # formats
DARK = 64  # of 256 levels: what 14 bits stored in 16 reach

Counts = dict[str, dict[str, int]]  # photos by split and class


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    severity  "error" (spoils the result), "warning" (may do so) or "note"
    kind      one word, for programs
    text      for people
    paths     the files concerned; for duplicates, one entry per group
    brief     the same for people, if an entry may name many files
    """

    severity: str
    kind: str
    text: str
    paths: tuple[str, ...] = ()
    brief: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The files concerned, for people."""
        return self.brief or self.paths


def count(folder: Folder, without: Iterable[Path] = ()) -> Counts:
    """Count the photos of each class in each split, leaving out some of them."""
    left_out = set(without)
    counts: Counts = {}
    for split, photos in folder.splits.items():
        n = Counter(photo.label for photo in photos if photo.path not in left_out)
        counts[split] = {name: n[label] for label, name in enumerate(folder.classes)}
    return counts


def layout(folder: Folder) -> Iterator[Finding]:
    """How the folder was read."""
    if len(folder.classes) == 1:
        yield Finding("error", "one-class", one_class(folder.classes[0]))
    for text in folder.warnings:
        yield Finding("warning", "layout", text)
    for text in folder.layout:
        yield Finding("note", "layout", text)


def unreadable(folder: Folder, errors: Mapping[Path, str]) -> Iterator[Finding]:
    """Photos that cannot be read, with the reasons."""
    paths = tuple(f"{path}: {error}" for path, error in errors.items())
    if all(photo.path in errors for photo in folder.photos):
        yield Finding("error", "unreadable", "no image can be read", paths)
    elif errors:
        text = f"{images(len(errors))} cannot be read: training skips such images, or stops at them with --strict"
        yield Finding("warning", "unreadable", text, paths)


def classes(folder: Folder, errors: Mapping[Path, str]) -> Iterator[Finding]:
    """Classes that are empty, too small, or of very different sizes."""
    counts = count(folder, errors)
    train = counts.get("train", {})
    for split, by_class in counts.items():
        if empty := [name for name, n in by_class.items() if not n]:
            severity = "error" if split == "train" else "warning"
            yield Finding(severity, "empty", f"{split} has no readable image of {_listed(empty)}")
    if train and "validation" not in counts and max(train.values()) < HOLDABLE:
        text = "no class has enough images to hold out a tenth of them"
        yield Finding("warning", "held-out", f"{text}: train with --validation 0, or --head, or add images")
    if small := [f"{name} ({n})" for name, n in train.items() if 0 < n < TOO_FEW]:
        advice = "pretrained weights and --head, which validates on folds, make the most of few"
        yield Finding("warning", "tiny", f"fewer than {TOO_FEW} training images: {_listed(small)}; {advice}")
    if len(train) > 1 and 0 < UNEVEN * min(train.values()) < max(train.values()):
        least, most = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
        text = f"{most} has {train[most]:,} training images, {least} only {train[least]:,}"
        yield Finding("warning", "uneven", f"{text}: accuracy will be misleading, so look at each class's recall")


def turned(folder: Folder, photos: Sequence[Photo]) -> Iterator[Finding]:
    """Photos that only their EXIF orientation turns upright."""
    if paths := [photo.path for photo in photos if folder.infos[photo.path].orientation in range(2, 9)]:
        share = f"{len(paths) / len(photos):.0%} of the images are stored rotated, with an EXIF orientation"
        text = f"{share}: neoclassic turns them upright, but other tools may not"
        yield Finding("note", "turned", text, _strings(paths))


def odd(folder: Folder, photos: Sequence[Photo]) -> Iterator[Finding]:
    """Photos whose format or colour mode hardly any other has."""
    for attribute, words in (("format", "stored as"), ("mode", "in the colour mode")):
        values = {photo.path: getattr(folder.infos[photo.path], attribute) for photo in photos}
        counts = Counter(values.values())
        for value, n in counts.items():
            if n <= max(RARE * len(photos), 1) and len(photos) > 2:
                usual = counts.most_common(1)[0][0]
                paths = _strings(path for path, own in values.items() if own == value)
                text = f"{images(n)} {words} {value}, where most are {usual}: check that they belong here"
                yield Finding("warning", f"odd-{attribute}", text, paths)


def depths(folder: Folder, photos: Sequence[Photo]) -> Iterator[Finding]:
    """Images stored in 16 bits that use fewer: grey ones, whose depth is then a guess, and coloured ones."""
    guesses: dict[str, int] = {}
    dark = []
    for photo in photos:
        if folder.infos[photo.path].format not in CAN_BE_16_BIT:
            continue
        image = header(read_file(photo.path), str(photo.path))
        if image.mode.startswith("I") and (bits := guessed_depth(image)):
            guesses[str(photo.path)] = bits
        elif any(";16" in str(tile[3]) for tile in image.tile) and np.max(image.convert("RGB").getextrema()) < DARK:
            dark.append(photo.path)
    if guesses:
        counts = ", ".join(f"{bits} bits ({n:,})" for bits, n in sorted(Counter(guesses.values()).items()))
        text = f"{images(len(guesses))} stored in 16 or 32 bits seem to use fewer, judging by their largest values"
        several = len(set(guesses.values())) > 1
        more = ": some will look brighter than others, so convert all of them to 8 bits alike" if several else ""
        yield Finding("warning" if several else "note", "depth", f"{text}: {counts}{more}", tuple(guesses))
    if dark:
        text = f"{images(len(dark))} with 16 bits per colour use only the lowest of them and become almost black"
        yield Finding("warning", "dark", f"{text}: convert them to 8 bits first", _strings(dark))


def shapes(folder: Folder, photos: Sequence[Photo], size: tuple[int, int], fit: str) -> Iterator[Finding]:
    """Photos that are much smaller than `size`, and those that a crop spoils."""
    infos = {photo.path: folder.infos[photo.path] for photo in photos}
    small = [path for path, info in infos.items() if info.height < size[0] // 2 or info.width < size[1] // 2]
    if small:
        text = f"{images(len(small))} must be enlarged more than twice to become {size[0]}×{size[1]}"
        yield Finding("note", "small", text, _strings(small))
    losses = crop_loss(np.array([info.width / info.height for info in infos.values()]), size)
    if fit == "crop" and (cut := [path for path, loss in zip(infos, losses, strict=True) if loss > 0.5]):
        text = f"a centre crop cuts away more than half of {images(len(cut))}"
        yield Finding("warning", "cropped", f"{text}: use --fit pad to keep all of them", _strings(cut))


def unused(folder: Folder) -> Iterator[Finding]:
    """Files that are not read."""
    if folder.unused:
        text = f"{len(folder.unused):,} files are not read: they are not images, or are not in a class's folder"
        yield Finding("note", "surplus", text, _strings(folder.unused))


def images(n: int) -> str:
    """Return "1 image" or "n images"."""
    return "1 image" if n == 1 else f"{n:,} images"


def _strings(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(map(str, paths))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
