"""Photos that occur more than once in a folder: the same file, the same picture, or a part of it.

See `data.copies` and `data.crops`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from neoclassic.data import crops
from neoclassic.data.copies import SIDE, pose, similar
from neoclassic.data.findings import Finding
from neoclassic.data.folders import Folder, Photo

FEW = 3  # photos of a group that a line names

Group = list[tuple[str, Photo]]  # photos with their splits
Changes = Mapping[Path, str]  # how a photo differs from the first of its group: "mirrored", "resized" …


def duplicates(folder: Folder) -> Iterator[Finding]:
    """Find files with the same content."""
    readable = [one for one in _all(folder) if not folder.infos[one[1].path].error]
    counts = Counter(folder.infos[photo.path].digest for _, photo in readable)
    same: dict[str, Group] = defaultdict(list)
    for split, photo in readable:
        if counts[digest := folder.infos[photo.path].digest] > 1:
            same[digest].append((split, photo))
    yield from _findings(same.values(), "duplicate", "the same file", {})


def near_duplicates(folder: Folder, thumbnails: Mapping[Path, np.ndarray]) -> Iterator[Finding]:
    """Find photos that show the same picture, or a part of it, from their grey thumbnails, uint8.

    The thumbnails are 64×64, or 32×32, from which crops are not found.
    """
    members = [one for one in _all(folder) if one[1].path in thumbnails]
    if not members:
        return
    paths = [photo.path for _, photo in members]
    pictures = [thumbnails[path] for path in paths]
    first, changes = _copies(folder, paths, pictures)
    if len(pictures[0]) == crops.SIDE:
        first, cropped = _crops(first, pictures)
        changes |= {paths[i]: change for i, change in cropped.items()}
    else:
        text = f"cropped copies were not looked for, because there are more than {crops.MOST:,} images"
        yield Finding("note", "crops-unknown", text)
    groups: dict[int, Group] = defaultdict(list)
    for i, member in zip(first.tolist(), members, strict=True):
        groups[i].append(member)
    unlike = [group for group in groups.values() if len({folder.infos[photo.path].digest for _, photo in group}) > 1]
    yield from _findings(unlike, "near-duplicate", "almost the same picture", changes)


def _copies(folder: Folder, paths: list[Path], pictures: list[np.ndarray]) -> tuple[np.ndarray, dict[Path, str]]:
    """`similar`, and how each copy differs from the first photo of its group; "" if neither in pose nor in size."""
    thumbnails = np.stack([_halved(each) if len(each) == crops.SIDE else each for each in pictures])
    first, changes = similar(thumbnails), {}
    for i, j in enumerate(first.tolist()):
        if i != j:
            sizes = [sorted((folder.infos[path].width, folder.infos[path].height)) for path in (paths[j], paths[i])]
            words = pose(thumbnails[j], thumbnails[i]), "resized" if sizes[0] != sizes[1] else ""
            changes[paths[i]] = " and ".join(filter(None, words))
    return first, changes


def _crops(first: np.ndarray, pictures: list[np.ndarray]) -> tuple[np.ndarray, dict[int, str]]:
    """The first photo of each photo's group after each crop has joined its whole; and the crops, by their indices."""
    different = np.unique(first)
    found = crops.cropped(np.stack([pictures[i] for i in different]))
    joined = first.copy()
    changes: dict[int, str] = {}
    for whole, part, mirrored in zip(different[found.whole], different[found.part], found.mirrored, strict=True):
        change = "mirrored and cropped" if mirrored else "cropped"
        changes |= dict.fromkeys(np.flatnonzero(first == part).tolist(), change)
        low, high = sorted((joined[whole], joined[part]))
        joined[joined == high] = low
    return joined, changes


def _halved(thumbnail: np.ndarray) -> np.ndarray:
    """A thumbnail of half the size, in which a pixel is the mean of four."""
    sums = thumbnail.reshape(SIDE, 2, SIDE, 2).sum((1, 3), dtype=np.uint16)
    halved: np.ndarray = ((sums + 2) // 4).astype(np.uint8)
    return halved


def _all(folder: Folder) -> Group:
    splits = dict(folder.splits)
    if splits.get("test") == splits.get("validation"):  # one set serves as both
        splits.pop("test", None)
    return [(split, photo) for split, photos in splits.items() for photo in photos]


def _findings(groups: Collection[Group], kind: str, what: str, changes: Changes) -> Iterator[Finding]:
    """Up to three findings: groups across classes, groups across splits, and the rest."""
    by_suffix: dict[str, list[Group]] = {"-classes": [], "-parts": [], "": []}
    for group in groups:
        labels, splits = {photo.label for _, photo in group}, {split for split, _ in group}
        suffix = "-classes" if len(labels) > 1 else "-parts" if len(splits) > 1 else ""
        by_suffix[suffix].append(group)
    parts = " or ".join(dict.fromkeys(_parts(group) for group in by_suffix["-parts"]))
    spoilt = "the model is tested on images it has seen, and looks too good"
    for suffix, severity, text in (
        ("-classes", "error", f"{what} is in two classes: one label is wrong"),
        ("-parts", "error", f"{what} is in two splits, {parts}: {spoilt}"),
        ("", "note", f"{what} is twice in one class"),
    ):
        if found := by_suffix[suffix]:
            paths, brief = (tuple(_line(group, changes, most) for group in found) for most in (None, FEW))
            yield Finding(severity, kind + suffix, f"{text} ({_cases(found, changes)})", paths, brief)


def _parts(group: Group) -> str:
    """The splits of a group: "train and test"."""
    return " and ".join(dict.fromkeys(split for split, _ in group))


def _cases(groups: Collection[Group], changes: Changes) -> str:
    """How many there are, and of which kinds: "3 cases: 2 mirrored, 1 resized"."""
    cases = "1 case" if len(groups) == 1 else f"{len(groups):,} cases"
    kinds = Counter(kind for group in groups for kind in {changes.get(photo.path) for _, photo in group} if kind)
    named = ", ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))
    return f"{cases}: {named}" if named else cases


def _line(group: Group, changes: Changes, most: int | None = None) -> str:
    """The photos of a group, or the first `most` of them and the number of the others."""
    named = " = ".join(
        f"{photo.path} ({changes[photo.path]})" if changes.get(photo.path) else str(photo.path)
        for _, photo in group[:most]
    )
    return named if most is None or len(group) <= most else f"{named} and {len(group) - most:,} more"
