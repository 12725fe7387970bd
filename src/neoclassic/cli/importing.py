"""The verbs that make a model without training: import, of somebody's weights, and join, of other models."""

from __future__ import annotations

from pathlib import Path

import click

from neoclassic.base.errors import UsageError
from neoclassic.cli.base import as_json, print_json, verb
from neoclassic.cli.options import Numbers, keep


@verb
@click.argument("weights", metavar="FILE")
@click.option("--network", required=True, metavar="NAME", help="The network that the weights belong to.")
@click.option(
    "--classes",
    metavar="FILE.txt",
    help="Names of the classes, one per line. Default: ImageNet's, if there are 1000 and the names are torchvision's.",
)
@click.option("--mean", type=Numbers(), default=(), metavar="NUMBERS", help="Mean of the pixels: 0.485,0.456,0.406.")
@click.option("--std", type=Numbers(), default=(), metavar="NUMBERS", help="Standard deviation of the pixels.")
@click.option(
    "--image-size",
    "--imgsz",
    type=click.IntRange(1),
    help="Image size in pixels, square. Default: the network's published one.",
)
@click.option(
    "--fit", default="crop", show_default=True, metavar="NAME", help="How photos become square: crop, pad or stretch."
)
@keep
@click.option("--out", metavar="FILE", help="The model to write. Default: <network>.safetensors.")
@as_json
def import_(
    weights: str,
    network: str,
    classes: str | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_size: int | None,
    fit: str,
    keep: float | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Make a model from a file of weights.

    FILE is a .pth or .safetensors file with neoclassic's parameter names or torchvision's. The model is one file, which
    every other command takes.
    """
    from neoclassic.base import files
    from neoclassic.model.importing import imported, read_names

    target = Path(out or f"{network.replace(':', '-')}.safetensors")
    if out is None and target.exists():
        raise UsageError(f"{target} exists: choose another name with --out")
    if target.suffix.lower() != ".safetensors":
        raise UsageError(f"the name of the model must end in .safetensors, not {str(target)!r}")
    names = read_names(classes) if classes else None
    files.check(target)
    model, notes = imported(weights, network, names, mean, std, image_size, fit, keep)
    for note in notes:
        click.echo(note, err=True)
    model.save(target)
    size = target.stat().st_size
    if as_json:
        shown = {"file": str(target), "bytes": size, "network": network, "classes": list(model.classes)}
        print_json({**shown, "preprocessing": model.preprocessing.to_dict()})
        return
    click.echo(f"{target}: {size:,} bytes, {network}, {len(model.classes)} classes")
    click.echo(f"next: neoclassic predict {target} IMAGE")


@verb
@click.argument("models", metavar="MODELS", nargs=-1, required=True)
@click.option("--out", default="ensemble.safetensors", show_default=True, metavar="FILE", help="The model to write.")
@as_json
def join(models: tuple[str, ...], out: str, as_json: bool) -> None:
    """Combine several models into one that averages their answers.

    MODELS are run folders, model files or names, with the same classes and image size. The new model is one file, which
    evaluate, predict, serve and export take.
    """
    from neoclassic.base import files
    from neoclassic.model.joining import join_files
    from neoclassic.tree import walk

    target = Path(out)
    if target.exists():
        raise UsageError(f"{target} exists: choose another name with --out")
    files.check(target)
    model = join_files(models, target)
    size, members = target.stat().st_size, sum(1 for path, _ in walk(model.tree) if path and "." not in path)
    if as_json:
        print_json({"file": str(target), "bytes": size, "members": members, "classes": list(model.classes)})
        return
    click.echo(f"{target}: {size:,} bytes, {members} members, {len(model.classes)} classes")
    click.echo(f"next: neoclassic evaluate {target}")
