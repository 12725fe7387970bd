"""The training loop, from top to bottom, on either engine.

Everything random follows from the seed, the epoch and the step alone, so a run that was killed at any moment and
resumed ends with the same bytes as one that was not. The loop neither prints nor draws: it reports to its listeners.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.dataset import Splits, batches
from neoclassic.data.image_files import pixel_limit
from neoclassic.engines import towers
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation
from neoclassic.model.features import headless
from neoclassic.train import head, transfer
from neoclassic.train.control import UNSTEERED, Changes, Control
from neoclassic.train.feed import feed
from neoclassic.train.finishing import finish
from neoclassic.train.job import Job, located, prepare, resolved
from neoclassic.train.listener import Listener
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Divergence, Epoch, Result, Run, Settings, State, versions
from neoclassic.train.signals import interrupts

CHECKPOINT_SECONDS = 60.0  # the longest time between two checkpoints
RARELY = 20  # skip an end-of-epoch checkpoint that would come within 20 times what the last one took
AUGMENTATION = 0xA06  # keeps the random numbers of augmentation apart from all others


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: everything is saved, and the message says how to resume.

    It is no Exception, so that nothing swallows it.
    """


class Diverged(NeoclassicError):
    """The loss is no longer a finite number."""


def train(
    recipe: Recipe,
    settings: Settings = Settings(),
    out: str | Path | None = None,
    splits: Splits | None = None,
    listeners: Sequence[Listener] = (),
    world: World | None = None,
    kept: bool = True,
    control: Control = UNSTEERED,
    begin: Callable[[], object] = lambda: None,
    finishing: bool = True,
) -> Result | None:
    """Run a recipe; return what `result.json` holds.

    out: the run folder; `runs/<network>-<data>-<number>` when omitted. splits: replaces the data set that the recipe
    names. world: this process's place among several, which the environment tells when omitted; only the first of them
    writes and has a result, the others return None. kept: whether the folder will be there afterwards, so that it is
    worth naming. control: steers the run; only where it is one process. begin: called when everything is prepared,
    before the folder is made. finishing: False to stop after the last epoch and return None; the test set is then not
    used until `resume` finishes the run.

    UsageError for an impossible call, before anything is written; `Interrupted` after Ctrl-C; `Diverged` for a loss
    that is not finite; NeoclassicError for bad data or a folder that cannot be written.
    """
    world = world or World.here()
    recipe = transfer.resolved(recipe.checked())
    settings = resolved(recipe, settings)
    if splits is None:
        settings = located(recipe, settings)
    if world.size > 1:
        if out is None:
            raise UsageError("several processes share one run folder: name it with --out")
        if world.restarts and (Path(out) / "recipe.json").exists():
            return resume(out, splits, listeners, world)
    if world.rank:
        with pixel_limit(settings.max_pixels):
            job = prepare(recipe, settings, splits, world)
        _assist(job, State(), out)
        return None
    Run.check(out)

    def note(line: str, essential: bool = False) -> None:
        for each in listeners:
            each.advised(line) if essential else each.noted(line)

    if settings.engine == "torch":
        note(f"precision {settings.speed.precision}, compile {settings.speed.compile}")
    with pixel_limit(settings.max_pixels):
        job = prepare(recipe, settings, splits, world, note if listeners else None)
    name = f"{recipe.network}-{job.splits.train.name}".replace(":", "-").replace("/", "-")
    begin()
    run = Run.create(out, name, job.recipe, settings)
    if skipped := job.splits.skipped:
        run.save_skipped(skipped)
        first = "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
        images = f"{len(skipped):,} images that cannot be read are" if skipped[1:] else "1 image that cannot be read is"
        note(f"{images} left out{f', listed in {run.skipped}' if kept else ''}: {first}", essential=True)
    with run.held():
        return Training(job, run, State(), listeners, control).run_to_end(finishing)


