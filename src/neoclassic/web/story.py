"""What has happened in a training, for pages that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from neoclassic.insight.probe import Glance
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch

POINTS = 4000  # measurements that are kept; of more, every second one is dropped

IDLE, PREPARING, RUNNING, RESTING, FINISHING = "idle", "preparing", "running", "resting", "finishing"
FINISHED, STOPPED, FAILED, ELSEWHERE = "finished", "stopped", "failed", "elsewhere"
ACTIVE = (PREPARING, RUNNING, RESTING, FINISHING)


@dataclass
class Story:
    """A training as a page sees it. Any thread may change it, with `tell`.

    facts    the phase, the network, the step … , as plain JSON values
    points   step, loss and accuracy of the training images, measured between two steps
    log      the epochs
    glance   the last look into the network, and `glances`, how many there were
    version  grows with every change; `era` when `points` are not what they were
    """

    facts: dict[str, Any] = field(default_factory=lambda: {"phase": IDLE})
    points: list[tuple[int, float, float]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    glance: Glance | None = None
    layers: list[dict[str, Any]] = field(default_factory=list)
    glances: int = 0
    version: int = 0
    era: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def phase(self) -> str:
        return str(self.facts["phase"])

    def tell(self, **facts: Any) -> None:
        """Change facts."""
        with self._lock:
            self.facts.update(facts)
            self.version += 1

    def begin(self, **facts: Any) -> None:
        """Forget everything, and start with these facts."""
        with self._lock:
            self.facts, self.points, self.log, self.glance, self.layers = facts, [], [], None, []
            self.version += 1
            self.era += 1

    def measured(self, step: int, loss: float, accuracy: float) -> None:
        """A measurement."""
        with self._lock:
            self.points.append((step, loss, accuracy))
            if len(self.points) > POINTS:
                self.points = self.points[::2]
                self.era += 1
            self.version += 1

    def logged(self, log: Sequence[Epoch]) -> None:
        """The epochs that are over."""
        with self._lock:
            self.log = [asdict(row) for row in log]
            self.version += 1

    def seen(self, glance: Glance) -> None:
        """A look into the network."""
        with self._lock:
            self.glance = glance
            self.glances += 1
            self.version += 1

    def since(self, era: int, points: int) -> dict[str, Any]:
        """All that a page needs which knows this many points of this era."""
        with self._lock:
            known = points if era == self.era else 0
            return {
                **self.facts,
                "era": self.era,
                "from": known,
                "points": [list(point) for point in self.points[known:]],
                "log": list(self.log),
                "glances": self.glances,
                "layers": self.layers,
            }


def head_of(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """What is told of a run from its start on."""
    return {
        "network": recipe.network,
        "data": recipe.data,
        "recipe": recipe.name,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer.name,
        "schedule": recipe.schedule,
        "run": str(folder),
        "held_out": "validation" if recipe.validation else "test",
    }
