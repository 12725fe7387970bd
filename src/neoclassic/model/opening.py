"""Open a model in any of its forms, and files of weights from anywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import cast

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines import Engine, to_answer
from neoclassic.model import folds, hub, pretrained, published, seal, timm
from neoclassic.model.adopting import adopted_model
from neoclassic.model.artefact import HEADER, Model, is_bounded
from neoclassic.model.weight_files import Found, read

ONNX_FORMAT = 2  # of exported .onnx files: since 2 they have a checksum of their own
ALTERED = "altered or damaged since it was exported (its checksum does not fit); export it again"


def open_model(
    path: str | Path, engine: str = "auto", device: str = "auto", answering: bool = False
) -> tuple[Model, Engine]:
    """Open an artefact, a run folder, an exported .onnx file or a name; return the model and the engine that runs it.

    The runs of several folds, which `train --folds` makes, are opened as one ensemble; see `model.ensemble`.
    Names are such as `resnet50@imagenet` (see `model.pretrained`), or an address on the Hugging Face Hub,
    `hf:OWNER/REPO`, of a model of ours or of timm's. A model from an .onnx file runs on onnxruntime, and its `weights`
    are empty. answering: the engine "auto" is the one that answers fastest; see `engines.to_answer`.

    NeoclassicError, one line, for a file that is damaged or that neoclassic did not write; UsageError for an
    unknown name, or an engine that cannot run the model.
    """
    if members := folds.trained(path):
        from neoclassic.model.ensemble import open_models  # which opens each of them here

        return open_models(members, engine, device, answering=answering)
    if hub.is_address(path) or Path(path).suffix.lower() != ".onnx":
        model = load_model(path)
        return model, model.engine(to_answer(engine, device) if answering else engine, device)
    if engine not in ("auto", "onnx"):
        raise UsageError(f"{path} runs on --engine onnx, not on {engine}: for {engine}, give the .safetensors file")
    if device not in ("auto", "cpu"):
        raise UsageError(f"the onnx engine runs on the processor only, not on {device!r}")
    from neoclassic.engines.onnx import OnnxEngine, check, session

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise NeoclassicError(f"cannot read {path}: {error.strerror}") from None
    intact = seal.intact(content)
    if intact is False:
        raise NeoclassicError(f"{path}: {ALTERED}")
    try:
        check(content)
        running = session(content)
        facts = {name: json.loads(text) for name, text in running.get_modelmeta().custom_metadata_map.items()}
        if "preprocessing" not in facts:
            raise NeoclassicError(
                "an ONNX file, but not one of neoclassic's: its metadata do not describe the preprocessing"
            )
        if isinstance(facts.get("format"), int) and facts["format"] > ONNX_FORMAT:
            raise NeoclassicError("made by a newer neoclassic; pip install --upgrade neoclassic")
        if facts.get("format") not in (None, 1) and intact is None:
            raise NeoclassicError(ALTERED)
        model = replace(Model.of(facts, {}), source=Path(path))
        return model, cast(Engine, OnnxEngine(model.tree, model.input, content, running))
    except (ValueError, RecursionError) as error:
        raise NeoclassicError(f"{path}: damaged metadata ({error}); export it again") from None
    except NeoclassicError as error:
        raise NeoclassicError(f"{path}: {error}") from None


def load_model(path: str | Path) -> Model:
    """The model in an artefact or a run folder, at an address on the Hub, or of a name such as `resnet50@imagenet`.

    Errors as from `open_model`.
    """
    if re.search(r"\.py(:\w*)?$", str(path)):
        raise UsageError(f"{path} is a network, not a model: train it first, and name its run folder here")
    if hub.is_address(path):
        return _of_hub(path)
    if members := folds.members(path):
        raise UsageError(
            f"{path} holds {len(members)} models, and one is needed: name {members[0]}, or another of them"
        )
    return pretrained.named(str(path)) if pretrained.is_name(path) else Model.load(path)


def is_name(weights: str) -> bool:
    """Whether `open_weights` takes this for a name, such as `imagenet:v1` or `hf:OWNER/REPO`, not for a path."""
    return published.is_name(weights) or pretrained.is_name(weights) or hub.is_address(weights)


def from_any_folder(weights: str) -> str:
    """The absolute path of weights, so that a run can be resumed from another folder; a name as it is."""
    return weights if is_name(weights) else str(Path(weights).resolve())


def full_name(weights: str, network: str) -> str:
    """The same weights with the version that a name such as `imagenet` or `hf:…` leaves open; a path as it is.

    UsageError for a name that is unknown, or that has no weights of this network.
    """
    if hub.is_address(weights):
        return hub.pinned(weights)
    if published.is_name(weights):
        return published.published(network, weights).name
    if not pretrained.is_name(weights):
        return weights
    model = pretrained.found(weights)
    if model.network != network:
        raise UsageError(f"{weights} holds {model.network!r}: train that, not {network!r}")
    return model.published.name if model.published else model.name


def open_weights(path: str | Path, network: str = "") -> tuple[Found, Model | None]:
    """The weights of any file, of a folder, or of an address on the Hub; and the model, if it is one of ours.

    Names of published weights, such as `imagenet`, are those of `network`; see `model.published`. Names of models work
    too. Artefacts are verified by their checksum. NeoclassicError, one line, for a file that cannot be read.
    """
    if published.is_name(path):
        return read(published.located(published.published(network, str(path)))), None
    if pretrained.is_name(path):
        model = pretrained.named(str(path))
        return Found(model.weights), model
    place = hub.local(path)
    file = place / hub.WEIGHTS if place.is_dir() else place
    if _header(file) is not None or (place.is_dir() and not file.is_file()):
        model = Model.load(place)
        return Found(model.weights), model
    beside = _config(place) if hub.is_address(path) or place.is_dir() else None
    return replace(read(file), preprocessing=beside.preprocessing if beside else None), None


def _config(place: Path) -> timm.Config | None:
    """timm's `config.json` in a folder, or beside a file."""
    return timm.config((place if place.is_dir() else place.parent) / hub.CONFIG)


