"""A recipe: everything that determines a run, as frozen data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from neoclassic.engines import Optimizer
from neoclassic.engines.weights import INITIALISATIONS
from neoclassic.errors import NeoclassicError, UsageError, unknown

SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, and on what.

    name, source, about, reaches  what it is, where it is printed, and what it is known to reach
    network, data     names; `classes`, `image_size` (pixels, square), `channels` (1 or 3) and `fit` (crop, pad or
                      stretch) follow from them when None
    epochs            passes over the training set
    batch_size        images a step; the last batch of an epoch may be smaller
    optimizer         the update rule
    learning_rate     the highest; `schedule` "constant", or "cosine" down to 0 at the last step
    warmup_epochs     the rate rises linearly from 0 over so many
    initialisation    see `engines.weights.INITIALISATIONS`
    standardise       subtract the training set's mean and divide by its deviation; else values in [0, 1]
    validation        the fraction of the training set that is held out, stratified, to choose the best model;
                      0: none, as published recipes have it: the test set is read after every epoch, chooses
                      nothing, and the last model is kept
    seed              of weights, order, dropout and split
    """

    name: str
    network: str
    data: str
    source: str = ""
    about: str = ""
    reaches: str = ""
    classes: int | None = None
    image_size: int | None = None
    channels: int | None = None
    fit: str | None = None
    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = Optimizer()
    learning_rate: float = 0.1
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    initialisation: str = "he"
    standardise: bool = False
    validation: float = 0.1
    seed: int = 0

    def checked(self) -> Self:
        """The recipe itself. UsageError, one line, for a value that cannot be."""
        for what, value, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("optimizer", self.optimizer.name, OPTIMIZERS),
            ("initialisation", self.initialisation, INITIALISATIONS),
        ):
            if value not in known:
                raise unknown(what, value, known)
        for what, value, possible, wish in (
            ("epochs", self.epochs, self.epochs >= 1, "at least 1"),
            ("batch size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("classes", self.classes, self.classes is None or self.classes >= 1, "at least 1"),
            ("image size", self.image_size, self.image_size is None or self.image_size >= 1, "at least 1"),
            ("learning rate", self.learning_rate, 0 < self.learning_rate < math.inf, "above 0"),
            ("momentum", self.optimizer.momentum, 0 <= self.optimizer.momentum < 1, "in [0, 1)"),
            ("weight decay", self.optimizer.weight_decay, 0 <= self.optimizer.weight_decay < math.inf, "at least 0"),
            ("warm-up", self.warmup_epochs, 0 <= self.warmup_epochs <= self.epochs, "from 0 to the epochs"),
            ("validation", self.validation, 0 <= self.validation < 1, "in [0, 1)"),
            ("seed", self.seed, self.seed >= 0, "at least 0"),
        ):
            if not possible:
                raise UsageError(f"{what} must be {wish}, not {value}")
        if self.optimizer.nesterov and not self.optimizer.momentum:
            raise UsageError("nesterov needs a momentum above 0")
        return self

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Of a step counted from 0 over the whole run."""
        total, warmup = self.epochs * steps_per_epoch, round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1))) / 2

    def but(self, **changes: Any) -> Self:
        """The same with other values; names of `Optimizer`'s fields change the optimizer."""
        inside = {f.name for f in fields(Optimizer)} - {"name"}
        optimizer = replace(self.optimizer, **{k: changes.pop(k) for k in list(changes) if k in inside})
        return replace(self, **{"optimizer": optimizer, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The recipe that `to_dict` wrote. NeoclassicError when it is none."""
        try:
            rule = Optimizer(**data["optimizer"])
            recipe = cls(**{**data, "optimizer": replace(rule, betas=tuple(rule.betas))})
        except (TypeError, KeyError) as error:
            raise NeoclassicError(f"not a recipe: {error}") from None
        return recipe.checked()
