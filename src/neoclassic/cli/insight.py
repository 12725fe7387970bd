"""The verbs that explain models and runs: explain, doctor, compare, report."""

from __future__ import annotations

import re
from pathlib import Path

import click

from neoclassic.base.errors import Ornament, UsageError
from neoclassic.cli.base import as_json, data_dir, device, engine, print_json, verb
from neoclassic.cli.terminal import print_fitted


def _unit(text: str | None) -> tuple[int, int] | None:
    """3,4: the row and the column."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+,\d+", text):
        raise UsageError(f"--unit {text!r} is not a position: write row,column, as in 3,4")
    y, x = map(int, text.split(","))
    return y, x


@verb
@click.argument("model")
@click.argument("image")
@click.option("--out", metavar="FOLDER", help="Folder for the pictures. Default: explained-<image>.")
@click.option(
    "--path",
    metavar="PATH",
    help="Layer whose feature maps are drawn. Default: the last one with a height and a width.",
)
@click.option("--class", "label", metavar="NAME", help="Class to explain. Default: the predicted one.")
@click.option(
    "--unit",
    metavar="ROW,COLUMN",
    help="Position in the feature map whose receptive field is drawn. Default: the middle.",
)
@click.option("--invert", is_flag=True, help="Invert the image first, for dark figures on white paper.")
@engine
@device
@as_json
def explain(
    model: str,
    image: str,
    out: str | None,
    path: str | None,
    label: str | None,
    unit: str | None,
    invert: bool,
    engine: str,
    device: str,
    as_json: bool,
) -> None:
    """Draw what a model looks at in an image.

    Writes class-activation maps, occlusion, feature maps, filters and a receptive field.
    """
    from neoclassic.base import files
    from neoclassic.insight.explain import explain_file
    from neoclassic.model.opening import load_model

    position = _unit(unit)
    folder = Path(out or f"explained-{Path(image).stem}")
    files.check_folder(folder)
    loaded = load_model(model)
    explained = explain_file(loaded, loaded.engine(engine, device), Path(image), folder, path, label, position, invert)
    if as_json:
        print_json(explained)
        return
    said = explained["said"]
    click.echo(f"{image}: {said['label']} {said['probability']:.1%}")
    for name, file in explained["files"].items():
        click.echo(f"{name}: {file}")


@verb
@click.argument("run")
@click.option("--rate", is_flag=True, help="Test learning rates on the first steps of the run, and draw the losses.")
@click.option("--out", metavar="FILE.png", help="With --rate: the picture. Default: rates.png in the run folder.")
@as_json
def doctor(run: str, rate: bool, out: str | None, as_json: bool) -> None:
    """Say what is wrong with a run, why, and what to do.

    Reads the log, the recipe, the model and the evaluation, and passes a few batches through the network. Findings are
    "wrong" (something is broken), "doubtful" (do not rely on the model) or a "note" (it could be better).
    """
    if rate:
        _test_rates(run, out, as_json)
        return
    if out:
        raise UsageError("--out works only with --rate: add --rate, or leave it out")
    from neoclassic.insight.doctor.diagnosis import diagnose

    found = diagnose(run)
    if as_json:
        print_json(found.to_dict())
    else:
        print_fitted(repr(found))


def _test_rates(run: str, out: str | None, as_json: bool) -> None:
    from neoclassic.base import files
    from neoclassic.insight.doctor.rate import RateTest
    from neoclassic.train.run import Run

    Run.open(run)
    path = Path(out) if out else Path(run) / "rates.png"
    files.check(path)
    test = RateTest.of(run)
    with Ornament(str(path)):
        test.draw(path)
    if as_json:
        print_json(test.to_dict() | {"picture": str(path)})
        return
    print_fitted(test.line, *([f"next: {test.next}"] if test.next else []), f"picture: {path}")


@verb
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--out", metavar="FOLDER", help="Draw the curves, and accuracy against cost, in this folder.")
@as_json
def compare(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Compare runs by accuracy, time, parameters and MACs."""
    from neoclassic.base import files
    from neoclassic.insight import compare

    if out:
        files.check_folder(Path(out))
    opened = compare.open_runs(runs)
    found = compare.Comparison(tuple(opened))
    written = compare.write(opened, Path(out)) if out else {}
    if as_json:
        print_json({**found.to_dict(), "files": written})
        return
    print_fitted(compare.table(opened), *(["", *found.lines] if found.lines else []))
    if written:
        names = ", ".join(Path(path).name for path in written.values())
        print_fitted("", f"wrote pictures and a table to {out}: {names}")


@verb
@click.argument("run")
@click.option(
    "--out", metavar="FILE", help="File to write; - is standard output. Default: report.html in the run folder."
)
@data_dir
@engine
def report(run: str, out: str | None, data_dir: str | None, engine: str) -> None:
    """Write a self-contained HTML report of a finished run."""
    from neoclassic.insight import report

    path = report.write(run, out, data_dir, engine)
    if path.is_file():
        click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
