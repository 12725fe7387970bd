"""The verb that trains."""

from __future__ import annotations

from typing import Any

import click

from neoclassic.cli.base import as_json, data_dir, device, engine, print_json, verb
from neoclassic.errors import UsageError


@verb
@click.argument("network", required=False)
@click.option(
    "--data", "--data-path", "--train-dir", metavar="NAME|FOLDER", help="Data set, or a folder of photos or IDX files."
)
@data_dir
@click.option("--recipe", metavar="NAME", help="A published recipe; the network's own when omitted.")
@click.option("--epochs", "--num-epochs", type=int)
@click.option("--batch-size", "--batch", "-b", type=int)
@click.option("--lr", "--learning-rate", "learning_rate", type=float)
@click.option("--optimizer", metavar="NAME", help="sgd, adam")
@click.option("--momentum", type=float)
@click.option("--nesterov/--no-nesterov", default=None)
@click.option("--weight-decay", "--wd", type=float)
@click.option("--schedule", metavar="NAME", help="constant, cosine")
@click.option("--warmup-epochs", type=float)
@click.option("--initialisation", "--init", metavar="NAME")
@click.option("--standardise/--no-standardise", default=None, help="By the training set's mean and deviation.")
@click.option("--validation", type=float, help="Fraction of the training set held out to choose the best model.")
@click.option("--image-size", "--imgsz", type=int, help="Pixels that images are brought to, square.")
@click.option("--fit", metavar="NAME", help="Of photos: crop, pad or stretch; chosen from their shapes when omitted.")
@click.option("--channels", type=int, help="1 (grey) or 3; the photos' own when omitted.")
@click.option("--strict", is_flag=True, help="A photo that cannot be read ends the run, instead of being left out.")
@click.option("--classes", "--num-classes", type=int, help="Must be the data set's own number.")
@engine
@device
@click.option("--seed", type=int)
@click.option("--out", metavar="FOLDER", help="Run folder; runs/<network>-<data>-<number> when omitted.")
@click.option("--max-steps", type=click.IntRange(1), help="Stop early, after so many steps.")
@click.option("--tensorboard", is_flag=True, help="Write the curves as TensorBoard events too.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
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
    data_dir: str | None,
    max_steps: int | None,
    strict: bool,
    out: str | None,
    resume: str | None,
    tensorboard: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train a network. Options override the recipe."""
    if resume:
        given = [p for p in context.params if context.get_parameter_source(p) == click.core.ParameterSource.COMMANDLINE]
        if surplus := set(given) - {"resume", "as_json"}:
            raise UsageError(f"--resume goes on as the run began: leave {sorted(surplus)[0]!r} out")
        from neoclassic.train.loop import resume as go_on

        _print_result(go_on(resume, progress=True), as_json)
        return
    from neoclassic import networks
    from neoclassic.engines import Optimizer, choose
    from neoclassic.recipes import choose as choose_recipe
    from neoclassic.train.loop import train as run
    from neoclassic.train.run import Settings
    from neoclassic.views import events

    if network is not None:
        networks.entry(network)
    chosen = choose_recipe(network, recipe)
    if optimizer and optimizer != chosen.optimizer.name:
        chosen = chosen.but(optimizer=Optimizer(optimizer))
    chosen = chosen.but(**{name: value for name, value in overrides.items() if value is not None})
    used = choose(engine)
    if tensorboard:
        events.need()
    click.echo(f"{chosen.network} on {chosen.data}, recipe {chosen.name}, {used} engine", err=True)
    settings = Settings(
        engine=used, device=device, data_dir=data_dir, max_steps=max_steps, strict=strict, tensorboard=tensorboard
    )
    _print_result(run(chosen, settings, out, progress=True), as_json)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    minutes, seconds = divmod(round(result["seconds"]), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{result['seconds']:.1f} s"
    click.echo(f"test accuracy {result['test_accuracy']:.4f}  (epoch {result['best_epoch']}, trained for {took})")
    click.echo(f"everything is in {result['run']}: model.safetensors, curves.png, confusion.png, log.csv, result.json")
    click.echo(f"next: neoclassic predict {result['run']} IMAGE")
