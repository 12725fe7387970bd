"""What is wrong with a folder of photos, found before training on it, and said in words.

Near duplicates are photos whose 16×16 grey thumbnails correlate above NEAR: the same picture at another
size, quality or brightness. Mirrored, turned and cropped copies are not found.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.folders import Folder, Photo, choose_fit, cut, one_class
from neoclassic.data.preprocessing import Array, Preprocessing, guessed, header, read, read_pixels

NEAR = 0.995
FLAT = 4.0  # grey levels of deviation below which a thumbnail shows nothing to compare
MOST = 20_000  # photos among which near duplicates are looked for: the work grows with the square
FEW = 10  # photos of a class in the training set that are too few to learn from
HELD = 5  # photos of a class of which a tenth, rounded, is one
RARE = 0.02  # of the photos: what has a rarer format or colour mode stands out
UNEVEN = 10  # times as many photos in the largest class as in the smallest
MANY = 3  # findings that a brief check spells out
WIDE = ("PNG", "TIFF", "PPM")  # formats that have 16 bits
DIM = 64  # of 256 levels: what an image of 14 bits in 16 reaches
THUMBNAIL = (16, 16)
LARGE = 1 << 23  # pixels of an image that is decoded while no other is: it takes memory
WORDS = {"error": "wrong", "warning": "warning", "note": "note"}


Group = list[tuple[str, Photo]]  # photos with their parts


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    severity  "error" (spoils the result), "warning" (may do so) or "note"
    kind      of the finding, one word for programs
    text      in words
    paths     the files concerned; of duplicates, group by group
    """

    severity: str
    kind: str
    text: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What `check` found in a folder.

    counts   images of each class in each part
    notes    what was decided about the parts
    fit, why how images best become a size
    """

    folder: str
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    fit: str
    why: str
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> str | None:
        """The gravest severity found; None where nothing was."""
        return next((s for s in WORDS if any(f.severity == s for f in self.findings)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        findings = [
            {"severity": f.severity, "kind": f.kind, "text": f.text, "paths": list(f.paths)} for f in self.findings
        ]
        return {
            "folder": self.folder,
            "counts": self.counts,
            "notes": list(self.notes),
            "fit": {"fit": self.fit, "why": self.why},
            "findings": findings,
        }

    def text(self, most: int = 5) -> str:
        """For people: the counts, the findings with at most so many files each, and what to type next."""
        lines = [f"{self.folder}: {sum(sum(part.values()) for part in self.counts.values()):,} images"]
        for part, counts in self.counts.items():
            lines.append(f"  {part}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))
        lines += [f"  {note}" for note in self.notes]
        for severity, word in WORDS.items():
            for finding in (f for f in self.findings if f.severity == severity):
                lines += ["", f"{word}: {finding.text}"]
                lines += [f"    {path}" for path in finding.paths[:most]]
                if len(finding.paths) > most:
                    lines.append(f"    … and {len(finding.paths) - most:,} more")
        if not self.findings:
            lines += ["", "nothing is wrong with it"]
        lines += ["", f"fit: {self.fit}, as {self.why}"]
        lines += [f"next: neoclassic train resnet18 --data {self.folder}"]
        return "\n".join(lines)


def check(folder: Folder, size: tuple[int, int] = (224, 224)) -> Report:
    """Read and decode every photo of a folder, and tell what is wrong with it for training at that size."""
    thumbnails, failed = _thumbnails(folder)
    readable = [photo for photo in folder.photos if photo.path not in failed]
    fit, why = choose_fit([folder.looks[photo.path] for photo in readable], size)
    findings = [
        *_layout(folder),
        *_unreadable(folder, failed),
        *_classes(folder, failed),
        *_duplicates(folder),
        *_near(folder, [one for one in _placed(folder) if one[1].path in thumbnails], thumbnails),
        *_orientation(folder, readable),
        *_odd(folder, readable),
        *_depths(folder, readable),
        *_shapes(folder, readable, size, fit),
        *_surplus(folder),
    ]
    order = list(WORDS)
    findings.sort(key=lambda finding: order.index(finding.severity))
    return Report(str(folder.root), _counts(folder), tuple(findings), fit, why, folder.notes)


def brief(folder: Folder, p: Preprocessing) -> list[str]:
    """A few lines before training: the counts, what was decided and why, and what the headers tell is wrong.

    Nothing is decoded, so near duplicates and damaged pixels stay for `check`.
    """
    failed = {path: look.error for path, look in folder.looks.items() if look.error}
    readable = [photo for photo in folder.photos if photo.path not in failed]
    sizes = ", ".join(f"{part} {len(photos):,}" for part, photos in folder.parts.items())
    fit, why = choose_fit([folder.looks[photo.path] for photo in readable], p.size)
    lines = [f"{_images(len(folder.photos))} in {len(folder.classes)} classes: {sizes}", *folder.notes]
    lines.append(f"each becomes {p.size[0]}×{p.size[1]}, fit {p.fit}" + (f": {why}" if fit == p.fit else ""))
    lines += [f"{f.kind if f.severity == 'note' else WORDS[f.severity]}: {f.text}" for f in _layout(folder)]
    findings = [*_classes(folder, failed), *_duplicates(folder), *_odd(folder, readable)]
    seen = {f.paths or f.text: f for f in reversed(findings) if f.severity != "note"}  # a file's worst, once
    grave = list(reversed(seen.values()))
    lines += [f"{WORDS[f.severity]}: {f.text}" + (f" ({f.paths[0]})" if f.paths else "") for f in grave[:MANY]]
    more = f"{len(grave) - MANY} more; " if len(grave) > MANY else ""
    return lines + [f"{more}'neoclassic check {folder.root}' shows all"] * bool(grave or folder.doubts)


def _counts(folder: Folder, without: Iterable[Path] = ()) -> dict[str, dict[str, int]]:
    """Photos by part and class."""
    out = set(without)
    counted = {part: Counter(p.label for p in photos if p.path not in out) for part, photos in folder.parts.items()}
    return {part: {name: n[label] for label, name in enumerate(folder.classes)} for part, n in counted.items()}


def _thumbnails(folder: Folder) -> tuple[dict[Path, Array], dict[Path, str]]:
    """Grey, of each photo that training can read, by what training reads it with; and why it cannot read the others."""
    p = folder.preprocessing(THUMBNAIL, fit="stretch")

    def one(path: Path) -> Array | str:
        if error := folder.looks[path].error:
            return error
        try:
            pixels = read_pixels(path, p)
        except NeoclassicError as error:
            return str(error).removeprefix(f"{path}: ")
        return np.asarray(Image.fromarray(pixels.squeeze()).convert("L"))

    pixels = {photo.path: folder.looks[photo.path].width * folder.looks[photo.path].height for photo in folder.photos}
    small = [path for path, n in pixels.items() if n <= LARGE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(small, pool.map(one, small), strict=True))
    found = {path: found[path] if path in found else one(path) for path in pixels}
    failed = {path: value for path, value in found.items() if isinstance(value, str)}
    return {path: value for path, value in found.items() if not isinstance(value, str)}, failed


# ── one function a kind of finding ───────────────────────────────────────────────────────────────────


def _layout(folder: Folder) -> Iterator[Finding]:
    if len(folder.classes) == 1:
        yield Finding("error", "one-class", one_class(folder.classes[0]))
    for doubt in folder.doubts:
        yield Finding("warning", "layout", doubt)
    for text in folder.layout:
        yield Finding("note", "layout", text)


def _unreadable(folder: Folder, failed: dict[Path, str]) -> Iterator[Finding]:
    paths = tuple(f"{path}: {reason}" for path, reason in failed.items())
    if all(photo.path in failed for photo in folder.photos):
        yield Finding("error", "unreadable", "no image can be read", paths)
    elif failed:
        text = f"{_images(len(failed))} cannot be read: training leaves them out, --strict stops at them"
        yield Finding("warning", "unreadable", text, paths)


def _classes(folder: Folder, failed: dict[Path, str]) -> Iterator[Finding]:
    counts = _counts(folder, failed)
    train = counts.get("train", {})
    for part, by_class in counts.items():
        if empty := [name for name, n in by_class.items() if not n]:
            severity = "error" if part == "train" else "warning"
            yield Finding(severity, "empty", f"{part} has no readable image of {_listed(empty)}")
    if train and "validation" not in counts and max(train.values()) < HELD:
        text = "no class has enough images to hold a tenth of them out: train with --validation 0, or add images"
        yield Finding("warning", "held-out", text)
    if small := [f"{name} ({n})" for name, n in train.items() if 0 < n < FEW]:
        yield Finding("warning", "tiny", f"fewer than {FEW} images to learn from: {_listed(small)}")
    if len(train) > 1 and 0 < UNEVEN * min(train.values()) < max(train.values()):
        least, most = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
        text = f"{most} has {train[most]:,} images to learn from, {least} only {train[least]:,}"
        yield Finding("warning", "uneven", f"{text}: accuracy will flatter; look at each class's recall")


def _duplicates(folder: Folder) -> Iterator[Finding]:
    same: dict[str, Group] = defaultdict(list)
    for part, photo in _placed(folder):
        if not folder.looks[photo.path].error:
            same[folder.looks[photo.path].digest].append((part, photo))
    groups = [group for group in same.values() if len(group) > 1]
    yield from _grouped(groups, "duplicate", "the same file")


def _near(folder: Folder, placed: Group, thumbnails: dict[Path, Array]) -> Iterator[Finding]:
    photos = [photo for _, photo in placed]
    if len(photos) > MOST:
        yield Finding("note", "unsought", f"near duplicates are looked for among at most {MOST:,} images")
        return
    rows = np.array([thumbnails[photo.path].ravel() for photo in photos], np.float32).reshape(len(photos), 16 * 16)
    rows -= rows.mean(1, keepdims=True)
    seen = np.flatnonzero(rows.std(1) > FLAT)
    rows = rows[seen] / np.linalg.norm(rows[seen], axis=1, keepdims=True)
    leader = list(range(len(photos)))  # of the group that each belongs to: union-find

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for start in range(0, len(rows), 1024):
        block = rows[start : start + 1024] @ rows[start:].T
        for i, j in np.argwhere(block > NEAR):
            if i < j:
                leader[find(int(seen[start + j]))] = find(int(seen[start + i]))
    groups: dict[int, Group] = defaultdict(list)
    for i, one in enumerate(placed):
        groups[find(i)].append(one)
    unlike = [group for group in groups.values() if len({folder.looks[photo.path].digest for _, photo in group}) > 1]
    yield from _grouped(unlike, "near-duplicate", "almost the same picture")


def _placed(folder: Folder) -> Group:
    return [(part, photo) for part, photos in folder.parts.items() for photo in photos]


def _grouped(groups: list[Group], kind: str, what: str) -> Iterator[Finding]:
    """Three findings: groups of two classes, groups across parts, and the rest."""
    found: dict[str, list[str]] = {"-classes": [], "-parts": [], "": []}
    for group in groups:
        labels, parts = {photo.label for _, photo in group}, {part for part, _ in group}
        suffix = "-classes" if len(labels) > 1 else "-parts" if len(parts) > 1 else ""
        found[suffix].append(" = ".join(str(photo.path) for _, photo in group))
    for suffix, severity, text in (
        ("-classes", "error", f"{what} in two classes: one label is wrong"),
        ("-parts", "error", f"{what} in two parts: what is tested was learnt, and accuracy will flatter"),
        ("", "note", f"{what} twice in one class"),
    ):
        if paths := found[suffix]:
            yield Finding(severity, kind + suffix, f"{text} ({len(paths):,} times)", tuple(paths))


def _orientation(folder: Folder, photos: Sequence[Photo]) -> Iterator[Finding]:
    turned = [photo.path for photo in photos if folder.looks[photo.path].orientation in range(2, 9)]
    if turned:
        text = f"{len(turned) / len(photos):.0%} of the images are stored turned, and are turned upright by their EXIF"
        yield Finding("note", "turned", f"{text}: other tools may show or learn them lying", _names(turned))


def _odd(folder: Folder, photos: Sequence[Photo]) -> Iterator[Finding]:
    for kind, words in (("format", "stored as"), ("mode", "in the colour mode")):
        values = {photo.path: getattr(folder.looks[photo.path], kind) for photo in photos}
        counts = Counter(values.values())
        for value, n in counts.items():
            if n <= max(RARE * len(photos), 1) and len(photos) > 2:
                usual = counts.most_common(1)[0][0]
                paths = _names(path for path, own in values.items() if own == value)
                text = f"{_images(n)} {words} {value}, where most are {usual}: are they what they should be?"
                yield Finding("warning", f"odd-{kind}", text, paths)


def _depths(folder: Folder, photos: Sequence[Photo]) -> Iterator[Finding]:
    """Images stored in 16 bits that use fewer: grey ones, whose depth is then a guess, and coloured ones."""
    guesses: dict[str, int] = {}
    crushed = []
    wide = [photo for photo in photos if folder.looks[photo.path].format in WIDE]
    for photo in wide:
        image = header(read(photo.path), str(photo.path))
        if image.mode.startswith("I") and (bits := guessed(image)):
            guesses[str(photo.path)] = bits
        elif any(";16" in str(tile[3]) for tile in image.tile) and np.max(image.convert("RGB").getextrema()) < DIM:
            crushed.append(photo.path)
    if guesses:
        counts = ", ".join(f"{bits} bits ({n:,})" for bits, n in sorted(Counter(guesses.values()).items()))
        text = f"{_images(len(guesses))} stored in 16 or 32 bits seem to use fewer, by their largest values: {counts}"
        several = len(set(guesses.values())) > 1
        more = ": some become brighter than others; convert all of them alike to 8 bits" if several else ""
        yield Finding("warning" if several else "note", "depth", text + more, tuple(guesses))
    if crushed:
        text = f"{_images(len(crushed))} with 16 bits a colour use the lowest of them only and become almost black"
        yield Finding("warning", "dark", f"{text}: convert them to 8 bits first", _names(crushed))


def _shapes(folder: Folder, photos: Sequence[Photo], size: tuple[int, int], fit: str) -> Iterator[Finding]:
    looks = {photo.path: folder.looks[photo.path] for photo in photos}
    small = [path for path, look in looks.items() if look.height < size[0] // 2 or look.width < size[1] // 2]
    if small:
        text = f"{_images(len(small))} are enlarged more than twice to become {size[0]}×{size[1]}"
        yield Finding("note", "small", text, _names(small))
    lost = cut(np.array([look.width / look.height for look in looks.values()]), size)
    if fit == "crop" and (torn := [path for path, share in zip(looks, lost, strict=True) if share > 0.5]):
        text = f"a crop to the middle cuts away more than half of {_images(len(torn))}"
        yield Finding("warning", "cropped", f"{text}: --fit pad shows all of them", _names(torn))


def _surplus(folder: Folder) -> Iterator[Finding]:
    if folder.surplus:
        text = f"{len(folder.surplus):,} files are not read: they are no images, or in no class's folder"
        yield Finding("note", "surplus", text, _names(folder.surplus))


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _names(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(map(str, paths))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