def resume(
    folder: str | Path,
    splits: Splits | None = None,
    listeners: Sequence[Listener] = (),
    world: World | None = None,
    control: Control = UNSTEERED,
    finishing: bool = True,
) -> Result | None:
    """Continue a run that was stopped; see `train`. Of a finished run, return the result."""
    run, recipe, settings = Run.open(folder)
    world = world or World.here()
    with nullcontext() if world.rank else run.held():
        if result := run.finished():
            for each in listeners:
                each.finished(run, result)
            return result
        saved, state = run.load_checkpoint(), State()
        with pixel_limit(settings.max_pixels):
            job = prepare(recipe, settings, splits, world, resumed=saved is not None)
        if saved:
            weights, optimizer, state, header = saved
            if header["data"] != job.splits.train.fingerprint:
                raise NeoclassicError(f"{recipe.data} has changed since {folder} was trained on it: start a new run")
            job = replace(job, afresh=frozenset(header.get("afresh", job.afresh)))
            job.engine.load(weights)
            job.begin(max(state.step - 1, 0) // job.steps_per_epoch)
            job.engine.load_optimizer_state(optimizer)
        if world.rank:
            _assist(job, state, folder)
            return None
        return Training(job, run, state, listeners, control).run_to_end(finishing)


def _assist(job: Job, state: State, out: str | Path | None) -> None:
    """Train in a process that keeps nothing: what it writes goes to a folder that is removed afterwards."""
    with files.scratch(Path(out) if out else None) as folder:
        Training(job, Run(folder), state).run_epochs()


@dataclass
class Training:
    """A run in progress.

    saved   time.monotonic() of the last checkpoint
    saving  seconds that it took
    best    the best model, where it is not written yet
    held    logits and labels of the images that `run_head` held out
    """

    job: Job
    run: Run
    state: State
    listeners: Sequence[Listener] = ()
    control: Control = UNSTEERED
    saved: float = 0.0
    saving: float = 0.0
    best: Model | None = None
    held: tuple[Array, Array] | None = None

    def run_to_end(self, finishing: bool = True) -> Result | None:
        """Train the epochs that are left; and, if that is wanted, evaluate the test set and save the result."""
        for each in self.listeners:
            each.started(self.job, self.run, self.state)
        try:
            self.run_head() if self.job.recipe.head else self.run_epochs()
        except KeyboardInterrupt:  # a second Ctrl-C does not wait for a step to end
            self.save_best()
            raise
        finally:
            for each in self.listeners:
                each.stopped()
        if not finishing:
            return None
        result, uncalibrated = finish(self.job, self.run, self.state, self.held)
        for each in self.listeners:
            if uncalibrated:
                each.advised(uncalibrated)
            each.finished(self.run, result)
        return result

    def run_epochs(self) -> None:
        """Train until the last step, or until the recipe's patience is exhausted."""
        job, state, world = self.job, self.state, self.job.world
        recipe, engine, images = job.recipe, job.engine, len(job.training)
        source = feed(engine, job.training, job.preprocessing, recipe)
        control, changes = self.control, Changes.of(self.run.folder)
        self.saved = time.monotonic()
        with interrupts() as signalled:

            def interrupted() -> bool:
                return signalled() or control.ending

            while not self.over:
                epoch, first = divmod(state.step, job.steps_per_epoch)
                end = min((epoch + 1) * job.steps_per_epoch, job.last_step)
                if epoch in job.plan and first == 0 < epoch:
                    job.begin(epoch)
                before, started = state.epoch_seconds, time.monotonic()
                waited = state.data_seconds - source.seconds
                looked, rate = started, 0.0
                order = batches(images, recipe.batch_size, recipe.seed, epoch, alone=job.lone_image)[first:]
                for index, following in zip_longest(order, order[1:]):
                    rate = recipe.learning_rate_at(state.step, job.steps_per_epoch)
                    rate *= changes.factor(state.step, control.factor)
                    rng = np.random.default_rng([recipe.seed, epoch, state.step, AUGMENTATION])
                    share, seed = world.share(len(index)), world.seed(recipe.seed, state.step)
                    engine.step(*source.batch(index, rng, share, following), rate, seed)
                    state.data_seconds = waited + source.seconds
                    state.step += 1
                    for each in self.listeners:
                        each.stepped(epoch + 1, len(index))
                    now = time.monotonic()
                    state.epoch_seconds = before + now - started
                    if state.step == end:
                        break  # the checkpoint comes after the evaluation; a resumed run would skip that otherwise
                    if control.holding or now - looked > control.look_seconds:
                        self.look()
                        looked = now
                    held = control.hold()
                    started, now = started + held, now + held
                    if (interrupted() or now - self.saved > CHECKPOINT_SECONDS) and world.size == 1:
                        self.look()
                        self.save()
                    if interrupted():
                        raise self.interruption()
                self.look()
                self.end_epoch(epoch + 1, rate)
                if not self.over:
                    control.hold()
                if interrupted() and not self.over:
                    if world.size == 1:
                        self.save()
                    raise self.interruption()

    def run_head(self) -> None:
        """Fit the last layer alone, to the training and validation images; see `train.head`."""
        job, state, started = self.job, self.state, time.monotonic()
        network = headless(job.recipe.network, job.tree, job.shape, job.engine.weights())
        held_out = job.splits.validation or (job.monitored if job.recipe.validation else None)
        where = job.settings.engine, towers.names(job.settings.device)[0]
        with interrupts() as interrupted:

            def look(_n: int) -> None:
                if interrupted():
                    again = shlex.quote(str(self.run.folder))
                    raise Interrupted(f"stopped; start again with: neoclassic train --resume {again}")

            fitted = head.fit(job.recipe, network, job.preprocessing, job.training, held_out, where, look)
        job.engine.load(fitted.put(job.engine.weights(), network.path))
        for each in self.listeners:
            each.noted(fitted.line(job.training.classes))
        self.held, state.step, state.best = (fitted.held, fitted.labels), job.last_step, 1
        evaluation = Evaluation.of(fitted.held, fitted.labels, job.training.classes)
        trained = Evaluation.of(fitted.trained, fitted.labels, job.training.classes)
        sums = trained.loss * trained.n, trained.accuracy * trained.n, trained.n
        state.seconds = time.monotonic() - started
        state.log.append(Epoch.of(1, 0.0, sums, evaluation, False, state.seconds, state.seconds))
        self.run.save_log(state.log)
        self.run.save_model(self.model(evaluation))
        for each in self.listeners:
            each.epoch_ended(state.log, True, True)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        waited = len(self.state.log) - (self.state.best or 0)
        patience = self.job.recipe.patience
        return self.state.step >= self.job.last_step or bool(patience and waited >= patience)

    def interruption(self) -> Interrupted:
        """The exception to raise once everything is saved."""
        epoch = math.ceil(self.state.step / self.job.steps_per_epoch)
        done = f"stopped in epoch {epoch}, after step {self.state.step:,} of {self.job.last_step:,}"
        return Interrupted(f"{done}; resume with: neoclassic train --resume {shlex.quote(str(self.run.folder))}")

    def look(self) -> None:
        """Move the engine's sums of loss and right answers into the state. `Diverged` if they are not finite."""
        job, state = self.job, self.state
        metrics = job.engine.metrics()
        state.loss_sum += metrics.loss_sum
        state.correct += metrics.correct
        state.n += metrics.n
        if not math.isfinite(state.loss_sum):
            self.save_best()
            last = max(state.step - 1, 0)
            rate = job.recipe.learning_rate_at(last, job.steps_per_epoch)
            epoch = last // job.steps_per_epoch + 1
            self.run.save_divergence(Divergence(state.step, epoch, rate, str(state.loss_sum)))
            kept = f"the best model so far is {self.run.model}" if state.best else "no model was kept"
            slower = f"try --lr {job.recipe.learning_rate / 10:g}"
            raise Diverged(f"the loss became {state.loss_sum} before step {state.step:,}: {slower}; {kept}")
        if metrics.n:
            for each in self.listeners:
                each.measured(metrics.loss, metrics.accuracy)

    def end_epoch(self, epoch: int, rate: float) -> None:
        """Evaluate, log, keep the model if it is the best, and write a checkpoint if one is due."""
        job, state, started = self.job, self.state, time.monotonic()
        sums = job.world.total([state.loss_sum, state.correct, state.n], job.engine.device)
        job.engine.swap_average()
        evaluation = job.evaluate(job.monitored, exact=False)
        seconds = state.epoch_seconds + time.monotonic() - started
        row = Epoch.of(epoch, rate, sums, evaluation, not job.recipe.validation, seconds, state.epoch_seconds)
        row = replace(row, data_seconds=round(state.data_seconds, 3))
        state.log.append(row)
        state.seconds += seconds
        state.loss_sum, state.correct, state.n, state.epoch_seconds, state.data_seconds = 0.0, 0, 0, 0.0, 0.0
        best = not job.recipe.validation or state.best is None or row.better_than(state.log[state.best - 1])
        if best:
            state.best = len(state.log)
            self.best = self.model(evaluation)
        job.engine.swap_average()
        self.run.save_log(state.log)
        age = time.monotonic() - self.saved
        if self.over or job.world.size > 1 or age > min(CHECKPOINT_SECONDS, RARELY * self.saving):
            self.save()
        for each in self.listeners:
            each.epoch_ended(state.log, best, self.over)

    def save(self) -> None:
        """Write the best model, if it is not written yet, and then the checkpoint that refers to it."""
        started, engine = time.monotonic(), self.job.engine
        self.save_best()
        about = {
            "data": self.job.splits.train.fingerprint,
            "engine": engine.name,
            "afresh": sorted(self.job.afresh),
        }
        self.run.save_checkpoint(engine.weights(), engine.optimizer_state(), self.state, about)
        self.saved = time.monotonic()
        self.saving = self.saved - started

    def save_best(self) -> None:
        """Write the best model, if it is not written yet."""
        if self.best:
            self.run.save_model(self.best)
            self.best = None

    def model(self, evaluation: Evaluation) -> Model:
        """The artefact of the engine's weights as they are now."""
        job, train = self.job, self.job.splits.train
        kind = "validation" if job.recipe.validation or self.held else "test"
        images = len(self.held[1]) if self.held else len(job.training)
        return Model(
            network=job.recipe.network,
            tree=job.tree,
            input=job.shape,
            classes=train.classes,
            preprocessing=job.preprocessing,
            weights=job.engine.weights(),
            metrics={"epoch": self.state.best, kind: evaluation.summary},
            recipe=job.recipe.to_dict(),
            data={"name": train.name, "fingerprint": train.fingerprint, "images": images}
            | ({"photos": job.digests} if job.digests else {}),
            versions=versions(job.engine.name),
        )
