"""The verbs that show what was trained: explain, compare, report."""

from __future__ import annotations

import re
from pathlib import Path

import click

from neoclassic.base.errors import UsageError
from neoclassic.cli.base import as_json, data_dir, device, engine, print_json, verb


def _unit(text: str | None) -> tuple[int, int] | None:
    """3,4: the row and the column."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+,\d+", text):
        raise UsageError(f"--unit {text!r} is no place on a map: write row,column, as 3,4")
    y, x = map(int, text.split(","))
    return y, x


@verb
@click.argument("model")
@click.argument("image")
@click.option("--out", metavar="FOLDER", help="Where the pictures go; explained-<image> when omitted.")
@click.option("--path", metavar="PATH", help="Whose feature maps to draw; the last ones with places when omitted.")
@click.option("--class", "label", metavar="NAME", help="What to look for; what the network says when omitted.")
@click.option("--unit", metavar="ROW,COLUMN", help="The unit of --path whose receptive field is drawn; the middle one.")
@click.option("--invert", is_flag=True, help="Take the negative first: for dark figures on white paper.")
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
    """Where a model looked: class-activation maps, occlusion, feature maps, filters, a receptive field."""
    from neoclassic.base import files
    from neoclassic.insight.explain import explain_file
    from neoclassic.model.artefact import Model

    place = _unit(unit)
    folder = Path(out or f"explained-{Path(image).stem}")
    files.check_folder(folder)
    loaded = Model.load(model)
    found = explain_file(loaded, loaded.engine(engine, device), Path(image), folder, path, label, place, invert)
    if as_json:
        print_json(found)
        return
    said = found["said"]
    click.echo(f"{image}: {said['label']} {said['probability']:.1%}")
    for name, file in found["files"].items():
        click.echo(f"{name}: {file}")


@verb
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--out", metavar="FOLDER", help="Draw curves over each other and accuracy against costs there.")
@as_json
def compare(runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Accuracy against time, parameters and MACs, as a table and as pictures."""
    from neoclassic.base import files
    from neoclassic.insight import compare

    if out:
        files.check_folder(Path(out))
    found = compare.open_runs(runs)
    written = compare.write(found, Path(out)) if out else {}
    if as_json:
        print_json({"runs": [run.to_dict() for run in found], "files": written})
        return
    click.echo(compare.table(found))
    if written:
        click.echo(f"\npictures and table are in {out}: {', '.join(Path(path).name for path in written.values())}")


@verb
@click.argument("run")
@click.option(
    "--out", metavar="FILE", help="Where it goes, - is standard output; report.html in the run's folder when omitted."
)
@data_dir
@engine
def report(run: str, out: str | None, data_dir: str | None, engine: str) -> None:
    """One self-contained HTML file about a finished run."""
    from neoclassic.insight import report

    path = report.write(run, out, data_dir, engine)
    if path.is_file():
        click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
