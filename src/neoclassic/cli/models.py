"""The verbs that use what was trained: evaluate, predict, export, serve."""

from __future__ import annotations

from typing import Any

import click

from neoclassic.base.errors import NeoclassicError, UsageError, install
from neoclassic.cli.base import any_engine, as_json, data_dir, device, print_json, verb


def views(function: Any) -> Any:
    """How often each image is looked at."""
    flip = click.option("--flip", is_flag=True, help="Look at every image's mirror image too.")
    shift = click.option("--shift", type=click.IntRange(0), default=0, metavar="PIXELS", help="And moved, each way.")
    return flip(shift(function))


@verb
@click.argument("models", nargs=-1, required=True, metavar="MODEL…")
@click.option("--data", "--data-path", metavar="NAME|FOLDER", help="Data set; the one it was trained on when omitted.")
@data_dir
@click.option("--out", metavar="FOLDER", help="Write confusions, reliability, worst mistakes there: pictures and CSV.")
@views
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
    """Accuracy on a data set's test images, and each class's precision, recall and F1.

    Several models answer as one, by the mean of their probabilities. Of a folder of photos without a test set: all
    that the model was not trained on.
    """
    from pathlib import Path

    from neoclassic.base import files
    from neoclassic.insight import review
    from neoclassic.model.ensemble import MultiView, open_models
    from neoclassic.views import table

    if out:
        files.check_folder(Path(out))
    loaded, running = open_models(models, engine, device, MultiView(flip, shift))
    reviewed, test = review.of_model(loaded, running, data, data_dir)
    found = reviewed.evaluation
    if test.skipped:
        (path, reason), n = test.skipped[0], len(test.skipped)
        click.echo(f"{n:,} of {n + len(test):,} images cannot be read, first {path}: {reason}", err=True)
    written = {}
    if out:
        title = f"{loaded.network} on {test.name}: {found.accuracy:.2%} of {found.n:,}"
        written = review.write(reviewed, test.images, Path(out), title)
    if as_json:
        more = {**reviewed.to_dict(), "files": written} if out else {}
        print_json(
            {"model": models[0] if len(models) == 1 else list(models), "data": test.name, **found.to_dict(), **more}
        )
        return
    rows = [("class", "precision", "recall", "F1", "images")]
    rows += [
        (c["class"], f"{c['precision']:.4f}", f"{c['recall']:.4f}", f"{c['f1']:.4f}", f"{c['n']:,}")
        for c in found.per_class
    ]
    click.echo(table.align(rows, "<>>>>"))
    click.echo(f"\naccuracy {found.accuracy:.4f}  loss {found.loss:.4f}  over {found.n:,} test images of {test.name}")
    if reviewed.pairs:
        said = ", ".join(f"{a} as {b} ({share:.0%})" for a, b, _, share in reviewed.pairs[:3])
        click.echo(f"most confused: {said}; calibration error {reviewed.calibration_error:.4f}")
    if written:
        click.echo(f"pictures and tables are in {out}: {', '.join(Path(path).name for path in written.values())}")


@verb
@click.argument("given", nargs=-1, required=True, metavar="MODEL… IMAGE|FOLDER|PATTERN…")
@click.option("--top", type=click.IntRange(1), default=5, help="How many classes to name.")
@click.option("--threshold", metavar="P", help="Say 'unknown' below this probability, or below the 'stored' one.")
@click.option(
    "--csv", "csv_file", metavar="FILE", help="Write path, label and probability there; - is standard output."
)
@click.option("--invert", is_flag=True, help="Take the negative first: for dark figures on white paper.")
@views
@any_engine
@device
@as_json
def predict(
    given: tuple[str, ...],
    top: int,
    threshold: str | None,
    csv_file: str | None,
    invert: bool,
    flip: bool,
    shift: int,
    engine: str,
    device: str,
    as_json: bool,
) -> None:
    """What a model says of image files, brought to it as in its training. "-" is an image on standard input."""
    from pathlib import Path

    from neoclassic.base import files
    from neoclassic.base.text import csv_table
    from neoclassic.model.ensemble import MultiView, models_first, open_models
    from neoclassic.model.predict import images_in, threshold_of
    from neoclassic.model.predict import predict as run

    models, images = models_first(given)
    if not images:
        raise UsageError("name the images, or folders of them, behind the model")
    paths = images_in(images)
    csv_to_stdout = csv_file is not None and files.to_stdout(csv_file)
    if as_json and csv_to_stdout:
        raise UsageError("--json and --csv - both write to standard output: give --csv a file")
    if csv_file:
        files.check(Path(csv_file))
    loaded, running = open_models(models, engine, device, MultiView(flip, shift))
    found = list(run(loaded, running, paths, top, invert, threshold_of(loaded, threshold)))
    if csv_file:
        rows = ([p.path, p.label, p.probability, p.error] for p in found)
        files.write(Path(csv_file), csv_table(["path", "label", "probability", "error"], rows))
    if as_json:
        print_json([p.to_dict() for p in found])
    for p in found:
        if p.error:
            click.echo(f"neoclassic: {p.error}", err=True)
        elif not (as_json or csv_to_stdout):
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

    from neoclassic.base import files
    from neoclassic.model.artefact import Model
    from neoclassic.model.export import export as write
    from neoclassic.model.export import verify

    if files.to_stdout(file):
        if n or as_json:
            raise UsageError("an export to standard output is that file alone: give --verify and --json a FILE.onnx")
        write(Model.load(model), file)
        return
    if Path(file).suffix.lower() != ".onnx":
        raise UsageError(f"the file to write ends in .onnx, not {file!r}")
    files.check(Path(file))
    loaded = Model.load(model)
    write(loaded, file)
    found = verify(loaded, file, n, data, data_dir) if n else None
    if as_json:
        print_json({"file": file, "bytes": Path(file).stat().st_size, "verification": found and found.to_dict()})
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
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Another name it answers to.")
@click.option("--max-body", type=click.IntRange(1), default=32, show_default=True, help="MiB of one request.")
@click.option("--max-pixels", type=click.IntRange(1), default=32, show_default=True, help="Millions, of one image.")
@click.option("--queue", type=click.IntRange(1), default=256, show_default=True, help="Images that wait; then 503.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Images computed at once.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds.")
@any_engine
@device
def serve(
    model: str,
    host: str,
    port: int,
    hosts: tuple[str, ...],
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

    from neoclassic.model.opening import open_model

    if not 0 < timeout <= 86_400:  # which nan is not
        raise UsageError(f"--timeout is a number of seconds above 0, at most a day, not {timeout:g}")
    if missing := [
        name for name in ("starlette", "uvicorn", "python_multipart", "prometheus_client") if not find_spec(name)
    ]:
        raise UsageError(f"serve needs {missing[0]}: {install(missing[0])}")
    from neoclassic.web.server import serve
    from neoclassic.web.service import Limits, Service

    limits = Limits(max_body << 20, pixels=max_pixels * 1_000_000, queue=queue, batch=batch, seconds=timeout)
    serve(Service(*open_model(model, engine, device), limits), host, port, hosts)
