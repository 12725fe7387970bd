"""The command line: one function a verb. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from neoclassic import __version__
from neoclassic.errors import NeoclassicError, UsageError, unknown

EXAMPLES = {
    "list": "neoclassic list 'resnet*'",
    "show": "neoclassic show lenet --batch 256",
    "diff": "neoclassic diff alexnet alexnet:torchvision",
    "train": "neoclassic train lenet --epochs 5 --out runs/first",
    "recipes": "neoclassic recipes 'd2l-zh:*'",
    "evaluate": "neoclassic evaluate runs/first",
    "predict": "neoclassic predict runs/first photo.jpg drawings/ --top 3",
    "export": "neoclassic export runs/first model.onnx --verify 64",
    "serve": "neoclassic serve runs/first --port 8000",
    "check": "neoclassic check photos/",
    "cache": "neoclassic cache --clear 'decoded'",
}


class _Group(click.Group):
    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown("command", args[0], self.list_commands(context))
        return super().resolve_command(context, args)

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)  # in the order of a first visit, not of the alphabet


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="neoclassic %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """The classic convolutional networks, LeNet to MobileNet V3: exact, fast, and the same answer everywhere.

    Begin with: neoclassic train lenet
    """


def verb(function: Callable[..., None]) -> click.Command:
    """A command of the group, with its example under the help, and --debug behind it too."""
    name = function.__name__.rstrip("_")
    debug = click.option("--debug", is_flag=True, hidden=True, expose_value=False)
    return cli.command(name, epilog=f"Example:  {EXAMPLES[name]}")(debug(function))


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else, on stdout.")
engine = click.option("--engine", default="auto", metavar="NAME", help="numpy, torch, or auto: torch where installed.")
any_engine = click.option("--engine", default="auto", metavar="NAME", help="numpy, torch, onnx, or auto.")
device = click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps …")
data_dir = click.option("--data-dir", metavar="FOLDER", help="Where to look for the data set first.")


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 success, 1 a failure of the work, 2 a wrong call."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(arguments, prog_name="neoclassic", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except BrokenPipeError:  # the reader of our output has left: `neoclassic list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.ClickException as error:
        return _fail(error, " ".join(error.format_message().split()), 2, arguments)
    except NeoclassicError as error:
        return _fail(error, str(error), error.exit_code, arguments)
    except (click.Abort, KeyboardInterrupt) as error:
        return _fail(error, "stopped", 1, arguments)
    except MemoryError as error:
        return _fail(error, "not enough memory: try a smaller --batch-size or --image-size", 1, arguments)
    except Exception as error:  # no traceback reaches a user who has not asked for it
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _fail(error, f"unexpected {what} (a fault of neoclassic's: --debug shows where)", 1, arguments)
    return 0


def _fail(error: BaseException, message: str, code: int, arguments: list[str]) -> int:
    if "--debug" in arguments:
        import traceback

        traceback.print_exception(error)
    click.echo(f"neoclassic: {message}", err=True)
    return code


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def _shape(text: str | None) -> tuple[int, ...] | None:
    """1x28x28, or 28x28, or 28."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+([x×]\d+){0,2}", text):
        raise UsageError(f"--input {text!r} is no shape: write channels x height x width, as 1x28x28")
    return tuple(map(int, re.split("[x×]", text)))


# ── what there is ────────────────────────────────────────────────────────────────────────────────────


@verb
@click.argument("pattern", default="*")
@as_json
def list_(pattern: str, as_json: bool) -> None:
    """Networks: year, variants, input, parameters, MACs."""
    from neoclassic import networks
    from neoclassic.measure import measure
    from neoclassic.views import table

    pattern = pattern if any(c in pattern for c in "*?[") else f"{pattern}*"
    entries = [networks.entry(name) for name in networks.list_networks(pattern)]
    if not entries:
        raise unknown("network", pattern.rstrip("*"), networks.list_networks(), see="'neoclassic list' shows them all")
    if not as_json:
        click.echo(table.network_list(entries))
        return
    rows = []
    for e in entries:
        m = measure(networks.network(e.name), e.input)
        counts = {"parameters": m.parameters, "macs": m.macs}
        rows.append(
            {
                "network": e.name,
                "year": e.year,
                "input": list(e.input),
                "classes": e.classes,
                **counts,
                "about": e.about,
            }
        )
    _print_json(rows)


