"""A scikit-learn style classifier over folders and arrays: `fit`, `predict`, `predict_proba`, `score`.

    >>> import neoclassic as nc
    >>> clf = nc.Classifier("resnet18", epochs=20)
    >>> clf.fit("photos/").predict("new/")  # doctest: +SKIP
    >>> clf.save("flowers.safetensors"); nc.load("flowers.safetensors")  # doctest: +SKIP

scikit-learn itself is not needed; its `clone`, `cross_val_score` and `GridSearchCV` accept this class.
"""

from __future__ import annotations

import inspect
import os
import shlex
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from neoclassic.base.errors import NeoclassicError, NeoclassicWarning, UsageError, unknown
from neoclassic.data.arrays import images_of, is_grey, labels_of, one_image
from neoclassic.data.dataset import Dataset, Splits, stratified_split
from neoclassic.data.preprocessing import Preprocessing, read_pixels, to_pixels
from neoclassic.data.resizing import resize_all
from neoclassic.data.sources import open_dataset
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.insight.events import Events
from neoclassic.insight.pictures import Pictures
from neoclassic.insight.watching import shown
from neoclassic.measure import by
from neoclassic.model import embedding
from neoclassic.model.artefact import Model
from neoclassic.model.embedding import Embeddings
from neoclassic.model.features import model_features
from neoclassic.model.opening import open_model
from neoclassic.model.predict import images_in, probabilities
from neoclassic.networks import in_zoo, size_for
from neoclassic.recipes import choose
from neoclassic.recipes.neoclassic import layers_asked
from neoclassic.train import loop, transfer
from neoclassic.train.listener import Listener
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run, Settings
from neoclassic.tree import Node

VALIDATION = 0.1  # for recipes that hold nothing out


