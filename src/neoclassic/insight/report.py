"""A finished run as one HTML file: how it was trained, its results, its mistakes, and how to use the model."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, Ornament, UsageError
from neoclassic.base.text import escape
from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import to_input
from neoclassic.engines import Engine
from neoclassic.insight import curves, page
from neoclassic.insight.attribution import grad_cam, one_hot, target_layer, upsample
from neoclassic.insight.maps import overlay
from neoclassic.insight.reproduce import command
from neoclassic.insight.review import Review, captions, of_model
from neoclassic.measure import Measure, by, measure
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import CLASS_COLUMNS
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Result, Run
from neoclassic.views import drawing, lettering
from neoclassic.views.table import duration, layer_table, size

MISTAKES = 24  # images in the gallery of mistakes
CAMS = 4  # class-activation maps of correct predictions, and of mistakes


def write(folder: str | Path, out: str | Path | None = None, data_dir: str | None = None, engine: str = "auto") -> Path:
    """Write the report of a finished run and return its path, `report.html` in the run's folder when `out` is omitted.

    If the data set is no longer available, the report says so in place of the sections that need its images.
    UsageError for a run that does not exist or is not finished; NeoclassicError for damaged files or a path that cannot
    be written.
    """
    run, recipe, settings = Run.open(folder)
    path = Path(out) if out else run.folder / "report.html"
    files.check(path)
    result = run.result()
    if result is None:
        raise UsageError(f"{folder} is not finished: finish it with: neoclassic train --resume {folder}")
    model = Model.load(run.folder)
    m = measure(model.tree, model.input)
    title = f"{recipe.network} on {result.data}"
    sections = [
        _header(title, result, m, run),
        _training(recipe, model, result),
        _section("The network", lambda: _network(recipe.network, m)),
        _curves([vars(row) for row in run.log()]),
        *_test_sections(model, model.engine(engine), m, data_dir),
        _machine(result),
        _reproduction(recipe, settings.engine),
        _deployment(run),
    ]
    files.write(path, page.page(f"{title}: {result.test_accuracy:.2%}", sections))
    return path


def _test_sections(model: Model, engine: Engine, m: Measure, data_dir: str | None) -> list[str]:
    """The sections that need the test images, or one that says why they are not available."""
    try:
        reviewed, test = of_model(model, engine, data_dir=data_dir)
    except NeoclassicError as error:
        return [page.section("Results by class", page.paragraph(f"The test images are not available: {error}"))]
    return [
        _results(reviewed),
        _section("The worst mistakes", lambda: _mistakes(reviewed, test)),
        _section("Where it looked", lambda: _cams(model, engine, reviewed, test, m)),
    ]


def _chart(draw: Callable[[io.BytesIO], None], about: str) -> str:
    """A picture as an <img>; if drawing it fails, a sentence instead, and a warning."""
    content = io.BytesIO()
    with Ornament(f"the picture of the {about}"):
        draw(content)
        return page.chart(content.getvalue(), about)
    return page.paragraph(f"The picture of the {about} could not be drawn.")


def _section(title: str, make: Callable[[], str]) -> str:
    """A section; if making it fails, a sentence instead, and a warning."""
    with Ornament(f"the section '{title}'"):
        return make()
    return page.section(title, page.paragraph("This section could not be made."))


# ── how it was trained ───────────────────────────────────────────────────────────────────────────────


def _short(count: int) -> str:
    """61,706; 25.6 million; 4.09 billion."""
    if count < 1_000_000:
        return f"{count:,}"
    return f"{count / 1e6:.1f} million" if count < 1e9 else f"{count / 1e9:.2f} billion"


def _header(title: str, result: Result, m: Measure, run: Run) -> str:
    n, (low, high) = result.evaluation["n"], result.evaluation["accuracy_interval"]
    cards = [
        (f"{result.test_accuracy:.2%}", f"accuracy on {n:,} test images, 95 % interval {low:.1%} to {high:.1%}"),
        (_short(m.parameters), "parameters"),
        (_short(m.macs), "multiply-accumulates per image"),
        (duration(result.seconds), f"training time, {result.epochs} epochs"),
        (f"{result.images_per_second:,.0f}", f"images per second on {result.device}, {result.engine}"),
        (size(run.model.stat().st_size), "model file"),
    ]
    finished = result.finished[:16].replace("T", " at ")
    when = page.paragraph(f"Trained with neoclassic, finished on {finished} UTC.")
    doubts = "".join(page.paragraph(f"Warning: {line}.") for line in result.warnings)
    return f"<header><h1>{escape(title)}</h1>{when}{page.cards(cards)}{doubts}</header>"


def _training(recipe: Recipe, model: Model, result: Result) -> str:
    optimizer, p, data = recipe.optimizer, model.preprocessing, model.data
    constants = ("momentum", "weight_decay") if optimizer.name == "sgd" else ("eps", "weight_decay")
    mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (p.mean, p.std))
    rows = {
        "network": f"{recipe.network}: {recipe.entry.about}",
        "input": f"{by(model.input)}, {p.fit}, {p.filter}; (x/255 − {mean})/{std}",
        "classes": ", ".join(model.classes[:40]) + (" …" if len(model.classes) > 40 else ""),
        "data": f"{data.get('name')}, {data.get('images', 0):,} training images, fingerprint {data.get('fingerprint')}",
        "recipe": f"{recipe.name}{f': {recipe.about}' if recipe.about else ''}",
        "optimizer": f"{optimizer.name}, "
        + ", ".join(f"{name.replace('_', ' ')} {float(getattr(optimizer, name)):g}" for name in constants),
        "learning rate": f"{recipe.learning_rate:g}, {recipe.schedule}, warm-up epochs: {recipe.warmup_epochs:g}",
        "batch size": str(recipe.batch_size),
        "epochs": f"{recipe.epochs}; the model is from epoch {result.best_epoch}",
        "validation": f"{recipe.validation:.0%} of the training set, stratified"
        if recipe.validation
        else "none: the test set was evaluated after each epoch",
        "initial weights": recipe.weights or recipe.initialisation,
        "seed": str(recipe.seed),
    }
    if recipe.head:  # nothing of gradient descent applies
        rows = {k: v for k, v in rows.items() if k not in ("optimizer", "learning rate", "batch size", "epochs")}
        n = model.calibration.get("n", 0)
        rows["validation"] = f"{n:,} images, each by a last layer that was fitted without it"
    return page.section("Training", page.facts(rows.items()))


def _network(name: str, m: Measure) -> str:
    return page.section(
        "The network",
        page.scrollable(drawing.tree(name, m)),
        page.details("every layer", page.code(layer_table(m), wrap=False)),
    )


def _curves(log: list[dict[str, Any]]) -> str:
    loss, accuracy = (
        _chart(lambda p, what=what: curves.draw_log(log, p, "", [what]), f"{what} over the epochs")  # type: ignore[misc]
        for what in ("loss", "accuracy")
    )
    return page.section("Curves", f'<div class="two">{loss}{accuracy}</div>')


# ── what it does ─────────────────────────────────────────────────────────────────────────────────────


def _results(reviewed: Review) -> str:
    e, bins, error = reviewed.evaluation, reviewed.reliability, reviewed.calibration_error
    if len(e.classes) <= curves.MOST_NAMES:
        matrix = page.matrix(e.classes, e.confusion.tolist())
    else:
        matrix = _chart(lambda p: curves.draw_confusion(e.confusion, e.classes, p, ""), "confusion matrix")
    reliability = _chart(lambda p: curves.draw_reliability(bins, error, p, ""), "reliability")
    table = page.table(CLASS_COLUMNS, e.class_cells)
    pairs = [(true, predicted, f"{n:,}", f"{share:.1%}") for true, predicted, n, share in reviewed.pairs[:10]]
    return page.section(
        "Results by class",
        matrix,
        *([page.paragraph(advice)] if (advice := lettering.advice(e.classes)) else []),
        f'<div class="two"><div><h3>Metrics</h3>{table}</div><div><h3>Calibration</h3>{reliability}</div></div>',
        "<h3>Most frequent confusions</h3>",
        page.table(("true class", "predicted class", "images", "share of the class"), pairs, numbers=2)
        if pairs
        else page.paragraph("None: every test image was classified correctly."),
    )


def _mistakes(reviewed: Review, test: Dataset) -> str:
    worst = reviewed.worst[:MISTAKES]
    if not len(worst):
        return page.section("The worst mistakes", page.paragraph("None: every test image was classified correctly."))
    figures = [
        (page.photo(test.images[i], name), f"true: {true}", f"predicted: {predicted} · {name}")
        for i, (name, true, predicted) in zip(worst, captions(reviewed, worst), strict=True)
    ]
    note = page.paragraph("The images whose true class got the lowest probability.")
    return page.section("The worst mistakes", note, page.gallery(figures, small=max(test.shape[:2]) <= 64))


def _cams(model: Model, engine: Engine, reviewed: Review, test: Dataset, m: Measure) -> str:
    layer = target_layer(m)
    (correct,) = np.nonzero(reviewed.predicted == reviewed.labels)
    _, first_of_class = np.unique(reviewed.labels[correct], return_index=True)
    chosen = [*correct[np.sort(first_of_class)][:CAMS].tolist(), *reviewed.worst[:CAMS].tolist()]
    figures = []
    for i, (name, true, predicted) in zip(chosen, captions(reviewed, np.array(chosen)), strict=True):
        pixels, answer = test.images[i], int(reviewed.predicted[i])
        images = to_input(pixels[None], model.preprocessing)
        features, gradient = engine.sensitivity(images, layer, one_hot(answer, len(model.classes)))
        heat = overlay(pixels, upsample(grad_cam(features[0], gradient[0]), pixels.shape[:2], m[layer].fields))
        mistake = answer != reviewed.labels[i]
        img = page.photo(heat, f"the evidence for {predicted}", most=240)
        figures.append((img, f"predicted: {predicted}", f"true: {true} · {name}" if mistake else name))
    note = f"Grad-CAM of {layer}: bright pixels support the predicted class. Correct predictions come first."
    gallery = page.gallery(figures, small=False, large=True)
    return page.section("Where it looked", page.paragraph(note), gallery)


# ── how to use it ────────────────────────────────────────────────────────────────────────────────────


def _machine(result: Result) -> str:
    rows = [(name, str(value)) for name, value in (result.machine | result.versions).items()]
    return page.section("Machine and versions", page.facts(rows))


def _reproduction(recipe: Recipe, engine: str) -> str:
    line, rest = command(recipe, engine)
    note = f"No option sets these fields of the recipe; copy them from recipe.json: {', '.join(rest)}."
    return page.section(
        "How to reproduce it",
        page.code(line),
        *([page.paragraph(note)] if rest else []),
        page.details("the whole recipe", page.code(json.dumps(recipe.to_dict(), indent=1, ensure_ascii=False))),
    )


def _deployment(run: Run) -> str:
    folder = shlex.quote(str(run.folder))
    shell = f"neoclassic predict {folder} photo.jpg\nneoclassic serve {folder} --port 8000\n"
    shell += f"neoclassic export {folder} model.onnx --verify 64"
    python = f"import neoclassic as nc\n\nclassifier = nc.load({str(run.model)!r})\nclassifier.predict(images)"
    return page.section(
        "How to deploy it",
        page.paragraph("The model file holds the weights, the network, the classes and the preprocessing."),
        page.code(shell),
        page.code(python),
    )
