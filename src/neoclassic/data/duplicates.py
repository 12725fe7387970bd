"""Photos that occur more than once in a folder: the same file, or almost the same picture.

Near duplicates are photos whose 16×16 grey thumbnails correlate above NEAR: the same picture at another size, quality
or brightness. Mirrored, turned and cropped copies are not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from neoclassic.data.findings import Finding
from neoclassic.data.folders import Folder, Photo

THUMBNAIL = (16, 16)
NEAR = 0.995  # correlation
FLAT = 4.0  # grey levels: a thumbnail with a smaller standard deviation shows nothing to compare
FEW = 3  # photos of a group that a line names
MOST = 20_000  # photos among which near duplicates are searched: the work grows with the square

Group = list[tuple[str, Photo]]  # photos with their splits


def duplicates(folder: Folder) -> Iterator[Finding]:
    """Find files with the same content."""
    same: dict[str, Group] = defaultdict(list)
    for split, photo in _all(folder):
        if not folder.infos[photo.path].error:
            same[folder.infos[photo.path].digest].append((split, photo))
    groups = [group for group in same.values() if len(group) > 1]
    yield from _findings(groups, "duplicate", "the same file")


def near_duplicates(folder: Folder, thumbnails: Mapping[Path, np.ndarray]) -> Iterator[Finding]:
    """Find photos that look the same, from their thumbnails, uint8 16×16."""
    members = [one for one in _all(folder) if one[1].path in thumbnails]
    photos = [photo for _, photo in members]
    if len(photos) > MOST:
        yield Finding("note", "unsought", f"near duplicates are searched only among at most {MOST:,} images")
        return
    roots = similar(np.array([thumbnails[photo.path] for photo in photos], np.uint8))
    groups: dict[int, Group] = defaultdict(list)
    for i, member in enumerate(members):
        groups[roots[i]].append(member)
    unlike = [group for group in groups.values() if len({folder.infos[photo.path].digest for _, photo in group}) > 1]
    yield from _findings(unlike, "near-duplicate", "almost the same picture")


def similar(thumbnails: np.ndarray) -> list[int]:
    """For each of N thumbnails, uint8 N×16×16, the index of one that stands for all that look the same, directly or
    through others; its own if there are none."""
    rows = thumbnails.astype(np.float32).reshape(len(thumbnails), 16 * 16)
    rows -= rows.mean(1, keepdims=True)
    textured = np.flatnonzero(rows.std(1) > FLAT)
    rows = rows[textured] / np.linalg.norm(rows[textured], axis=1, keepdims=True)
    parent = list(range(len(thumbnails)))  # union-find

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for start in range(0, len(rows), 1024):
        block = rows[start : start + 1024] @ rows[start:].T
        for i, j in np.argwhere(block > NEAR):
            if i < j:
                parent[root(int(textured[start + j]))] = root(int(textured[start + i]))
    return [root(i) for i in range(len(parent))]


def _all(folder: Folder) -> Group:
    splits = dict(folder.splits)
    if splits.get("test") == splits.get("validation"):  # one set serves as both
        splits.pop("test", None)
    return [(split, photo) for split, photos in splits.items() for photo in photos]


def _findings(groups: Collection[Group], kind: str, what: str) -> Iterator[Finding]:
    """Up to three findings: groups across classes, groups across splits, and the rest."""
    by_suffix: dict[str, list[Group]] = {"-classes": [], "-parts": [], "": []}
    for group in groups:
        labels, splits = {photo.label for _, photo in group}, {split for split, _ in group}
        suffix = "-classes" if len(labels) > 1 else "-parts" if len(splits) > 1 else ""
        by_suffix[suffix].append(group)
    for suffix, severity, text in (
        ("-classes", "error", f"{what} is in two classes: one label is wrong"),
        ("-parts", "error", f"{what} is in two splits: the model is tested on images it has seen, and looks too good"),
        ("", "note", f"{what} is twice in one class"),
    ):
        if found := by_suffix[suffix]:
            cases = "1 case" if len(found) == 1 else f"{len(found):,} cases"
            paths, brief = (tuple(_line(group, most) for group in found) for most in (None, FEW))
            yield Finding(severity, kind + suffix, f"{text} ({cases})", paths, brief)


def _line(group: Group, most: int | None = None) -> str:
    """The paths of a group, or the first `most` of them and the number of the others."""
    named = " = ".join(str(photo.path) for _, photo in group[:most])
    return named if most is None or len(group) <= most else f"{named} and {len(group) - most:,} more"
