"""Everything that a run needs before its first step: settings resolved, data found and split, network on its engine."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from neoclassic import data, engines, networks
from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.check import summary
from neoclassic.data.dataset import Dataset, Splits, batches, stratified_split
from neoclassic.data.folders import Folder
from neoclassic.data.preprocessing import Preprocessing, statistics
from neoclassic.engines import Engine, Speed, Weights, towers
from neoclassic.engines import weights as arrays
from neoclassic.measure import Shape, ShapeError, by, measure
from neoclassic.model.artefact import LARGEST
from neoclassic.model.evaluate import Evaluation, evaluate
from neoclassic.model.features import headless
from neoclassic.model.provenance import path_of
from neoclassic.train import fold, head, pace, rates, transfer, tuned
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Settings
from neoclassic.tree import Auxiliary, BatchNorm2d, Node, join

TYPICAL = 50_000  # images in an epoch, assumed before they are counted


def resolved(recipe: Recipe, settings: Settings) -> Settings:
    """The settings with engine, precision and compiling as this machine decides them; a resumed run keeps them.

    UsageError for an engine or a precision that is not available.
    """
    row = recipe.entry
    size = (recipe.image_size, recipe.image_size) if recipe.image_size else row.input[1:]
    macs = measure(row.tree(), (row.input[0], *size)).macs * recipe.epochs * TYPICAL
    engine = engines.choose(settings.engine)
    speed = settings.speed
    if engine == "torch" and speed == Speed("auto", "auto"):
        speed = tuned.remembered(recipe.network, size, recipe.batch_size, settings.device) or speed
    return replace(settings, engine=engine, speed=engines.decide(engine, settings.device, speed, macs))


def located(recipe: Recipe, settings: Settings) -> Settings:
    """The settings with the absolute paths of the data, so that the run can be resumed from any folder."""
    path = None if recipe.data in data.SOURCES else files.expanded(recipe.data).absolute()
    folder = settings.data_dir and str(files.expanded(settings.data_dir).absolute())
    return replace(settings, place=str(path) if path and path.exists() else None, data_dir=folder)


def size_of(recipe: Recipe, dataset: Splits | Folder) -> tuple[int, int]:
    """Height and width of the images that the network is trained on; see `networks.size_for`."""
    if recipe.image_size:
        return recipe.image_size, recipe.image_size
    if recipe.tree is None:
        return networks.size_for(recipe.entry, [])
    if isinstance(dataset, Splits):
        return networks.size_for(recipe.entry, [dataset.train.shape[:2]])
    infos = dataset.infos.values()
    return networks.size_for(recipe.entry, [(info.height, info.width) for info in infos if not info.error])


def tree_for(recipe: Recipe, classes: int, shape: Shape) -> Node:
    """The network for this number of classes. UsageError for one's own network that does not fit classes or images."""
    tree = recipe.entry.tree(classes)
    if recipe.tree is None:
        return tree
    try:
        m = measure(tree, shape)
    except ShapeError as error:
        raise UsageError(f"{recipe.network} does not fit images of {by(shape)}: {error}") from None
    heads = [(row.path, row.node) for row in m.rows if isinstance(row.node, Auxiliary)]
    ends = {path: m[join(path, head.children[-1][0])].output for path, head in heads if head.children}
    for path, output in {"": m.output, **ends}.items():
        if output != (classes,):
            what = f"the auxiliary head {path} of {recipe.network}" if path else recipe.network
            fix = f"end it with Flatten() and Linear({classes})"
            raise UsageError(f"{what} gives {by(output)} for an image, not one number for each class: {fix}")
    return tree


@dataclass(frozen=True)
class Job:
    """A run that is ready to start.

    splits          the data, every image of the input's size
    training        what is trained on
    monitored       what is evaluated after every epoch: the validation images, or the test set where there are none
    digests         of photos: the files of each split
    afresh          keys of layers that start afresh beside weights that were given
    last_step       of the whole run, from 1
    lone_image      whether a batch of one image is possible
    """

    recipe: Recipe
    settings: Settings
    world: World
    tree: Node
    shape: Shape
    preprocessing: Preprocessing
    engine: Engine
    splits: Splits
    training: Dataset
    monitored: Dataset
    digests: dict[str, list[str]]
    afresh: frozenset[str]
    last_step: int
    steps_per_epoch: int
    lone_image: bool

    @cached_property
    def plan(self) -> rates.Plan:
        """The factors of the learning rates by the epoch in which they begin to apply; see `train.rates`."""
        return rates.plan(self.recipe, arrays.parameter_shapes(self.tree, self.shape), self.afresh)

    def evaluate(self, part: Dataset, exact: bool = True) -> Evaluation:
        """Loss and accuracy of the network as it is now."""
        p = self.preprocessing
        return evaluate(self.engine, part.images, part.labels, part.classes, p, exact=exact)

    def begin(self, epoch: int) -> None:
        """Give each parameter its learning rate of an epoch, which counts from 0.

        Frozen ones that thaw have no momentum, so that of all others starts again too; averages continue.
        """
        phase = max(start for start in self.plan if start <= epoch)
        state = self.engine.optimizer_state()
        averages = {key: array for key, array in state.items() if key.endswith(".average") or key == "average.step"}
        self.engine.optimize(self.recipe.optimizer, self.plan[phase])
        self.engine.load_optimizer_state(averages)


