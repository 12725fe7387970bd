"""The verb that searches: search."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from neoclassic.base.errors import UsageError
from neoclassic.cli.base import as_json, data_dir, device, engine, max_pixels, print_json, verb
from neoclassic.cli.options import channels, sizing, speed, splitting, transfer
from neoclassic.cli.terminal import print_fitted
from neoclassic.cli.training import chosen_recipe

if TYPE_CHECKING:
    from neoclassic.train.search.trials import Search

HEADINGS = {
    "Search": ("minutes", "trials", "out", "resume", "storage"),
    "Data": ("data", "data_dir", "validation", "test", "split_seed", "image_size", "fit", "channels", "max_pixels"),
    "Recipe": ("epochs", "batch_size", "patience", "seed"),
    "Pretrained weights": (
        *("weights", "mean", "std", "head", "head_first", "freeze", "unfreeze", "rates", "rate_decay", "fresh_rate"),
    ),
    "Running": ("engine", "device", "precision", "compiling"),
}


@partial(verb, headings=HEADINGS)
@click.argument("networks", nargs=-1, metavar="NETWORK…")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=15.0,
    show_default=True,
    help="Time for all trials together.",
)
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Stop after N trials.")
@click.option("--data", metavar="NAME|FOLDER", help="A data set, or a folder of photos or IDX files.")
@data_dir
@click.option("--epochs", type=int, help="Passes over the training set in a whole trial. Default: as in the recipe.")
@click.option("--batch-size", "--batch", "-b", type=int, help="Images per step.")
@transfer
@click.option("--validation", type=float, help="Fraction of the training set to hold out for judging trials.")
@splitting
@sizing
@channels
@max_pixels
@click.option("--patience", type=int, help="End a trial after this many epochs without a better validation accuracy.")
@engine
@device
@speed
@click.option("--seed", type=int, help="Random seed of the search and of its trials.")
@click.option("--out", metavar="FOLDER", help="Folder. Default: runs/<network>-<data>-search-<number>.")
@click.option("--resume", metavar="FOLDER", help="Resume a search that was stopped.")
@click.option("--storage", metavar="URL", default="", help="Optuna storage that several processes share.")
@as_json
@click.pass_context
def search(
    context: click.Context,
    /,
    networks: tuple[str, ...],
    minutes: float,
    trials: int | None,
    engine: str,
    device: str,
    precision: str,
    compiling: str,
    data_dir: str | None,
    out: str | None,
    resume: str | None,
    storage: str,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Find the best network, learning rate and augmentation by trials.

    Trials that do badly end early. The first trial of each network is its default recipe; the best trial on the
    validation images is tested, and FOLDER becomes its run.
    """
    from neoclassic.data.image_files import max_pixels as limit
    from neoclassic.engines import Speed
    from neoclassic.insight.watching import of_search
    from neoclassic.train.run import Settings
    from neoclassic.train.search import searching

    watching = of_search(progress=True)
    if resume:
        given = [p for p in context.params if context.get_parameter_source(p) == click.core.ParameterSource.COMMANDLINE]
        if surplus := sorted(set(given) - {"resume", "storage", "as_json"}):
            raise UsageError(f"--resume uses the search's own settings: leave out {surplus[0]!r}")
        _print_found(searching.resume(resume, storage, *watching), as_json)
        return
    recipes = [chosen_recipe(context, network, None, None, dict(overrides)) for network in networks]
    settings = Settings(engine, device, Speed(precision, compiling), data_dir, max_pixels=limit())
    _print_found(searching.search(recipes, minutes, settings, out, trials, storage, *watching), as_json)


def _print_found(found: Search, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    folder = shlex.quote(found.folder)
    print_fitted(found.table, "", *found.lines)
    print_fitted(f"everything is in {found.folder}: model.safetensors, recipe.json, search.json, search.png, trials.db")
    click.echo(f"next: neoclassic predict {folder} IMAGE")
    click.echo(f"to train with this recipe: neoclassic train --recipe {folder}/recipe.json")