class Classifier:
    """A network that is trained on images and predicts the labels of images.

    network           a name of the zoo, or a tree of one's own, whose last layer gets as many outputs as there are
                      classes
    recipe            a name; the network's own recipe if none is named
    epochs, batch_size, learning_rate, image_size, channels, validation
                      override the recipe; validation is the fraction that is held out to choose the best model and
                      to calibrate the probabilities
    weights           a file to start from, or a name such as "imagenet"; the network's own recipe for weights is used
    mean, std         of the pixels, if the weights expect other values than usual
    head              train the last layer alone, by logistic regression on the features: quick, and good for few images
    seed              of everything random
    engine, device    "auto" uses PyTorch if it is installed, and NumPy otherwise
    out               a folder in which the run is kept; it is not kept if omitted
    verbose           None: a progress bar in a terminal, a bar and curves that grow in a notebook, and in both how a
                      folder was read. True: also a line for each epoch. False: nothing

    After `fit`, `model_` is the artefact, and `classes_` are the labels as they were given, in the order of the columns
    of `predict_proba`. `history_` has a dict for each epoch, with losses in nats and accuracies from 0 to 1:
    `pandas.DataFrame(clf.history_)` is a table.

        >>> from neoclassic.data import load
        >>> fashion = load("fashion-mnist").train
        >>> clf = nc.Classifier("lenet:bn", epochs=1, engine="numpy", verbose=False)
        >>> clf.fit(fashion.images[:500], fashion.labels[:500]).predict(fashion.images[:2]).shape
        (2,)
    """

    model_: Model
    classes_: Array
    history_: list[dict[str, float]]
    _stopped: Scratch | None = None  # the run, if it was interrupted and is not kept

    def __init__(
        self,
        network: str | Node = "lenet",
        *,
        recipe: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        validation: float | None = None,
        weights: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        head: bool = False,
        seed: int = 0,
        engine: str = "auto",
        device: str = "auto",
        out: str | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.image_size = image_size
        self.channels = channels
        self.validation = validation
        self.weights = weights
        self.mean = mean
        self.std = std
        self.head = head
        self.seed = seed
        self.engine = engine
        self.device = device
        self.out = out
        self.verbose = verbose

    # ── training and prediction ──────────────────────────────────────────────────────────────────────

    def fit(self, X: Any, y: Any = None, resume: bool = False) -> Self:
        """Train on a folder (or a data set's name), or on images with a label for each.

        X: an array of images, or a list of files, PIL images or arrays, whose sizes may differ. y: integers, strings or
        booleans, one for each image. `data.arrays` lists what is accepted. resume: continue the training that Ctrl-C
        ended, with the same images.

        A NeoclassicWarning says that the model is no better than chance, or not calibrated. UsageError for images or
        labels of any other kind; NeoclassicError if training fails; KeyboardInterrupt after Ctrl-C, with the best model
        so far in `model_` if an epoch was finished.
        """
        recipe, splits, kind = self._prepared(X, y)
        scratch = None if self.out else self._stopped if resume else Scratch()
        run = Run(Path(self.out) if self.out else scratch.path / "run" if scratch else Path())
        if resume:
            _check_stopped(run, recipe, bool(scratch or self.out))
        elif self.out and (run.folder / "recipe.json").exists():
            raise UsageError(f"{self.out} holds a run already: fit(…, resume=True) continues it, or choose another out")
        self._stopped = None
        try:
            if resume:
                result = loop.resume(run.folder, splits, self._listeners())
            else:
                where = Settings(self.engine, self.device)
                result = loop.train(recipe, where, run.folder, splits, self._listeners(), kept=bool(self.out))
            self._take_run(run, kind)
        except (KeyboardInterrupt, loop.Diverged) as error:
            message = self._left(error, run, kind)
            if isinstance(error, loop.Diverged):
                raise loop.Diverged(message) from None
            self._stopped = scratch if run.checkpoint.exists() else None
            raise loop.Interrupted(message) from None
        finally:
            if scratch and scratch is not self._stopped:
                scratch.remove()
        for line in result.warnings if result else ():
            warnings.warn(line, NeoclassicWarning, stacklevel=2)
        return self

    def _prepared(self, X: Any, y: Any) -> tuple[Recipe, Splits | None, str]:
        """The recipe; of arrays also the images that are trained on and held out, and the kind of their labels."""
        data = os.fspath(X) if isinstance(X, str | os.PathLike) else None
        overrides = {name: getattr(self, name) for name in _OVERRIDES if getattr(self, name) is not None}
        chosen = choose(self.network, self.recipe, data, self.weights, layers_asked(self.head, None, overrides))
        chosen = chosen.but(**overrides)
        chosen = chosen.but(validation=chosen.validation or VALIDATION)
        if data is None:
            splits, kind = _held_out(X, y, chosen)
            tree = None if chosen.tree is None else chosen.entry.tree(len(splits.classes))
            return chosen.but(data=splits.train.name, tree=tree), splits, kind
        if y is not None:
            raise UsageError("the labels come from the folder: call fit() with the folder alone")
        return chosen.but(data=data), None, ""

    def _listeners(self) -> list[Listener]:
        """Pictures if the run is kept, and progress as it is wanted."""
        kept = [Pictures(while_training=bool(self.verbose)), Events()] if self.out else []
        return [*kept, *shown(self.verbose)]

    def _left(self, error: BaseException, run: Run, kind: str) -> str:
        """The message when training ends early: the command line's advice, as far as it applies here."""
        found = [str(error).partition(";")[0].replace("--lr ", "learning_rate=") or "stopped"]
        if run.model.exists():
            self._take_run(run, kind)
            found.append("the best model so far is in model_")
        else:
            found.append("there is no model yet, as no epoch was finished")
        if isinstance(error, KeyboardInterrupt) and run.checkpoint.exists():
            found.append(f"continue with: fit({'X, y' if kind else 'X'}, resume=True)")
            if self.out and not kind:
                found[-1] += f", or neoclassic train --resume {shlex.quote(self.out)}"
        return "; ".join(found)

    def _take_run(self, run: Run, kind: str) -> None:
        """Take the model and the log of a run."""
        self._take(_untested(Model.load(run.model), kind), None)
        rows = [vars(row) for row in run.log()]
        measured = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        self.history_ = [{name: row[name] for name in measured} for row in rows]

    def _take(self, model: Model, engine: Engine | None) -> Self:
        self.model_, self._running = model, engine
        value = _VALUES.get(model.data.get("labels", ""), str)
        self.classes_ = np.array([value(name) for name in model.classes])
        return self

    def predict_proba(self, X: Any) -> Array:
        """N×classes calibrated probabilities, columns as in `classes_`.

        X: an array of images, a PIL image, a file or folder, or a list of files, PIL images or arrays; see
        `data.arrays`. UsageError for anything else; NeoclassicError for an image that cannot be read.
        """
        model = self.fitted_model()
        if self._running is None:
            self._running = model.engine(self.engine, self.device)
        return probabilities(model, self._running, self._pixels(X))

    def predict(self, X: Any) -> Array:
        """The most probable label of each image; X as in `predict_proba`."""
        answers = self.predict_proba(X).argmax(1)
        labels: Array = self.classes_[answers]
        return labels

    def score(self, X: Any, y: Any = None) -> float:
        """The accuracy over images with their labels, or over a folder's test images.

        If the folder has no test set, it is the accuracy over all its images that the model was not trained on.
        UsageError for labels that are not in `classes_`.
        """
        model = self.fitted_model()
        if isinstance(X, str | os.PathLike) and y is None:
            source = open_dataset(os.fspath(X), None, model.classes)
            test = source.test_set(model.preprocessing, model.data.get("photos", {}))
            return float((self.predict_proba(test.images).argmax(1) == test.labels).mean())
        known = ", ".join(map(str, self.classes_[:10]))
        if y is None:
            raise UsageError(f"no labels: give score() a label for each image, from {known}")
        labels = labels_of(y)
        if strangers := [label for label in np.unique(labels).tolist() if label not in self.classes_.tolist()]:
            what = f"label {str(strangers[0])!r} is not among the classes"
            raise UsageError(f"{what}: give score() a label for each image, from {known}")
        answers = self.predict(X)
        if len(answers) != len(labels):
            raise UsageError(f"{len(answers)} images, but {len(labels)} labels")
        return float((answers == labels).mean())

    def fitted_model(self) -> Model:
        """The artefact, `model_`. UsageError before `fit`."""
        if not hasattr(self, "model_"):
            raise UsageError("this Classifier is not fitted yet: call fit() first, or neoclassic.load()")
        return self.model_

    def _pixels(self, X: Any) -> Array:
        """uint8 N×H×W×C of the size that the network's preprocessing needs."""
        p = self.fitted_model().preprocessing
        if isinstance(X, str | os.PathLike):
            return np.stack([read_pixels(path, p) for path in images_in([os.fspath(X)])])
        if p.channels == 3 and len(shape := list(getattr(X, "shape", ()))) == 3 and shape[0] == 3:
            raise UsageError(
                f"images are {by(shape)}: that may be one in colour or three in grey; give H×W×3 or 3×H×W×1"
            )
        images = images_of(X, one=True)
        if isinstance(images, list):
            return np.stack([_pixels_of(item, i, p) for i, item in enumerate(images)])
        return resize_all(images, p)

    # ── scikit-learn's interface ─────────────────────────────────────────────────────────────────────

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters: Any) -> Self:
        """Change arguments of the constructor. UsageError for an unknown one."""
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                raise unknown("parameter of Classifier", name, _PARAMETERS)
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if v != _PARAMETERS[k] and k != "network"]
        return f"Classifier({', '.join([repr(self.network), *changed])})"

    def _repr_html_(self) -> str | None:
        """What a notebook shows of a fitted Classifier: its model."""
        return self.model_._repr_html_() if hasattr(self, "model_") else None

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "model_"):
            raise TypeError("a fitted Classifier cannot be pickled: use its save() and neoclassic.load()")
        return {name: value for name, value in self.__dict__.items() if name != "_stopped"}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags  # only scikit-learn calls this

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )

    # ── saving ───────────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the artefact: one file, for `neoclassic.load` and every command of the command line."""
        self.fitted_model().save(path)


