"""Photos that occur more than once in a folder: the same file, or the same picture; see `data.copies`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from neoclassic.data.copies import pose, similar
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
    """Find photos that show the same picture, from their thumbnails, uint8 32×32."""
    members = [one for one in _all(folder) if one[1].path in thumbnails]
    if not members:
        return
    groups: dict[int, Group] = defaultdict(list)
    for first, member in zip(similar(np.stack([thumbnails[photo.path] for _, photo in members])), members, strict=True):
        groups[int(first)].append(member)
    unlike = [group for group in groups.values() if len({folder.infos[photo.path].digest for _, photo in group}) > 1]
    changes = {
        photo.path: _change(folder, thumbnails, group[0][1].path, photo.path)
        for group in unlike
        for _, photo in group[1:]
    }
    yield from _findings(unlike, "near-duplicate", "almost the same picture", changes)


def _change(folder: Folder, thumbnails: Mapping[Path, np.ndarray], first: Path, copy: Path) -> str:
    """How a copy differs from the first photo of its group; "" if neither in pose nor in size."""
    turned = pose(thumbnails[first], thumbnails[copy])
    sizes = [sorted((folder.infos[path].width, folder.infos[path].height)) for path in (first, copy)]
    return " and ".join(filter(None, (turned, "resized" if sizes[0] != sizes[1] else "")))


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