@verb
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK")
@click.option("--input", "shape", metavar="CxHxW", help="Input shape; the published one when omitted.")
@click.option("--classes", "--num-classes", type=int, help="Outputs of the last layer.")
@click.option("--batch", "--batch-size", "-b", type=click.IntRange(1), default=1, help="Images, for the memory column.")
@click.option("--depth", type=click.IntRange(1), help="1: the network's own children only, as courses print them.")
@click.option("--explain", is_flag=True, help="Each figure as a formula, filled in; what 1×1 convolutions save.")
@click.option("--compare", is_flag=True, help="Networks side by side: show lenet --compare vgg11 resnet18")
@click.option("--svg", metavar="FILE", help="Draw the network there.")
@click.option("--blocks", is_flag=True, help="With --svg: its maps as blocks, to scale; for small networks.")
@as_json
def show(
    networks: tuple[str, ...],
    shape: str | None,
    classes: int | None,
    batch: int,
    depth: int | None,
    explain: bool,
    compare: bool,
    svg: str | None,
    blocks: bool,
    as_json: bool,
) -> None:
    """One row a layer: path, shape, parameters, MACs, memory, receptive field."""
    from neoclassic.views import arithmetic, table

    if len(networks) > 1 and not compare:
        raise UsageError(f"one network at a time, or side by side: show {networks[0]} --compare {networks[1]}")
    measures = {name: _measured(name, shape, classes) for name in networks}
    if compare:
        if as_json:
            _print_json([table.to_dict(name, m, batch, depth) for name, m in measures.items()])
        else:
            click.echo(arithmetic.compare(measures, batch))
        return
    ((name, m),) = measures.items()
    if svg:
        from pathlib import Path

        from neoclassic import files
        from neoclassic.views import drawing

        files.write(Path(svg), drawing.blocks(name, m) if blocks else drawing.tree(name, m))
        click.echo(f"drawn in {svg}", err=True)
    elif blocks:
        raise UsageError("--blocks is a kind of drawing: add --svg FILE")
    if as_json:
        saved = {"savings": arithmetic.savings_dict(m)} if explain else {}
        _print_json(table.to_dict(name, m, batch, depth) | saved)
    elif not svg:
        click.echo(f"{name}, {_about(name)}\n")
        click.echo(arithmetic.explain(m, batch, depth) if explain else table.layer_table(m, batch, depth))


def _measured(name: str, shape: str | None, classes: int | None) -> Any:
    from neoclassic import networks
    from neoclassic.measure import measure

    published = networks.entry(name).input
    given = _shape(shape) or published
    full = published[: 3 - len(given)] + given if len(given) > 1 else (published[0], *given * 2)
    return measure(networks.network(name, classes), full)


def _about(name: str) -> str:
    from neoclassic import networks

    row = networks.entry(name)
    return f"{row.year}: {row.about}"


@verb
@click.argument("first", metavar="NETWORK")
@click.argument("second", metavar="NETWORK")
@as_json
def diff(first: str, second: str, as_json: bool) -> None:
    """What differs between two networks, layer by layer, and why."""
    from neoclassic import networks
    from neoclassic.views import diff as view

    a, b = networks.entry(first), networks.entry(second)
    if as_json:
        _print_json(view.to_dict(a, b))
    else:
        click.echo(view.diff_table(a, b))


@verb
@click.argument("pattern", default="*")
@as_json
def recipes(pattern: str, as_json: bool) -> None:
    """Published recipes, with the accuracy they are known to reach."""
    from neoclassic.recipes import list_recipes
    from neoclassic.views import table

    pattern = pattern if any(c in pattern for c in "*?[") else f"{pattern}*"
    found = list_recipes(pattern)
    if not found:
        every = [r.name for r in list_recipes()]
        raise unknown("recipe", pattern.rstrip("*"), every, see="'neoclassic recipes' shows them all")
    if as_json:
        _print_json([r.to_dict() for r in found])
        return
    rows = [("recipe", "network", "data", "epochs", "batch", "rate", "test accuracy it is known to reach")]
    rows += [
        (r.name, r.network, r.data, str(r.epochs), str(r.batch_size), f"{r.learning_rate:g}", r.reaches) for r in found
    ]
    click.echo(table.align(rows, "<<<>>><"))


