"""What a search varies: the network, and the learning rate and the augmentation of its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neoclassic.base.errors import UsageError
from neoclassic.data.augmentation import Augmentation
from neoclassic.train.recipe import Recipe

if TYPE_CHECKING:
    from optuna.trial import Trial

RANGE = 5.0  # learning rates are from the recipe's divided by this to the recipe's times this
DEFAULT = "default"  # the recipe's own augmentation
AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=True),
    "move": Augmentation(shift=0.07, rotate=10, scale=0.1),
    "flip, move": Augmentation(flip=True, shift=0.1, rotate=10, scale=0.2),
    "strong": Augmentation(flip=True, shift=0.1, rotate=10, scale=0.25, colour=0.1, erase=0.25),
}


@dataclass(frozen=True)
class Space:
    """The variants of some recipes, one for each network. Of the last layer alone there are none: it has no rate."""

    recipes: tuple[Recipe, ...]

    def checked(self) -> Space:
        """Return self. UsageError for no recipe, two of one network, or one without validation images."""
        names = [recipe.network for recipe in self.recipes]
        if not names:
            raise UsageError("name the networks to search: 'neoclassic list' shows them")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"{twice[0]} is named twice: name each network once")
        for recipe in self.recipes:
            if not (recipe.validation or recipe.head):
                raise UsageError(
                    f"recipe {recipe.name} has no validation images to judge trials by: give --validation 0.1"
                )
        return self

    @property
    def size(self) -> int | None:
        """The number of variants; None for rates, of which there are any number."""
        return len(self.recipes) if all(recipe.head for recipe in self.recipes) else None

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The names of those that differ from the recipes' own, after "default"."""
        own = [recipe.augmentation for recipe in self.recipes]
        return DEFAULT, *(name for name, given in AUGMENTATIONS.items() if any(given != each for each in own))

    def default(self, i: int) -> dict[str, Any]:
        """Optuna's parameters of the recipe i, as it is."""
        given = {"network": self.recipes[i].network}
        return given if self.recipes[i].head else given | {"rate": 1.0, "augmentation": DEFAULT}

    def variant(self, trial: Trial) -> tuple[Recipe, str]:
        """The recipe that Optuna proposes, and the name of its augmentation."""
        names = [recipe.network for recipe in self.recipes]
        recipe = self.recipes[names.index(trial.suggest_categorical("network", names))]
        if recipe.head:
            return recipe, DEFAULT
        factor = trial.suggest_float("rate", 1 / RANGE, RANGE, log=True)
        name = trial.suggest_categorical("augmentation", self.augmentations)
        given = AUGMENTATIONS.get(name, recipe.augmentation)
        if factor == 1 and name == DEFAULT:
            return recipe, name
        about = f"{recipe.about}; learning rate and augmentation by neoclassic search"
        rate = float(f"{recipe.learning_rate * factor:.3g}")
        return recipe.but(learning_rate=rate, augmentation=given, about=about, reaches=""), name


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe in fewer epochs: its schedule is the same, in less time."""
    if epochs == recipe.epochs:
        return recipe
    share = epochs / recipe.epochs
    return recipe.but(
        epochs=epochs,
        warmup_epochs=recipe.warmup_epochs * share,
        milestones=tuple(milestone * share for milestone in recipe.milestones),
        unfreeze=tuple((max(1, round(epoch * share)), pattern) for epoch, pattern in recipe.unfreeze),
        reaches="",
    )
