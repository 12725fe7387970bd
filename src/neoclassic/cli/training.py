"""The verbs that train, and that say how fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neoclassic.base.errors import UsageError
from neoclassic.cli.base import as_json, data_dir, device, engine, print_json, verb

if TYPE_CHECKING:
    from neoclassic.insight.bench import Row
    from neoclassic.train.run import Result


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in this order under --help."""

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class _Numbers(click.ParamType):
    """Numbers between commas, as a tuple; and the words that stand for some."""

    name = "numbers"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.words or isinstance(value, tuple):
            return value
        try:
            return tuple(float(number) for number in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: write numbers between commas{''.join(f', or {word}' for word in self.words)}")


class _Rate(click.ParamType):
    """PATTERN=NUMBER."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        pattern, _, number = str(value).rpartition("=")
        try:
            return pattern, float(number)
        except ValueError:
            self.fail(f"{value!r}: write PATTERN=NUMBER, as 'stage1.*=0.1'")


optimization = _options(
    click.option("--lr", "--learning-rate", "learning_rate", type=float),
    click.option("--optimizer", metavar="NAME", help="sgd, adam, adamw, adagrad, rmsprop"),
    click.option("--momentum", type=float),
    click.option("--nesterov/--no-nesterov", default=None),
    click.option("--weight-decay", "--wd", type=float),
    click.option("--decay-all/--spare-norms", default=None, help="Weight decay for biases and norms too, or not."),
    click.option("--clip", type=float, metavar="NORM", help="Largest norm of all gradients together."),
    click.option("--average", "--ema", type=float, help="Keep and evaluate a moving average of the weights: 0.999."),
    click.option("--schedule", metavar="NAME", help="constant, step, cosine, one-cycle"),
    click.option("--milestones", type=_Numbers(), metavar="EPOCHS", help="Of the schedule 'step': 5,8."),
    click.option("--gamma", type=float, help="What a milestone multiplies the rate with."),
    click.option("--warmup-epochs", type=float),
    click.option("--label-smoothing", type=float),
    click.option("--class-weights", type=_Numbers("balanced"), metavar="WEIGHTS", help="1,2.5,… or balanced."),
    click.option("--patience", type=int, help="Epochs without a better validation accuracy before the end."),
)
augmentation = _options(
    click.option("--pad", type=int, help="Crop at random from the image with so much black around it, pixels."),
    click.option("--flip/--no-flip", default=None, help="Mirror every second image."),
    click.option("--shift", type=float, help="Move by at most this fraction."),
    click.option("--rotate", type=float, help="Turn by at most so many degrees."),
    click.option("--scale", type=float, help="Enlarge or make smaller by at most this fraction."),
    click.option("--colour", type=float, help="AlexNet's shift of the colours: 0.1."),
    click.option("--erase", type=float, help="Probability of erasing a rectangle."),
    click.option("--mixup", type=float, metavar="ALPHA"),
    click.option("--cutmix", type=float, metavar="ALPHA"),
)
transfer = _options(
    click.option("--weights", metavar="FILE", help="Start from these, ours or torchvision's."),
    click.option("--freeze", multiple=True, metavar="PATTERN", help="Paths that stand still: 'stage1.*'; repeatable."),
    click.option("--rate", "rates", multiple=True, type=_Rate(), metavar="PATTERN=X", help="Times the learning rate."),
)
speed = _options(
    click.option(
        "--precision", default="auto", metavar="NAME", help="auto, 32, bf16: auto is bf16 where it has units."
    ),
    click.option(
        "--compile", "compiling", default="auto", metavar="NAME", help="auto, on, off: auto, on long GPU runs."
    ),
)


@verb
@click.argument("network", required=False)
@click.option(
    "--data", "--data-path", "--train-dir", metavar="NAME|FOLDER", help="Data set, or a folder of photos or IDX files."
)
@data_dir
@click.option("--recipe", metavar="NAME", help="A published recipe; the network's own when omitted.")
@click.option("--epochs", "--num-epochs", type=int)
@click.option("--batch-size", "--batch", "-b", type=int)
@optimization
@augmentation
@transfer
@click.option("--initialisation", "--init", metavar="NAME")
@click.option(
    "--standardise/--no-standardise",
    default=None,
    help="By the training set's mean and deviation.",
)
@click.option("--validation", type=float, help="Fraction of the training set held out to choose the best model.")
@click.option("--image-size", "--imgsz", type=int, help="Pixels that images are brought to, square.")
@click.option("--fit", metavar="NAME", help="Of photos: crop, pad or stretch; chosen from their shapes when omitted.")
@click.option("--channels", type=int, help="1 (grey) or 3; the photos' own when omitted.")
@click.option("--strict", is_flag=True, help="A photo that cannot be read ends the run, instead of being left out.")
@click.option("--classes", "--num-classes", type=int, help="Must be the data set's own number.")
@engine
@device
@speed
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
    precision: str,
    compiling: str,
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
        from neoclassic.insight.watching import watchers
        from neoclassic.train.loop import resume as go_on

        _print_result(go_on(resume, listeners=watchers(progress=True)), as_json)
        return
    from neoclassic import networks
    from neoclassic.engines import Optimizer, Speed, choose
    from neoclassic.insight import events
    from neoclassic.insight.watching import watchers
    from neoclassic.recipes import choose as choose_recipe
    from neoclassic.train.loop import train as run
    from neoclassic.train.parallel import World
    from neoclassic.train.run import Settings

    if network is not None:
        networks.entry(network)
    if overrides["weights"]:
        overrides["weights"] = str(Path(overrides["weights"]).resolve())
    chosen = choose_recipe(network, recipe, overrides["data"], overrides.get("weights"))
    if optimizer and optimizer != chosen.optimizer.name:
        before = chosen.optimizer  # of which stays what belongs to no rule
        chosen = chosen.but(optimizer=Optimizer(optimizer, clip=before.clip, average=before.average))
    chosen = chosen.but(**{name: value for name, value in overrides.items() if value not in (None, ())})
    if chosen.weights and overrides["standardise"] is not None:
        option = "--standardise" if overrides["standardise"] else "--no-standardise"
        raise UsageError(f"{option} does not go with --weights, which expect the pixels that they learnt: leave it out")
    used = choose(engine)
    if tensorboard:
        events.need()
    world = World.here()
    if not world.rank:
        click.echo(f"{chosen.network} on {chosen.data}, recipe {chosen.name}, {used} engine", err=True)
    settings = Settings(used, device, Speed(precision, compiling), data_dir, max_steps, strict, tensorboard)
    _print_result(run(chosen, settings, out, listeners=watchers(progress=True), world=world), as_json)


def _print_result(result: Result | None, as_json: bool) -> None:
    if result is None:  # another process writes the run and prints the result
        return
    if as_json:
        print_json(result.to_dict())
        return
    minutes, seconds = divmod(round(result.seconds), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{result.seconds:.1f} s"
    click.echo(f"test accuracy {result.test_accuracy:.4f}  (epoch {result.best_epoch}, trained for {took})")
    click.echo(f"everything is in {result.run}: model.safetensors, curves.png, confusion.png, log.csv, result.json")
    click.echo(f"next: neoclassic predict {result.run} IMAGE")


@verb
@click.argument("networks", nargs=-1, metavar="NETWORK…")
@click.option(
    "--recipes",
    multiple=True,
    metavar="PATTERN",
    help="Train by every recipe that matches instead, from start to end; repeatable.",
)
@click.option("--tune", is_flag=True, help="Measure the safe choices of precision and compiling; remember the fastest.")
@click.option(
    "--batch-size", "--batch", "-b", type=click.IntRange(1), help="32 when omitted; with --tune, the recipe's own."
)
@click.option("--image-size", "--imgsz", type=click.IntRange(1), help="Pixels, square; the published when omitted.")
@click.option("--seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="For each measurement.")
@click.option("--epochs", type=click.IntRange(1), help="Of the recipes, instead of their own.")
@click.option("--max-steps", type=click.IntRange(1), help="Of the recipes: stop each early.")
@click.option("--out", metavar="FOLDER", help="Keep the runs of the recipes here.")
@click.option("--engine", default="all", show_default=True, metavar="NAME", help="numpy, torch, onnx, or all.")
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
    """Images per second on this machine, in training and at test, of each engine."""
    from neoclassic.engines import Speed, choose
    from neoclassic.insight import bench as run
    from neoclassic.train.run import Settings
    from neoclassic.views import table

    if bool(networks) == bool(recipes):
        raise UsageError("name networks, or --recipes PATTERN")
    if recipes:
        speed = Speed(precision, compiling)
        where = Settings("auto" if engine == "all" else engine, device, speed, data_dir, max_steps)
        done = list(run.recipes(recipes, where, not as_json, out, **({"epochs": epochs} if epochs else {})))
        head = ("recipe", "engine", "device", "precision", "epochs", "images/s", "seconds", "accuracy", "published")
        keys = ("recipe", "engine", "device", "precision", "epochs", "images_per_second", "seconds")
        lines = [
            head,
            *((*(str(d[k]) for k in keys), f"{d['test_accuracy']:.4f}", d["reaches"]) for d in done),
        ]
        print_json(done) if as_json else click.echo(table.align(lines, "<<<<>>>><"))
        return
    names = run.installed() if engine == "all" else [choose(engine)]
    if tune:
        rows = [row for name in networks for row in run.tune(name, batch_size, seconds, device, image_size)]
    else:
        speeds = {"torch": (device, Speed(precision, compiling))}
        size = (image_size, image_size) if image_size else None
        rows = [
            run.bench(name, each, batch_size or 32, seconds, *speeds.get(each, ("cpu", Speed())), size)
            for name in networks
            for each in names
        ]
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    click.echo(_rates(rows))
    if tune:
        click.echo("the fastest of each network is remembered for its runs; --precision and --compile override it")


def _rates(rows: Sequence[Row]) -> str:
    """Measurements as a table."""
    from neoclassic.views import table

    cells = [("network", "engine", "device", "precision", "compile", "batch", "train images/s", "test images/s")]
    for row in rows:
        rates = (f"{row.train:,.0f}" if row.train else "", f"{row.inference:,.0f}")
        cells.append((row.network, row.engine, row.device, row.precision, row.compile, str(row.batch), *rates))
    return table.align(cells, "<<<<<>>>")
