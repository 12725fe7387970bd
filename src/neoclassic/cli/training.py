"""The verbs that train and that measure speed: train, bench."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from neoclassic.base.errors import UsageError
from neoclassic.cli.base import as_json, data_dir, device, devices, engine, max_pixels, print_json, verb
from neoclassic.cli.options import (
    HEADINGS,
    augmentation,
    channels,
    keep,
    optimization,
    sizing,
    speed,
    splitting,
    transfer,
)
from neoclassic.cli.terminal import print_fitted

if TYPE_CHECKING:
    from neoclassic.insight.bench import Row
    from neoclassic.train.cross_validation import CrossValidation
    from neoclassic.train.recipe import Recipe
    from neoclassic.train.run import Result
    from neoclassic.views.table import Table


@partial(verb, headings=HEADINGS)
@click.argument("network", required=False)
@click.option(
    "--data",
    "--data-path",
    "--train-dir",
    metavar="NAME|FOLDER",
    help="A data set, or a folder of photos or IDX files.",
)
@data_dir
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="A name that 'neoclassic recipes' lists, or the recipe.json of a run. Default: neoclassic's own.",
)
@click.option("--epochs", "--num-epochs", type=int, help="Passes over the training set.")
@click.option("--batch-size", "--batch", "-b", type=int, help="Images per step.")
@optimization
@augmentation
@transfer
@click.option("--initialisation", "--init", metavar="NAME", help="How weights are initialised: he, xavier, torch …")
@click.option(
    "--standardise/--no-standardise",
    default=None,
    help="Standardise by the training set's mean and standard deviation.",
)
@click.option("--validation", type=float, help="Fraction of the training set to hold out for choosing the best model.")
@splitting
@click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="K",
    help="Cross-validation: train K times, each time holding out one of K parts for testing.",
)
@sizing
@keep
@channels
@max_pixels
@click.option("--strict", is_flag=True, help="Stop if a photo cannot be read, instead of leaving it out.")
@click.option("--classes", "--num-classes", type=int, help="Number of classes; must match the data set.")
@engine
@devices
@speed
@click.option("--seed", type=int, help="Random seed.")
@click.option("--out", metavar="FOLDER", help="Run folder. Default: runs/<network>-<data>-<number>.")
@click.option("--max-steps", type=click.IntRange(1), help="Stop after this many steps.")
@click.option("--tensorboard", is_flag=True, help="Also write the curves as TensorBoard events.")
@click.option("--resume", metavar="RUN", help="Resume a run or a cross-validation that was stopped.")
@as_json
@click.pass_context
def train(
    context: click.Context,
    /,
    network: str | None,
    recipe: str | None,
    optimizer: str | None,
    engine: str,
    device: str,
    precision: str,
    compiling: str,
    data_dir: str | None,
    max_steps: int | None,
    folds: int | None,
    strict: bool,
    out: str | None,
    resume: str | None,
    tensorboard: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train a network. Options override the recipe.

    NETWORK is a name that 'neoclassic list' shows, or your own in a Python file: my_networks.py:tiny.
    """
    if resume:
        given = [p for p in context.params if context.get_parameter_source(p) == click.core.ParameterSource.COMMANDLINE]
        if surplus := set(given) - {"resume", "as_json"}:
            raise UsageError(f"--resume uses the run's own settings: leave out {sorted(surplus)[0]!r}")
        _resume(resume, as_json)
        return
    from neoclassic.data.image_files import max_pixels as limit
    from neoclassic.engines import Speed, choose
    from neoclassic.insight import events
    from neoclassic.insight.watching import of_folds, watchers
    from neoclassic.train import cross_validation
    from neoclassic.train.loop import train as run
    from neoclassic.train.parallel import World
    from neoclassic.train.run import Settings

    chosen = chosen_recipe(context, network, recipe, optimizer, overrides)
    used = choose(engine)
    if tensorboard:
        events.need()
    world = World.here()
    if not world.rank:
        click.echo(f"{chosen.network} on {chosen.data}, recipe {chosen.name}, {used} engine", err=True)
    speed = Speed(precision, compiling)
    settings = Settings(used, device, speed, data_dir, max_steps, strict, tensorboard, max_pixels=limit())
    if folds:
        _print_folds(cross_validation.train(chosen, folds, settings, out, of_folds(progress=True)), as_json)
        return
    _print_result(run(chosen, settings, out, listeners=watchers(progress=True), world=world), as_json)


