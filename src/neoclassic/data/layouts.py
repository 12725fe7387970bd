"""The layout of a folder of photos: which of its folders are splits of the data set, and which are classes.

A folder is a split if its name says so, in one of many languages, and it holds folders of classes. A layout that is
read with some doubt is reported in `warnings`; one that can be read in two equally good ways is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.listing import Directory
from neoclassic.data.split_names import parse_name, split_roles
from neoclassic.data.user_text import nfc

PhotosByClass = dict[str, list[Path]]

USUAL = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")  # these need no explanation
NAMES = {"train": "training set", "validation": "validation set", "test": "test set"}
FEW = 3  # warnings of one kind, before the number of the others
REMEDY = (
    "put the photos of each class into a folder named after it, "
    "or list them in a .csv table with columns path and label"
)


@dataclass
class Layout:
    """How a folder, or a table, is read.

    splits    the photos of each class of each split: "all" if there are no splits, else "train", "validation", "test"
    notes     how it is read, in words, if that is not obvious
    warnings  what may be meant differently, or is left out
    unused    files that are not read
    """

    splits: dict[str, PhotosByClass] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unused: list[Path] = field(default_factory=list)


def read_layout(root: Directory, classes: Sequence[str] | None = None) -> Layout:
    """Find the splits and classes of a folder. classes: a model's, if known: folders of these names are classes.

    NeoclassicError, saying what to rename or move, for photos outside the folders of classes and for a layout that
    can be read in two ways.
    """
    layout = _read(root, {nfc(name) for name in classes or ()})
    used = {photo for by_class in layout.splits.values() for photos in by_class.values() for photo in photos}
    layout.unused = [path for directory in root.walk() for path in directory.files if path not in used]
    links = [link for directory in root.walk() for link in directory.skipped_links]
    layout.warnings += [f"{link} is left out: it links to a folder that is read already" for link in links[:FEW]]
    if links[FEW:]:
        layout.warnings.append(f"{len(links) - FEW:,} more links to folders that are read already are left out")
    return layout


def _read(directory: Directory, classes: set[str]) -> Layout:
    layout = Layout()
    while True:
        names = {folder.name for folder in directory.folders if folder.all_photos}
        if (names and names <= classes) or not _as_splits(directory, classes, layout):
            inner = None if names & classes else _wrapped(directory)
            if inner is not None:
                text = f"the photos are read from the subfolder {inner.path.name!r}, which holds all of them"
                layout.notes.append(text)
                directory = inner
                continue
            _as_classes(directory, layout)
        return layout


def _wrapped(directory: Directory) -> Directory | None:
    """The only inner folder that can hold the splits or classes, if they are one level too deep."""
    likely = [folder for folder in directory.folders if folder.all_photos or not (folder.files or folder.folders)]
    if directory.photos or len(likely) != 1:
        return None
    (inner,) = likely
    return inner if not inner.photos and any(folder.all_photos for folder in inner.folders) else None


def _unwrapped(split: Directory, classes: set[str]) -> Directory:
    """The folder inside a split that holds the folders of classes, such as `seg_train/seg_train`."""
    if any(folder.name in classes for folder in split.folders):
        return split
    inner = _wrapped(split)
    if inner is not None:
        return _unwrapped(inner, classes)
    only = split.folders[0] if len(split.folders) == 1 and not split.photos else None
    if only and only.photos and (only.name == split.name or only.name in split_roles([only.name, split.name])):
        return only
    return split


# ── as splits ────────────────────────────────────────────────────────────────────────────────────────


def _as_splits(directory: Directory, classes: set[str], layout: Layout) -> bool:
    """Read the folders that are named like splits, if they hold folders of classes. False if they do not."""
    roles = split_roles([folder.name for folder in directory.folders])
    named = [folder for folder in directory.folders if roles.get(folder.name, "unlabelled") != "unlabelled"]
    class_root: dict[Directory, Directory] = {}  # the folder inside each split that holds the folders of classes
    for split in sorted(named, key=lambda split: roles[split.name] != "train"):  # its classes help to read the others
        class_root[split] = _unwrapped(split, classes)
        classes = classes or {folder.name for folder in class_root[split].folders}
    classed = [split for split in named if _holds_classes(class_root[split])]
    loose = [split for split in named if split not in classed and split.all_photos]
    others = [folder for folder in directory.folders if folder not in named and folder.all_photos]
    strangers = [folder for folder in others if folder.name not in roles]
    if not classed:
        if loose and (not strangers or len({roles[split.name] for split in loose}) > 1):
            raise _no_classes(directory, loose)
        for split in loose:
            text = f"{split.name!r} is read as a class, like {_names(strangers)}"
            layout.warnings.append(f"{text}: as a split it would hold a folder for each class")
        return False
    if unread := [split for split in loose if roles[split.name] == "train"]:
        raise _no_classes(directory, unread)
    if len(named) == 1 and len(others) == len(strangers):
        _refuse_ambiguous(directory, named[0], roles[named[0].name], class_root[named[0]], strangers)
    for split in classed:
        role = roles[split.name]
        if role in layout.splits:
            first = next(other for other in classed if roles[other.name] == role)
            text = f"two folders are the {role} set, {first.name!r} and {split.name!r}: rename one, or merge them"
            raise NeoclassicError(f"{directory.path}: {text}")
        layout.splits[role] = _by_class(class_root[split], layout)
    where = {split: str(class_root[split].path.relative_to(directory.path)) for split in classed}
    if any(path.lower() not in USUAL for path in where.values()):
        layout.notes.append(", ".join(f"{path} is the {NAMES[roles[split.name]]}" for split, path in where.items()))
    _drop_unlabelled(layout, {roles[split.name]: split.name for split in classed})
    for split in (split for split in named if split not in classed):
        reason = (
            f"its {_images(len(split.all_photos))} are not in any class's folder" if split in loose else "it is empty"
        )
        layout.warnings.append(f"{split.name!r} is left out: {reason}")
    for folder in others:
        text = f"{folder.name!r} is left out with its {_images(len(folder.all_photos))}"
        if folder in strangers:
            layout.warnings.append(f"{text}: name it train, val or test if it is one of these splits")
        else:
            layout.notes.append(text)
    return True


def _holds_classes(directory: Directory) -> bool:
    return bool(directory.folders) and (not directory.photos or any(inner.all_photos for inner in directory.folders))


def _refuse_ambiguous(
    directory: Directory, split: Directory, role: str, class_root: Directory, strangers: Sequence[Directory]
) -> None:
    """NeoclassicError if the only folder named like a split may as well be a class, like the folders next to it."""
    classes = {folder.name for folder in class_root.folders}
    likely = [other for other in strangers if not parse_name(other.name)[0]]  # `test_stg1` is hardly a class
    rivals = [other for other in likely if other.photos or not classes & {folder.name for folder in other.folders}]
    if rivals:
        others = _names(rivals)
        raise NeoclassicError(
            f"{directory.path}: {split.name!r} may be the {NAMES[role]}, with the classes "
            f"{_names(class_root.folders)}, or a class like {others}: rename it if it is a class, "
            f"or move {others} elsewhere if it is not"
        )


def _drop_unlabelled(layout: Layout, names: dict[str, str]) -> None:
    """Leave out validation and test sets that have no photos, or have all of them in one folder that is no class."""
    classes = layout.splits.get("train", {})
    for role in [role for role in layout.splits if role != "train" and classes]:
        by_class = layout.splits[role]
        if not any(by_class.values()):
            reason = "it holds no images"
        elif len(classes) > 1 == len(by_class) and not classes.keys() & by_class.keys():
            folder = next(iter(by_class))
            reason = f"its images are all in the folder {folder!r}, which is not a class of the training set"
        else:
            continue
        del layout.splits[role]
        layout.warnings.append(f"{names[role]!r} is left out: {reason}")


def _no_classes(directory: Directory, folders: Sequence[Directory]) -> NeoclassicError:
    found = f"{_images(sum(len(folder.all_photos) for folder in folders))} in {_names(folders)}"
    return NeoclassicError(f"{directory.path}: found {found}, but no folders of classes: {REMEDY}")


# ── as classes ───────────────────────────────────────────────────────────────────────────────────────


def _as_classes(directory: Directory, layout: Layout) -> None:
    """Read the folders as classes, each perhaps with splits inside."""
    if directory.photos and not any(folder.all_photos for folder in directory.folders):
        found = _images(len(directory.photos))
        raise NeoclassicError(f"{directory.path}: found {found}, but no folders of classes: {REMEDY}")
    empty = [folder for folder in directory.folders if not folder.all_photos and split_roles([folder.name])]
    folders = [folder for folder in directory.folders if folder not in empty or len(directory.folders) == len(empty)]
    if len(folders) < len(directory.folders):
        layout.warnings += [f"{folder.name!r} is left out: it holds no images" for folder in empty]
    roles = {folder: split_roles([inner.name for inner in folder.folders]) for folder in folders}
    if len(folders) > 1 and all(_is_split(folder, roles[folder]) for folder in folders):
        for folder in folders:
            for inner in folder.folders:
                split = layout.splits.setdefault(roles[folder][inner.name], {other.name: [] for other in folders})
                split[folder.name] += inner.all_photos
        layout.notes.append("each class's folder is divided into splits")
        return
    mixed = [folder for folder in folders if {"train", "test"} <= set(roles[folder].values())]
    layout.warnings += [f"{folder.name!r} is read as a class, with its train and test merged" for folder in mixed]
    inner_names = [{inner.name for inner in folder.folders if inner.all_photos} for folder in folders]
    common = sorted(set.intersection(*inner_names)) if len(folders) > 1 else []
    if len(common) > 1 and not mixed and not any(folder.photos for folder in folders):
        layout.warnings.append(
            f"{_names(folders)} are read as the classes, though each holds the folders {_listed(common)}: "
            "if these are the classes, name the folders around them train, val and test"
        )
    layout.splits["all"] = _by_class(directory, layout, folders)


def _is_split(folder: Directory, roles: dict[str, str]) -> bool:
    """Whether a class's folder holds a training set and other splits, and nothing else."""
    found = [roles.get(inner.name, "") for inner in folder.folders]
    several = "train" in found and len(found) > 1 and len(set(found)) == len(found)
    deeper = any(inner.all_photos for split in folder.folders for inner in split.folders)
    return several and set(found) <= NAMES.keys() and not folder.photos and not deeper


def _by_class(directory: Directory, layout: Layout, folders: Sequence[Directory] | None = None) -> PhotosByClass:
    """The photos of each class; its folders are in `directory`. Two Unicode forms of a name are one class."""
    if directory.photos:
        outside = f"{_images(len(directory.photos))} outside the folders of classes"
        first = directory.photos[0].name
        layout.warnings.append(f"{directory.name!r} holds {outside}, which are left out (first: {first})")
    photos: PhotosByClass = {}
    for folder in directory.folders if folders is None else folders:
        photos.setdefault(folder.name, []).extend(folder.all_photos)
    nested = [folder for folder in directory.folders if any(inner.all_photos for inner in folder.folders)]
    if nested:
        examples = "; ".join(f"{folder.name} with {_names(folder.folders)}" for folder in nested[:3])
        more = " …" if nested[3:] else ""
        layout.notes.append(f"folders inside a class's folder belong to the class: {examples}{more}")
    return photos


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _names(folders: Sequence[Directory]) -> str:
    return _listed([folder.name for folder in folders])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
