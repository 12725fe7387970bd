"""A network with scikit-learn's habits: `fit`, `predict`, `predict_proba`, `score`, over folders and arrays.

    >>> import neoclassic as nc
    >>> clf = nc.Classifier("resnet18", epochs=20)
    >>> clf.fit("photos/").predict("new/")  # doctest: +SKIP
    >>> clf.save("flowers.safetensors"); nc.load("flowers.safetensors")  # doctest: +SKIP

scikit-learn itself is not needed; its `clone`, `cross_val_score` and `GridSearchCV` take this class as one of theirs.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from neoclassic.artefact import Model
from neoclassic.data.dataset import Dataset, Splits, stratified_split
from neoclassic.data.preprocessing import read_pixels, resize_all, to_pixels
from neoclassic.data.sources import find
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.errors import NeoclassicError, UsageError, unknown
from neoclassic.export import open_model
from neoclassic.predict import images_in, probabilities
from neoclassic.recipes import choose
from neoclassic.train.loop import train
from neoclassic.train.run import Settings

VALIDATION = 0.1  # of recipes that hold nothing out


class Classifier:
    """A network of the zoo, to be trained on images and asked about images.

    network, recipe   names; the network's own recipe when none is named
    epochs, batch_size, learning_rate, image_size, channels, validation
                      override the recipe; validation is the fraction that is held out to choose the best model and
                      to calibrate the probabilities
    seed              of everything random
    engine, device    "auto": PyTorch where installed, else NumPy
    out               a folder that keeps the run; none when omitted
    verbose           one line an epoch on stderr

    After `fit`: `model_`, the artefact, and `classes_`, the labels as they were given, in the order of the columns
    of `predict_proba`.
    """

    model_: Model
    classes_: Array

    def __init__(
        self,
        network: str = "lenet",
        *,
        recipe: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        validation: float | None = None,
        seed: int = 0,
        engine: str = "auto",
        device: str = "auto",
        out: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.image_size = image_size
        self.channels = channels
        self.validation = validation
        self.seed = seed
        self.engine = engine
        self.device = device
        self.out = out
        self.verbose = verbose

    # ── training and prediction ──────────────────────────────────────────────────────────────────────

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on a folder (or a data set's name), or on uint8 images N×H×W[×C] with a label for each.

        UsageError for images or labels that cannot be; NeoclassicError for training that fails.
        """
        override = ("epochs", "batch_size", "learning_rate", "image_size", "channels", "validation", "seed")
        chosen = choose(self.network, self.recipe, os.fspath(X) if isinstance(X, str | os.PathLike) else None)
        chosen = chosen.but(**{name: getattr(self, name) for name in override if getattr(self, name) is not None})
        chosen = chosen.but(validation=chosen.validation or VALIDATION)
        splits, names = None, None
        if isinstance(X, str | os.PathLike):
            if y is not None:
                raise UsageError("a folder has its labels: give fit() the folder alone")
            chosen = chosen.but(data=os.fspath(X))
        else:
            splits, names = _held_out(X, y, chosen.validation, chosen.seed)
            chosen = chosen.but(data=splits.train.name)
        with tempfile.TemporaryDirectory() as folder:
            out = self.out or Path(folder) / "run"
            result = train(chosen, Settings(self.engine, self.device), out, splits, self.verbose)
            model = Model.load(result["model"])
        if names is not None:  # there was no test set: what stands there is the validation set's
            metrics = {name: value for name, value in model.metrics.items() if name != "test"}
            kind = "integers" if names.dtype.kind in "iu" else "names"
            model = replace(model, metrics=metrics, data={**model.data, "labels": kind})
        return self._take(model, None)

    def _take(self, model: Model, engine: Engine | None) -> Self:
        self.model_, self._running = model, engine
        labels = [int(name) for name in model.classes] if model.data.get("labels") == "integers" else model.classes
        self.classes_ = np.array(labels)
        return self

    def predict_proba(self, X: Any) -> Array:
        """N×classes calibrated probabilities, columns as in `classes_`.

        X: uint8 images N×H×W[×C], a file or folder, or a list of files, of PIL images or of arrays H×W[×C].
        NeoclassicError for an image that cannot be read.
        """
        model = self._fitted()
        if self._running is None:
            self._running = model.engine(self.engine, self.device)
        return probabilities(model, self._running, self._pixels(X))

    def predict(self, X: Any) -> Array:
        """The likeliest label of each image; X as in `predict_proba`."""
        answers = self.predict_proba(X).argmax(1)
        labels: Array = self.classes_[answers]
        return labels

    def score(self, X: Any, y: Any = None) -> float:
        """The fraction of right answers: of images with their labels, or of a folder's test images.

        Of a folder without a test set: of all that the model was not trained on.

        UsageError for labels that are not among `classes_`.
        """
        model = self._fitted()
        if isinstance(X, str | os.PathLike) and y is None:
            source = find(os.fspath(X), None, model.classes)
            test = source.test_set(model.preprocessing, model.data.get("photos", {}))
            return float((self.predict_proba(test.images).argmax(1) == test.labels).mean())
        labels = np.asarray(y)
        strangers = np.setdiff1d(labels, self.classes_)
        if y is None or strangers.size:
            known = ", ".join(map(str, self.classes_[:10]))
            what = "no labels" if y is None else f"label {str(strangers[0])!r} is not among the classes"
            raise UsageError(f"{what}: give score() one for each image, of {known}")
        answers = self.predict(X)
        if len(answers) != len(labels):
            raise UsageError(f"{len(answers)} images, but {len(labels)} labels")
        return float((answers == labels).mean())

    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            raise UsageError("this Classifier is not fitted yet: call fit() first, or neoclassic.load()")
        return self.model_

    def _pixels(self, X: Any) -> Array:
        """uint8 N×H×W×C as the network's preprocessing wants them."""
        p = self._fitted().preprocessing
        if isinstance(X, str | os.PathLike):
            return np.stack([read_pixels(path, p) for path in images_in([os.fspath(X)])])
        if isinstance(X, Sequence) and X:
            return np.stack([_one(image, i, p) for i, image in enumerate(X)])
        images = np.asarray(X)
        images = images[..., None] if images.ndim == 3 else images
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
            shape = "×".join(map(str, np.shape(X))) or "nothing"
            raise UsageError(f"images are {images.dtype} {shape}: give uint8, 0 to 255, N×H×W or N×H×W×3")
        return resize_all(images, p)

    # ── scikit-learn's habits ────────────────────────────────────────────────────────────────────────

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters: Any) -> Self:
        """Change them. UsageError for one that is none."""
        for name, value in parameters.items():
            if name not in _PARAMETERS:
                raise unknown("parameter of Classifier", name, _PARAMETERS)
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [f"{k}={v!r}" for k, v in self.get_params().items() if v != _PARAMETERS[k] and k != "network"]
        return f"Classifier({', '.join([repr(self.network), *changed])})"

    def __getstate__(self) -> dict[str, Any]:
        if hasattr(self, "model_"):
            raise TypeError("a fitted Classifier is not pickled: use its save(), and neoclassic.load()")
        return dict(self.__dict__)

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

    # ── keeping ──────────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the artefact: one file for `neoclassic.load`, and for every verb of the command line."""
        self._fitted().save(path)