class Note(Protocol):
    """Tells the user a line; an essential one even to those who want to hear little."""

    def __call__(self, line: str, essential: bool = False) -> None: ...


def prepare(
    recipe: Recipe,
    settings: Settings,
    splits: Splits | None,
    world: World,
    note: Note | None = None,
    resumed: bool = False,
) -> Job:
    """Find the data, draw or open the weights, and put the network on its engine.

    note: called with each line that there is to tell the user. resumed: see `transfer.start`. UsageError for a recipe
    that cannot be run on these data; NeoclassicError for data or weights that cannot be read.
    """
    recipe, dataset = _dataset(recipe, settings, splits)
    preprocessing, tree = _network(recipe, dataset, resumed)
    shape = (preprocessing.channels, *preprocessing.size)
    if recipe.tree is not None:  # what a resumed run starts from
        recipe = replace(recipe, tree=tree)
    norms = _lonely_norms(recipe.network, tree, shape)
    start = transfer.start(recipe, arrays.initial(tree, shape, recipe.initialisation, recipe.seed), shape[0], resumed)
    parameters = arrays.parameter_shapes(tree, shape)
    plan = rates.plan(recipe, parameters, start.afresh)
    head.check(recipe, tree, world.size)
    if towers.several(settings.device):
        towers.plan(tree, shape, len(towers.names(settings.device)))
        world = replace(world, divided=True)
    if note:
        schedule = [] if recipe.head else rates.lines(recipe, parameters, plan)
        for line in (*start.notes, *head.lines(recipe), *schedule):
            note(line)
        for line in _about(dataset, recipe, preprocessing):
            note(line, essential=True)
    splits, digests = _splits(recipe, dataset, preprocessing, settings.strict)
    training, monitored = _parts(recipe, splits)
    if norms and min(len(training), recipe.batch_size) < 2:
        wish = "--batch-size 2" if len(training) > 1 else "more images"
        raise UsageError(f"{norms[0]} normalises over the batch, which needs at least two images: use {wish}")
    if start.pixels or recipe.standardise:
        mean, std = start.pixels or statistics(training.images)
        preprocessing = _with(recipe, replace(preprocessing, mean=mean, std=std))
    weights, sizes = start.weights, _sizes(recipe, training, norms)
    last_step = min(recipe.epochs * len(sizes), settings.max_steps or sys.maxsize)
    if note and settings.engine == "numpy":
        trained = math.ceil(last_step / len(sizes) * len(training))
        if slow := pace.advice(recipe, tree, shape, weights, len(training), trained):
            note(slow, essential=True)
    if recipe.head_first and not resumed:  # every process fits the same layer
        weights = _head_first(recipe, settings, tree, weights, preprocessing, training, note)
    engine = _engine(recipe, settings, world, tree, shape, weights, plan[0], sizes[-1])
    return Job(
        recipe=recipe,
        settings=settings,
        world=world,
        tree=tree,
        shape=shape,
        preprocessing=preprocessing,
        engine=engine,
        splits=splits,
        training=training,
        monitored=monitored,
        digests=digests,
        afresh=start.afresh,
        last_step=last_step,
        steps_per_epoch=len(sizes),
        lone_image=not norms,
    )


def _dataset(recipe: Recipe, settings: Settings, splits: Splits | None) -> tuple[Recipe, Splits | Folder]:
    """The data, and the recipe as it is run on them. UsageError for a wrong number of classes."""
    source = path_of(recipe.data, settings.place)
    dataset = splits or opened(recipe, source, settings.data_dir)
    if recipe.head and isinstance(dataset, Folder) and dataset.splits.get("validation") == ():
        recipe = replace(recipe, validation=0.0)  # the last layer is validated on folds
        dataset = opened(recipe, source, settings.data_dir)
    if recipe.classes not in (None, len(dataset.classes)):
        raise UsageError(f"--classes {recipe.classes}, but {recipe.data} has {len(dataset.classes)} classes")
    return recipe, dataset


def _network(recipe: Recipe, dataset: Splits | Folder, resumed: bool) -> tuple[Preprocessing, Node]:
    """How images become the input, before anything is known of their pixels, and the network for it."""
    size = size_of(recipe, dataset)
    fit = recipe.fit or (None if recipe.keep is None else "crop")
    if isinstance(dataset, Folder):
        _read(recipe, dataset, size, fit, resumed)
    preprocessing = _with(recipe, dataset.preprocessing(size, recipe.channels, fit))
    return preprocessing, tree_for(recipe, len(dataset.classes), (preprocessing.channels, *preprocessing.size))


