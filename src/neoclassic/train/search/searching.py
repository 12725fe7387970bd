"""Beginning a search, and continuing it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from neoclassic.base import files
from neoclassic.base.errors import UsageError
from neoclassic.base.records import number
from neoclassic.data.image_files import pixel_limit
from neoclassic.train import transfer
from neoclassic.train.job import located, prepare, resolved
from neoclassic.train.listener import Listener
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run, Settings
from neoclassic.train.search import studies
from neoclassic.train.search.plan import STORAGE, TRIALS, Plan, found
from neoclassic.train.search.space import Space
from neoclassic.train.search.trials import Search

FEW = 200  # validation images below which similar trials cannot be told apart


def search(
    recipes: Sequence[Recipe],
    minutes: float,
    settings: Settings = Settings(),
    out: str | Path | None = None,
    trials: int | None = None,
    storage: str = "",
    listeners: Sequence[Listener] = (),
    of_winner: Sequence[Listener] = (),
) -> Search:
    """Search the variants of some recipes, each of another network, and test the best one.

    out: the folder; `runs/<network>-<data>-search-<number>` when omitted. trials: the most trials. storage: the address
    of Optuna's storage, if processes that are given the same recipes share one; by default it is a file in the folder.
    listeners: of the trials; of_winner: of the end of the winner's run.

    UsageError for an impossible call, before anything is written; `loop.Interrupted` after Ctrl-C, with all trials but
    the last one saved; NeoclassicError for bad data, or if no trial finishes an epoch.
    """
    began = time.monotonic()
    studies.need()
    if World.here().size > 1:
        raise UsageError("a search runs in one process: leave torchrun out, or start several with one --storage")
    if not (number(minutes) and minutes > 0):
        raise UsageError(f"minutes must be above 0, not {minutes}")
    space = Space(tuple(transfer.resolved(recipe.checked()) for recipe in recipes)).checked()
    settings = located(space.recipes[0], settings)
    Run.check(out)
    folder = Path(out) if out is not None else _unused(space.recipes[0], settings)
    if taken := [name for name in (TRIALS, STORAGE) if (folder / name).exists()]:
        raise UsageError(f"{folder} holds {taken[0]!r} already: choose another --out")
    told = _check(space, settings)
    plan = Plan(folder, space, minutes, settings, trials, storage, secrets.token_hex(8))
    for each in listeners:
        for line in told:
            each.advised(line)
    files.make_folder(folder)
    with plan.held():
        Run.check(folder)
        plan.write()
        plan.run(began, listeners)
    return plan.finish(of_winner)


def resume(
    folder: str | Path,
    storage: str = "",
    listeners: Sequence[Listener] = (),
    of_winner: Sequence[Listener] = (),
) -> Search:
    """Continue what `search` began, in the time that is left. Of a finished search, return what it found.

    storage: the same as for `search`; it is not kept in the folder, because it may hold a password.
    """
    began = time.monotonic()
    studies.need()
    plan = Plan.open(folder, storage)
    if found(plan.folder) is None:
        with plan.held():
            plan.run(began, listeners)
    return plan.finish(of_winner)


def _check(space: Space, settings: Settings) -> list[str]:
    """Prepare each recipe once, so that its errors are told before anything begins; return what there is to tell."""
    told, validation = [], FEW
    with pixel_limit(settings.max_pixels):
        for recipe in space.recipes:
            job = prepare(recipe, resolved(recipe, settings), None, World.here())
            validation = validation if recipe.head else min(validation, len(job.monitored))
    if space.size:
        rest = "only the networks are compared" if space.size > 1 else "there is nothing to search"
        told.append(f"the last layer alone is fitted at once, without learning rate or epochs: {rest}")
    if validation < FEW:
        few = f"{validation} validation images cannot tell similar trials apart"
        told.append(f"{few}: hold out more with --validation 0.3, or add images")
    return told


def _unused(recipe: Recipe, settings: Settings) -> Path:
    """A folder that is not there yet."""
    data = Path(settings.place or recipe.data).name
    name = f"{recipe.network}-{data}-search".replace(":", "-").replace("/", "-")
    return next(path for i in count(1) if not (path := Path("runs") / f"{name}-{i}").exists())
