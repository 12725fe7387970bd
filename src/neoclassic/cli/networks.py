"""The verbs that show networks and recipes: list, show, diff, recipes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from neoclassic.base.errors import UsageError, unknown
from neoclassic.cli.base import as_json, print_json, verb
from neoclassic.cli.terminal import print_fitted

if TYPE_CHECKING:
    from neoclassic.networks import Entry


def _shape(text: str | None) -> tuple[int, ...] | None:
    """1x28x28, or 28x28, or 28."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+([x×]\d+){0,2}", text):
        raise UsageError(f"--input {text!r} is not a shape: write channels x height x width, as in 1x28x28")
    return tuple(map(int, re.split("[x×]", text)))


@verb
@click.argument("pattern", default="*")
@click.option("--models", is_flag=True, help="List trained models, and where they are, instead.")
@as_json
def list_(pattern: str, models: bool, as_json: bool) -> None:
    """List the networks: year, variants, input, parameters, MACs."""
    from neoclassic import networks
    from neoclassic.measure import measure
    from neoclassic.views import table

    pattern = pattern if any(c in pattern for c in "*?[") else f"{pattern}*"
    if models:
        _list_models(pattern, as_json)
        return
    entries = [networks.entry(name) for name in networks.list_networks(pattern)]
    if not entries:
        raise unknown("network", pattern.rstrip("*"), networks.list_networks(), see="'neoclassic list' shows them all")
    if not as_json:
        print_fitted(table.network_list(entries))
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
    print_json(rows)


def _list_models(pattern: str, as_json: bool) -> None:
    """Models that have a name: what they were trained on, how accurate they are, where they are."""
    from neoclassic.model import pretrained
    from neoclassic.views.table import RIGHT, WRAP, Column, Table, between

    rows = pretrained.rows(pattern)
    if not rows:
        raise unknown("model", pattern.rstrip("*"), pretrained.known(), see="'neoclassic list --models' shows them all")
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
        interval = between(*row["accuracy_interval"]) if row["accuracy_interval"] else ""
        cells.append((row["model"], accuracy, interval, f"{row['bytes'] / 2**20:.1f}", row["place"]))
    columns = (
        Column("model", narrow=WRAP, least=20),
        Column("accuracy", RIGHT),
        Column("95 % interval", RIGHT, rank=1),
        Column("MiB", RIGHT),
        Column("where", narrow=WRAP, least=12),
    )
    print_fitted(Table(columns, tuple(cells)))


@verb
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK")
@click.option("--input", "shape", metavar="CxHxW", help="Input shape. Default: the published one.")
@click.option("--classes", "--num-classes", type=int, help="Number of classes.")
@click.option(
    "--batch", "--batch-size", "-b", type=click.IntRange(1), default=1, help="Batch size for the memory column."
)
@click.option("--depth", type=click.IntRange(1), help="Levels to show; 1 is the network's direct children.")
@click.option("--explain", is_flag=True, help="Show the formula of each number, and what 1×1 convolutions save.")
@click.option("--compare", is_flag=True, help="Show networks side by side: show lenet --compare vgg11.")
@click.option("--svg", metavar="FILE", help="Write a drawing of the network to this file; - is standard output.")
@click.option("--blocks", is_flag=True, help="With --svg: draw feature maps as blocks to scale (small networks).")
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
    """Show a network layer by layer.

    Each row has the path, shape, parameters, MACs, memory and receptive field of a layer.
    """
    from neoclassic.cli.own import entry
    from neoclassic.views import arithmetic, comparison, savings, table

    if len(networks) > 1 and not compare:
        raise UsageError(f"name one network, or compare them: show {networks[0]} --compare {networks[1]}")
    rows = {row.name: row for row in map(entry, networks)}
    measures = {name: _measured(row, shape, classes) for name, row in rows.items()}
    if compare:
        if as_json:
            print_json([table.to_dict(name, m, batch, depth) for name, m in measures.items()])
        else:
            print_fitted(comparison.compare(measures, batch))
        return
    ((name, m),) = measures.items()
    if svg:
        from pathlib import Path

        from neoclassic.base import files
        from neoclassic.views import blocks as maps
        from neoclassic.views import drawing

        files.write(Path(svg), maps.blocks(name, m) if blocks else drawing.tree(name, m))
        if not files.to_stdout(svg):
            click.echo(f"wrote {svg}", err=True)
    elif blocks:
        raise UsageError("--blocks needs --svg FILE")
    if as_json:
        saved = {"savings": savings.to_dict(m)} if explain else {}
        print_json(table.to_dict(name, m, batch, depth) | saved)
    elif not svg:
        parts = (arithmetic.explain_parts if explain else table.layer_parts)(m, batch, depth)
        print_fitted(f"{name}, {rows[name].summary}", "", *parts)


def _measured(row: Entry, shape: str | None, classes: int | None) -> Any:
    from neoclassic.measure import measure

    published = row.input
    given = _shape(shape) or published
    full = published[: 3 - len(given)] + given if len(given) > 1 else (published[0], *given * 2)
    return measure(row.tree(classes), full)


@verb
@click.argument("first", metavar="NETWORK")
@click.argument("second", metavar="NETWORK")
@as_json
def diff(first: str, second: str, as_json: bool) -> None:
    """Show how two networks differ, layer by layer, and why."""
    from neoclassic.cli.own import entry
    from neoclassic.views.diff import Diff, diff_parts

    found = Diff.of(entry(first), entry(second))
    if as_json:
        print_json(found.to_dict())
    else:
        print_fitted(*diff_parts(found))


@verb
@click.argument("pattern", default="*")
@as_json
def recipes(pattern: str, as_json: bool) -> None:
    """List recipes and the accuracy that they are known to reach."""
    from neoclassic.recipes import list_recipes

    pattern = pattern if any(c in pattern for c in "*?[") else f"{pattern}*"
    matching = list_recipes(pattern)
    if not matching:
        every = [r.name for r in list_recipes()]
        raise unknown("recipe", pattern.rstrip("*"), every, see="'neoclassic recipes' shows them all")
    if as_json:
        print_json([r.to_dict() for r in matching])
        return
    print_fitted(matching.table)
