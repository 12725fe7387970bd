"""The verbs that measure, export and serve a trained model, and the lab."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from neoclassic.base.errors import UsageError, install
from neoclassic.cli.base import any_engine, as_json, data_dir, device, max_pixels, print_json, tell_skipped, verb
from neoclassic.cli.terminal import print_fitted

if TYPE_CHECKING:
    from neoclassic.insight.review import Review
    from neoclassic.model.artefact import Model


def views(function: Any) -> Any:
    """The options for test-time augmentation: predictions are averaged over several views of an image."""
    flip = click.option("--flip", is_flag=True, help="Average predictions over each image and its mirror image.")
    shift = click.option(
        "--shift",
        type=click.IntRange(0),
        default=0,
        metavar="PIXELS",
        help="Average predictions over shifts up, down, left and right.",
    )
    return flip(shift(function))


@verb
@click.argument("models", nargs=-1, required=True, metavar="MODEL…")
@click.option(
    "--data", "--data-path", metavar="NAME|FOLDER", help="Data set. Default: the one that the model was trained on."
)
@data_dir
@click.option("--out", metavar="FOLDER", help="Write pictures and CSV tables of the mistakes to this folder.")
@views
@max_pixels
@any_engine
@device
@as_json
def evaluate(
    models: tuple[str, ...],
    data: str | None,
    data_dir: str | None,
    out: str | None,
    flip: bool,
    shift: int,
    engine: str,
    device: str,
    as_json: bool,
) -> None:
    """Measure a model's accuracy on test images.

    Prints precision, recall and F1 of each class as well. The probabilities of several models are averaged. If a folder
    of photos has no test set, all photos that the model was not trained on are used.
    """
    from functools import partial
    from pathlib import Path

    from neoclassic.base import files
    from neoclassic.insight import review
    from neoclassic.model.ensemble import MultiView, open_models

    if out:
        files.check_folder(Path(out))
    loaded, running = open_models(models, engine, device, MultiView(flip, shift))
    reviewed, test = review.of_model(loaded, running, data, data_dir, partial(click.echo, err=True))
    evaluation = reviewed.evaluation
    tell_skipped(test.skipped, len(test), f"all are in {out}/skipped.csv" if out else "--out FOLDER lists all")
    written = {}
    if out:
        title = f"{loaded.network} on {test.name}: {evaluation.accuracy:.2%} of {evaluation.n:,}"
        written = review.write(reviewed, test.images, Path(out), title, test.skipped)
    if as_json:
        name = models[0] if len(models) == 1 else list(models)
        details = {**reviewed.to_dict(), "files": written} if out else {}
        print_json({"model": name, "data": test.name, **evaluation.to_dict(), **details})
        return
    _print_evaluation(reviewed, test.name)
    if written:
        print_fitted(f"wrote pictures and tables to {out}: {', '.join(Path(path).name for path in written.values())}")


def _print_evaluation(reviewed: Review, data: str) -> None:
    from neoclassic.views.table import RIGHT, WRAP, Column, Table

    evaluation = reviewed.evaluation
    interval = Column("95 % interval", RIGHT, rank=1)
    precision, recall, f1, images = (Column(title, RIGHT) for title in ("precision", "recall", "F1", "images"))
    columns = (Column("class", narrow=WRAP, least=16), precision, recall, interval, f1, images)
    rows = tuple(map(_class_row, evaluation.per_class))
    over = f"over {evaluation.n:,} test images of {data}"
    lines = [f"accuracy {evaluation.accuracy:.4f}  loss {evaluation.loss:.4f}  {over}"]
    low, high = evaluation.interval
    lines.append(f"95 % interval of the accuracy: {low:.4f} to {high:.4f}")
    if reviewed.pairs:
        pairs = ", ".join(f"{a} as {b} ({share:.0%})" for a, b, _, share in reviewed.pairs[:3])
        lines.append(f"most confused: {pairs}; calibration error {reviewed.calibration_error:.4f}")
    print_fitted(Table(columns, rows), "", *lines)


def _class_row(row: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a class: without images it has no recall."""
    from neoclassic.views.table import between

    name, precision, f1, n = row["class"], f"{row['precision']:.4f}", f"{row['f1']:.4f}", f"{row['n']:,}"
    if not row["n"]:
        return name, "", "", "", "", n
    return name, precision, f"{row['recall']:.4f}", between(row["recall_low"], row["recall_high"]), f1, n


