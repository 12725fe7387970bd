"""What the command line does, as functions that return records: `nc.train`, `nc.evaluate`, `nc.explain`, …

A network is a name of the zoo or a tree of one's own. A model is an artefact, a run folder or a name, as on the command
line, or a fitted Classifier.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, overload

from neoclassic import networks
from neoclassic.base import files
from neoclassic.base.errors import NeoclassicWarning, UsageError, unknown
from neoclassic.classifier import Classifier
from neoclassic.data import scan
from neoclassic.data.arrays import one_image
from neoclassic.data.augmentation import Augmentation
from neoclassic.data.check import Report
from neoclassic.data.check import check as check_folder
from neoclassic.data.preprocessing import to_pixels
from neoclassic.engines import Engine, Optimizer, Speed
from neoclassic.insight import explain as explaining
from neoclassic.insight import hub_folder, labels, review
from neoclassic.insight.compare import Comparison
from neoclassic.insight.doctor import diagnosis
from neoclassic.insight.doctor.diagnosis import Diagnosis
from neoclassic.insight.explain import Explanation
from neoclassic.insight.labels import Suspects
from neoclassic.insight.review import Review
from neoclassic.insight.watching import Doubts, of_folds, of_search, watchers
from neoclassic.measure import Shape
from neoclassic.measure import measure as measured
from neoclassic.model import export as exporting
from neoclassic.model.artefact import Model
from neoclassic.model.ensemble import Ensemble, MultiView, open_models
from neoclassic.model.export import Exported
from neoclassic.model.folds import members
from neoclassic.model.int8 import export_int8
from neoclassic.model.joining import join_files
from neoclassic.model.opening import from_any_folder, load_model, open_model
from neoclassic.recipes import choose, is_file, list_recipes, recipe
from neoclassic.recipes.neoclassic import layers_asked, with_layers
from neoclassic.train import cross_validation, loop
from neoclassic.train.cross_validation import CrossValidation
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Result, Run, Settings
from neoclassic.train.search import searching
from neoclassic.train.search.trials import Search
from neoclassic.tree import Node
from neoclassic.views import blocks as maps
from neoclassic.views import drawing
from neoclassic.views.diff import Diff
from neoclassic.views.drawing import Drawing

__all__ = [
    "check",
    "check_labels",
    "compare",
    "diagnose",
    "diff",
    "draw",
    "evaluate",
    "explain",
    "export",
    "join",
    "list_recipes",
    "recipe",
    "search",
    "train",
]

Named = str | Path  # an artefact, a run folder, or the name of a model
AnyModel = Named | Model | Classifier


# ── training ─────────────────────────────────────────────────────────────────────────────────────────


@overload
def train(
    recipe: Recipe | Node | str | None = None, data: Named | None = None, *, folds: int, **others: Any
) -> CrossValidation: ...
@overload
def train(
    recipe: Recipe | Node | str | None = None, data: Named | None = None, *, folds: None = None, **others: Any
) -> Result: ...
def train(
    recipe: Recipe | Node | str | None = None,
    data: Named | None = None,
    *,
    folds: int | None = None,
    out: Named | None = None,
    resume: Named | None = None,
    weights: Named | None = None,
    head: bool = False,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    compile: str = "auto",
    data_dir: Named | None = None,
    max_steps: int | None = None,
    strict: bool = False,
    verbose: bool = True,
    **changes: Any,
) -> Result | CrossValidation:
    """Train a network, as `neoclassic train` does, and return its result; the run folder is `result.run`.

        >>> result = nc.train("lenet", epochs=1, max_steps=20, engine="numpy", out="runs/second", verbose=False)
        >>> nc.load(result.run).predict(["shoe.png"])  # doctest: +SKIP

    recipe: the name of a network or of a recipe, a tree of one's own, or a `Recipe`. data: a data set, or a folder of
    photos or arrays; the recipe's own when omitted. folds: cross-validation: train this many times, each time without
    one part of the images, and test on it; the result is a `CrossValidation`. out: the run folder;
    `runs/<network>-<data>-<number>` when omitted. resume: a run or folds that were stopped, in place of everything
    else. weights, head: see `Classifier`. max_steps: stop after this many steps. strict: stop at a photo that cannot be
    read. verbose: show progress. changes: fields of `Recipe`, and of its `Optimizer` and `Augmentation`, such as
    `epochs`, `learning_rate`, `weight_decay` and `flip`.

    A NeoclassicWarning says what makes the model doubtful. UsageError for a wrong call, before anything is written;
    KeyboardInterrupt after Ctrl-C, whose message says how to resume; NeoclassicError if training fails.
    """
    if World.here().size > 1:
        raise UsageError("nc.train runs in one process: use torchrun with the command neoclassic train")
    several = folds is not None or (resume is not None and bool(members(os.fspath(resume))))
    watching = (of_folds if several else watchers)(verbose)
    listeners = [each for each in watching if not isinstance(each, Doubts)]  # told below, where the call is
    result: Result | CrossValidation | None
    if resume is not None:
        if recipe is not None or data is not None or folds is not None or changes:
            raise UsageError("resume= uses the run's own settings: leave out the others")
        result = (cross_validation.resume if several else loop.resume)(os.fspath(resume), listeners=listeners)
    else:
        chosen = _chosen(recipe, data, weights, head, changes)
        folder, place = _paths(data_dir, out)
        settings = Settings(engine, device, Speed(precision, compile), folder, max_steps, strict)
        if folds is not None:
            result = cross_validation.train(chosen, folds, settings, place, listeners)
        else:
            result = loop.train(chosen, settings, place, listeners=listeners)
    assert result is not None  # this process is the only one
    for line in result.warnings:
        warnings.warn(line, NeoclassicWarning, stacklevel=2)
    return result


def search(
    networks: Sequence[Recipe | Node | str] | Recipe | Node | str = (),
    data: Named | None = None,
    *,
    minutes: float = 15,
    trials: int | None = None,
    storage: str = "",
    out: Named | None = None,
    resume: Named | None = None,
    weights: Named | None = None,
    head: bool = False,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    compile: str = "auto",
    data_dir: Named | None = None,
    verbose: bool = True,
    **changes: Any,
) -> Search:
    """Search the best network, learning rate and augmentation, as `neoclassic search` does; it needs Optuna.

        >>> found = nc.search(["lenet", "lenet:bn"], minutes=15, out="runs/search")  # doctest: +SKIP
        >>> found.table, found.best, nc.load(found.folder)  # doctest: +SKIP

    networks: one, or a list; each is a network, a recipe, or a name or file of one, as for `train`. minutes: for all
    trials together. trials: the maximum number of trials. storage: the address of an Optuna storage that several
    processes share. out: the folder, which becomes the run of the winner; `runs/<network>-<data>-search-<number>` when
    omitted. resume: a search that was stopped, in place of everything but storage. Everything else is as for `train`.

    A NeoclassicWarning says what makes the winner doubtful. UsageError for a wrong call, before anything is written;
    KeyboardInterrupt after Ctrl-C, whose message says how to resume; NeoclassicError if no trial ends well.
    """
    watching, of_winner = of_search(verbose)
    of_winner = [each for each in of_winner if not isinstance(each, Doubts)]  # told below, where the call is
    given = [networks] if isinstance(networks, Recipe | Node | str) else list(networks)
    if resume is not None:
        if given or data is not None or changes:
            raise UsageError("resume= uses the search's own settings: leave out the others")
        found = searching.resume(os.fspath(resume), storage, watching, of_winner)
    else:
        recipes = [_chosen(each, data, weights, head, dict(changes)) for each in given]
        folder, place = _paths(data_dir, out)
        settings = Settings(engine, device, Speed(precision, compile), folder)
        found = searching.search(recipes, minutes, settings, place, trials, storage, watching, of_winner)
    for line in found.warnings:
        warnings.warn(line, NeoclassicWarning, stacklevel=2)
    return found


def _paths(*given: Named | None) -> Iterator[str | None]:
    """Each as text; None stays None."""
    return (None if path is None else os.fspath(path) for path in given)


def _chosen(
    given: Recipe | Node | str | None, data: Named | None, weights: Named | None, head: bool, changes: dict[str, Any]
) -> Recipe:
    """The recipe that is meant, with the changes. UsageError for a name that is unknown, or a change of nothing."""
    known = [f.name for record in (Recipe, Optimizer, Augmentation) for f in fields(record) if f.name != "name"]
    if strangers := [name for name in changes if name not in known]:
        raise unknown("field of a recipe", strangers[0], known)
    layers = layers_asked(head, changes.get("head_first"), changes)
    changes.pop("head_first", None)
    if weights is not None:
        changes["weights"] = from_any_folder(os.fspath(weights))
    if data is not None:
        changes["data"] = os.fspath(data)
    if isinstance(given, Recipe):
        chosen = with_layers(given, layers)
    else:
        chosen = choose(*_named(given), changes.get("data"), changes.get("weights"), layers)
    if isinstance(update := changes.get("optimizer"), str):
        changes["optimizer"] = chosen.optimizer.as_rule(update)
    return chosen.but(**changes)


def _named(given: Node | str | None) -> tuple[Node | str | None, str | None]:
    """The network and the name of the recipe that are meant."""
    if isinstance(given, str) and is_file(given):
        return None, given
    if isinstance(given, str) and not networks.in_zoo(given):
        names = [each.name for each in list_recipes()]
        if given not in names:
            see = "nc.list_networks() and nc.list_recipes() show them all"
            raise unknown("network or recipe", given, [*networks.list_networks(), *names], see)
        return None, given
    return given, None


# ── models ───────────────────────────────────────────────────────────────────────────────────────────


def _opened(model: AnyModel, engine: str, device: str) -> tuple[Model, Engine]:
    if isinstance(model, Model | Classifier):
        loaded = _model(model)
        return loaded, loaded.engine(engine, device)
    return open_model(os.fspath(model), engine, device)


def _model(model: AnyModel) -> Model:
    """The artefact. UsageError for a Classifier that is not fitted; other errors as from `load_model`."""
    if isinstance(model, Classifier):
        return model.fitted_model()
    return model if isinstance(model, Model) else load_model(os.fspath(model))


def evaluate(
    model: AnyModel | Sequence[Named],
    data: Named | None = None,
    *,
    flip: bool = False,
    shift: int = 0,
    out: Named | None = None,
    engine: str = "auto",
    device: str = "auto",
    data_dir: Named | None = None,
) -> Review:
    """Measure a model on test images, as `neoclassic evaluate` does.

        >>> review = nc.evaluate("lenet@fashion-mnist", engine="numpy")
        >>> round(review.accuracy, 2), review.pairs[0][:2]
        (0.9, ('shirt', 't-shirt'))

    model: one, or a list of paths, whose probabilities are averaged. data: the training data when omitted. flip,
    shift: average over mirror images, and over shifts by this many pixels. out: a folder for pictures and tables.

    UsageError for a wrong call; NeoclassicError for a model or data that cannot be read.
    """
    views = MultiView(flip, shift)
    if isinstance(model, Model | Classifier):
        loaded, running = _opened(model, engine, device)
        if views != MultiView():
            loaded, running = replace(loaded, calibration={}), Ensemble([(loaded, running)], views)
    else:
        paths = [model] if isinstance(model, str | os.PathLike) else model
        loaded, running = open_models([os.fspath(path) for path in paths], engine, device, views)
    where, folder = _paths(data, data_dir)
    reviewed, test = review.of_model(loaded, running, where, folder)
    if test.skipped:
        path, reason = test.skipped[0]
        line = f"{len(test.skipped):,} images cannot be read and are left out, first {path}: {reason}"
        warnings.warn(line, NeoclassicWarning, stacklevel=2)
    if out is not None:
        title = f"{loaded.network} on {test.name}: {reviewed.accuracy:.2%} of {len(test):,}"
        review.write(reviewed, test.images, Path(out), title, test.skipped)
    return reviewed


def join(models: Sequence[Named], file: Named) -> Model:
    """Write several models as one that averages their answers, as `neoclassic join` does; return it.

        >>> both = nc.join(["lenet@fashion-mnist", "lenet:bn@fashion-mnist"], "both.safetensors")
        >>> [name for name, _ in both.tree.children]
        ['member1', 'member2']

    models: at least two, with the same classes, images and preprocessing, apart from mean and deviation. file: its name
    ends in `.safetensors`. The probabilities are the geometric mean of theirs, scaled to a sum of 1.

    UsageError for models that do not fit together; NeoclassicError for a file that cannot be read or written.
    """
    return join_files([os.fspath(path) for path in models], Path(file))


def explain(
    model: AnyModel,
    image: Any,
    *,
    path: str | None = None,
    label: str | None = None,
    unit: tuple[int, int] | None = None,
    invert: bool = False,
    out: Named | None = None,
    engine: str = "auto",
    device: str = "auto",
) -> Explanation:
    """What a model looks at in an image, as `neoclassic explain` does.

        >>> explanation = nc.explain("lenet@fashion-mnist", "shoe.png", engine="numpy")
        >>> explanation.label, explanation.cam_path
        ('sandal', 'sigmoid2')

    image: a file, a PIL image or an array. path: the layer whose feature maps and receptive field are wanted; label:
    the class to explain; unit: (row, column) on the output of `path`. invert: invert the image first, for dark figures
    on white paper. out: a folder for pictures.

    UsageError for an unknown layer or class; NeoclassicError for an image that cannot be read.
    """
    loaded, running = _opened(model, engine, device)
    pixels = to_pixels(one_image(image, 0), loaded.preprocessing.inverted(invert))
    explained = explaining.explain(loaded, running, pixels, path, label, unit)
    if out is not None:
        name = Path(image).name if isinstance(image, str | os.PathLike) else "the image"
        explaining.write(loaded, explained, Path(out), name)
    return explained


def compare(*runs: Named | Result | Run, out: Named | None = None) -> Comparison:
    """Runs side by side: accuracy, time, parameters and MACs, as `neoclassic compare` does.

        >>> nc.compare("runs/first", "runs/second")  # doctest: +SKIP

    runs: their folders, or what `train` returned. out: a folder for pictures and a table. UsageError for a folder
    without a run; NeoclassicError for a damaged one.
    """
    compared = Comparison.of([_folder(run) for run in runs])
    if out is not None:
        compared.write(out)
    return compared


def diagnose(run: Named | Result | Run) -> Diagnosis:
    """What is wrong with a run, and what to do, as `neoclassic doctor` does.

        >>> nc.diagnose("runs/first").worst
        'doubtful'

    run: its folder, or what `train` returned; it need not be finished. UsageError for a folder without a run;
    NeoclassicError for a damaged one.
    """
    return diagnosis.diagnose(_folder(run))


def _folder(run: Named | Result | Run) -> str:
    return run.run if isinstance(run, Result) else os.fspath(run.folder if isinstance(run, Run) else run)


def export(
    model: AnyModel,
    file: Named,
    *,
    verify: int = 0,
    data: Named | None = None,
    data_dir: Named | None = None,
    hub: bool = False,
    int8: bool = False,
) -> Exported:
    """Export a model to ONNX, or as a folder for the Hugging Face Hub, as `neoclassic export` does.

        >>> nc.export("lenet@fashion-mnist", "lenet.onnx").files
        {'lenet.onnx': 251039}

    verify: check the file on this many validation images, of `data` or of the training data. hub: `file` is a new
    folder for the model, its card and the ONNX file. int8: use 8 bits, calibrated on training images of the same data;
    `quantization` of what is returned compares accuracy, size and speed with those in float32.

    UsageError for a wrong call or a package that is missing; NeoclassicError if an answer differs, or if 8 bits lose
    more than one point of accuracy.
    """
    path = Path(file)
    if hub:
        place = model if isinstance(model, str | os.PathLike) else _model(model).source
        if place is None or verify or int8:
            file_only = "export to a FILE.onnx for int8, or to verify it"
            wish = file_only if verify or int8 else "save() the model first, and name its file"
            raise UsageError(f"hub=True writes a folder: {wish}")
        written = hub_folder.write(place, path)
        return Exported(path, {each.name: each.stat().st_size for each in written})
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"the file name must end in .onnx, not {os.fspath(file)!r}")
    if int8 and verify:
        raise UsageError("int8 is checked on all test images: leave verify out")
    files.check(path)
    loaded = _model(model)
    where, folder = _paths(data, data_dir)
    if int8:
        done = export_int8(loaded, path, where, folder)
        return Exported(path, {path.name: done.int8.bytes}, quantization=done)
    exporting.export(loaded, path)
    checked = exporting.verify(loaded, path, verify, where, folder) if verify else None
    if checked:
        checked.require_agreement()
    return Exported(path, {path.name: path.stat().st_size}, checked)


# ── networks and data ────────────────────────────────────────────────────────────────────────────────


def diff(first: str | Node, second: str | Node) -> Diff:
    """How two networks differ, layer by layer, and why, as `neoclassic diff` does.

        >>> nc.diff("lenet", "lenet:bn").changes[0].what
        'Conv2d: padding 2 → 0'

    first, second: names, or trees of one's own. UsageError for an unknown name.
    """
    return Diff.of(networks.entry(first), networks.entry(second))


def draw(
    network: str | Node, input: Shape | None = None, *, classes: int | None = None, blocks: bool = False
) -> Drawing:
    """Draw a network as SVG, as `neoclassic show --svg` does; a notebook shows the drawing, `save` writes it.

        >>> nc.draw("lenet").save("lenet.svg")

    input: (channels, height, width); the published one when omitted. blocks: feature maps as blocks to scale, for small
    networks. UsageError for an unknown name, an impossible input, or a network with too many maps for blocks.
    """
    row = networks.entry(network)
    m = measured(row.tree(classes), input or row.input)
    return Drawing(row.name, maps.blocks(row.name, m) if blocks else drawing.tree(row.name, m))


def check(folder: Named, image_size: int = 224) -> Report:
    """Find problems in a folder or table of photos before training on it, as `neoclassic check` does.

        >>> nc.check("photos").worst
        'warning'

    image_size: the size in pixels that training will use. UsageError for a path that is neither a folder nor a table;
    NeoclassicError for classes without photos.
    """
    return check_folder(scan(folder), (image_size, image_size))


def check_labels(
    data: Named,
    *,
    network: str | None = None,
    weights: Named | None = None,
    folds: int = 5,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int = 0,
    engine: str = "auto",
    device: str = "auto",
    data_dir: Named | None = None,
) -> Suspects:
    """Find images whose labels are probably wrong, as `neoclassic check --labels` does; it takes minutes.

        >>> nc.check_labels("photos", network="resnet18", weights="imagenet").rows()[:3]  # doctest: +SKIP

    data: a data set, or a folder or table of photos. network, weights: the last layer is fitted to the features of
    these weights; without weights, the network, by default `lenet:bn`, is trained `folds` times for `epochs`.

    UsageError for a wrong call; NeoclassicError for data that cannot be read.
    """
    where, chosen = _paths(data_dir, weights)
    settings = Settings(engine, device, data_dir=where)
    return labels.examine(os.fspath(data), network, chosen, folds, epochs, image_size, settings, seed)
