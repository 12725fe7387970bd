"""A run that another process trains: its folder is read again whenever a file in it is new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.locks import held
from neoclassic.engines import Speed, Weights
from neoclassic.insight.probe import Probe
from neoclassic.model.artefact import Model
from neoclassic.train.job import prepare
from neoclassic.train.parallel import World
from neoclassic.train.run import Run
from neoclassic.web import story
from neoclassic.web.session import layers_of
from neoclassic.web.story import Story, head_of

POLL = 1.0  # seconds
FILES = ("log.csv", "checkpoint.safetensors", "model.safetensors", "result.json")


class Watched:
    """Writes what is in a run folder into a story, until it is ended. UsageError if there is no run in the folder."""

    def __init__(self, folder: Path, told: Story) -> None:
        self.run, self.recipe, self.settings = Run.open(folder)
        self.story, self.folder = told, folder
        self._over = Event()
        self._probe: Probe | None = None
        self._before: tuple[float, ...] = ()
        told.begin(phase=story.ELSEWHERE, notes=[], **head_of(self.recipe, folder))
        self.thread = Thread(target=self._work, name="watch", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._over.set()
        self.thread.join()

    def show_image(self, index: int) -> None:
        """Choose the held-out image whose feature maps are shown."""
        if self._probe:
            self._probe.index = index
            self._before = ()

    def _work(self) -> None:
        while not self._over.is_set():
            times = tuple(_changed(self.folder / name) for name in FILES)
            new, self._before = times != self._before, times
            try:
                self._read(new)
            except NeoclassicError as error:
                self.story.tell(message=str(error))
            self._over.wait(POLL)

    def _read(self, new: bool) -> None:
        """Tell what has changed."""
        result = self.run.result()
        phase = story.FINISHED if result else story.ELSEWHERE if held(self.folder) else story.STOPPED
        if phase != self.story.phase:
            self.story.tell(phase=phase)
        if not new:
            return
        if result:
            facts = {"test_accuracy": result.test_accuracy, "test_loss": result.test_loss}
            self.story.tell(warnings=list(result.warnings), best_epoch=result.best_epoch, **facts)
        if (weights := self._weights()) is not None:
            self._prepare()
            assert self._probe is not None
            self.story.seen(self._probe.look(weights))
        if self._before[0]:  # an epoch is over
            log = self.run.log()
            self.story.logged(log)
            self.story.tell(learning_rate=log[-1].learning_rate, images_per_second=log[-1].images_per_second)

    def _weights(self) -> Weights | None:
        """Those of the checkpoint, which is the newest, or of the model; None before there is one of them."""
        if saved := self.run.load_checkpoint():
            weights, _, state, _ = saved
            self.story.tell(step=state.step)
            return weights
        return Model.load(self.run.model).weights if self.run.model.exists() else None

    def _prepare(self) -> None:
        """Open the data of the run, once."""
        if self._probe is None:
            settings = replace(self.settings, engine="numpy", device="cpu", speed=Speed())
            job = prepare(self.recipe, settings, None, World(), resumed=True)
            self._probe = Probe.of(job)
            self.story.layers = layers_of(self._probe)
            self.story.tell(per_epoch=job.steps_per_epoch, last_step=job.last_step, held_out_images=len(job.monitored))


def _changed(path: Path) -> float:
    """When a file was changed; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