_OVERRIDES = (
    *("epochs", "batch_size", "learning_rate", "image_size", "channels", "validation", "weights", "mean", "std"),
    "seed",
)
_PARAMETERS = {
    name: parameter.default
    for name, parameter in inspect.signature(Classifier.__init__).parameters.items()
    if name != "self"
}


def load(path: str | Path, engine: str = "auto", device: str = "auto") -> Classifier:
    """Open an artefact, a run folder, an exported .onnx file, or `hf:OWNER/REPO` on the Hub as a fitted Classifier.

    NeoclassicError, one line, for a file that is missing or damaged, or that neoclassic did not write; UsageError for
    an engine that is not installed.

        >>> nc.load("lenet@fashion-mnist", engine="numpy").predict(["shoe.png"])
        array(['sandal'], dtype='<U10')
    """
    model, running = open_model(path, engine, device)
    return Classifier(_network_of(model), engine=engine, device=device)._take(model, running)


def _network_of(model: Model) -> str | Node:
    """The network to train again: its name in the zoo, or its tree."""
    return model.network if in_zoo(model.network) else model.tree


def embed(model: Any, X: Any, engine: str = "auto", device: str = "auto") -> Embeddings:
    """The features of images, N×D float32: what the last layer of a model sees.

    model: a fitted Classifier, an artefact, or the path of an artefact or a run folder. X: a folder, whose photos are
    in the order of their paths, or images as in `Classifier.predict`. `np.asarray` of the result is the array.

    UsageError for a model that has no features, such as an exported .onnx file; NeoclassicError for images that cannot
    be read.

        >>> nc.embed("lenet@fashion-mnist", "shoe.png", engine="numpy").features.shape
        (1, 84)
    """
    if isinstance(model, Classifier):
        model = model.fitted_model()
    elif not isinstance(model, Model):
        model = embedding.open_model(model)
    if isinstance(X, str | os.PathLike) and Path(X).is_dir():
        return embedding.embed_folder(model, Path(X), engine, device)
    pixels = Classifier(_network_of(model))._take(model, None)._pixels(X)
    paths = (os.fspath(X),) if isinstance(X, str | os.PathLike) else ()
    return Embeddings(model_features(model, pixels, engine, device), paths, (), model.checksum, (), pixels)


