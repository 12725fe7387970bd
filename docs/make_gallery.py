"""Make docs/gallery.md and its pictures with the commands that it shows.

    python docs/make_gallery.py [RUN…]

RUN: finished runs on Fashion-MNIST, the first of them a LeNet. Without any, two short runs are trained first.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from neoclassic import data
from neoclassic.cli import main

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
DRAWINGS = (
    "lenet",
    "alexnet",
    "vgg16",
    "nin",
    "googlenet",
    "resnet50",
    "densenet121",
    "mobilenet-v2",
    "mobilenet-v3-small",
)
BLOCKS = ("lenet", "alexnet", "vgg16")
CHARTS = ("confusion.png", "reliability.png", "compared-curves.png", "compared-costs.png")
LAB = ("lab-zoo", "lab-network", "lab-look", "lab-train", "lab-teach", "lab-convolution")
SUSPECTS = ("mnist", "fashion-mnist")
LABELS = (
    "The images of MNIST and Fashion-MNIST, as published, whose labels are probably wrong, the most suspicious first, "
    "a hundred\nat most. Below each is its label, and what the models that have not seen it say."
)
MAX_WIDTH = 900  # pixels of a committed picture


def run(line: str) -> str:
    """Run a command line as it is typed, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(shlex.split(line)[1:])
    if code:
        raise SystemExit(f"{line}: exit code {code}")
    return printed.getvalue().rstrip()


def keep(file: Path, name: str) -> str:
    """Copy a picture, at most MAX_WIDTH pixels wide and charts and suspects with 64 colours. Return its Markdown."""
    with Image.open(file) as image:
        image.thumbnail((MAX_WIDTH, 4 * MAX_WIDTH))
        small = image.convert("RGB")
        colours = (
            small.quantize(64, dither=Image.Dither.NONE) if name in CHARTS or name.startswith("suspects") else small
        )
        colours.save(PICTURES / name, optimize=True)
    return f"![{name.removesuffix('.png')}](pictures/{name})"


def shoe(folder: Path) -> Path:
    """Write the first test image to a file."""
    file = folder / "shoe.png"
    Image.fromarray(np.ascontiguousarray(data.load("fashion-mnist").test.images[0, ..., 0])).save(file)
    return file


def gallery(runs: list[str], work: Path) -> str:
    lenet, picture = runs[0], shoe(work)
    parts = [
        "# Gallery\n\nEach picture is made by the command above it; `python docs/make_gallery.py` makes this page.",
        "## Formulas and comparisons",
        command("neoclassic show lenet --explain", lines=22),
        command("neoclassic show vgg16 --compare googlenet resnet50 mobilenet-v2 --batch 32"),
        "## Drawings",
        "Drawings follow the reader's light or dark mode. Equal neighbours are drawn once, with ×N.",
    ]
    for name in DRAWINGS:
        file = f"{name.replace(':', '-')}.svg"
        run(f"neoclassic show {name} --svg {shlex.quote(str(PICTURES / file))}")
        parts.append(f"```sh\nneoclassic show {name} --svg {file}\n```\n\n![{name}](pictures/{file})")
    for name in BLOCKS:
        file = f"{name.replace(':', '-')}-blocks.svg"
        run(f"neoclassic show {name} --svg {shlex.quote(str(PICTURES / file))} --blocks")
        parts.append(
            f"```sh\nneoclassic show {name} --svg {file} --blocks\n```\n\n![{name}, to scale](pictures/{file})"
        )
    run(f"neoclassic explain {lenet} {picture} --path conv1 --out {work / 'looked'}")
    run(f"neoclassic evaluate {lenet} --out {work / 'evaluated'}")
    run(f"neoclassic compare {' '.join(runs)} --out {work / 'compared'}")
    parts += ["## Where it looked", "```sh\nneoclassic explain runs/lenet shoe.png --path conv1 --out looked\n```"]
    parts += [keep(work / "looked" / f"{n}.png", f"{n}.png") for n in ("cam", "occlusion", "features", "filters")]
    parts += ["## Results", "```sh\nneoclassic evaluate runs/lenet --out evaluated\n```"]
    parts += [keep(work / "evaluated" / f"{n}.png", f"{n}.png") for n in ("confusion", "reliability", "worst")]
    parts += ["```sh\nneoclassic compare runs/* --out compared\n```"]
    parts += [keep(work / "compared" / f"{n}.png", f"compared-{n}.png") for n in ("curves", "costs")]
    parts += ["## Wrong labels", LABELS]
    for name in SUSPECTS:
        line = f"neoclassic check {name} --labels --engine numpy --out {{}}.csv"
        run(line.format(shlex.quote(str(work / name))))
        parts += [f"```sh\n{line.format(name)}\n```", keep(work / f"{name}.png", f"suspects-{name}.png")]
    parts += [
        "## The lab",
        "```sh\nneoclassic lab --open\n```",
        "A page to explore the zoo, to follow an image through every layer, to watch and steer a training run, to "
        "teach a network\nyour own classes, and to step through a convolution; see [lab.md](lab.md). `python "
        "docs/make_lab_pictures.py` makes these pictures.",
        *(f"![{name}](pictures/{name}.png)" for name in LAB),
        "## The report",
        "```sh\nneoclassic report runs/lenet\n```",
        "One HTML file with all of this about a run. It adapts to phones, desktops, paper and dark mode.",
    ]
    return "\n\n".join(parts) + "\n"


def command(line: str, lines: int | None = None) -> str:
    """The Markdown of a command and its output, or the first `lines` of it."""
    text = run(line).splitlines()
    more = ["…"] if lines and len(text) > lines else []
    return f"```\n$ {line}\n" + "\n".join(text[:lines] + more) + "\n```"


def train(work: Path) -> list[str]:
    """Train two short runs and return their folders."""
    for network in ("lenet", "lenet:bn"):
        out = work / network.replace(":", "-")
        run(f"neoclassic train {network} --data fashion-mnist --epochs 3 --out {out}")
    return [str(work / "lenet"), str(work / "lenet-bn")]


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        chosen = sys.argv[1:] or train(Path(folder))
        (HERE / "gallery.md").write_text(gallery(chosen, Path(folder)))
