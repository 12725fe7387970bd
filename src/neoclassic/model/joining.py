"""Several models as one: a network that has theirs as branches, whose logits are added.

The result is an ordinary artefact, to be evaluated, asked, served and exported. Its probabilities are the geometric
mean of those of its members, scaled to a sum of 1; G. Hinton, "Products of experts", ICANN 1999. An ensemble of several
paths, in `model.ensemble`, has their arithmetic mean instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import Weights
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.model.ensemble import of_all, require_alike
from neoclassic.model.folds import trained
from neoclassic.model.opening import load_model
from neoclassic.tree import BatchNorm1d, BatchNorm2d, Node, Sequential, Sum, join

NETWORK = "ensemble"  # the name of a joined network


def join_files(paths: Sequence[str], file: Path) -> Model:
    """Write the models at these paths, as `opening.load_model` takes them, as one; return it.

    A folder of `train --folds` is several models. UsageError for fewer than two, or for models that do not fit
    together; NeoclassicError for a file that cannot be read or written.
    """
    if file.suffix.lower() != ".safetensors":
        raise UsageError(f"the name of the model must end in .safetensors, not {str(file)!r}")
    paths = [member for path in paths for member in trained(path) or [path]]
    model = joined([load_model(path) for path in paths], paths)
    model.save(file)
    return replace(model, source=file)


def joined(models: Sequence[Model], names: Sequence[str] = ()) -> Model:
    """The models as one. names: of the models, for errors. UsageError for fewer than two, or for some that differ.

    What was measured of the members does not hold for the whole, which has no metrics. Its temperature is their number,
    and its recipe is what all of theirs agree in.
    """
    if len(models) < 2:
        raise UsageError("an ensemble has at least two members: name another model")
    names = names or [model.network for model in models]
    require_alike(names, models)
    branches = {f"member{i}": _branch(model, models[0].preprocessing) for i, model in enumerate(models, 1)}
    weights = {join(name, key): array for name, (_, found) in branches.items() for key, array in found.items()}
    tree = Sum(**{name: tree for name, (tree, _) in branches.items()})
    return replace(
        of_all(models),
        network=NETWORK,
        tree=tree,
        weights=weights,
        recipe={key: v for key, v in models[0].recipe.items() if all(m.recipe.get(key) == v for m in models)},
        calibration={"temperature": float(len(models))},
        source=None,
    )


def _branch(model: Model, given: Preprocessing) -> tuple[Node, Weights]:
    """The network, made to take images with the mean and deviation of `given`, and its logits made calibrated."""
    parts: dict[str, Node] = {}
    weights: Weights = {}
    own, C = model.preprocessing, model.preprocessing.channels
    if (own.mean, own.std) != (given.mean, given.std):
        m0, s0, m1, s1 = (np.broadcast_to(v, C) for p in (given, own) for v in (p.mean, p.std))
        parts["pixels"] = BatchNorm2d()
        weights |= _affine("pixels", s0 / s1, (m0 - m1) / s1)
    parts["network"] = model.tree
    weights |= {join("network", key): array for key, array in model.weights.items()}
    if model.temperature != 1:
        K = len(model.classes)
        parts["temperature"] = BatchNorm1d()
        weights |= _affine("temperature", np.full(K, 1 / model.temperature), np.zeros(K))
    return Sequential(**parts), weights


def _affine(name: str, scale: Array, shift: Array) -> Weights:
    """The weights of a batch norm that multiplies channels by a number and adds another."""
    one = np.ones_like(scale) - BatchNorm2d.eps  # what the norm adds eps to, and divides by the root of
    values = {"weight": scale, "bias": shift, "running_mean": np.zeros_like(scale), "running_var": one}
    return {join(name, key): value.astype(np.float32) for key, value in values.items()}