_PARAMETERS = {
    name: parameter.default
    for name, parameter in inspect.signature(Classifier.__init__).parameters.items()
    if name != "self"
}


def load(path: str | Path, engine: str = "auto", device: str = "auto") -> Classifier:
    """A fitted Classifier, of an artefact, a run folder or an exported .onnx file.

    NeoclassicError, one line, for a file that is missing, damaged or not ours; UsageError for an engine that is
    not here.
    """
    model, running = open_model(path, engine, device)
    return Classifier(model.network, engine=engine, device=device)._take(model, running)


def _held_out(X: Any, y: Any, fraction: float, seed: int) -> tuple[Splits, Array]:
    """Arrays as training and validation images, and the labels in the order of the classes."""
    if y is None:
        raise UsageError("fit() needs a label for each image, or a folder instead of images")
    full = Dataset.from_arrays(X, y)
    kept, held = stratified_split(full.labels, fraction, seed)
    if not len(held):
        n = len(full)
        raise UsageError(f"{n} images are too few to hold {fraction:.0%} of each class out: raise validation")
    validation = full.subset(held)
    return Splits(full.subset(kept), test=validation, validation=validation), np.unique(np.asarray(y))


def _one(image: Any, i: int, p: Any) -> Array:
    """The pixels of a file, a PIL image or an array H×W[×C]."""
    if isinstance(image, str | os.PathLike):
        return read_pixels(image, p)
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size:
            raise UsageError(f"image {i} is no file, PIL image or uint8 array H×W or H×W×3")
        array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
        if array.ndim == 3 and array.shape[2] != 3:
            raise UsageError(f"image {i} has {array.shape[2]} channels: give 1 or 3")
        image = Image.fromarray(array)
    try:
        return to_pixels(image, p)
    except NeoclassicError as error:
        raise NeoclassicError(f"image {i}: {error}") from None