# ── training ─────────────────────────────────────────────────────────────────────────────────────────


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
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@as_json
@click.pass_context
def train(
    context: click.Context,
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

    if network is not None:
        networks.entry(network)
    chosen = choose_recipe(network, recipe)
    if optimizer and optimizer != chosen.optimizer.name:
        chosen = chosen.but(optimizer=Optimizer(optimizer))
    chosen = chosen.but(**{name: value for name, value in overrides.items() if value is not None})
    used = choose(engine)
    click.echo(f"{chosen.network} on {chosen.data}, recipe {chosen.name}, {used} engine", err=True)
    settings = Settings(engine=used, device=device, data_dir=data_dir, max_steps=max_steps, strict=strict)
    _print_result(run(chosen, settings, out, progress=True), as_json)


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(result)
        return
    minutes, seconds = divmod(round(result["seconds"]), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{result['seconds']:.1f} s"
    click.echo(f"test accuracy {result['test_accuracy']:.4f}  (epoch {result['best_epoch']}, trained for {took})")
    click.echo(f"everything is in {result['run']}: model.safetensors, curves.png, confusion.png, log.csv, result.json")
    click.echo(f"next: neoclassic predict {result['run']} IMAGE")


# ── using what was trained ───────────────────────────────────────────────────────────────────────────


@verb
@click.argument("model")
@click.option("--data", "--data-path", metavar="NAME|FOLDER", help="Data set; the one it was trained on when omitted.")
@data_dir
@any_engine
@device
@as_json
def evaluate(model: str, data: str | None, data_dir: str | None, engine: str, device: str, as_json: bool) -> None:
    """Accuracy on a data set's test images, and each class's precision, recall and F1.

    Of a folder of photos without a test set: all that the model was not trained on.
    """
    from neoclassic.data import find
    from neoclassic.export import open_model
    from neoclassic.train.evaluate import evaluate as run
    from neoclassic.views import table

    loaded, running = open_model(model, engine, device)
    source = find(data or loaded.recipe.get("data") or loaded.data["name"], data_dir, loaded.classes)
    p = loaded.preprocessing
    test = source.test_set(p, loaded.data.get("photos", {}))
    found = run(running, test.images, test.labels, test.classes, p, temperature=loaded.temperature)
    if test.skipped:
        (path, reason), n = test.skipped[0], len(test.skipped)
        click.echo(f"{n:,} of {n + len(test):,} images cannot be read, first {path}: {reason}", err=True)
    if as_json:
        _print_json({"model": model, "data": test.name, **found.to_dict()})
        return
    rows = [("class", "precision", "recall", "F1", "images")]
    rows += [
        (c["class"], f"{c['precision']:.4f}", f"{c['recall']:.4f}", f"{c['f1']:.4f}", f"{c['n']:,}")
        for c in found.per_class
    ]
    click.echo(table.align(rows, "<>>>>"))
    click.echo(f"\naccuracy {found.accuracy:.4f}  loss {found.loss:.4f}  over {found.n:,} test images of {test.name}")


@verb
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER|PATTERN…")
@click.option("--top", type=click.IntRange(1), default=5, help="How many classes to name.")
@click.option("--threshold", metavar="P", help="Say 'unknown' below this probability, or below the 'stored' one.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write path, label and probability there.")
@click.option("--invert", is_flag=True, help="Take the negative first: for dark figures on white paper.")
@any_engine
@device
@as_json
def predict(
    model: str,
    images: tuple[str, ...],
    top: int,
    threshold: str | None,
    csv_file: str | None,
    invert: bool,
    engine: str,
    device: str,
    as_json: bool,
) -> None:
    """What a model says of image files, brought to it as in its training. "-" is an image on standard input."""
    from pathlib import Path

    from neoclassic import files
    from neoclassic.export import open_model
    from neoclassic.predict import images_in, threshold_of
    from neoclassic.predict import predict as run

    paths = images_in(images)
    loaded, running = open_model(model, engine, device)
    found = list(run(loaded, running, paths, top, invert, threshold_of(loaded, threshold)))
    if csv_file:
        import io

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "label", "probability", "error"])
        writer.writerows([p.path, p.label, p.probability, p.error] for p in found)
        files.write(Path(csv_file), text.getvalue())
    if as_json:
        _print_json([p.to_dict() for p in found])
    for p in found:
        if p.error:
            click.echo(f"neoclassic: {p.error}", err=True)
        elif not as_json:
            named = ", ".join(f"{label} {probability:.1%}" for label, probability in p.top)
            click.echo(f"{p.path}: {named}" if p.index is not None else f"{p.path}: {p.label} ({named})")
    if any(p.bright for p in found) and "mnist" in loaded.data.get("name", ""):
        hint = "bright borders here, where the training images have black ones"
        click.echo(f"hint: {hint}: for dark figures on white, try {'without ' if invert else ''}--invert", err=True)
    if failed := sum(p.error is not None for p in found):
        raise NeoclassicError(f"{failed} of {len(found)} images could not be read")


