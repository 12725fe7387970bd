"""The verbs that look after data: check, cache."""

from __future__ import annotations

import click

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.cli.base import as_json, print_json, verb


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
        print_json(report.to_dict())
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
        print_json({"folder": str(kept.folder()), "cleared": clear is not None, "entries": entries})
        return
    if found:
        click.echo(table.align([(table.size(e.bytes), e.about, str(e.path)) for e in found], "><<"))
    click.echo(f"{table.size(sum(e.bytes for e in found))} {'removed from' if clear else 'in'} {kept.folder()}")
