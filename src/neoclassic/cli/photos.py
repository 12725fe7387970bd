"""The verbs for data: check, cache."""

from __future__ import annotations

from typing import Any

import click

from neoclassic.base.errors import NeoclassicError, Ornament, UsageError
from neoclassic.cli.base import as_json, data_dir, device, engine, max_pixels, print_json, verb
from neoclassic.cli.terminal import print_fitted


@verb
@click.argument("folder", metavar="FOLDER|TABLE.csv")
@click.option(
    "--image-size", "--imgsz", type=int, default=224, show_default=True, help="Size in pixels that training will use."
)
@max_pixels
@click.option("--out", metavar="FILE.csv", help="Also write every finding with all of its files to this table.")
@click.option("--labels", is_flag=True, help="Find images whose labels are probably wrong. Takes minutes.")
@click.option("--network", metavar="NAME", help="With --labels: the network that judges. Default: lenet:bn.")
@click.option("--weights", metavar="NAME|FILE", help="With --labels: judge by the features of these weights.")
@click.option("--folds", type=int, metavar="K", help="With --labels: number of folds. Default: 5.")
@click.option("--epochs", type=click.IntRange(1), help="With --labels: epochs of each training. Default: 5.")
@click.option("--seed", type=int, help="With --labels: random seed.")
@engine
@device
@data_dir
@as_json
@click.pass_context
def check(
    context: click.Context,
    /,
    folder: str,
    image_size: int,
    out: str | None,
    labels: bool,
    engine: str,
    device: str,
    data_dir: str | None,
    as_json: bool,
    **judging: Any,
) -> None:
    """Find problems in a folder of photos before training on it.

    The exit code is 1 if a problem would spoil the result, such as a photo in two classes, a photo in both the training
    and the test set, or an empty class.

    With --labels, each image is judged by a model that was not trained on it; FOLDER may also be a data set. The
    suspects are written to the table that --out names, by default suspects.csv, with a gallery beside it.
    """
    command_line = click.core.ParameterSource.COMMANDLINE
    given = [name for name in context.params if context.get_parameter_source(name) == command_line]
    if not labels:
        if surplus := [name for name in given if name in (*judging, "engine", "device", "data_dir")]:
            raise UsageError(
                f"--{surplus[0].replace('_', '-')} works only with --labels: add --labels, or leave it out"
            )
    else:
        size = image_size if "image_size" in given else None
        _check_labels(folder, size, out, as_json, (engine, device, data_dir), judging)
        return
    from pathlib import Path

    from neoclassic.base import files
    from neoclassic.data import scan
    from neoclassic.data.check import check as run

    if out:
        files.check(Path(out))
    report = run(scan(folder), (image_size, image_size))
    if out:
        files.write(Path(out), report.table())
    if as_json:
        print_json(report.to_dict())
    else:
        print_fitted(report.text())
    if n := sum(finding.severity == "error" for finding in report.findings):
        raise NeoclassicError(f"{folder}: {n} of {len(report.findings)} findings spoil the result: fix them first")


def _check_labels(
    folder: str,
    size: int | None,
    out: str | None,
    as_json: bool,
    where: tuple[str, str, str | None],
    judging: dict[str, Any],
) -> None:
    from pathlib import Path

    from neoclassic.base import files
    from neoclassic.data.image_files import max_pixels as limit
    from neoclassic.engines import choose
    from neoclassic.insight.labels import examine
    from neoclassic.train.run import Settings

    table = Path(out or "suspects.csv")
    files.check(table)
    settings = Settings(choose(where[0]), where[1], data_dir=where[2], max_pixels=limit())
    given = {name: value for name, value in judging.items() if value is not None}
    found = examine(folder, image_size=size, settings=settings, **given)
    with Ornament(f"the gallery beside {table}"):
        found.write(table)
    if as_json:
        print_json(found.to_dict() | {"table": str(table), "gallery": str(table.with_suffix(".png"))})
        return
    print_fitted(repr(found))
    if len(found.order):
        print_fitted("", f"all of them: {table}; the first, as pictures: {table.with_suffix('.png')}")


@verb
@click.option("--clear", metavar="PATTERN", help="Remove matching entries: 'decoded', 'mnist', '*' …")
@as_json
def cache(clear: str | None, as_json: bool) -> None:
    """Show or clear the cache.

    It holds downloaded data sets and weights, decoded photos, and features.
    """
    from neoclassic.data import cache as store
    from neoclassic.views.table import RIGHT, SHORTEN, WRAP, Column, Table, size

    entries = store.entries() if clear is None else store.clear(clear)
    if clear and not entries:
        raise UsageError(f"nothing in {store.folder()} matches {clear!r}: 'neoclassic cache' lists the entries")
    if as_json:
        rows = [{"path": str(e.path), "about": e.about, "bytes": e.bytes} for e in entries]
        print_json({"folder": str(store.folder()), "cleared": clear is not None, "entries": rows})
        return
    if entries:
        columns = (Column("", RIGHT), Column("", narrow=WRAP, least=24), Column("", narrow=SHORTEN, least=20))
        print_fitted(Table(columns, tuple((size(e.bytes), e.about, str(e.path)) for e in entries)))
    print_fitted(f"{size(sum(e.bytes for e in entries))} {'removed from' if clear else 'in'} {store.folder()}")