class Scratch:
    """A folder that is removed when nobody refers to this object any more, or when Python ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="neoclassic-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _check_stopped(run: Run, recipe: Recipe, known: bool) -> None:
    """UsageError if there is no run to continue, or if it was started with other parameters."""
    if not known or not (run.folder / "recipe.json").exists():
        raise UsageError("there is no training to continue: call fit() without resume=True")
    if Run.open(run.folder)[1] != transfer.resolved(recipe.checked()):
        raise UsageError("the training that was stopped had different parameters: call fit() without resume=True")


_KINDS = {"i": "integers", "b": "booleans", "U": "names"}  # kinds of labels, by NumPy's dtype.kind
_VALUES: dict[str, Callable[[str], Any]] = {"integers": int, "booleans": "True".__eq__}


def _held_out(X: Any, y: Any, recipe: Recipe) -> tuple[Splits, str]:
    """Split images into training and validation images; also return the kind of their labels."""
    if y is None:
        raise UsageError("fit() needs a label for each image, or a folder instead of images")
    images, labels = images_of(X), labels_of(y)
    if isinstance(images, list):
        if len(images) != len(labels):  # before all are read
            raise UsageError(f"{len(images):,} images but {len(labels):,} labels")
        images = _of_one_size(images, recipe)
    full = Dataset.from_arrays(images, labels)
    if len(full.classes) < 2:
        raise UsageError(f"all labels are {full.classes[0]!r}: fit() needs images of at least two classes")
    kept, held = stratified_split(full.labels, recipe.validation, recipe.seed)
    if not len(held):
        n = len(full)
        raise UsageError(f"{n} images are too few to hold out {recipe.validation:.0%} of each class: raise validation")
    validation = full.subset(held)
    return Splits(full.subset(kept), test=validation, validation=validation), _KINDS[labels.dtype.kind]


def _of_one_size(items: list[Any], recipe: Recipe) -> Array:
    """Images of the network's size, which the run's preprocessing leaves unchanged; grey if all are grey."""
    side = recipe.image_size
    own = [one_image(item, i) for i, item in enumerate(items)] if recipe.tree is not None and not side else []
    size = (side, side) if side else size_for(recipe.entry, [(image.height, image.width) for image in own])
    p = Preprocessing(size, recipe.channels or 3, recipe.fit or "crop")
    pixels, grey = [], recipe.channels is None
    for i, item in enumerate(items):
        image = one_image(item, i)
        grey = grey and is_grey(image)
        pixels.append(_pixels_of(image, i, p))
    stacked = np.stack(pixels)
    return stacked[..., :1] if grey else stacked


def _pixels_of(item: Any, i: int, p: Preprocessing) -> Array:
    """One image's pixels, uint8 H×W×C."""
    image = one_image(item, i)
    try:
        return to_pixels(image, p)
    except NeoclassicError as error:
        name = item if isinstance(item, str | os.PathLike) else f"image {i}"
        raise NeoclassicError(f"{name}: {error}") from None


def _untested(model: Model, kind: str) -> Model:
    """The model without test metrics: of arrays there was no test set, and the validation set stood in for it."""
    if not kind:
        return model
    metrics = {name: value for name, value in model.metrics.items() if name != "test"}
    return replace(model, metrics=metrics, data={**model.data, "labels": kind})
