"""The verb that classifies images: predict. Answers are written as they come, and a run that is stopped keeps them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.cli.base import any_engine, as_json, device, max_pixels, verb
from neoclassic.cli.models import views
from neoclassic.cli.terminal import print_fitted

if TYPE_CHECKING:
    from neoclassic.model.artefact import Model
    from neoclassic.model.predict import Prediction

PATIENCE = 1.0  # seconds before the bar is shown
SEVERAL = 64  # images from which the rate is told
Write = Callable[["Prediction"], None]


@verb
@click.argument("given", nargs=-1, required=True, metavar="MODEL… IMAGE|FOLDER|PATTERN…")
@click.option(
    "--top", type=click.IntRange(0), default=5, show_default=True, help="Number of classes to print; 0 is all of them."
)
@click.option(
    "--threshold", metavar="P", help="Print 'unknown' below this probability; 'stored' is the model's own threshold."
)
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    help="Write paths, labels and probabilities to this file, row by row; - is standard output.",
)
@click.option("--invert", is_flag=True, help="Invert the images first, for dark figures on white paper.")
@views
@max_pixels
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
    """Classify image files.

    The images are preprocessed as in training. "-" reads an image from standard input. Answers are written as they
    come, in the order of the images. With --top 0, --csv has a column for each class.
    """
    from neoclassic.base import files
    from neoclassic.model.ensemble import MultiView, models_first, open_models
    from neoclassic.model.predict import images_in, threshold_of
    from neoclassic.model.predict import predict as run

    models, images = models_first(given)
    if not images:
        raise UsageError("name images, or folders of images, after the model")
    paths = images_in(images)
    csv_to_stdout = csv_file is not None and files.to_stdout(csv_file)
    if as_json and csv_to_stdout:
        raise UsageError("--json and --csv - both write to standard output: give --csv a file")
    if csv_file:
        files.check(Path(csv_file))
    loaded, running = open_models(models, engine, device, MultiView(flip, shift), answering=True)
    limit = threshold_of(loaded, threshold)
    shown = _json() if as_json else nullcontext(_say_nothing if csv_to_stdout else _print)
    rows = _csv(Path(csv_file), loaded.classes if top == 0 else ()) if csv_file else nullcontext(_say_nothing)
    with shown as show, rows as write:
        lines = sys.stdout.isatty() and show is _print  # which tell how far it is
        _follow(run(loaded, running, paths, top, invert, limit), len(paths), (write, show), lines, loaded, invert)


def _follow(
    predictions: Iterator[Prediction], total: int, writers: Sequence[Write], lines: bool, model: Model, invert: bool
) -> None:
    """Hand each prediction to the writers, with the progress on standard error.

    lines: whether each answer is a line in the terminal. NeoclassicError, at the end, if images could not be read.
    """
    from neoclassic.base.progress import progress_bar, say
    from neoclassic.views.table import duration

    done, failed, bright, started = 0, 0, False, time.monotonic()
    try:
        bar = progress_bar(total=total, unit=" images", leave=False, delay=PATIENCE, disable=True if lines else None)
        with bar:
            for prediction in predictions:
                for write in writers:
                    write(prediction)
                if prediction.error:
                    say(f"neoclassic: {prediction.error}")
                done, failed = done + 1, failed + bool(prediction.error)
                bright = bright or prediction.bright
                bar.update()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped after {done:,} of {total:,} images") from None
    seconds = time.monotonic() - started
    if total >= SEVERAL:
        click.echo(f"{total:,} images in {duration(seconds)}, {total / seconds:,.0f} images a second", err=True)
    if bright and "mnist" in model.data.get("name", ""):
        hint = "these images have bright borders, but the training images have black ones"
        click.echo(f"hint: {hint}: for dark figures on white, try {'without ' if invert else ''}--invert", err=True)
    if failed:
        raise NeoclassicError(f"{failed:,} of {total:,} images could not be read")


# ── where answers go ─────────────────────────────────────────────────────────────────────────────────


def _say_nothing(_: Prediction) -> None:
    pass


def _print(prediction: Prediction) -> None:
    """A line on standard output; none for an image that cannot be read."""
    if prediction.error:
        return
    named = ", ".join(f"{label} {probability:.1%}" for label, probability in prediction.top)
    known = prediction.index is not None
    print_fitted(f"{prediction.path}: {named}" if known else f"{prediction.path}: {prediction.label} ({named})")


@contextmanager
def _json() -> Iterator[Write]:
    """A JSON array on standard output, element by element, which is closed even if the work ends early."""
    from neoclassic.base.text import json_text

    before = "[\n"

    def write(prediction: Prediction) -> None:
        nonlocal before
        element = json_text([prediction.to_dict()], indent=1)
        click.echo(before + element.removeprefix("[\n").removesuffix("\n]"), nl=False)
        before = ",\n"

    try:
        yield write
    finally:
        if before == ",\n":
            click.echo("\n]")


@contextmanager
def _csv(file: Path, classes: Sequence[str]) -> Iterator[Write]:
    """A table, row by row. classes: those whose probabilities have a column each."""
    from neoclassic.base import files
    from neoclassic.base.text import csv_line

    with files.stream(file) as put:
        put(csv_line(["path", "label", "probability", "error", *classes]))

        def write(prediction: Prediction) -> None:
            every = dict(prediction.top) if classes else {}
            own = (prediction.path, prediction.label, prediction.probability, prediction.error)
            put(csv_line([*own, *(every.get(name) for name in classes)]))

        yield write