def _splits(
    recipe: Recipe, dataset: Splits | Folder, p: Preprocessing, strict: bool
) -> tuple[Splits, dict[str, list[str]]]:
    """The images of every part, at the input's size, and the digests of the files of photos."""
    photos = dataset if isinstance(dataset, Folder) else None
    splits = dataset.prepare(p, strict)
    if recipe.fold:
        splits = fold.of_fold(recipe, dataset, splits)
        return splits, fold.digests(photos, splits) if photos else {}
    return splits, photos.digests if photos else {}


def _read(recipe: Recipe, photos: Folder, size: tuple[int, int], fit: str | None, resumed: bool) -> None:
    """Read many new photos in one pass; see `Folder.look`. Bad weights are told before this, as it may take long."""

    def check_weights() -> None:
        if recipe.weights:
            shape = (recipe.channels or 3, *size)
            tree = tree_for(recipe, len(photos.classes), shape)
            fresh = arrays.initial(tree, shape, recipe.initialisation, recipe.seed)
            transfer.start(recipe, fresh, shape[0], resumed)

    photos.look(size, recipe.channels, fit, recipe.keep, check_weights)


def opened(recipe: Recipe, source: str, data_dir: str | None) -> Splits | Folder:
    """The data of a recipe, divided as it says; where it says a fold, they are whole, and `prepare` divides them."""
    validation, test = 0.0 if recipe.fold else recipe.validation, fold.test_fraction(recipe)
    return data.open_dataset(source, data_dir, None, validation, recipe.seed, test, recipe.split_seed)


def _sizes(recipe: Recipe, training: Dataset, norms: Sequence[str]) -> list[int]:
    """The number of images in each batch of an epoch."""
    return [len(batch) for batch in batches(len(training), recipe.batch_size, 0, 0, alone=not norms)]


def _lonely_norms(network: str, tree: Node, shape: Shape) -> list[str]:
    """The batch norms that see one value an image and channel, so that a batch of one image has no deviation.

    UsageError for an impossible shape, or one that needs too much memory.
    """
    measured = measure(tree, shape)
    if (needed := measured.memory(1).inference) > LARGEST:
        size = f"{needed / 2**30:,.1f} GiB for one image, more than {LARGEST >> 30}"
        raise UsageError(f"{network} at {by(shape)} needs {size}: choose a smaller --image-size")
    norms = (row for row in measured.layers if isinstance(row.node, BatchNorm2d))
    return [row.path for row in norms if math.prod(row.input[1:]) == 1]


def _head_first(
    recipe: Recipe,
    settings: Settings,
    tree: Node,
    weights: Weights,
    p: Preprocessing,
    training: Dataset,
    note: Note | None,
) -> Weights:
    """The weights with a last layer that fits the training images; see `train.head`."""
    network = headless(recipe.network, tree, (p.channels, *p.size), weights)
    fitted = head.fit(recipe, network, p, training, None, (settings.engine, towers.names(settings.device)[0]))
    if note:
        note(fitted.line(training.classes))
    return fitted.put(weights, network.path)


def _about(photos: Splits | Folder, recipe: Recipe, p: Preprocessing) -> list[str]:
    """What there is to say of a folder of photos, with the first fold if there are several: advice, and a summary."""
    if isinstance(photos, Splits) or recipe.fold[:1] > (1,):
        return []
    labels = [photo.label for photo in photos.splits.get("train", ())]
    advice = None if recipe.weights else transfer.advice(recipe.network, list(Counter(labels).values()))
    if recipe.fold:
        photos = fold.whole(recipe, photos)
    return [*([advice] if advice else []), *summary(photos, p)]


def _with(recipe: Recipe, p: Preprocessing) -> Preprocessing:
    """The preprocessing with the recipe's own crop, mean and deviation. UsageError for a wrong number of numbers."""
    return replace(p, keep=recipe.keep or p.keep, mean=recipe.mean or p.mean, std=recipe.std or p.std)


def _parts(recipe: Recipe, splits: Splits) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is evaluated after every epoch."""
    training = splits.train
    monitored = splits.test if recipe.validation == 0 else splits.validation
    if monitored is None:
        seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
        kept, held_out = stratified_split(training.labels, recipe.validation, seed)
        training, monitored = training.subset(kept), training.subset(held_out)
    if not len(training) or not len(monitored):
        n = len(splits.train)
        advice = "train with --validation 0, or with --head, which validates on folds, or add images"
        raise NeoclassicError(f"{training.name}: {n} images are too few to hold some out for validation: {advice}")
    return training, monitored


def _engine(
    recipe: Recipe,
    settings: Settings,
    world: World,
    tree: Node,
    shape: Shape,
    weights: Weights,
    factors: dict[str, float],
    smallest: int,
) -> Engine:
    """The network on its engine, with the other processes joined. smallest: images in the smallest batch."""
    device = world.join(settings.engine, settings.device) if world.size > 1 else settings.device
    engine = engines.create(settings.engine, tree, shape, weights, device, settings.speed)
    if world.size > 1:
        engine.join()
        world.share(smallest)
    engine.optimize(recipe.optimizer, factors)
    return engine
