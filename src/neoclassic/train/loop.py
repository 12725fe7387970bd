"""The training loop, from top to bottom, on either engine.

Everything random follows from the seed, the epoch and the step alone, so a run that was killed at any
moment and resumed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import math
import platform
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from neoclassic import data, engines, networks
from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.base.progress import QUIET, say
from neoclassic.data.check import summary
from neoclassic.data.dataset import Dataset, Splits, batches, stratified_split
from neoclassic.data.folders import Folder
from neoclassic.data.preprocessing import Preprocessing, statistics
from neoclassic.engines import Engine, Speed
from neoclassic.engines import weights as arrays
from neoclassic.insight import pictures
from neoclassic.insight.events import written
from neoclassic.measure import Row, Shape, measure
from neoclassic.model.artefact import Model
from neoclassic.model.calibration import fit
from neoclassic.model.evaluate import Evaluation, evaluate, logits_of
from neoclassic.model.provenance import where
from neoclassic.train import transfer, tuned
from neoclassic.train.feed import feed
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Result, Run, Settings, State
from neoclassic.tree import BatchNorm2d, Node
from neoclassic.views.table import spark

CHECKPOINT_SECONDS = 60.0  # between checkpoints
RARE = 20  # checkpoints and curves between epochs may take this part of the time: a twentieth
AUGMENTATION = 0xA06  # sets its random numbers apart
TYPICAL = 50_000  # images of an epoch, before they are counted
LOOK_SECONDS = 1.0  # between looks at the loss, each of which may wait for the device


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: everything is saved, and the message says how to go on. No Exception: nothing goes on after it."""


class Diverged(NeoclassicError):
    """The loss is not a number any more."""


