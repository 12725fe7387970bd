"""A search in a folder: its trials, one after the other, and the run of its winner."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.locks import locked
from neoclassic.base.records import number, whole
from neoclassic.base.text import json_text
from neoclassic.model.artefact import SEARCH
from neoclassic.train import loop
from neoclassic.train.listener import Listener
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run, Settings
from neoclassic.train.search import studies
from neoclassic.train.search.space import Space, shortened
from neoclassic.train.search.trials import COMPLETE, DIVERGED, LATE, PRUNED, Search, Trial
from neoclassic.train.search.watch import Stopped, TooLong, Watch

if TYPE_CHECKING:
    import optuna

STORAGE = "trials.db"  # Optuna's, in SQLite
TRIALS = "trials"
SHARE = 4  # a trial takes at most this part of the time: its recipe is shortened


@dataclass(frozen=True)
class Plan:
    """A search in a folder: what is searched, for how long, and how.

    most     trials
    storage  an address; "": a file in the folder
    worker   a name for this search among those that share its storage
    """

    folder: Path
    space: Space
    minutes: float
    settings: Settings
    most: int | None
    storage: str
    worker: str

    @classmethod
    def open(cls, folder: str | Path, storage: str = "") -> Self:
        """What `write` wrote. UsageError where there is no search; NeoclassicError for a damaged file."""
        content = _read(Path(folder))
        try:
            settings = Settings.from_dict(content["run"])
            space = Space(tuple(Recipe.from_dict(recipe) for recipe in content["recipes"])).checked()
            minutes, most, worker, shared = (content[name] for name in ("minutes", "most", "worker", "shared"))
            if not (number(minutes) and (most is None or whole(most)) and isinstance(worker, str)):
                raise ValueError("minutes, most or worker are impossible")
        except (NeoclassicError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise NeoclassicError(f"{Path(folder) / SEARCH}: damaged ({error})") from None
        if bool(storage) != bool(shared):
            wish = "give the same --storage again" if shared else "leave out --storage"
            raise UsageError(f"{folder} was begun {'with' if shared else 'without'} --storage: {wish}")
        return cls(Path(folder), space, minutes, settings, most, storage, worker)

    def write(self, trials: Sequence[Trial] = (), winner: int | None = None) -> None:
        """Write `search.json`: without a winner while the search goes on."""
        content = {
            "minutes": self.minutes,
            "most": self.most,
            "winner": winner,
            "trials": [each.to_dict() for each in trials],
            "recipes": [recipe.to_dict() for recipe in self.space.recipes],
            "run": self.settings.to_dict(),
            "shared": bool(self.storage),
            "worker": self.worker,
        }
        files.write(self.folder / SEARCH, json_text(content, indent=1) + "\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Exclude other processes. UsageError, which names the other process, if one searches in this folder."""
        with locked(self.folder, f"the search in {self.folder}"):
            files.sweep(self.folder)
            yield

    def place(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.folder / TRIALS / str(number)

    # ── the trials ──

    def run(self, began: float, listeners: Sequence[Listener]) -> None:
        """Train the trials that there is time for, and choose the winner. began: time.monotonic()."""
        again = f"neoclassic search --resume {shlex.quote(str(self.folder))}"
        try:
            with studies.opened(self.folder / STORAGE, self.storage, self.space) as study:
                used = sum(each.seconds for each in studies.trials(study, self.worker, every=True) if each.ours)
                deadline = began + 60 * self.minutes - used
                while self.run_next(study, deadline, listeners):
                    self.clear(studies.trials(study, self.worker))
                trials = studies.trials(study, self.worker)
        except KeyboardInterrupt:
            raise loop.Interrupted(f"the search was stopped; resume with: {again}") from None
        if not (kept := _kept(trials)):
            pruned = any(each.outcome == PRUNED for each in trials if each.ours)
            reason = "was pruned: another process has a better one" if pruned else "diverged: name other networks"
            raise NeoclassicError(f"every trial of this process {reason}")
        self.write(trials, kept.number)

    def run_next(self, study: optuna.Study, deadline: float, listeners: Sequence[Listener]) -> bool:
        """Train one more trial; return False if there is no time for it, or if there were enough."""
        now = time.monotonic()
        if left := studies.left(study, self.worker, bool(self.storage)):
            trial, about, reported = left
            now -= about.seconds
        elif begun := self.begin(study, deadline - now):
            (trial, about), reported = begun, -1
        else:
            return False
        recipe, _ = self.space.variant(trial)
        longest: float | None = min(60 * self.minutes / SHARE, max(deadline - now, 0.0))
        if known := studies.last_of(study, recipe.network, self.worker):
            recipe, longest = shortened(recipe, known.length), None
        watch = Watch(trial, now, deadline, longest, reported)
        outcome = self.train(recipe, watch, self.place(about.number), listeners)
        ended = studies.tell(study, trial, outcome, time.monotonic() - now)
        for each in listeners:
            each.advised(ended.line)
        return outcome != LATE

    def begin(self, study: optuna.Study, left: float) -> tuple[optuna.Trial, Trial] | None:
        """A new trial; None if there were enough, or if one takes longer than the seconds that are left."""
        before = studies.count(study)
        most = min((each for each in (self.most, self.space.size) if each is not None), default=before + 1)
        if before and (before >= most or left <= 0):
            return None
        trial = studies.ask(study, self.space, before, self.worker if self.storage else "")
        recipe, augmentation = self.space.variant(trial)
        known = studies.last_of(study, recipe.network, self.worker)
        if before >= len(self.space.recipes) and known and known.length * known.pace > left:
            studies.drop(study, trial)
            return None
        return trial, studies.describe(trial, before + 1, recipe, augmentation, self.worker)

    def train(self, recipe: Recipe, watch: Watch, folder: Path, listeners: Sequence[Listener]) -> str:
        """Train a trial, or what is left of it if a killed process began it; return how it ended."""
        every = [*listeners, watch]
        try:
            if _holds(folder, recipe):
                loop.resume(folder, listeners=every, control=watch, finishing=False)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                settings = self.settings
                loop.train(recipe, settings, folder, listeners=every, kept=False, control=watch, finishing=False)
        except TooLong as error:
            for each in listeners:
                fewer = f"{error.epochs} of {recipe.epochs} epochs"
                each.advised(f"{recipe.network}: {fewer}, so that a trial takes at most a quarter of the time")
            return self.train(shortened(recipe, error.epochs), watch, folder, listeners)
        except Stopped:
            return PRUNED
        except loop.Diverged:
            return DIVERGED
        except loop.Interrupted:
            if not watch.late:
                raise
            return LATE
        return COMPLETE

    def clear(self, trials: Sequence[Trial]) -> None:
        """Remove the runs of all trials but the best one."""
        best = _kept(trials)
        for each in trials:
            if each.ours and each != best:
                shutil.rmtree(self.place(each.number), ignore_errors=True)

    # ── the winner ──

    def finish(self, listeners: Sequence[Listener]) -> Search:
        """Make the winner's run that of the folder, and test it. Errors as from `loop.resume`."""
        ended = found(self.folder)
        assert ended is not None
        trials, winner = ended
        with self.held():
            place = self.place(winner)
            if place.exists():
                if next(each for each in trials if each.number == winner and each.ours).outcome == LATE:
                    _end(place)
                for path in sorted(place.iterdir(), key=lambda path: path.name == "recipe.json"):  # it comes last
                    path.replace(self.folder / path.name)
            shutil.rmtree(self.folder / TRIALS, ignore_errors=True)
        result = loop.resume(self.folder, listeners=listeners)
        assert result is not None  # this process is the only one
        return Search(str(self.folder), trials, winner, result)


def found(folder: Path) -> tuple[tuple[Trial, ...], int] | None:
    """The trials of a search, and the number of the winner; None while it goes on. Errors as from `Plan.open`."""
    content = _read(folder)
    try:
        if content["winner"] is None:
            return None
        trials = tuple(Trial.from_dict(row) for row in content["trials"])
        return trials, next(each.number for each in trials if each.number == content["winner"] and each.ours)
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise NeoclassicError(f"{folder / SEARCH}: damaged ({error!r})") from None


def _kept(trials: Sequence[Trial]) -> Trial | None:
    """The best trial of those whose run can be finished; None if there is none."""
    return max((each for each in trials if each.ours and each.outcome in (COMPLETE, LATE)), key=_rank, default=None)


def _end(folder: Path) -> None:
    """Let the run of a trial that was out of time be over at the step where it stopped."""
    if (folder / "recipe.json").exists():  # not in the folder of the search yet
        run, recipe, settings = Run.open(folder)
        saved = run.load_checkpoint()
        assert saved is not None
        run.save_recipe(recipe, replace(settings, max_steps=saved[2].step))


def _rank(trial: Trial) -> tuple[bool, float, float, int]:
    return trial.rank


def _holds(folder: Path, recipe: Recipe) -> bool:
    """Whether a run folder holds the beginning of this recipe."""
    try:
        _, begun, _ = Run.open(folder)
    except NeoclassicError:
        return False
    names = ("network", "learning_rate", "augmentation", "epochs")
    return all(getattr(begun, name) == getattr(recipe, name) for name in names)


def _read(folder: Path) -> dict[str, Any]:
    """The content of `search.json`. UsageError where there is none; NeoclassicError for a damaged file."""
    path = folder / SEARCH
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} holds no search: there is no {SEARCH} in it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NeoclassicError(f"{path}: damaged ({error})") from None
    if not isinstance(content, dict):
        raise NeoclassicError(f"{path}: damaged (it is not an object)")
    return content
