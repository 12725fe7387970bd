"""The verbs that use a model's features: embed, similar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neoclassic.base.errors import UsageError
from neoclassic.cli.base import any_engine, as_json, device, print_json, tell_skipped, verb
from neoclassic.cli.terminal import print_fitted

if TYPE_CHECKING:
    from neoclassic.model.artefact import Model
    from neoclassic.model.embedding import Embeddings, Similar
    from neoclassic.views.table import Table


def _embedded(model: str, folder: str, engine: str, device: str) -> tuple[Model, Embeddings]:
    """The model and the features of the photos in a folder; photos that cannot be read are counted on stderr."""
    from neoclassic.model.embedding import embed_folder, open_model

    loaded = open_model(model)
    found = embed_folder(loaded, folder, engine, device)
    tell_skipped(found.skipped, len(found))
    return loaded, found


@verb
@click.argument("model")
@click.argument("folder", metavar="FOLDER|TABLE.csv")
@click.option("--out", metavar="FILE.npz", required=True, help="File to write; - is standard output.")
@any_engine
@device
@as_json
def embed(model: str, folder: str, out: str, engine: str, device: str, as_json: bool) -> None:
    """Write the features of photos.

    They are what the last layer of the model sees. The file has the arrays features (float32, a row for each photo),
    paths, model (the checksum) and, if the folder is sorted into classes, labels.
    """
    from neoclassic.base import files

    if files.to_stdout(out):
        if as_json:
            raise UsageError("--json and --out - both write to standard output: give --out a file")
    elif Path(out).suffix.lower() != ".npz":
        raise UsageError(f"the file name must end in .npz, not {out!r}")
    files.check(Path(out))
    loaded, found = _embedded(model, folder, engine, device)
    found.save(out)
    n, d = found.features.shape
    if as_json:
        print_json({"file": out, "photos": n, "features": d, "labels": bool(found.labels), "model": found.model})
    elif not files.to_stdout(out):
        labels = f"labels of {len(set(found.labels) - {''})} classes" if found.labels else "no labels"
        click.echo(f"{out}: {n:,} photos, {d:,} features of {loaded.network}, {labels}")


@verb
@click.argument("model")
@click.argument("photo")
@click.argument("folder", metavar="FOLDER|TABLE.csv")
@click.option("--top", type=click.IntRange(1), default=9, show_default=True, help="Number of photos to show.")
@click.option("--out", metavar="FILE.html", help="Also write a page with the photos to this file.")
@any_engine
@device
@as_json
def similar(
    model: str, photo: str, folder: str, top: int, out: str | None, engine: str, device: str, as_json: bool
) -> None:
    """Find the photos in a folder that are most similar to a photo.

    Similarity is the cosine of the angle between the features that the last layer of the model sees.
    """
    from neoclassic.base import files
    from neoclassic.insight.similar import html
    from neoclassic.model.embedding import similar as search

    if out:
        if files.to_stdout(out):
            raise UsageError("the table is written to standard output: give --out a file")
        files.check(Path(out))
    loaded, among = _embedded(model, folder, engine, device)
    found = search(loaded, photo, among, top, engine, device)
    if out:
        files.write(Path(out), html(found, among, loaded, folder))
    if as_json:
        print_json({"photo": photo, "model": among.model, "similar": [n.to_dict() for n in found.neighbours]})
        return
    print_fitted(_table(found))
    if out:
        click.echo(f"wrote {out}")


def _table(found: Similar) -> Table:
    """The neighbours, with their classes if they have any."""
    from neoclassic.views.table import RIGHT, SHORTEN, WRAP, Column, Table

    cosine, photo = Column("cosine", RIGHT), Column("photo", narrow=SHORTEN, least=20)
    if any(near.label for near in found.neighbours):
        columns = (cosine, Column("class", narrow=WRAP, least=12), photo)
        return Table(columns, tuple((f"{near.cosine:.3f}", near.label, near.path) for near in found.neighbours))
    return Table((cosine, photo), tuple((f"{near.cosine:.3f}", near.path) for near in found.neighbours))
