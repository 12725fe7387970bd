"""A training in a thread of the server. It is the ordinary loop, which this listens to and steers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from neoclassic.base.errors import NeoclassicError
from neoclassic.insight.probe import Probe
from neoclassic.train import loop
from neoclassic.train.control import Changes
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Result, Run, Settings, State
from neoclassic.train.steering import Steering
from neoclassic.views.labels import label
from neoclassic.web import story
from neoclassic.web.story import Story, head_of
from neoclassic.web.view import Turn

SELDOM = 25  # looks into the network take at most 1/25 of the time
LOOK = 1.0  # seconds between two looks, at least
Work = Callable[[Sequence[Listener], "Session"], Result | None]


class Session(Steering):
    """One training: it writes what happens into a story, and `thread` is where it runs.

    turn   taken for this training; given back when it ends
    offer  called with the folder of a finished run, whose model can be looked into
    """

    def __init__(self, told: Story, turn: Turn, offer: Callable[[str], None] = lambda name: None) -> None:
        super().__init__()
        self.story, self.turn, self.offer = told, turn, offer
        self.thread: Thread | None = None
        self._job: Job | None = None
        self._state = State()
        self._changes = Changes(Path())
        self._probe: Probe | None = None
        self._looking, self._next_look = Lock(), 0.0
        self._images, self._since, self._held = 0, 0.0, 0.0  # since the last measurement
        self._window = 0  # images of the last measurement

    # ── for other threads ────────────────────────────────────────────────────────────────────────────

    def train(self, recipe: Recipe, settings: Settings) -> None:
        """Start a training, in a new folder as the command line does."""
        head = {"network": recipe.network, "data": recipe.data}
        self._begin(head, lambda listeners, own: loop.train(recipe, settings, listeners=listeners, control=own))

    def resume(self, folder: Path, recipe: Recipe) -> None:
        """Continue a run that was stopped."""
        head = head_of(recipe, folder)
        self._begin(head, lambda listeners, own: loop.resume(folder, listeners=listeners, control=own))

    def set_rate(self, rate: float) -> None:
        """Change the learning rate of the next step; the schedule goes on from there, scaled."""
        scheduled = self._scheduled()
        if scheduled:
            self.scale(rate / scheduled)
            self.story.tell(learning_rate=rate)

    def show_image(self, index: int) -> None:
        """Choose the held-out image whose feature maps are shown."""
        if self._probe:
            self._probe.index = index
            self._next_look = 0.0
            if self.holding or not self.running:  # its thread does not look by itself
                self._look()

    @property
    def running(self) -> bool:
        return self.thread is not None and self.story.phase in story.ACTIVE

    def _begin(self, head: dict[str, Any], work: Work) -> None:
        self.story.begin(phase=story.PREPARING, notes=[], **head)
        self.thread = Thread(target=self._work, args=(work,), name="train", daemon=True)
        self.thread.start()

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────

    def _work(self, work: Work) -> None:
        from neoclassic.insight.pictures import Pictures  # matplotlib, which a server that only shows does not need

        try:
            work([self, Pictures()], self)
            self.story.tell(phase=story.FINISHED)  # when the pictures are drawn and the folder is free
        except loop.Interrupted as stopped:
            self.story.tell(phase=story.STOPPED, message=str(stopped))
        except NeoclassicError as error:
            self.story.tell(phase=story.FAILED, message=str(error))
        except Exception as error:
            print(f"neoclassic: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            self.story.tell(phase=story.FAILED, message="internal error: see the standard error of the server")
        finally:
            self.turn.give_back()

    def noted(self, line: str) -> None:
        self.story.tell(notes=[*self.story.facts.get("notes", []), line])

    def started(self, job: Job, run: Run, state: State) -> None:
        self._job, self._state, self._probe = job, state, Probe.of(job)
        self._changes = Changes.of(run.folder)
        self.story.layers = layers_of(self._probe)
        self.story.logged(state.log)
        self.story.tell(
            **head_of(job.recipe, run.folder),
            per_epoch=job.steps_per_epoch,
            last_step=job.last_step,
            held_out_images=len(job.monitored),
            engine=job.engine.name,
        )
        self._since = time.monotonic()
        self._progress(story.RUNNING)
        self._look()

    def stepped(self, epoch: int, images: int) -> None:
        super().stepped(epoch, images)
        self._images += images
        if time.monotonic() >= self._next_look and not self.holding:
            self._look()

    def measured(self, loss: float, accuracy: float) -> None:
        now = time.monotonic()
        spent = now - self._since - self._held
        if self.holding or 4 * self._images >= self._window:  # few images, as at an epoch's end, would be a spike
            self.story.measured(self._state.step, loss, accuracy)
        self._window = self._images
        self._progress(story.RUNNING, images_per_second=round(self._images / max(spent, 1e-6), 1))
        self._images, self._since, self._held = 0, now, 0.0

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        super().epoch_ended(log, best, last)
        self.story.logged(log)
        self._images, self._since, self._held = 0, time.monotonic(), 0.0

    def hold(self) -> float:
        seconds = super().hold()
        self._held += seconds
        if self.story.phase == story.RESTING:
            self._progress(story.RUNNING)
        return seconds

    def rested(self) -> None:
        self._look()
        self._progress(story.RESTING)

    def stopped(self) -> None:
        self._look()
        self._progress(story.FINISHING)

    def finished(self, run: Run, result: Result) -> None:
        facts = {"test_accuracy": result.test_accuracy, "test_loss": result.test_loss, "best_epoch": result.best_epoch}
        self.offer(str(run.folder))
        self.story.logged(run.log())
        self.story.tell(warnings=list(result.warnings), run=str(run.folder), **facts)

    def _progress(self, phase: str, **facts: Any) -> None:
        self.story.tell(phase=phase, step=self._state.step, learning_rate=self._rate(), delay=self.delay, **facts)

    def _scheduled(self) -> float:
        job = self._job
        step = min(self._state.step, job.last_step - 1) if job else 0
        return job.recipe.learning_rate_at(step, job.steps_per_epoch) if job else 0.0

    def _rate(self) -> float:
        """The learning rate of the next step."""
        kept = self._changes.factor(self._state.step)
        return self._scheduled() * (kept if self.factor is None else self.factor)

    def _look(self) -> None:
        assert self._job is not None
        assert self._probe is not None
        started = time.monotonic()
        with self._looking:
            self.story.seen(self._probe.look(self._job.engine.weights()))
        now = time.monotonic()
        self._next_look = now + max(LOOK, SELDOM * (now - started))


def layers_of(probe: Probe) -> list[dict[str, Any]]:
    """The layers that a page can show."""
    rows = [probe.measure[path] for path in probe.paths]
    return [
        {"path": row.path, "text": label(row) if row.is_layer else row.type, "output": list(row.output)} for row in rows
    ]