@verb
@click.argument("model")
@click.argument("file", metavar="FILE.onnx|FOLDER")
@click.option("--hub", is_flag=True, help="Write a folder for the Hugging Face Hub: model, model card, ONNX file.")
@click.option("--verify", "n", type=click.IntRange(1), metavar="N", help="Check the file on N validation images.")
@click.option("--int8", is_flag=True, help="Quantise to 8 bits, and check the accuracy on the test images.")
@click.option(
    "--data", "--data-path", metavar="NAME|FOLDER", help="Data set for --verify and --int8. Default: the training data."
)
@data_dir
@as_json
def export(
    model: str, file: str, hub: bool, n: int | None, int8: bool, data: str | None, data_dir: str | None, as_json: bool
) -> None:
    """Export a model to ONNX, or as a folder for the Hugging Face Hub.

    The file contains the classes and the preprocessing, and it outputs calibrated probabilities. --verify classifies
    images with the trainer's loader, with predict, and with a stand-alone predictor, and fails unless all labels agree.
    --int8 quantises to 8 bits, calibrated on training images, and writes no file if accuracy drops by more than one
    point.
    """
    from pathlib import Path

    from neoclassic.base import files
    from neoclassic.model.export import export as write
    from neoclassic.model.export import verify
    from neoclassic.model.opening import load_model

    if hub:
        if n or int8 or data or data_dir:
            raise UsageError(f"--hub writes a folder: for {'--int8' if int8 else '--verify'}, export to a FILE.onnx")
        _export_folder(model, file, as_json)
        return
    if files.to_stdout(file):
        if n or int8 or as_json:
            raise UsageError("--verify, --int8 and --json need a FILE.onnx, not standard output")
        write(load_model(model), file)
        return
    if Path(file).suffix.lower() != ".onnx":
        raise UsageError(f"the file name must end in .onnx, not {file!r}")
    if int8 and n:
        raise UsageError("--int8 is checked on all test images: leave --verify out")
    files.check(Path(file))
    loaded = load_model(model)
    if int8:
        _export_int8(loaded, file, data, data_dir, as_json)
        return
    write(loaded, file)
    checked = verify(loaded, file, n, data, data_dir) if n else None
    size = Path(file).stat().st_size
    if as_json:
        print_json({"file": file, "bytes": size, "verification": checked and checked.to_dict()})
    else:
        click.echo(f"{file}: {size:,} bytes, {loaded.network}, {len(loaded.classes)} classes")
    if checked is None:
        return
    if not as_json:
        click.echo(f"{checked.n} images by {', '.join(checked.ways)}")
        click.echo(f"label agreement {checked.agreement:.2%}  largest probability difference {checked.difference:.2g}")
    checked.require_agreement()


def _export_int8(model: Model, file: str, data: str | None, data_dir: str | None, as_json: bool) -> None:
    from neoclassic.model.int8 import export_int8
    from neoclassic.views.table import RIGHT, Column, Table, between

    done = export_int8(model, file, data, data_dir)
    if as_json:
        print_json({"file": file, "bytes": done.int8.bytes, "verification": None, "quantization": done.to_dict()})
        return
    click.echo(f"{file}: {done.int8.bytes:,} bytes, {model.network}, {len(model.classes)} classes")
    titles = ("accuracy", "95 % interval", "bytes", "images/s")
    columns = (Column("weights"), *(Column(title, RIGHT) for title in titles))
    rows = tuple(
        (name, f"{e.accuracy:.4f}", between(*e.interval), f"{side.bytes:,}", f"{side.images_per_second:,.0f}")
        for name, side in (("float32", done.float32), ("int8", done.int8))
        for e in (side.evaluation,)
    )
    smaller = done.float32.bytes / done.int8.bytes
    faster = done.int8.images_per_second / done.float32.images_per_second
    tested = f"label agreement {done.agreement:.2%} over {done.int8.evaluation.n:,} test images of {done.data}"
    rest = f"calibrated on {done.calibrated:,} training images; {smaller:.1f} times smaller, {faster:.1f} times as fast"
    print_fitted(Table(columns, rows), "", tested, rest)


