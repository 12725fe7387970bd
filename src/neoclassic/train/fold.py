"""One fold of a data set: a run that trains on all others, and is tested on it.

The folds divide the training and validation images, and the test images too where they are only a part of a folder
that has no test set of its own. A test set of its own takes no part: it is for the models of all folds together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.data.dataset import Dataset, Splits
from neoclassic.data.folders import Folder
from neoclassic.data.folds import divided, groups, pooled
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.train.recipe import Recipe


def test_fraction(recipe: Recipe) -> float | None:
    """The fraction of a folder that is its test set, as `data.open_dataset` needs it to open the whole folder."""
    return (recipe.test or None) if recipe.fold else recipe.test


def own_test(recipe: Recipe, dataset: Splits | Folder, p: Preprocessing, strict: bool = False) -> Dataset | None:
    """The test set that takes no part in the folds, resized as p says; None where there is none."""
    return None if _divide_test(recipe, dataset) else dataset.split("test", p, strict)


def whole(recipe: Recipe, photos: Folder) -> Folder:
    """A folder before the folds divide it, to be described."""
    splits = {"train": photos.photos} if _divide_test(recipe, photos) else photos.splits
    return replace(photos, splits=splits, notes=())


def _divide_test(recipe: Recipe, dataset: Splits | Folder) -> bool:
    """Whether the folds divide the test images, too. UsageError for `test` 0 where there is a test set."""
    test_of = dataset.test_of if isinstance(dataset, Folder) else "test"
    if recipe.test == 0 and test_of == "test":
        raise UsageError(f"{recipe.data} has a test set of its own: leave out --test")
    return test_of == "train" if recipe.test is None else recipe.test == 0


def of_fold(recipe: Recipe, dataset: Splits | Folder, splits: Splits) -> Splits:
    """The images that the run of a fold is trained and tested on.

    dataset: as it was opened. splits: the same, prepared. The fingerprint of the training set is that of all images,
    which determine every fold. UsageError if a class has fewer images, not counting copies, than there are folds.
    """
    parts = [splits.train, splits.validation, splits.test if _divide_test(recipe, dataset) else None]
    every = pooled([part for part in parts if part is not None])
    i, k = recipe.fold
    group = groups(every)
    for label, name in enumerate(every.classes):
        n = len(np.unique(group[every.labels == label]))
        if n < k:
            few = f"class {name!r} has {n} different images, too few for {k} folds"
            raise UsageError(f"{few}: choose fewer folds, or add images")
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    fold = divided(every.labels, group, k, seed)
    training = replace(every.subset(np.flatnonzero(fold != i - 1)), origin=every.fingerprint)
    return Splits(training, every.subset(np.flatnonzero(fold == i - 1)))


def digests(photos: Folder, splits: Splits) -> dict[str, list[str]]:
    """`Folder.digests` of a fold: what is trained on is "validation" if the folder calls it so, else "train"."""
    marks = {str(path): info.digest[:12] for path, info in photos.infos.items()}
    as_test = photos.splits["test"] if photos.test_of == "validation" else ()  # where no other test set was asked for
    held_out = {str(photo.path) for photo in photos.splits.get("validation", as_test)}
    paths = splits.train.paths
    return {
        "train": [marks[path] for path in paths if path not in held_out],
        "validation": [marks[path] for path in paths if path in held_out],
        "test": [marks[path] for path in splits.test.paths],
    }