def _resume(folder: str, as_json: bool) -> None:
    """Continue a run, or the runs of several folds."""
    from neoclassic.insight.watching import of_folds, watchers
    from neoclassic.model.folds import members
    from neoclassic.train import cross_validation, loop

    if members(folder):
        _print_folds(cross_validation.resume(folder, of_folds(progress=True)), as_json)
    else:
        _print_result(loop.resume(folder, listeners=watchers(progress=True)), as_json)


def chosen_recipe(
    context: click.Context, network: str | None, recipe: str | None, optimizer: str | None, overrides: dict[str, Any]
) -> Recipe:
    """The recipe with the options that override it. UsageError for options that exclude each other."""
    from neoclassic.cli.own import entry
    from neoclassic.model.opening import from_any_folder
    from neoclassic.recipes import choose

    row = entry(network) if network is not None else None
    if overrides["weights"]:
        overrides["weights"] = from_any_folder(overrides["weights"])
    layers = _layers(context, overrides)
    chosen = choose(row if row and row.own else network, recipe, overrides["data"], overrides.get("weights"), layers)
    if optimizer:
        chosen = chosen.but(optimizer=chosen.optimizer.as_rule(optimizer))
    chosen = chosen.but(**{name: value for name, value in overrides.items() if value not in (None, ())})
    if chosen.weights and overrides.get("standardise") is not None:
        option = "--standardise" if overrides["standardise"] else "--no-standardise"
        raise UsageError(f"{option} cannot be used with --weights, which fix how pixels are normalised: leave it out")
    return chosen


def _layers(context: click.Context, overrides: dict[str, Any]) -> str:
    """Which layers the options ask to train; see `layers_asked`."""
    from neoclassic.recipes.neoclassic import layers_asked

    options = {param.name: param.opts[0] for param in context.command.params}
    command_line = click.core.ParameterSource.COMMANDLINE
    given = [p for p in context.params if context.get_parameter_source(p) == command_line]
    return layers_asked(overrides.pop("head"), overrides.pop("head_first"), given, options.__getitem__)


def _print_result(result: Result | None, as_json: bool) -> None:
    if result is None:  # another process writes the run and prints the result
        return
    if as_json:
        print_json(result.to_dict())
        return
    from neoclassic.views.table import duration

    low, high = result.evaluation["accuracy_interval"]
    sure = f"95 % interval {low:.4f} to {high:.4f}, {result.evaluation['n']:,} images"
    how = f"epoch {result.best_epoch}, trained for {duration(result.seconds)}"
    click.echo(f"test accuracy {result.test_accuracy:.4f}  ({sure}; {how})")
    print_fitted(f"everything is in {result.run}: model.safetensors, curves.png, confusion.png, log.csv, result.json")
    click.echo(f"next: neoclassic predict {shlex.quote(result.run)} IMAGE")


def _print_folds(done: CrossValidation, as_json: bool) -> None:
    if as_json:
        print_json(done.to_dict())
        return
    print_fitted(done.table, "", *done.lines)
    print_fitted(f"everything is in {done.folder}: folds.json, and the runs fold1 to fold{len(done.results)}")
    click.echo(f"next: neoclassic predict {shlex.quote(done.folder)} IMAGE, which averages the models")