def _export_folder(model: str, folder: str, as_json: bool) -> None:
    import shlex
    from pathlib import Path

    from neoclassic.insight import hub_folder
    from neoclassic.insight.card_parts import repository

    written = hub_folder.write(model, folder)
    sizes = {path.name: path.stat().st_size for path in written}
    if as_json:
        print_json({"folder": folder, "files": sizes})
        return
    click.echo(f"{folder}: {', '.join(f'{name} {count:,} bytes' for name, count in sizes.items())}")
    if hub_folder.ONNX not in sizes:
        click.echo(f"{hub_folder.ONNX} is left out: it needs onnx ({install('onnx')})", err=True)
    address = f"OWNER/{repository(Path(folder).absolute().name)}"
    click.echo(f"next: name a licence in README.md, then: hf upload {address} {shlex.quote(folder)}")


@verb
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all addresses.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="Host name to answer to besides its own; repeatable."
)
@click.option("--max-body", type=click.IntRange(1), default=32, show_default=True, help="Largest request, in MiB.")
@max_pixels
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Maximum number of images in progress; more get status 503.",
)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Largest batch.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Time limit of a request, in seconds.")
@any_engine
@device
def serve(
    model: str,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    max_body: int,
    queue: int,
    batch: int,
    timeout: float,
    engine: str,
    device: str,
) -> None:
    """Serve predictions over HTTP: POST /predict.

    The server needs no PyTorch and writes no files. Ctrl-C or SIGTERM stops it.
    """
    from neoclassic.data import image_files
    from neoclassic.model.opening import open_model

    if not 0 < timeout <= 86_400:  # also refuses nan
        raise UsageError(f"--timeout must be a number of seconds above 0, at most 86400, not {timeout:g}")
    _need_server("serve")
    from neoclassic.web.intake import Limits
    from neoclassic.web.server import serve as run
    from neoclassic.web.service import Service

    limits = Limits(max_body << 20, pixels=image_files.max_pixels(), queue=queue, batch=batch, seconds=timeout)
    run(Service(*open_model(model, engine, device, answering=True), limits), host, port, hosts)


@verb
@click.argument("shown", required=False, metavar="MODEL|NETWORK|RUN")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
def lab(shown: str | None, open_page: bool, port: int) -> None:
    """Open a page for exploring networks interactively.

    It shows the networks and their layers, what every layer of a model computes from an image, and a network while it
    trains. The page is served on this machine only, and needs no PyTorch and no network access. A RUN is a folder that
    'neoclassic train' is writing to: the page follows it. Ctrl-C or SIGTERM stops the server.
    """
    _need_server("lab")
    from pathlib import Path

    from neoclassic import networks
    from neoclassic.cli.own import entry
    from neoclassic.web.lab import lab as run
    from neoclassic.web.models import from_argument

    if shown is None:
        run(None, port, open_page)
    elif (Path(shown) / "recipe.json").exists():
        run(Path(shown), port, open_page)
    elif networks.in_zoo(shown) or re.search(r"\.py(:\w*)?$", shown):
        run(entry(shown), port, open_page)
    else:
        run(from_argument(shown), port, open_page)


def _need_server(verb: str) -> None:
    """UsageError if a package of the server is not installed."""
    from importlib.util import find_spec

    for name in ("starlette", "uvicorn", "python_multipart", "prometheus_client"):
        if not find_spec(name):
            raise UsageError(f"{verb} needs {name}: {install(name)}")