def train(
    recipe: Recipe,
    settings: Settings = Settings(),
    out: str | Path | None = None,
    splits: Splits | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Run a recipe and return what `result.json` holds. `splits` replaces the data set that the recipe names.

    UsageError for a call that cannot be, before anything is written; `Interrupted` after Ctrl-C; `Diverged`
    for a loss that is no number; NeoclassicError for bad data or a folder that cannot be written.
    """
    world = World.here()
    settings, progress = _settled(recipe.checked(), settings), progress and not world.rank
    if splits is None:
        settings = _placed(recipe, settings)
    if world.size > 1:
        if out is None:
            raise UsageError("several processes write to one place: give --out")
        if world.restarts and (Path(out) / "recipe.json").exists():
            return resume(out, splits, progress)
    if not world.rank:
        Run.check(out)
    if settings.engine == "torch":
        say(f"precision {settings.precision}, compile {settings.compile}", progress)
    job = _Job.prepare(recipe, settings, splits, progress)
    name = f"{recipe.network}-{job.splits.train.name}".replace(":", "-").replace("/", "-")
    if world.rank:
        return job.run_beside(State(), out)
    run = Run.create(out, name, recipe, settings)
    if skipped := job.splits.skipped:
        run.save_skipped(skipped)
        first = "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
        say(f"{len(skipped):,} images that cannot be read are left out, listed in {run.skipped}: {first}", progress)
    return job.run(run, State(), progress)


def _placed(recipe: Recipe, settings: Settings) -> Settings:
    """With the places of the data as they are seen from any folder."""
    path = None if recipe.data in data.SOURCES else files.expanded(recipe.data).absolute()
    folder = settings.data_dir and str(files.expanded(settings.data_dir).absolute())
    return replace(settings, place=str(path) if path and path.exists() else None, data_dir=folder)


def _settled(recipe: Recipe, settings: Settings) -> Settings:
    """With engine, precision and compiling as this machine has them: a resumed run keeps to it."""
    side, row = recipe.image_size, networks.entry(recipe.network)
    input = (row.input[0], side, side) if side else row.input
    macs = measure(networks.network(recipe.network), input).macs * recipe.epochs * TYPICAL
    engine = engines.choose(settings.engine)
    wish = Speed(settings.precision, settings.compile)
    if engine == "torch" and wish == Speed("auto", "auto"):
        wish = tuned.remembered(recipe.network, settings.device) or wish
    speed = engines.decide(engine, settings.device, wish, macs)
    return replace(settings, engine=engine, precision=speed.precision, compile=speed.compile)


def resume(folder: str | Path, splits: Splits | None = None, progress: bool = False) -> dict[str, Any]:
    """Continue a run that was stopped. A finished run only gets the pictures that it lacks; its result is returned."""
    run, recipe, settings = Run.open(folder)
    if result := run.result():
        pictures.draw(run, result, again=False)
        return result
    world = World.here()
    job = _Job.prepare(recipe, settings, splits)
    state = State()
    if saved := run.load_checkpoint():
        weights, optimizer, state, header = saved
        if header["data"] != job.splits.train.fingerprint:
            raise NeoclassicError(f"{folder} was trained on other data than {recipe.data} is now: start a new run")
        job.engine.load(weights)
        job.engine.load_optimizer_state(optimizer)
    return job.run_beside(state, folder) if world.rank else job.run(run, state, progress)


@dataclass
class _Kept:
    """Of a run's folder: when it was last brought up to date, how long that took, and the model still to be written."""

    saved: float = 0.0  # time.monotonic() of the checkpoint
    took: float = 0.0  # seconds
    drawn: float = 0.0  # time.monotonic() of the curves
    drawing: float = 0.0  # seconds that they took
    best: Model | None = None

    @property
    def age(self) -> float:
        """Seconds since."""
        return time.monotonic() - self.saved


@dataclass(frozen=True)
class _Job:
    """A run that is ready to start: every wish was possible."""

    recipe: Recipe
    settings: Settings
    splits: Splits
    tree: Node
    shape: Shape
    preprocessing: Preprocessing
    engine: Engine
    training: Dataset  # of the input's size, as all of `splits`
    watched: Dataset  # what is read after every epoch: held-out images, or the test set
    marks: dict[str, list[str]]  # of photos: which were in which part
    last_step: int
    steps_per_epoch: int
    alone: bool  # a last batch of one image is possible
    world: World
    kept: _Kept = field(default_factory=_Kept)

    @classmethod
    def prepare(cls, recipe: Recipe, settings: Settings, splits: Splits | None, progress: bool = False) -> _Job:
        row = networks.entry(recipe.network)
        source = where(recipe.data, settings.place)
        found = splits or data.open_dataset(source, settings.data_dir, None, recipe.validation, recipe.seed)
        if recipe.classes not in (None, len(found.classes)):
            raise UsageError(f"--classes {recipe.classes}, but {recipe.data} has {len(found.classes)} classes")
        tree = networks.network(recipe.network, len(found.classes))
        height, width = (recipe.image_size, recipe.image_size) if recipe.image_size else row.input[1:]
        preprocessing = found.preprocessing((height, width), recipe.channels, recipe.fit)
        shape = (preprocessing.channels, height, width)
        lone = [row.path for row in measure(tree, shape).layers if _lone(row)]  # a shape that cannot be ends here

        fresh = arrays.initial(tree, shape, recipe.initialisation, recipe.seed)
        begin = transfer.start(recipe, fresh, preprocessing.channels)  # what is wrong with a file is told at once
        for note in begin.notes:
            say(note, progress)
        photos = found if isinstance(found, Folder) else None
        for line in summary(photos, preprocessing) if photos and progress else ():
            say(line, progress)
        splits = found.prepare(preprocessing, settings.strict)
        train = splits.train
        watched = splits.test if recipe.validation == 0 else splits.validation
        if watched is None:
            kept, held = stratified_split(train.labels, recipe.validation, recipe.seed)
            train, watched = train.subset(kept), train.subset(held)
        if not len(train) or not len(watched):
            raise NeoclassicError(f"{train.name}: {len(splits.train)} images are too few to train on and to validate")
        smallest = min(len(train), recipe.batch_size)
        if lone and smallest < 2:
            wish = "--batch-size 2" if len(train) > 1 else "more images"
            raise UsageError(f"{lone[0]} normalises over the batch, and a batch of one has nothing to: use {wish}")
        if begin.pixels or recipe.standardise:
            mean, std = begin.pixels or statistics(train.images)
            preprocessing = replace(preprocessing, mean=mean, std=std)

        speed, world, device = Speed(settings.precision, settings.compile), World.here(), settings.device
        if world.size > 1:
            device = world.join(settings.engine, device)
        engine = engines.create(settings.engine, tree, shape, begin.weights, device, speed)
        if world.size > 1:
            engine.join()
            world.part(len(batches(len(train), recipe.batch_size, 0, 0, alone=not lone)[-1]))
        engine.optimize(recipe.optimizer, transfer.rates(recipe, arrays.parameters(tree, shape)))
        per_epoch = len(batches(len(train), recipe.batch_size, 0, 0, alone=not lone))
        last = min(recipe.epochs * per_epoch, settings.max_steps or sys.maxsize)
        marks = photos.digests if photos else {}
        return cls(
            recipe,
            settings,
            splits,
            tree,
            shape,
            preprocessing,
            engine,
            train,
            watched,
            marks,
            last,
            per_epoch,
            not lone,
            world,
        )

    def run_beside(self, state: State, out: str | Path | None) -> dict[str, Any]:
        """The same for a process that does not write: what it keeps is thrown away, and it has no result."""
        with files.scratch(Path(out) if out else None) as folder:
            return self.run(Run(folder), state, progress=False)

    def run(self, run: Run, state: State, progress: bool) -> dict[str, Any]:
        """From `state` to the end."""
        recipe, engine, labels = self.recipe, self.engine, self.training.labels
        source = feed(engine, self.training, self.preprocessing, recipe)
        bar = tqdm(
            total=min(recipe.epochs * len(labels), self.last_step * recipe.batch_size),
            initial=min(state.step * recipe.batch_size, recipe.epochs * len(labels)),
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not (progress and sys.stderr.isatty()),
            file=QUIET,
        )
        self.kept.saved = time.monotonic()
        events = written(run.folder, [vars(row) for row in state.log], self.settings.tensorboard)
        with bar, events as tell, _interrupts() as interrupted:
            while state.step < self.last_step and not self.exhausted(state):
                epoch, at = divmod(state.step, self.steps_per_epoch)
                end = min((epoch + 1) * self.steps_per_epoch, self.last_step)
                bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
                started = looked = time.monotonic()
                before = state.epoch_seconds
                for index in batches(len(labels), recipe.batch_size, recipe.seed, epoch, alone=self.alone)[at:]:
                    rate = recipe.learning_rate_at(state.step, self.steps_per_epoch)
                    rng = np.random.default_rng([recipe.seed, epoch, state.step, AUGMENTATION])
                    part = self.world.part(len(index)) if self.world.size > 1 else slice(None)
                    seed = (self.world.rank << 56) ^ (recipe.seed << 32) ^ state.step
                    engine.step(*source.batch(index, rng, part), rate, seed)
                    state.step += 1
                    bar.update(len(index))
                    now = time.monotonic()
                    state.epoch_seconds = before + now - started
                    if state.step == end:
                        break  # a checkpoint belongs after the evaluation, which would otherwise be left out
                    if now - looked > LOOK_SECONDS:
                        self.look(state, run, bar)
                        looked = now
                    if (interrupted() or self.kept.age > CHECKPOINT_SECONDS) and self.world.size == 1:
                        self.look(state, run, bar)
                        self.save(run, state)
                    if interrupted():
                        raise self.interrupted(run, state)
                self.look(state, run, bar)
                self.end_of_epoch(run, state, epoch, rate, progress)
                tell(vars(state.log[-1]))
                if interrupted() and state.step < self.last_step and not self.exhausted(state):
                    if self.world.size == 1:
                        self.save(run, state)
                    raise self.interrupted(run, state)
        return {} if self.world.rank else self.finish(run, state)

    def interrupted(self, run: Run, state: State) -> Interrupted:
        """What is raised once everything is saved."""
        epoch = math.ceil(state.step / self.steps_per_epoch)
        done = f"stopped in epoch {epoch}, after step {state.step:,} of {self.last_step:,}"
        return Interrupted(f"{done}; go on with: neoclassic train --resume {shlex.quote(str(run.folder))}")

    def exhausted(self, state: State) -> bool:
        """Whether the recipe's patience with the validation accuracy is at its end."""
        waited = len(state.log) - (state.best or 0)
        return bool(self.recipe.patience) and waited >= self.recipe.patience

    def look(self, state: State, run: Run, bar: tqdm) -> None:
        """Take the engine's sums into the state; stop if they are no numbers."""
        metrics = self.engine.metrics()
        state.loss_sum += metrics.loss_sum
        state.correct += metrics.correct
        state.n += metrics.n
        if not math.isfinite(state.loss_sum):
            self.save_best(run)
            kept = f"the best model until then is {run.model}" if state.best else "no model was kept"
            slower = f"try --lr {self.recipe.learning_rate / 10:g}"
            raise Diverged(f"the loss became {state.loss_sum} before step {state.step:,}: {slower}; {kept}")
        if metrics.n:
            bar.set_postfix(loss=f"{metrics.loss:.3f}", accuracy=f"{metrics.accuracy:.3f}")

    def end_of_epoch(self, run: Run, state: State, epoch: int, rate: float, progress: bool) -> None:
        """Evaluate, log, keep the model if it is the best, and save if it is time."""
        started = time.monotonic()
        sums = self.world.total([state.loss_sum, state.correct, state.n], self.engine.device)
        state.loss_sum, state.correct, state.n = sums[0], round(sums[1]), round(sums[2])
        self.engine.swap_average()
        found = self.evaluate(self.watched, exact=False)
        watches_test = self.recipe.validation == 0
        seconds = state.epoch_seconds + time.monotonic() - started
        row = Epoch(
            epoch=epoch + 1,
            learning_rate=rate,
            train_loss=round(state.loss_sum / state.n, 6),
            train_accuracy=round(state.correct / state.n, 6),
            validation_loss=None if watches_test else round(found.loss, 6),
            validation_accuracy=None if watches_test else round(found.accuracy, 6),
            test_loss=round(found.loss, 6) if watches_test else None,
            test_accuracy=round(found.accuracy, 6) if watches_test else None,
            seconds=round(seconds, 3),
            images_per_second=round(state.n / max(state.epoch_seconds, 1e-9), 1),
        )
        state.log.append(row)
        state.seconds += seconds
        state.loss_sum, state.correct, state.n, state.epoch_seconds = 0.0, 0, 0, 0.0
        if watches_test or state.best is None or _better(row, state.log[state.best - 1]):
            state.best = len(state.log)
            self.kept.best = self.model(found, state)
        self.engine.swap_average()
        run.save_log(state.log)
        last = state.step == self.last_step or self.exhausted(state)
        due = last or self.world.size > 1 or self.kept.age > min(CHECKPOINT_SECONDS, RARE * self.kept.took)
        if due:
            self.save(run, state)
        if progress:
            accuracies = [each.test_accuracy if watches_test else each.validation_accuracy for each in state.log]
            line = _line(row, self.recipe.epochs, state.best == len(state.log))
            say(f"{line}  {spark([a for a in accuracies if a is not None])}", progress)
            if due and not last and time.monotonic() - self.kept.drawn > RARE * self.kept.drawing:
                started = time.monotonic()
                pictures.draw_curves(run, state.log, self.recipe.network)
                self.kept.drawn = time.monotonic()
                self.kept.drawing = self.kept.drawn - started

    def evaluate(self, part: Dataset, temperature: float = 1.0, exact: bool = True) -> Evaluation:
        """The network as it is now, on images of the input's size."""
        engine, p = self.engine, self.preprocessing
        return evaluate(engine, part.images, part.labels, part.classes, p, temperature=temperature, exact=exact)

    def save(self, run: Run, state: State) -> None:
        """The best model, if it is not written yet, and the checkpoint that goes with it."""
        started, engine = time.monotonic(), self.engine
        self.save_best(run)
        fingerprint = self.splits.train.fingerprint
        run.save_checkpoint(engine.weights(), engine.optimizer_state(), state, fingerprint, engine.name)
        self.kept.saved = time.monotonic()
        self.kept.took = self.kept.saved - started

    def save_best(self, run: Run) -> None:
        """The best model, if it is not written yet."""
        if self.kept.best:
            run.save_model(self.kept.best)
            self.kept.best = None

    def model(self, watched: Evaluation, state: State) -> Model:
        """The artefact of the engine's weights as they are now."""
        kind = "test" if self.recipe.validation == 0 else "validation"
        train = self.splits.train
        return Model(
            network=self.recipe.network,
            tree=self.tree,
            input=self.shape,
            classes=train.classes,
            preprocessing=self.preprocessing,
            weights=self.engine.weights(),
            metrics={"epoch": state.best, kind: watched.summary},
            recipe=self.recipe.to_dict(),
            data={"name": train.name, "fingerprint": train.fingerprint, "images": len(self.training)}
            | ({"photos": self.marks} if self.marks else {}),
            versions=versions(self.engine.name),
        )

    def finish(self, run: Run, state: State) -> dict[str, Any]:
        """The test set, once, on the model that is kept; the result; and the pictures, without which it is complete."""
        model = Model.load(run.model)
        assert state.best is not None
        self.engine.load(model.weights)
        row, metrics = state.log[state.best - 1], {**model.metrics}
        if self.recipe.validation:  # the test set fits nothing
            logits, labels = logits_of(self.engine, self.watched.images, self.preprocessing), self.watched.labels
            exact = Evaluation.of(logits, labels, model.classes)
            model, metrics["validation"] = replace(model, calibration=fit(logits, labels)), exact.summary
            row = replace(row, validation_loss=round(exact.loss, 6), validation_accuracy=round(exact.accuracy, 6))
        found = self.evaluate(self.splits.test, model.temperature)
        if not self.recipe.validation:
            row = replace(row, test_loss=round(found.loss, 6), test_accuracy=round(found.accuracy, 6))
        state.log[state.best - 1] = row  # of the looks in between, as fast as steps, this one is made exact
        run.save_log(state.log)
        run.save_model(replace(model, metrics=metrics | {"test": found.summary}))
        images = sum(row.images_per_second * row.seconds for row in state.log)
        result = Result(
            run=str(run.folder),
            model=str(run.model),
            network=self.recipe.network,
            recipe=self.recipe.name,
            data=self.splits.train.name,
            engine=self.engine.name,
            device=self.engine.device,
            precision=self.settings.precision,
            compile=self.settings.compile,
            seed=self.recipe.seed,
            epochs=len(state.log),
            best_epoch=state.best,
            train_accuracy=row.train_accuracy,
            validation_accuracy=row.validation_accuracy,
            test_accuracy=found.accuracy,
            test_loss=found.loss,
            seconds=round(state.seconds, 3),
            images_per_second=round(images / max(state.seconds, 1e-9), 1),
            steps=state.step,
            skipped=len(self.splits.skipped),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(self.engine.name),
            machine=machine(self.engine),
            evaluation=found.to_dict(),
        )
        run.save_result(result)
        pictures.draw(run, asdict(result))
        return asdict(result)


def _lone(row: Row) -> bool:
    """Whether a layer normalises each channel over one value an image, so that a batch of one has no deviation."""
    return isinstance(row.node, BatchNorm2d) and math.prod(row.input[1:]) == 1


def versions(engine: str) -> dict[str, str]:
    """Of what computed the weights."""
    names = ["neoclassic", "numpy"] + (["torch"] if engine == "torch" else [])
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def machine(engine: Engine) -> dict[str, Any]:
    """That computed."""
    found = {"processor": platform.machine(), "cores": cores(), "system": platform.platform()}
    if engine.name == "torch" and engine.device != "cpu":
        from neoclassic.engines.torch import device_name

        found["accelerator"] = device_name(engine.device)
    return found


def _better(row: Epoch, best: Epoch) -> bool:
    """By validation accuracy; by loss where that is equal."""
    assert row.validation_accuracy is not None
    assert best.validation_accuracy is not None
    if row.validation_accuracy != best.validation_accuracy:
        return row.validation_accuracy > best.validation_accuracy
    return (row.validation_loss or 0.0) < (best.validation_loss or 0.0)


def _line(row: Epoch, epochs: int, best: bool) -> str:
    """What is printed after an epoch."""
    what = "test" if row.validation_loss is None else "validation"
    loss, accuracy = getattr(row, f"{what}_loss"), getattr(row, f"{what}_accuracy")
    parts = [
        f"epoch {row.epoch:>{len(str(epochs))}}/{epochs}",
        f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}",
        f"{what} loss {loss:.4f} accuracy {accuracy:.4f}",
        f"{row.images_per_second:,.0f} images/s",
        f"{row.seconds:.1f} s",
    ]
    return "  ".join(parts + ["best so far"] * (best and what == "validation"))


@contextmanager
def _interrupts() -> Iterator[Any]:
    """Ctrl-C, a polite kill and a closed terminal are noted and answered between two steps; a second one ends at once.

    A process that ignores hang-ups, as one started by nohup does, goes on ignoring them.
    """
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread: the caller's handlers stand
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
