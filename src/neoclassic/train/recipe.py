"""A recipe: everything that determines a run, as frozen data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from neoclassic import networks
from neoclassic.base import display
from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.records import record, require
from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.engines.contract import OPTIMIZERS
from neoclassic.engines.weights import INITIALISATIONS
from neoclassic.tree import Node, from_dict, to_dict

SCHEDULES = ("constant", "step", "cosine", "one-cycle")
BALANCED = "balanced"


@dataclass(frozen=True, repr=False)
class Recipe(display.Displayed):
    """How a network is trained, and on what. The repr is the constructor call, without what is as by default.

    name, source, about, reaches
                      its name, where it is published, a description, and the accuracy that it is known to reach
    network, data     names; `classes`, `image_size` (pixels, square), `channels` (1 or 3) and `fit` (crop, pad or
                      stretch) follow from them if they are None
    keep              the share of the shorter side that a centre crop keeps, such as 224/256; None: all of it
    tree              of a network of one's own, whose name is then free; None for a network of the zoo
    epochs            passes over the training set
    batch_size        images in a step; the last batch of an epoch may be smaller
    optimizer         the update rule
    learning_rate     the highest value that the schedule reaches
    schedule          "constant"; "step": multiplied by `gamma` at each of the `milestones`, in epochs; "cosine": down
                      to 0 at the last step; "one-cycle": up along a cosine from 1/25 and down to 1/250,000 (Smith &
                      Topin 2018, arXiv 1708.07120, as in PyTorch)
    warmup_epochs     epochs over which the rate rises linearly from 0; one-cycle: the length of the rise, by default
                      0.3 of the run
    label_smoothing   the part of the target that is spread over all classes; Szegedy et al. 2015, arXiv 1512.00567
    class_weights     in the loss, one for each class; or "balanced": as if the classes were equally frequent
    augmentation      of the training images
    patience          stop after this many epochs without a better validation accuracy; 0: never
    weights           a file to start from, ours or torchvision's, or a name such as "imagenet:v1"; layers whose shape
                      differs are initialised afresh
    mean, std         of the pixels, one for each channel or one for all, in place of those that `weights` expect or
                      `standardise` measures
    freeze            patterns of `path.parameter` that are not trained; a batch norm whose weight and bias are frozen
                      also keeps its running statistics, and normalises by them in training
    unfreeze          pairs of an epoch, from 1, and a pattern: what matches is frozen before that epoch; the last match
                      counts. Momentum starts again when something thaws
    rates             patterns of `path.parameter` with the factor of their learning rate; the last match counts
    rate_decay        the factor of the learning rate from each level of the network to the one below it
    fresh_rate        the factor for layers that are initialised afresh beside `weights`; see `train.rates` for how all
                      of these combine
    head              train the last layer alone, by logistic regression on the features before it; nothing of gradient
                      descent applies, and all training images are used: see `train.head`. It needs `weights`
    head_first        fit the last layer in that way, then train all layers
    initialisation    see `engines.weights.INITIALISATIONS`
    standardise       subtract the training set's mean and divide by its standard deviation, instead of only scaling to
                      [0, 1]; with `weights`, mean and deviation are those that the weights expect
    validation        the fraction of the training set that is held out, stratified, to choose the best model; 0, as in
                      published recipes: the test set is evaluated after every epoch, and the last model is kept
    test              the fraction of each class of a folder of photos that is the test set, where it has none; 0: the
                      validation set serves as one. None: a fifth, or the folder's validation set
    seed              of initial weights, order, augmentation, dropout and the validation set
    fold              (i, k): the i-th of k folds, from 1, is the test set, and the others are trained on; see
                      `train.fold`
    split_seed        of the validation set, the test set and the folds; None: `seed`, but not of the test set
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
    keep: float | None = None
    epochs: int = 10
    batch_size: int = 128
    optimizer: Optimizer = Optimizer()
    learning_rate: float = 0.1
    schedule: str = "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | str = ()
    augmentation: Augmentation = Augmentation()
    patience: int = 0
    weights: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[tuple[int, str], ...] = ()
    rates: tuple[tuple[str, float], ...] = ()
    rate_decay: float = 1.0
    fresh_rate: float = 1.0
    head: bool = False
    head_first: bool = False
    initialisation: str = "he"
    standardise: bool = False
    validation: float = 0.1
    test: float | None = None
    seed: int = 0
    split_seed: int | None = None
    fold: tuple[int, ...] = ()
    tree: Node | None = None

    @property
    def entry(self) -> networks.Entry:
        """The network: of the zoo, or one's own. UsageError if it is unknown or its layers do not fit together."""
        return networks.entry(self.network) if self.tree is None else networks.own_entry(self.tree, self.network)

    def __repr__(self) -> str:
        return display.call("Recipe", display.changed(self))

    def checked(self) -> Self:
        """Return the recipe itself. UsageError, one line, for an impossible value."""
        for what, value, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("optimizer", self.optimizer.name, OPTIMIZERS),
            ("initialisation", self.initialisation, INITIALISATIONS),
        ):
            if value not in known:
                raise unknown(what, value, known)
        given: Any
        for what, given, possible, wish in (
            ("epochs", self.epochs, self.epochs >= 1, "at least 1"),
            ("batch size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("classes", self.classes, self.classes is None or self.classes >= 1, "at least 1"),
            ("image size", self.image_size, self.image_size is None or self.image_size >= 1, "at least 1"),
            ("keep", self.keep, self.keep is None or 0.1 <= self.keep <= 1, "from 0.1 to 1"),
            ("learning rate", self.learning_rate, 0 < self.learning_rate < math.inf, "above 0"),
            ("gamma", self.gamma, 0 < self.gamma <= 1, "above 0, at most 1"),
            ("milestones", self.milestones, all(m > 0 for m in self.milestones), "above 0"),
            ("label smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("patience", self.patience, self.patience >= 0, "at least 0"),
            ("mean", self.mean, all(map(math.isfinite, self.mean)), "numbers"),
            ("std", self.std, all(0 < value < math.inf for value in self.std), "above 0"),
            ("rates", [rate for _, rate in self.rates], all(0 <= r < math.inf for _, r in self.rates), "at least 0"),
            ("rate decay", self.rate_decay, 0 < self.rate_decay <= 1, "above 0, at most 1"),
            ("fresh rate", self.fresh_rate, 0 < self.fresh_rate < math.inf, "above 0"),
            ("warm-up", self.warmup_epochs, 0 <= self.warmup_epochs <= self.epochs, "from 0 to the epochs"),
            ("validation", self.validation, 0 <= self.validation < 1, "in [0, 1)"),
            ("test", self.test, self.test is None or 0 <= self.test < 1, "in [0, 1)"),
            ("seed", self.seed, 0 <= self.seed < 1 << 32, "from 0 to 4294967295"),
            ("split seed", self.split_seed, 0 <= (self.split_seed or 0) < 1 << 32, "from 0 to 4294967295"),
        ):
            require(what, given, possible, wish)
        if self.fold and not (len(self.fold) == 2 and 1 <= self.fold[0] <= self.fold[1] >= 2):
            raise UsageError(f"fold must be two numbers, such as (1, 5) for the first of five, not {self.fold}")
        if self.keep is not None and self.fit not in (None, "crop"):
            raise UsageError(f"keep applies only to a centre crop, but fit is {self.fit!r}: leave one out")
        if self.schedule == "step" and not self.milestones:
            raise UsageError("the schedule 'step' needs milestones: give --milestones 5,8, in epochs")
        if late := [epoch for epoch, _ in self.unfreeze if not 1 <= epoch <= self.epochs]:
            raise UsageError(f"unfreeze takes epochs from 1 to {self.epochs}, not {late[0]}")
        if (self.head or self.head_first) and not self.weights:
            raise UsageError("fitting the last layer alone needs weights for all others: give --weights imagenet")
        if self.patience and not self.validation:
            raise UsageError("patience needs a validation set: give --validation 0.1")
        if isinstance(self.class_weights, str):
            if self.class_weights != BALANCED:
                raise UsageError(f"class weights are numbers, or {BALANCED!r}, not {self.class_weights!r}")
        elif not all(0 < w < math.inf for w in self.class_weights):
            raise UsageError(f"class weights must be above 0, not {self.class_weights}")
        self.optimizer.checked()
        self.augmentation.checked()
        return self

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, which counts from 0 over the whole run."""
        total, warmup = self.epochs * steps_per_epoch, round(self.warmup_epochs * steps_per_epoch)
        if self.schedule == "one-cycle":
            return self._one_cycle(step, total, (warmup or 0.3 * total) - 1)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "step":
            return float(self.learning_rate * self.gamma ** sum(step >= m * steps_per_epoch for m in self.milestones))
        return self.learning_rate * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1))) / 2

    def _one_cycle(self, step: int, total: int, top: float) -> float:
        """The one-cycle schedule, whose highest rate is at step `top`."""
        low, lowest = self.learning_rate / 25, self.learning_rate / 250_000
        start, end, done = low, self.learning_rate, step / max(top, 1)
        if step > top:
            start, end, done = end, lowest, (step - top) / max(total - 1 - top, 1)
        return end + (start - end) * (1 + math.cos(math.pi * min(done, 1))) / 2

    def but(self, **changes: Any) -> Self:
        """A copy with other values. The names of fields of `Optimizer` and `Augmentation` change those."""
        parts = {}
        for part in ("optimizer", "augmentation"):
            whole = changes.pop(part, getattr(self, part))
            inside = {f.name for f in fields(whole)} - {"name"}
            parts[part] = replace(whole, **{k: changes.pop(k) for k in list(changes) if k in inside})
        return replace(self, **parts, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the tree is left out for a network of the zoo, and the fold where there is none."""
        values = asdict(replace(self, tree=None))
        del values["tree"]
        if not self.fold:
            del values["fold"]
        return values if self.tree is None else values | {"tree": to_dict(self.tree)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The recipe that `to_dict` wrote. NeoclassicError for anything else."""
        given = {name: value for name, value in data.items() if name != "tree"}
        try:
            recipe = record(cls, given)
        except ValueError as error:
            raise NeoclassicError(f"not a recipe: {error}") from None
        return (replace(recipe, tree=from_dict(data["tree"])) if "tree" in data else recipe).checked()