@verb
@click.argument("model")
@click.argument("file", metavar="FILE.onnx")
@click.option("--verify", "n", type=click.IntRange(1), metavar="N", help="Replay N validation images from their files.")
@click.option("--data", "--data-path", metavar="NAME|FOLDER", help="Where they are; the training data if omitted.")
@data_dir
@as_json
def export(model: str, file: str, n: int | None, data: str | None, data_dir: str | None, as_json: bool) -> None:
    """Write a model as ONNX: classes and preprocessing inside, calibrated probabilities out.

    --verify compares the trainer's way, predict, and a stand-alone predictor without neoclassic; it fails
    unless all give every image the same label.
    """
    from pathlib import Path

    from neoclassic.artefact import Model
    from neoclassic.export import export as write
    from neoclassic.export import verify

    if Path(file).suffix.lower() != ".onnx":
        raise UsageError(f"the file to write ends in .onnx, not {file!r}")
    loaded = Model.load(model)
    write(loaded, file)
    found = verify(loaded, file, n, data, data_dir) if n else None
    if as_json:
        _print_json({"file": file, "bytes": Path(file).stat().st_size, "verification": found and found.to_dict()})
    else:
        click.echo(f"{file}: {Path(file).stat().st_size:,} bytes, {loaded.network}, {len(loaded.classes)} classes")
    if found is None:
        return
    if not as_json:
        click.echo(f"{found.n} images by {', '.join(found.ways)}")
        click.echo(f"label agreement {found.agreement:.2%}  largest probability difference {found.difference:.2g}")
    if found.strangers:
        raise NeoclassicError(f"{len(found.strangers)} of {found.n} labels differ, first {found.strangers[0]}")


@verb
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--max-body", type=click.IntRange(1), default=32, show_default=True, help="MiB of one request.")
@click.option("--max-pixels", type=click.IntRange(1), default=32, show_default=True, help="Millions, of one image.")
@click.option("--queue", type=click.IntRange(1), default=256, show_default=True, help="Images that wait; then 503.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Images computed at once.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30, show_default=True, help="Seconds.")
@any_engine
@device
def serve(
    model: str,
    host: str,
    port: int,
    max_body: int,
    max_pixels: int,
    queue: int,
    batch: int,
    timeout: float,
    engine: str,
    device: str,
) -> None:
    """Answer predictions over HTTP: POST /predict. Needs no PyTorch, writes nothing, ends on Ctrl-C or SIGTERM."""
    from importlib.util import find_spec

    from neoclassic.export import open_model

    if missing := [
        name for name in ("starlette", "uvicorn", "python_multipart", "prometheus_client") if not find_spec(name)
    ]:
        raise UsageError(f"serve needs {missing[0]}: pip install 'neoclassic[serve]'")
    from neoclassic.web import server

    limits = server.Limits(max_body << 20, pixels=max_pixels * 1_000_000, queue=queue, batch=batch, seconds=timeout)
    server.serve(server.Service(*open_model(model, engine, device), limits), host, port)


# ── photos ───────────────────────────────────────────────────────────────────────────────────────────


@verb
@click.argument("folder", metavar="FOLDER|TABLE.csv")
@click.option("--image-size", "--imgsz", type=int, default=224, show_default=True, help="What they will be brought to.")
@as_json
def check(folder: str, image_size: int, as_json: bool) -> None:
    """What is wrong with a folder of photos, before training on it.

    Exit code 1 where something spoils the result: a photo in two classes or in two parts, a class without any.
    """
    from neoclassic.data import scan
    from neoclassic.data.check import check as run

    report = run(scan(folder), (image_size, image_size))
    if as_json:
        _print_json(report.to_dict())
    else:
        click.echo(report.text())
    if n := sum(finding.severity == "error" for finding in report.findings):
        raise NeoclassicError(f"{folder}: {n} of {len(report.findings)} findings spoil the result: mend them first")


@verb
@click.option("--clear", metavar="PATTERN", help="Remove what matches: 'decoded', 'mnist', '*' …")
@as_json
def cache(clear: str | None, as_json: bool) -> None:
    """Data sets that were downloaded, photos that were decoded: how large they are, and how to be rid of them."""
    from neoclassic.data import cache as kept
    from neoclassic.views import table

    found = kept.entries() if clear is None else kept.clear(clear)
    if clear and not found:
        raise UsageError(f"nothing in {kept.folder()} matches {clear!r}: 'neoclassic cache' shows what is there")
    if as_json:
        entries = [{"path": str(e.path), "about": e.about, "bytes": e.bytes} for e in found]
        _print_json({"folder": str(kept.folder()), "cleared": clear is not None, "entries": entries})
        return
    if found:
        click.echo(table.align([(table.size(e.bytes), e.about, str(e.path)) for e in found], "><<"))
    click.echo(f"{table.size(sum(e.bytes for e in found))} {'removed from' if clear else 'in'} {kept.folder()}")
