"""What a notebook's cell shows of models and runs: recipes, results with their curves, evaluations, explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from io import BytesIO
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError, Ornament
from neoclassic.base.finding import Finding
from neoclassic.base.records import differing
from neoclassic.base.text import escape
from neoclassic.insight import compare, curves, page, trials
from neoclassic.insight.compare import Comparison
from neoclassic.insight.curves import MOST_NAMES
from neoclassic.insight.doctor.diagnosis import NOTHING, Diagnosis
from neoclassic.insight.explain import Explanation
from neoclassic.insight.labels import Suspects
from neoclassic.insight.maps import overlay
from neoclassic.insight.review import Review, confusions
from neoclassic.measure import measure
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import CLASS_COLUMNS, Evaluation
from neoclassic.recipes import Recipes
from neoclassic.train.cross_validation import CrossValidation
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Result, Run
from neoclassic.train.search.trials import Search
from neoclassic.views import drawing, lettering
from neoclassic.views.cells import html, network_cost, picture
from neoclassic.views.html import cell, details, facts, matrix, paragraph, table
from neoclassic.views.table import Table

MOST_CLASSES = 20  # in a table that is not folded
PAIRS = 10  # of confused classes

__all__ = ["html"]


def _title(text: str) -> str:
    return f'<p class="title">{escape(text)}</p>'


def _table(rows: Table) -> str:
    return table([column.title for column in rows.columns], rows.rows, numbers=3)


def _chart(draw: Callable[[BytesIO], None], about: str) -> str:
    """A chart as an <img>; if it cannot be drawn, nothing, and a warning."""
    content = BytesIO()
    with Ornament(f"the picture of the {about}"):
        draw(content)
        return page.chart(content.getvalue(), about)
    return ""


# ── recipes and models ───────────────────────────────────────────────────────────────────────────────


@html.register
def _(recipe: Recipe) -> str:
    always = ("network", "data", "epochs", "batch_size", "learning_rate", "schedule")
    said = ("name", "about", "source", "reaches", "optimizer", "augmentation", "tree")
    rows = [(name.replace("_", " "), _value(getattr(recipe, name))) for name in always]
    rows.append(("optimizer", _parts(recipe.optimizer)))
    rows.append(("augmentation", _parts(recipe.augmentation) or "none"))
    others = {name: value for name, value in differing(recipe).items() if name not in always + said}
    rows += [(name.replace("_", " "), _value(value)) for name, value in others.items()]
    rows += [(name, value) for name, value in (("reaches", recipe.reaches), ("source", recipe.source)) if value]
    about = [paragraph(recipe.about)] if recipe.about else []
    drawn = [details("the network", shown)] if recipe.tree and (shown := html(recipe.tree)) else []
    return cell(_title(f"Recipe {recipe.name}"), *about, facts(rows), *drawn)


@html.register
def _(recipes: Recipes) -> str:
    return cell(_table(recipes.table))


def _parts(record: Any) -> str:
    """The name of a record and its values that are not those by default: sgd, momentum 0.9."""
    parts = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in differing(record).items() if name != "name"]
    return ", ".join([record.name, *parts] if hasattr(record, "name") else parts)


def _value(value: Any) -> str:
    if is_dataclass(value):
        return _parts(value)
    if isinstance(value, tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@html.register
def _(model: Model) -> str:
    m = measure(model.tree, model.input)
    trained = [("recipe", str(model.recipe["name"]))] if "name" in model.recipe else []
    where = [("file", str(model.source))] if model.source else []
    drawn = details("the network", picture(drawing.tree(model.network, m)) + network_cost(m))
    return cell(_title(model.title), facts([*model.facts, *trained, *where]), drawn)


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────


@html.register
def _(result: Result) -> str:
    e = Evaluation.from_dict(result.evaluation)
    title = _title(f"{result.network} on {result.data}: {e.line}")
    return cell(title, _curves(result.run), facts(result.facts), *_evaluation(e))


def _curves(folder: str) -> str:
    """The learning curves of a run; nothing if its folder is gone."""
    try:
        log = Run.open(folder)[0].log()
    except NeoclassicError:
        return ""
    return _log_chart(log)


def _log_chart(log: Sequence[Epoch]) -> str:
    return _chart(lambda to: curves.draw_log([vars(row) for row in log], to, ""), "loss and accuracy over the epochs")


@html.register
def _(run: Run) -> str:
    if result := run.result():
        return str(html(result))
    _, recipe, _ = Run.open(run.folder)
    title = _title(f"{recipe.network} on {recipe.data}: not finished")
    how = paragraph(f"Finish it with: neoclassic train --resume {run.folder}")
    try:
        return cell(title, _log_chart(run.log()), how)
    except NeoclassicError as error:  # no epoch so far
        return cell(title, paragraph(str(error)), how)


@html.register
def _(comparison: Comparison) -> str:
    lines = [curves.Curve(run.name, run.log, run.accuracy, run.seconds) for run in comparison.runs]
    rows = _table(compare.table(comparison.runs))
    told = "".join(map(paragraph, comparison.lines))
    chart = _chart(lambda to: curves.draw_runs(lines, to, ""), "curves of the runs")
    return cell(rows, told, chart, _unlettered([run.name for run in comparison.runs]))


def _unlettered(names: Sequence[str]) -> str:
    advice = lettering.advice(names)
    return paragraph(advice) if advice else ""


@html.register
def _(diagnosis: Diagnosis) -> str:
    found = [_finding(each) for each in diagnosis.findings] or [paragraph(NOTHING)]
    unread = [paragraph(f"Only its files were examined: {diagnosis.unread}")] if diagnosis.unread else []
    return cell(_title(f"{diagnosis.run}: {diagnosis.about}"), *unread, *found)


@html.register
def _(done: CrossValidation) -> str:
    first, shown = done.results[0], done.table
    title = _title(f"{first.network} on {first.data}, {len(done.results)} folds")
    return cell(title, table([column.title for column in shown.columns], shown.rows), *map(paragraph, done.lines))


@html.register
def _(done: Search) -> str:
    networks = ", ".join(dict.fromkeys(each.network for each in done.trials))
    chart = _chart(lambda to: trials.draw(done.trials, done.winner, to, ""), "accuracy of the trials")
    rows = table([column.title for column in done.table.columns], done.table.rows)
    return cell(_title(f"search of {networks} on {done.result.data}"), rows, *map(paragraph, done.lines), chart)


@html.register
def _(suspects: Suspects) -> str:
    rows = suspects.rows()[: len(suspects.pixels)]
    shown = [
        (page.photo(pixels, row["image"]), row["label"], f"{row['likely']}? {row['probability_of_likely']:.0%}")
        for pixels, row in zip(suspects.pixels, rows, strict=True)
    ]
    small = bool(len(suspects.pixels)) and max(suspects.pixels.shape[1:3]) <= 64
    pictures = [page.gallery(shown, small=small)] if shown else []
    return cell(_title(f"{suspects.data}: {suspects.line}"), paragraph(suspects.how), *pictures)


def _finding(found: Finding) -> str:
    """One finding, with its evidence folded away."""
    rows = [("do", found.advice), ("next", found.next), ("confidence", found.confidence)]
    shown = facts([(name, value) for name, value in rows if value])
    evidence = details("evidence", "".join(map(paragraph, found.evidence))) if found.evidence else ""
    return _title(f"{found.grade}: {found.text}") + shown + evidence


# ── what a model does ────────────────────────────────────────────────────────────────────────────────


@html.register
def _(e: Evaluation) -> str:
    return cell(_summary(e), *_evaluation(e))


@html.register
def _(review: Review) -> str:
    e, bins, error = review.evaluation, review.reliability, review.calibration_error
    chart = _chart(lambda to: curves.draw_reliability(bins, error, to, ""), "reliability")
    return cell(_summary(e), *_evaluation(e), details(f"expected calibration error {error:.1%}", chart))


def _summary(e: Evaluation) -> str:
    return _title(f"{e.line}, loss {e.loss:.4f}")


def _evaluation(e: Evaluation) -> list[str]:
    """The classes, and what is confused with what."""
    classes = table(CLASS_COLUMNS, e.class_cells)
    few = len(e.classes) <= MOST_CLASSES
    pairs = [(true, said, f"{n:,}", f"{share:.1%}") for true, said, n, share in confusions(e.confusion, e.classes)]
    head = ("true class", "predicted class", "images", "share of the class")
    return [
        classes if few else details(f"all {len(e.classes):,} classes", classes),
        _title("Most frequent confusions") + table(head, pairs[:PAIRS], numbers=2) if pairs else "",
        details("confusion matrix", matrix(e.classes, e.confusion.tolist())) if len(e.classes) <= MOST_NAMES else "",
    ]


@html.register
def _(e: Explanation) -> str:
    cam, cam_plus = e.heat
    lost = e.occlusion.clip(min=0) / max(float(e.occlusion.max()), 1e-6)
    pictures = [
        (np.broadcast_to(e.pixels, (*e.pixels.shape[:2], 3)).astype(np.uint8), "the image", "as the network gets it"),
        (overlay(e.pixels, cam), "Grad-CAM", f"evidence in {e.cam_path}"),
        (overlay(e.pixels, cam_plus), "Grad-CAM++", f"evidence in {e.cam_path}"),
        (overlay(e.pixels, lost), "occlusion", f"hiding it loses up to {max(float(e.occlusion.max()), 0):.1%}"),
    ]
    figures = [(page.photo(pixels, name, most=240), name, about) for pixels, name, about in pictures]
    predicted = f", but the answer is {e.predicted[0]} {e.predicted[1]:.1%}" * (e.label != e.predicted[0])
    title = _title(f"Evidence for {e.label}, {e.probability:.1%}{predicted}")
    return cell(title, page.gallery(figures, small=max(e.pixels.shape[:2]) <= 64, large=True))
