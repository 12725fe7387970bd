"""The verbs for data: check, cache."""

from __future__ import annotations

import click

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.cli.base import as_json, max_pixels, print_json, verb
from neoclassic.cli.terminal import print_fitted


@verb
@click.argument("folder", metavar="FOLDER|TABLE.csv")
@click.option(
    "--image-size", "--imgsz", type=int, default=224, show_default=True, help="Size in pixels that training will use."
)
@max_pixels
@click.option("--out", metavar="FILE.csv", help="Also write every finding with all of its files to this table.")
@as_json
def check(folder: str, image_size: int, out: str | None, as_json: bool) -> None:
    """Find problems in a folder of photos before training on it.

    The exit code is 1 if a problem would spoil the result, such as a photo in two classes, a photo in both the training
    and the test set, or an empty class.
    """
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
