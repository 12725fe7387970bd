"""What a folder of photos means: which of its folders are parts of the data set, and which are classes.

A folder is a part if its name says so, in one of several languages, and it holds folders of classes. A reading
that is not certain is said in `doubts`; of two that are equally good none is taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.given import same
from neoclassic.data.listing import Place

ByClass = dict[str, list[Path]]

HELD = "held out"  # the test set, or the validation set where there is another test set
_WORDS = {
    "train": """train training trainings trn entrainement apprentissage entrenamiento treino treinamento addestramento
        allenamento trening treningowy treningowe traning træning trenovaci egitim latih обучение обучающая обучающие
        тренировка тренировочная 训练 訓練 学習 훈련 학습""",
    "validation": """val valid validate validating validation validations dev development validierung validierungs
        validacion validacao validazione validatie validering walidacja walidacyjny validacni dogrulama validasi
        валидация валидационная 验证 驗證 検証 검증""",
    "test": """test tests testing tst prueba pruebas teste testes prova testowy testowe testovaci uji тест тестовая
        тестовые тестирование 测试 測試 テスト 테스트""",
    HELD: "eval evaluate evaluation evaluierung holdout heldout evaluacion evaluasi 评估 評価 평가",
    "unlabelled": "pred predict prediction predictions unlabeled unlabelled unsup unsupervised inference submission",
}
_FILLERS = """set sets data dataset datasets subset split part partition folder dir samples examples images image imgs
    img pictures pics photos daten datensatz bilder menge jeu de donnees ensemble conjunto datos imagenes dados imagens
    dati immagini zbior выборка данные 集 数据 資料 データ セット 用 데이터 세트"""
USUAL = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")  # which need no word
NAMES = {"train": "training set", "validation": "validation set", "test": "test set"}
LOOSE = (
    "put the photos of each class into a folder of its name, or list them in a .csv table with columns path and label"
)


@dataclass
class Reading:
    """What a folder, or a table, was taken for.

    parts    the photos of each class of each part: "all" where there are none, else "train", "validation", "test"
    layout   how it is read where that is not plain, in words
    doubts   what may be meant otherwise, or is left out
    surplus  files that are not read
    """

    parts: dict[str, ByClass] = field(default_factory=dict)
    layout: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    surplus: list[Path] = field(default_factory=list)


# ── names of parts ───────────────────────────────────────────────────────────────────────────────────


def _plain(text: str) -> str:
    """Small letters without accents."""
    letters = unicodedata.normalize("NFKD", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))
    return "".join(c for c in letters if unicodedata.category(c) != "Mn").casefold()


_ROLES = {_plain(word): role for role, words in _WORDS.items() for word in words.split()}
_SURPLUS = tuple(_plain(word) for word in _FILLERS.split())


def roles(names: Sequence[str]) -> dict[str, str]:
    """Which part each name tells: "train", "validation", "test", "unlabelled". Other names are left out.

    `training_set`, `TrainImages` and `Trainingsdaten` tell it alone; `seg_train` does beside `seg_test`.
    """
    told = {name: _told(name) for name in names}
    found = {
        name: role
        for name, (role, rest) in told.items()
        if role in _WORDS and (not rest or any(other not in ("", role) and rest == its for other, its in told.values()))
    }
    held = "validation" if "test" in found.values() else "test"
    return {name: held if role == HELD else role for name, role in found.items()}


def _told(name: str) -> tuple[str, tuple[str, ...]]:
    text = re.sub(r"\b(hold|held)[\W_]*out", "holdout", _plain(name))
    words = [_without_ending(word) for word in re.findall(r"[^\W\d_]+", text)]
    words = [word for word in words if word not in _SURPLUS]
    telling = {_ROLES[word]: word for word in words if word in _ROLES}
    rest = tuple(word for word in words if word not in telling.values())
    return (next(iter(telling)), rest) if len(telling) == 1 else ("several" if telling else "", rest)


def _without_ending(word: str) -> str:
    """`trainset` without the set, and so on."""
    for filler in _SURPLUS:
        if word not in _ROLES and word not in _SURPLUS and word.endswith(filler):
            return _without_ending(word.removesuffix(filler))
    return word


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────


def read(root: Place, classes: Sequence[str] | None = None) -> Reading:
    """What a folder means. classes: those of a model, which settle what is a class.

    NeoclassicError, saying what to rename or move: photos outside folders of classes, two readings.
    """
    reading = _read(root, {same(name) for name in classes or ()})
    used = {photo for by_class in reading.parts.values() for photos in by_class.values() for photo in photos}
    reading.surplus = [path for place in root.places for path in place.files if path not in used]
    links = [link for place in root.places for link in place.unfollowed]
    reading.doubts += [f"{link} is left out: it links to a folder that is read already" for link in links]
    return reading


def _read(place: Place, classes: set[str]) -> Reading:
    reading = Reading()
    while True:
        known = {folder.name for folder in place.folders if folder.all_photos}
        if (known and known <= classes) or not _as_parts(place, classes, reading):
            inner = None if known & classes else _wrapped(place)
            if inner is not None:
                reading.layout.append(
                    f"the photos are read from the subfolder {inner.path.name!r}, which holds all of them"
                )
                place = inner
                continue
            _as_classes(place, reading)
        return reading


def _wrapped(place: Place) -> Place | None:
    """The only folder that can hold what the others ought to, one level too deep."""
    likely = [folder for folder in place.folders if folder.all_photos or not (folder.files or folder.folders)]
    if place.photos or len(likely) != 1:
        return None
    (inner,) = likely
    return inner if not inner.photos and any(folder.all_photos for folder in inner.folders) else None


def _unwrapped(part: Place, classes: set[str]) -> Place:
    """The folder in a part that holds the folders of classes: `seg_train/seg_train`, say."""
    if any(folder.name in classes for folder in part.folders):
        return part
    inner = _wrapped(part)
    if inner is not None:
        return _unwrapped(inner, classes)
    only = part.folders[0] if len(part.folders) == 1 and not part.photos else None
    if only and only.photos and (only.name == part.name or only.name in roles([only.name, part.name])):
        return only
    return part


# ── as parts ─────────────────────────────────────────────────────────────────────────────────────────


def _as_parts(place: Place, classes: set[str], reading: Reading) -> bool:
    """Read the folders whose names tell a part, if they hold folders of classes."""
    named = roles([folder.name for folder in place.folders])
    parts = [folder for folder in place.folders if named.get(folder.name, "unlabelled") != "unlabelled"]
    inner: dict[Place, Place] = {}
    for part in sorted(parts, key=lambda part: named[part.name] != "train"):  # whose classes are known to the others
        inner[part] = _unwrapped(part, classes)
        classes = classes or {folder.name for folder in inner[part].folders}
    classed = [part for part in parts if _holds_classes(inner[part])]
    loose = [part for part in parts if part not in classed and part.all_photos]
    others = [folder for folder in place.folders if folder not in parts and folder.all_photos]
    strangers = [folder for folder in others if folder.name not in named]
    if not classed:
        if loose and (not strangers or len({named[part.name] for part in loose}) > 1):
            raise _outside(place, loose)
        for part in loose:
            text = f"{part.name!r} is read as a class, like {_names(strangers)}"
            reading.doubts.append(f"{text}: as a part it would hold a folder for each class")
        return False
    if unread := [part for part in loose if named[part.name] == "train"]:
        raise _outside(place, unread)
    if len(parts) == 1 and len(others) == len(strangers):
        _certain(place, inner[parts[0]], parts[0], named[parts[0].name], strangers)
    for part in classed:
        role = named[part.name]
        if role in reading.parts:
            first = next(other for other in classed if named[other.name] == role)
            names = f"{first.name!r} and {part.name!r}"
            raise NeoclassicError(f"{place.path}: two folders are the {role} set, {names}: rename one, or merge them")
        reading.parts[role] = _by_class(inner[part], reading)
    where = {part: str(inner[part].path.relative_to(place.path)) for part in classed}
    if any(path.lower() not in USUAL for path in where.values()):
        reading.layout.append(", ".join(f"{path} is the {NAMES[named[part.name]]}" for part, path in where.items()))
    _unlabelled(reading, {named[part.name]: part.name for part in classed})
    for part in (part for part in parts if part not in classed):
        what = f"its {_images(len(part.all_photos))} are in no class's folder" if part in loose else "it is empty"
        reading.doubts.append(f"{part.name!r} is left out: {what}")
    for folder in others:
        text = f"{folder.name!r} is left out with its {_images(len(folder.all_photos))}"
        if folder in strangers:
            reading.doubts.append(f"{text}: name it train, val or test if it is one of these parts")
        else:
            reading.layout.append(text)
    return True


def _holds_classes(place: Place) -> bool:
    return bool(place.folders) and (not place.photos or any(folder.all_photos for folder in place.folders))


def _certain(place: Place, inner: Place, part: Place, role: str, strangers: Sequence[Place]) -> None:
    """NeoclassicError if the only folder that is named like a part may as well be a class beside others."""
    classes = {folder.name for folder in inner.folders}
    likely = [other for other in strangers if not _told(other.name)[0]]  # `test_stg1` is hardly a class
    rivals = [other for other in likely if other.photos or not classes & {folder.name for folder in other.folders}]
    if rivals:
        beside = _names(rivals)
        raise NeoclassicError(
            f"{place.path}: {part.name!r} can be the {NAMES[role]}, of the classes {_names(inner.folders)}, or a class "
            f"like {beside}: rename it if it is a class, or move {beside} elsewhere if it is not"
        )


def _unlabelled(reading: Reading, names: dict[str, str]) -> None:
    """Leave out the parts to test on that have no photos, or all of them in one folder that is no class."""
    classes = reading.parts.get("train", {})
    for role in [role for role in reading.parts if role != "train" and classes]:
        by_class = reading.parts[role]
        if not any(by_class.values()):
            reason = "it holds no images"
        elif len(classes) > 1 == len(by_class) and not classes.keys() & by_class.keys():
            reason = f"its images are all in the folder {next(iter(by_class))!r}, which is no class of the training set"
        else:
            continue
        del reading.parts[role]
        reading.doubts.append(f"{names[role]!r} is left out: {reason}")


def _outside(place: Place, folders: Sequence[Place]) -> NeoclassicError:
    n = sum(len(folder.all_photos) for folder in folders)
    return NeoclassicError(f"{place.path}: found {_images(n)} in {_names(folders)}, but no folders of classes: {LOOSE}")


# ── as classes ───────────────────────────────────────────────────────────────────────────────────────


def _as_classes(place: Place, reading: Reading) -> None:
    if place.photos and not any(folder.all_photos for folder in place.folders):
        raise NeoclassicError(f"{place.path}: found {_images(len(place.photos))}, but no folders of classes: {LOOSE}")
    empty = [folder for folder in place.folders if not folder.all_photos and roles([folder.name])]
    folders = [folder for folder in place.folders if folder not in empty or len(place.folders) == len(empty)]
    if len(folders) < len(place.folders):
        reading.doubts += [f"{folder.name!r} is left out: it holds no images" for folder in empty]
    inside = {folder: roles([inner.name for inner in folder.folders]) for folder in folders}
    if len(folders) > 1 and all(_divided(folder, inside[folder]) for folder in folders):
        for folder in folders:
            for inner in folder.folders:
                part = reading.parts.setdefault(inside[folder][inner.name], {other.name: [] for other in folders})
                part[folder.name] += inner.all_photos
        reading.layout.append("each class's folder is divided into parts")
        return
    halves = [folder for folder in folders if {"train", "test"} <= set(inside[folder].values())]
    reading.doubts += [f"{folder.name!r} is read as a class, with its train and test in one" for folder in halves]
    inner_names = [{inner.name for inner in folder.folders if inner.all_photos} for folder in folders]
    common = sorted(set.intersection(*inner_names)) if len(folders) > 1 else []
    if len(common) > 1 and not halves and not any(folder.photos for folder in folders):
        reading.doubts.append(
            f"{_names(folders)} are read as the classes, though each holds the folders {_listed(common)}: "
            "if these are the classes, name the folders around them train, val and test"
        )
    reading.parts["all"] = _by_class(place, reading, folders)


def _divided(folder: Place, inside: dict[str, str]) -> bool:
    """Whether a class's folder holds a training set and others, and nothing else."""
    found = [inside.get(inner.name, "") for inner in folder.folders]
    several = "train" in found and len(found) > 1 and len(set(found)) == len(found)
    deeper = any(inner.all_photos for part in folder.folders for inner in part.folders)
    return several and set(found) <= NAMES.keys() and not folder.photos and not deeper


def _by_class(place: Place, reading: Reading, folders: Sequence[Place] | None = None) -> ByClass:
    """The photos of each class, whose folders are those of `place`. Names of two Unicode forms are one class."""
    if place.photos:
        found_outside = f"{_images(len(place.photos))} outside the folders of classes"
        reading.doubts.append(f"{place.name!r} holds {found_outside}, left out (first: {place.photos[0].name})")
    found: ByClass = {}
    for folder in place.folders if folders is None else folders:
        found.setdefault(folder.name, []).extend(folder.all_photos)
    nested = [folder for folder in place.folders if any(inner.all_photos for inner in folder.folders)]
    if nested:
        told = "; ".join(f"{folder.name} with {_names(folder.folders)}" for folder in nested[:3])
        reading.layout.append(
            f"folders inside a class's folder belong to the class: {told}{' …' if nested[3:] else ''}"
        )
    return found


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _names(folders: Sequence[Place]) -> str:
    return _listed([folder.name for folder in folders])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