@verb
@click.argument("networks", nargs=-1, metavar="NETWORK…")
@click.option(
    "--recipes",
    multiple=True,
    metavar="PATTERN",
    help="Train every matching recipe from start to end instead; repeatable.",
)
@click.option(
    "--tune", is_flag=True, help="Measure the safe settings of --precision and --compile, and keep the fastest."
)
@click.option(
    "--batch-size",
    "--batch",
    "-b",
    type=click.IntRange(1),
    help="Images per step. Default: 32, or the recipe's with --tune.",
)
@click.option(
    "--image-size", "--imgsz", type=click.IntRange(1), help="Image size in pixels, square. Default: the published one."
)
@click.option(
    "--seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="Duration of each measurement."
)
@click.option("--epochs", type=click.IntRange(1), help="With --recipes: the number of epochs.")
@click.option("--max-steps", type=click.IntRange(1), help="With --recipes: stop each run after this many steps.")
@click.option("--out", metavar="FOLDER", help="With --recipes: keep the runs in this folder.")
@click.option("--engine", default="all", show_default=True, metavar="NAME", help="numpy, torch, onnx or all.")
@device
@speed
@data_dir
@as_json
def bench(
    networks: tuple[str, ...],
    recipes: tuple[str, ...],
    tune: bool,
    batch_size: int | None,
    image_size: int | None,
    seconds: float,
    epochs: int | None,
    max_steps: int | None,
    out: str | None,
    engine: str,
    device: str,
    precision: str,
    compiling: str,
    data_dir: str | None,
    as_json: bool,
) -> None:
    """Measure the speed of training and inference on this machine.

    Prints images per second for each network and engine. An exported FILE.onnx may be given in place of a network.
    """
    from neoclassic.cli.own import entry
    from neoclassic.engines import Speed, choose
    from neoclassic.insight import bench as run
    from neoclassic.train.run import Settings

    if bool(networks) == bool(recipes):
        raise UsageError("name networks, or --recipes PATTERN")
    if recipes:
        speed = Speed(precision, compiling)
        where = Settings("auto" if engine == "all" else engine, device, speed, data_dir, max_steps)
        done = list(run.recipes(recipes, where, not as_json, out, **({"epochs": epochs} if epochs else {})))
        print_json(done) if as_json else print_fitted(_done(done))
        return
    exported = [name for name in networks if name.lower().endswith(".onnx")]
    if exported and (tune or image_size or engine not in ("all", "onnx")):
        raise UsageError(f"{exported[0]} runs on the onnx engine, at its own size: leave out the other options")
    names = run.installed() if engine == "all" else [choose(engine)]
    measured = [entry(name) for name in networks if name not in exported]
    if tune:
        rows = [row for each in measured for row in run.tune(each, batch_size, seconds, device, image_size)]
    else:
        speeds = {"torch": (device, Speed(precision, compiling))}
        size = (image_size, image_size) if image_size else None
        rows = [
            run.bench(one, each, batch_size or 32, seconds, *speeds.get(each, ("cpu", Speed())), size)
            for one in measured
            for each in names
        ]
        rows += [run.bench_file(name, batch_size or 32, seconds) for name in exported]
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    print_fitted(_rates(rows))
    if tune:
        click.echo("training now uses the fastest setting of each network, unless --precision or --compile is given")


def _done(runs: Sequence[dict[str, Any]]) -> Table:
    """Finished recipes."""
    from neoclassic.views.table import RIGHT, WRAP, Column, Table, between

    columns = (
        Column("recipe"),
        Column("engine", rank=3),
        Column("device", rank=2),
        Column("precision", rank=4),
        Column("epochs", RIGHT, rank=1),
        Column("images/s", RIGHT),
        Column("seconds", RIGHT),
        Column("accuracy", RIGHT),
        Column("95 % interval", RIGHT, rank=1),
        Column("published", narrow=WRAP, least=24, rank=5),
    )
    keys = ("recipe", "engine", "device", "precision", "epochs", "images_per_second", "seconds")
    rows = (
        (
            *(str(run[key]) for key in keys),
            f"{run['test_accuracy']:.4f}",
            between(*run["accuracy_interval"]),
            run["reaches"],
        )
        for run in runs
    )
    return Table(columns, tuple(rows))


def _rates(measured: Sequence[Row]) -> Table:
    """Measured speeds."""
    from neoclassic.views.table import RIGHT, Column, Table

    columns = (
        Column("network"),
        Column("engine"),
        Column("device", rank=1),
        Column("precision", rank=2),
        Column("compile", rank=3),
        Column("batch", RIGHT, rank=4),
        Column("train images/s", RIGHT),
        Column("test images/s", RIGHT),
    )
    rows = []
    for row in measured:
        rates = (f"{row.train:,.0f}" if row.train else "", f"{row.inference:,.0f}")
        rows.append((row.network, row.engine, row.device, row.precision, row.compile, str(row.batch), *rates))
    return Table(columns, tuple(rows))
