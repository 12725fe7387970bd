"""Optuna's side of a search: its storage, its proposals, and what it keeps of each trial."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neoclassic.base.errors import MissingPackage, NeoclassicError, install, one_line
from neoclassic.train.recipe import Recipe
from neoclassic.train.search.space import Space
from neoclassic.train.search.trials import COMPLETE, Trial

if TYPE_CHECKING:
    import optuna

FULL = 1000  # the whole length of a trial in Optuna's steps: networks differ in their epochs
REDUCTION = 2  # at a quarter and at half of its length, a trial goes on if it is in the better half


def need() -> None:
    """MissingPackage unless Optuna is installed."""
    if importlib.util.find_spec("optuna") is None:
        raise one_line(MissingPackage(f"a search needs Optuna: {install('optuna')}"))


@contextmanager
def opened(file: Path, address: str, space: Space) -> Iterator[optuna.Study]:
    """The study of a space, which begins if it is not there, in the storage at an address, or in a file if it is "".

    NeoclassicError for a storage that cannot be used.
    """
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: Any = None
    try:
        try:
            storage = _storage(file, address)
            study = _study(storage, space)
        except Exception as error:  # of SQLAlchemy, of a database's driver, or of Optuna
            raise _unusable(file, address, error) from error
        yield study
    except optuna.exceptions.StorageInternalError as error:
        raise _unusable(file, address, error) from error
    finally:
        optuna.logging.set_verbosity(verbosity)
        if not address and storage is not None:
            storage.engine.dispose()


def _storage(file: Path, address: str) -> Any:
    """Optuna's storage: at an address, or in a file, whose path would have to be quoted in an address."""
    import optuna

    if address:
        return optuna.storages.get_storage(address)
    return optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": partial(sqlite3.connect, file)})


def _study(storage: Any, space: Space) -> optuna.Study:
    import optuna

    recipes = json.dumps([recipe.to_dict() for recipe in space.recipes], sort_keys=True)
    return optuna.create_study(
        storage=storage,
        pruner=optuna.pruners.SuccessiveHalvingPruner(FULL // REDUCTION**2, REDUCTION),
        study_name=f"neoclassic-{hashlib.sha256(recipes.encode()).hexdigest()[:16]}",
        direction="maximize",
        load_if_exists=True,
    )


def _unusable(file: Path, address: str, error: Exception) -> NeoclassicError:
    """The error for a storage; its address may hold a password, and is not named."""
    reason = str(error).partition("\n")[0]
    return NeoclassicError(f"{'the --storage' if address else file} cannot be used ({type(error).__name__}: {reason})")


def ask(study: optuna.Study, space: Space, i: int, worker: str) -> optuna.Trial:
    """The trial i, from 0, as Optuna proposes it; `Space.variant` makes a recipe of it.

    The first trials are the recipes as they are. What is proposed depends only on i, the trials before it, and worker.
    """
    import optuna

    words = [space.recipes[0].seed, i, *worker.encode()]
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    if i < len(space.recipes):
        study.enqueue_trial(space.default(i))
    return study.ask()


def describe(trial: optuna.Trial, number: int, recipe: Recipe, augmentation: str, worker: str) -> Trial:
    """Keep what a trial is, and return it."""
    rate = None if recipe.head else recipe.learning_rate
    made = Trial(number, recipe.network, rate, augmentation, recipe.epochs)
    trial.set_user_attr("trial", made.to_dict())
    trial.set_user_attr("worker", worker)
    return made


def keep(trial: optuna.Trial, seconds: float, **found: Any) -> None:
    """Keep what was found of a trial after so many seconds."""
    trial.set_user_attr("trial", {**trial.user_attrs["trial"], **found, "seconds": round(seconds, 3)})


def tell(study: optuna.Study, trial: optuna.Trial, outcome: str, seconds: float) -> Trial:
    """Tell Optuna how a trial ended, and return it."""
    from optuna.trial import TrialState

    keep(trial, seconds, outcome=outcome)
    found = Trial.from_dict(trial.user_attrs["trial"])
    if outcome == COMPLETE:
        study.tell(trial, found.accuracy)
    else:
        study.tell(trial, state=TrialState.PRUNED)
    return found


def drop(study: optuna.Study, trial: optuna.Trial) -> None:
    """Forget a trial that was not begun."""
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)


def left(study: optuna.Study, worker: str, shared: bool) -> tuple[optuna.Trial, Trial, int] | None:
    """The trial that a killed process of this worker left behind, what is known of it, and the last step it reported.

    One that was not described yet is forgotten. shared: whether other processes use the study, so that such a trial may
    be theirs.
    """
    import optuna

    running = optuna.trial.TrialState.RUNNING
    for each in study.get_trials(deepcopy=False, states=(running,)):
        if each.user_attrs.get("worker") == worker:
            again = optuna.trial.Trial(study, each._trial_id)
            return again, Trial.from_dict(each.user_attrs["trial"]), max(each.intermediate_values, default=-1)
        if not shared and "worker" not in each.user_attrs:
            study.tell(each.number, state=optuna.trial.TrialState.FAIL)
    return None


def count(study: optuna.Study) -> int:
    """The number of trials, those in progress among them."""
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)))


def trials(study: optuna.Study, worker: str, every: bool = False) -> tuple[Trial, ...]:
    """Those that have ended, or every one. NeoclassicError if they were kept by something else."""
    from optuna.trial import TrialState

    ended = None if every else (TrialState.COMPLETE, TrialState.PRUNED)
    try:
        return tuple(
            replace(Trial.from_dict(each.user_attrs["trial"]), ours=each.user_attrs["worker"] == worker)
            for each in study.get_trials(deepcopy=False, states=ended)
            if "worker" in each.user_attrs
        )
    except (ValueError, KeyError) as error:
        raise NeoclassicError(f"Optuna's storage holds trials of another version ({error})") from None


def last_of(study: optuna.Study, network: str, worker: str) -> Trial | None:
    """The last trial of a network that this worker trained for an epoch; None before the first."""
    known = [each for each in trials(study, worker, every=True) if each.network == network and each.pace and each.ours]
    return known[-1] if known else None
