"""A control that other threads use: pause, one step, one epoch, slower, another learning rate, the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Condition

from neoclassic.train.control import Control
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch


class Steering(Control, Listener):
    """Give it to `loop.train` as its control and as one of its listeners. A subclass may override `rested`."""

    look_seconds = 0.5

    def __init__(self) -> None:
        self._changed = Condition()
        self._steps: int | None = None  # until it holds; None: it goes on
        self._one_epoch = False
        self._delay = 0.0
        self._factor: float | None = None
        self._ending = False

    # ── for other threads ────────────────────────────────────────────────────────────────────────────

    def go(self, steps: int | None = None) -> None:
        """Train on: for some steps, or until told otherwise."""
        self._set(_steps=steps, _one_epoch=False)

    def pause(self) -> None:
        """Hold after the step that is in progress."""
        self.go(0)

    def go_one_epoch(self) -> None:
        """Train until the end of the epoch and its evaluation."""
        self._set(_steps=None, _one_epoch=True)

    def slow(self, seconds: float) -> None:
        """Rest this long after each step."""
        self._set(_delay=seconds)

    def scale(self, factor: float) -> None:
        """Multiply the learning rates of the recipe by a factor, from the next step on."""
        self._set(_factor=factor)

    def end(self) -> None:
        """Save the state and stop after the step that is in progress."""
        self._set(_ending=True)

    def _set(self, **values: object) -> None:
        with self._changed:
            vars(self).update(values)
            self._changed.notify_all()

    # ── for the loop ─────────────────────────────────────────────────────────────────────────────────

    @property
    def factor(self) -> float | None:
        return self._factor

    @property
    def delay(self) -> float:
        """The seconds of rest after each step."""
        return self._delay

    @property
    def ending(self) -> bool:
        return self._ending

    @property
    def holding(self) -> bool:
        return self._steps == 0

    def stepped(self, epoch: int, images: int) -> None:
        with self._changed:
            if self._steps:
                self._steps -= 1

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        if self._one_epoch:
            self.pause()

    def hold(self) -> float:
        started = time.monotonic()
        if self._delay and not self.holding:
            with self._changed:
                self._changed.wait(self._delay)
        if self.holding and not self.ending:
            self.rested()
            with self._changed:
                self._changed.wait_for(lambda: self.ending or not self.holding)
        return time.monotonic() - started

    def rested(self) -> None:
        """The run holds now; called in its thread."""