def _of_hub(address: str | Path) -> Model:
    """The model at an address on the Hub: ours, or of a `config.json` of timm's. NeoclassicError for any other."""
    found, model = open_weights(address)
    if model:
        return model
    config = _config(hub.local(address))
    if config is None:
        raise NeoclassicError(f"{address} holds weights only: use it for training, with --weights")
    if config.network is None:
        raise NeoclassicError(f"{address}: no network here is timm's {config.architecture!r}")
    data = {"name": str(address)}
    try:
        model, adopted = adopted_model(config.network, found.arrays, config.classes, config.preprocessing, data)
    except NeoclassicError as error:
        raise type(error)(f"{address}: {error}") from None
    if adopted.afresh:
        raise NeoclassicError(f"{address} has no last layer that gives classes: use it for training, with --weights")
    return replace(model, source=hub.local(address))


def trained_size(weights: str) -> int | None:
    """The side in pixels of the square images that a model was trained on; None if the weights do not say it."""
    path = pretrained.found(weights).file if pretrained.is_name(weights) else hub.local(weights)
    if path is None:  # published weights, whose network has their size
        return None
    file = path / hub.WEIGHTS if path.is_dir() else path
    try:
        _, height, width = json.loads(_header(file) or "{}")["input"]
    except (ValueError, KeyError, TypeError, RecursionError):
        config = _config(path) if hub.is_address(weights) or path.is_dir() else None
        height, width = config.preprocessing.size if config else (None, None)
    return height if height == width and isinstance(height, int) else None


def _header(path: Path) -> str | None:
    """Our header in a `.safetensors` file; None in other files."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            start += file.read(min(int.from_bytes(start, "little"), HEADER))
        return str(json.loads(start[8:])["__metadata__"]["neoclassic"]) if is_bounded(start) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # whoever reads it reports what is wrong
        return None
