"""Trained models by name: `NETWORK@imagenet` from torchvision's published weights, and the models in the package.

`resnet50@imagenet` stands wherever the path of a model may stand. Names of models in the package are those of their
files in `pretrained/`, such as `lenet@fashion-mnist`; a colon of the network's name is a hyphen there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.model import published
from neoclassic.model.adopting import adopted_model
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import wilson
from neoclassic.model.published import PUBLISHED, Published
from neoclassic.model.weight_files import read
from neoclassic.networks import list_networks

PACKAGE = Path(__file__).parents[1] / "pretrained"
ENDING = ".safetensors"
IMAGES = 50_000  # in ImageNet's validation set


@dataclass(frozen=True)
class Known:
    """A model that has a name.

    file       in the package; None for published weights
    published  the latest weights of the network on ImageNet; None for models in the package
    """

    name: str
    file: Path | None = None
    published: Published | None = None

    @property
    def network(self) -> str:
        """The network of the zoo."""
        return self.name.partition("@")[0]


def known() -> dict[str, Known]:
    """All models by name: those in the package, then those on ImageNet."""
    networks = {name.replace(":", "-"): name for name in list_networks()}
    packaged = {}
    for file in sorted(PACKAGE.glob(f"*@*{ENDING}")):
        network, _, data = file.name.removesuffix(ENDING).partition("@")
        name = f"{networks.get(network, network)}@{data}"
        packaged[name] = Known(name, file)
    latest = {f"{row.network}@{published.DATA}": row for row in PUBLISHED}
    return packaged | {name: Known(name, published=row) for name, row in latest.items()}


def rows(pattern: str) -> list[dict[str, Any]]:
    """What there is to say of each model whose name matches a shell pattern, as plain JSON values.

    accuracy: on the test images of its data, or on ImageNet's validation images as torchvision states it; n: how many
    there are; accuracy_interval: the 95 % interval. None where they are not known.
    """
    found = []
    for name, model in known().items():
        if not fnmatchcase(name, pattern):
            continue
        if row := model.published:
            place = "on this machine" if published.present(row) else "to be downloaded"
            facts = _accuracy(round(row.top1 / 100, 5), IMAGES) | {"bytes": round(row.size * 2**20), "place": place}
            found.append({"model": name, **facts, "address": row.address})
        elif model.file:
            test = Model.load(model.file).metrics.get("test", {})
            facts = _accuracy(test.get("accuracy"), test.get("n"))
            facts |= {"bytes": model.file.stat().st_size, "place": "in the package"}
            found.append({"model": name, **facts, "address": None})
    return found


def _accuracy(accuracy: float | None, n: int | None) -> dict[str, Any]:
    interval = None if accuracy is None or n is None else list(wilson(round(accuracy * n), n))
    return {"accuracy": accuracy, "n": n, "accuracy_interval": interval}


def is_name(model: str | os.PathLike[str]) -> bool:
    """Whether it has the form NETWORK@DATA and is no path of an existing file or folder."""
    text = os.fspath(model)
    return re.fullmatch(r"[\w:-]+@[\w:-]+", text) is not None and not Path(text).exists()


def is_known(model: str) -> bool:
    """Whether it is a name, as in `is_name`, that begins with a network of the zoo."""
    return is_name(model) and model.partition("@")[0] in list_networks()


def named(name: str) -> Model:
    """Open a model by its name; published weights are downloaded if they are not on this machine.

    UsageError for an unknown name, with the most similar known one; NeoclassicError for weights that cannot be
    downloaded or read.
    """
    model = found(name)
    if model.published:
        return _of_published(model.published)
    assert model.file is not None
    return Model.load(model.file)


def found(name: str) -> Known:
    """The model of a name, which may leave the version of published weights open. UsageError for an unknown one."""
    network, _, data = name.partition("@")
    models = known()
    if name in models and models[name].file:
        return models[name]
    if published.is_name(data) and network in list_networks():
        row = published.published(network, data)
        return Known(f"{network}@{row.name}", published=row)
    if others := [each for each in models if each.partition("@")[0] == network]:
        raise UsageError(f"unknown model {name!r}; known for {network}: {', '.join(others)}")
    raise unknown("model", name, models, see="'neoclassic list --models' shows them all")


def _of_published(row: Published) -> Model:
    """The model of published weights, whose bytes do not depend on where the file was found."""
    path = published.located(row)
    data = {"name": published.DATA, "weights": row.name, "address": row.address, "sha256": row.sha256}
    try:
        model, _ = adopted_model(row.network, read(path).arrays, published.classes(), row.preprocessing, data)
    except NeoclassicError as error:
        raise NeoclassicError(f"{path}: {error}") from None
    metrics = {"published": {"accuracy": round(row.top1 / 100, 5), "n": IMAGES}}
    return replace(model, metrics=metrics, source=path)
