"""A run as one HTML file: what was trained and how, what it reached, where it is wrong, where it looked, what next."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic import networks
from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, Ornament, UsageError
from neoclassic.base.text import escape
from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import to_input
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight import curves, page
from neoclassic.insight.explain import grad_cam, last_map, one_hot, spread
from neoclassic.insight.review import Review, captions, of_model
from neoclassic.measure import Measure, by, measure
from neoclassic.model.artefact import Model
from neoclassic.recipes import choose
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Result, Run
from neoclassic.views import drawing
from neoclassic.views.picture import import_matplotlib
from neoclassic.views.table import layer_table, size

MISTAKES, LOOKS = 24, 4  # images in the gallery; of each kind among the class-activation maps
FULL = 5_000_000  # bytes that a report may have


def write(folder: str | Path, out: str | Path | None = None, data_dir: str | None = None, engine: str = "auto") -> Path:
    """Write the report of a finished run; `report.html` in its folder when `out` is omitted. Its path.

    Where the data set is not there any more, the parts that need its images say so. UsageError for a run that is not
    there or not finished; NeoclassicError for files that are damaged or a place that cannot be written.
    """
    run, recipe, settings = Run.open(folder)
    path = Path(out) if out else run.folder / "report.html"
    files.check(path)
    result = run.result()
    if result is None:
        raise UsageError(f"{folder} is not finished: go on with: neoclassic train --resume {folder}")
    model = Model.load(run.folder)
    m = measure(model.tree, model.input)
    running = model.engine(engine)
    try:
        reviewed, test = of_model(model, running, data_dir=data_dir)
    except NeoclassicError as error:
        reviewed, test, missing = None, None, str(error)
    title = f"{recipe.network} on {result.data}"
    sections = [
        _head(title, result, m, run),
        _trained(recipe, model, result),
        _part("The network", lambda: _network(recipe.network, m)),
        _curves([vars(row) for row in run.log()]),
    ]
    if reviewed is not None and test is not None:
        found, images = reviewed, test
        sections += [
            _right_and_wrong(found),
            _part("The worst mistakes", lambda: _mistakes(found, images)),
            _part("Where it looked", lambda: _looked(model, running, found, images, m)),
        ]
    else:
        sections.append(page.section("Where it is wrong", page.said(f"The test images are not here: {missing}")))
    sections += [_machine(result), _reproduced(recipe, settings.engine, run), _deployed(run, model)]
    text = page.page(f"{title}: {result.test_accuracy:.2%}", sections)
    files.write(path, text)
    return path


def _chart(draw: Callable[[io.BytesIO], None], about: str) -> str:
    """What a function draws, inside the page; where it fails, a line in its place and a warning."""
    content = io.BytesIO()
    with Ornament(f"the picture of the {about}"):
        draw(content)
        return page.chart(content.getvalue(), about)
    return page.said(f"The picture of the {about} could not be drawn.")


def _part(title: str, make: Callable[[], str]) -> str:
    """A section of the page; where it fails, a line in its place and a warning."""
    with Ornament(f"the section '{title}'"):
        return make()
    return page.section(title, page.said("This section could not be made."))


# ── what and how ─────────────────────────────────────────────────────────────────────────────────────


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _short(count: int) -> str:
    """61,706; 25.6 million; 4.09 billion."""
    if count < 1_000_000:
        return f"{count:,}"
    return f"{count / 1e6:.1f} million" if count < 1e9 else f"{count / 1e9:.2f} billion"


def _head(title: str, result: Result, m: Measure, run: Run) -> str:
    n = result.evaluation["n"]
    facts = [
        (f"{result.test_accuracy:.2%}", f"of {n:,} test images"),
        (_short(m.parameters), "parameters"),
        (_short(m.macs), "multiply-accumulates an image"),
        (_took(result.seconds), f"of training, {result.epochs} epochs"),
        (f"{result.images_per_second:,.0f}", f"images a second on {result.device}, {result.engine}"),
        (size(run.model.stat().st_size), "the model's file"),
    ]
    when = page.said(f"Trained with neoclassic, finished on {result.finished[:16].replace('T', ' at ')} UTC.")
    return f"<header><h1>{escape(title)}</h1>{when}{page.cards(facts)}</header>"


def _trained(recipe: Recipe, model: Model, result: Result) -> str:
    rule, p, data = recipe.optimizer, model.preprocessing, model.data
    held = f"{recipe.validation:.0%} of the training set, stratified" if recipe.validation else "none: the test set"
    mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (p.mean, p.std))
    rows = [
        ("network", f"{recipe.network}: {networks.entry(recipe.network).about}"),
        ("input", f"{by(model.input)}, {p.fit}, {p.filter}; (x/255 − {mean})/{std}"),
        ("classes", ", ".join(model.classes[:40]) + (" …" if len(model.classes) > 40 else "")),
        (
            "data",
            f"{data.get('name')}, {data.get('images', 0):,} training images, fingerprint {data.get('fingerprint')}",
        ),
        ("recipe", f"{recipe.name}{f': {recipe.about}' if recipe.about else ''}"),
        ("optimizer", f"{rule.name}, " + ", ".join(f"{k} {v:g}" for k, v in _constants(rule).items())),
        ("learning rate", f"{recipe.learning_rate:g}, {recipe.schedule}, {recipe.warmup_epochs:g} epochs of warm-up"),
        (
            "batch, epochs",
            f"{recipe.batch_size}, {recipe.epochs}; the model kept is that of epoch {result.best_epoch}",
        ),
        ("watched", held),
        ("first weights", recipe.weights or recipe.initialisation),
        ("seed", str(recipe.seed)),
    ]
    return page.section("What was trained", page.facts(rows))


def _constants(rule: Any) -> dict[str, float]:
    named = ("momentum", "weight_decay") if rule.name == "sgd" else ("eps", "weight_decay")
    return {name.replace("_", " "): float(getattr(rule, name)) for name in named}


def _network(name: str, m: Measure) -> str:
    return page.section(
        "The network",
        page.wide(drawing.tree(name, m)),
        page.folded("every layer", page.code(layer_table(m), wrap=False)),
    )


def _curves(log: list[dict[str, Any]]) -> str:
    loss, accuracy = (
        _chart(lambda p, what=what: curves.draw_log(log, p, "", [what]), f"{what} over the epochs")  # type: ignore[misc]
        for what in ("loss", "accuracy")
    )
    return page.section("Curves", f'<div class="two">{loss}{accuracy}</div>')


# ── what it does ─────────────────────────────────────────────────────────────────────────────────────


def _right_and_wrong(found: Review) -> str:
    e = found.evaluation
    matrix = _chart(lambda p: curves.draw_confusion(e.confusion, e.classes, p, ""), "confusion matrix")
    trust = _chart(lambda p: curves.draw_reliability(found.reliability, found.calibration_error, p, ""), "reliability")
    classes = [
        (c["class"], f"{c['precision']:.1%}", f"{c['recall']:.1%}", f"{c['f1']:.1%}", f"{c['n']:,}")
        for c in e.per_class
    ]
    pairs = [(a, b, f"{n:,}", f"{share:.1%}") for a, b, n, share in found.pairs[:10]]
    table = page.table(("class", "precision", "recall", "F1", "images"), classes)
    return page.section(
        "Where it is right and wrong",
        matrix,
        f'<div class="two"><div><h3>Each class</h3>{table}</div><div><h3>Its probabilities</h3>{trust}</div></div>',
        "<h3>Most confused</h3>",
        page.table(("it was", "the network said", "images", "of the class"), pairs, numbers=2),
    )


def _mistakes(found: Review, test: Dataset) -> str:
    worst = found.worst[:MISTAKES]
    if not len(worst):
        return page.section("The worst mistakes", page.said("None: every test image was recognised."))
    figures = [
        (page.photo(test.images[i], name), f"is {true}", f"not {said} · {name}")
        for i, (name, true, said) in zip(worst, captions(found, worst), strict=True)
    ]
    note = "Where the true class was given the lowest probability."
    return page.section("The worst mistakes", page.said(note), page.gallery(figures, small=max(test.shape[:2]) <= 64))


def _looked(model: Model, engine: Engine, found: Review, test: Dataset, m: Measure) -> str:
    layer = last_map(m)
    (right,) = np.nonzero(found.answers == found.labels)
    _, first = np.unique(found.labels[right], return_index=True)
    chosen = [*right[np.sort(first)][:LOOKS].tolist(), *found.worst[:LOOKS].tolist()]
    figures = []
    for i in chosen:
        pixels, answer = test.images[i], int(found.answers[i])
        images = to_input(pixels[None], model.preprocessing)
        features, gradient = engine.sensitivity(images, layer, one_hot(answer, len(model.classes)))
        heat = _glowing(pixels, spread(grad_cam(features[0], gradient[0]), pixels.shape[:2]))
        (name, true, said), *_ = captions(found, np.array([i]))
        plain = f"is {true} · {name}" if answer != found.labels[i] else name
        figures.append((page.photo(heat, f"where it saw {said}", most=240), f"says {said}", plain))
    note = f"Grad-CAM of {layer}: bright where the image speaks for the answer. Right answers first, then mistakes."
    return page.section("Where it looked", page.said(note), page.gallery(figures, small=False, large=True))


def _glowing(pixels: Array, heat: Array) -> Array:
    """uint8 H×W×3: heat over a darker image, large enough to be looked at."""
    import_matplotlib()
    from matplotlib import colormaps
    from PIL import Image

    times = max(1, round(224 / max(pixels.shape[:2])))
    size = (pixels.shape[1] * times, pixels.shape[0] * times)
    grey = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8))
    base = np.asarray(grey.resize(size, Image.Resampling.NEAREST), np.float32) / 255
    warm = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
    colour = colormaps["inferno"](warm[..., 0])[..., :3]
    mixed = base * (1 - 0.65 * warm) + colour * 0.65 * warm
    glowing: Array = np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
    return glowing


# ── where, and what next ─────────────────────────────────────────────────────────────────────────────


def _machine(result: Result) -> str:
    rows = [(name, str(value)) for name, value in (result.machine | result.versions).items()]
    return page.section("Machine and versions", page.facts(rows))


OPTIONS = {
    "data": "--data",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--lr",
    "schedule": "--schedule",
    "warmup_epochs": "--warmup-epochs",
    "initialisation": "--initialisation",
    "validation": "--validation",
    "image_size": "--image-size",
    "seed": "--seed",
}


def command(recipe: Recipe, engine: str) -> tuple[str, list[str]]:
    """The command line that trains this recipe again, and what of the recipe it does not say."""
    try:
        base = choose(recipe.network, recipe.name)
        words = ["neoclassic", "train", recipe.network, "--recipe", recipe.name]
    except UsageError:  # a network without a recipe of its own
        base = choose(recipe.network, None)
        words = ["neoclassic", "train", recipe.network]
    ours, theirs = recipe.to_dict(), base.to_dict()
    for name, option in OPTIONS.items():
        if ours[name] != theirs[name]:
            words += [option, f"{ours[name]:g}" if isinstance(ours[name], float) else str(ours[name])]
    if ours["standardise"] != theirs["standardise"]:
        words.append("--standardise" if ours["standardise"] else "--no-standardise")
    for name in ("name", "momentum", "weight_decay"):
        if ours["optimizer"][name] != theirs["optimizer"][name]:
            value = ours["optimizer"][name]
            words += [f"--{'optimizer' if name == 'name' else name.replace('_', '-')}", str(value)]
    told = {*OPTIONS, "standardise", "optimizer", "name", "network", "source", "about", "reaches"}
    rest = [name for name in ours if name not in told and ours[name] != theirs[name]]
    return shlex.join([*words, "--engine", engine]), rest


def _reproduced(recipe: Recipe, engine: str, run: Run) -> str:
    line, rest = command(recipe, engine)
    also = [page.said(f"And, as in recipe.json: {', '.join(rest)}.")] if rest else []
    written = json.dumps(recipe.to_dict(), indent=1, ensure_ascii=False)
    return page.section(
        "How to reproduce it", page.code(line), *also, page.folded("the whole recipe", page.code(written))
    )


def _deployed(run: Run, model: Model) -> str:
    at = shlex.quote(str(run.folder))
    shell = f"neoclassic predict {at} photo.jpg\nneoclassic serve {at} --port 8000\n"
    shell += f"neoclassic export {at} model.onnx --verify 64"
    python = f"import neoclassic as nc\n\nclassifier = nc.load({str(run.model)!r})\nclassifier.predict(images)"
    return page.section(
        "How to deploy it",
        page.said("The model's one file holds the weights, the network, the classes and the preprocessing."),
        page.code(shell),
        page.code(python),
    )
