"""The campaigns of files, images and trees find a fault that is planted in each guard, and none without it."""

import zipfile

import pytest

from campaigns import doors, files, images, trees
from campaigns.common import Session
from campaigns.doors import data, models, runs, weights
from neoclassic.compat.dlfs import pickles
from neoclassic.data import decode, file_info, image_files, preprocessing
from neoclassic.engines.numpy import pooling
from neoclassic.engines.numpy.engine import NumpyEngine
from neoclassic.model import artefact, seal, weight_files
from neoclassic.tree import combinators, dicts


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Photos are cached as soon as they are written, and failing inputs are not made smaller."""
    monkeypatch.setattr(file_info, "SETTLED", 1_000_000)
    monkeypatch.setattr(files, "FEW", 0)
    monkeypatch.setattr(images, "FEW", 0)


@pytest.fixture
def failures(tmp_path):
    """Run a campaign until the first failure, or for so many trials; return the kinds that failed."""

    def call(run, trials=1000):
        session = Session("trial", 60.0, 7, tmp_path / "work", tmp_path / "kept")
        session.work.mkdir()
        session.goes_on = lambda: not failed(session) and tried(session) < trials
        run(session)
        return failed(session)

    def failed(session):
        return [kind for kind, counts in session.counts.items() if counts.failed]

    def tried(session):
        return sum(counts.tried for counts in session.counts.values())

    return call


@pytest.mark.parametrize(("campaign", "trials"), [(files, 250), (images, 2000), (trees, 200)])
def test_without_a_fault_nothing_fails(campaign, trials, failures):
    assert failures(campaign.run, trials) == []


def constant(*_):
    return "0" * 64


@pytest.mark.parametrize(
    ("maker", "place", "guard", "fault", "found"),
    [
        (models.artefacts, artefact, "_checksum", constant, "artefact, damaged"),
        (runs.runs, artefact, "_checksum", constant, ""),
        (models.onnx_files, seal, "intact", lambda _: True, "onnx, damaged"),
        (models.giants, artefact, "HEADER", 1 << 40, "giant, damaged"),
        (models.giants, artefact, "LARGEST", 1 << 50, "giant, damaged"),
        (models.giants, combinators, "LARGEST", 1 << 50, "giant, damaged"),
        (models.giants, combinators, "DEEPEST", 1 << 50, "giant, damaged"),
        (data.decoded_photos, decode, "_checksum", constant, "decoded images.npy, damaged"),
        (data.looks_of_photos, file_info, "_checksum", constant, "looks of photos, damaged"),
        (weights.others, weight_files, "_check_zip", lambda _: None, "pth for PyTorch, damaged"),
        (weights.others, zipfile.ZipExtFile, "_update_crc", lambda *_: None, "pth"),
        (weights.pickles, pickles, "_check_memo", lambda _: None, ""),
    ],
)
def test_a_fault_in_a_guard_of_files_is_found(maker, place, guard, fault, found, failures, monkeypatch):
    monkeypatch.setattr(files, "MAKERS", (maker,))
    monkeypatch.setattr(weights, "FAR", 1 << 25)
    monkeypatch.setattr(doors, "MEMORY", 1 << 28)
    monkeypatch.setattr(place, guard, fault)
    if guard == "DEEPEST":
        monkeypatch.setattr(dicts, "DEEPEST", fault)
    kinds = failures(files.run)
    assert len(kinds) == 1
    assert found in kinds[0]


def unguarded(image, name):
    image.load()
    return image


@pytest.mark.parametrize(
    ("place", "guard", "fault"),
    [
        (image_files, "FORMATS", (*image_files.FORMATS, "PCX", "PSD")),
        (preprocessing, "decoded", unguarded),
    ],
)
def test_a_fault_in_reading_images_is_found(place, guard, fault, failures, monkeypatch):
    monkeypatch.setattr(place, guard, fault)
    assert failures(images.run)


def counting_padding(size, windows, k, s, padding, count_pad, counts=pooling._counts):
    return counts(size, windows, k, s, padding, True)


def test_a_wrong_rule_of_one_engine_is_found(failures, monkeypatch):
    monkeypatch.setattr(pooling, "_counts", counting_padding)
    assert failures(trees.run) in (["valid, logits"], ["valid, gradients"], ["valid, logits", "valid, gradients"])


def test_a_wrong_gradient_of_one_engine_is_found(failures, monkeypatch):
    def gradients(engine, *arguments, right=NumpyEngine.gradients):
        result = right(engine, *arguments)
        first = next(iter(result.weights.values()), None)
        if first is not None:
            first *= 1.01
        return result

    monkeypatch.setattr(NumpyEngine, "gradients", gradients)
    assert failures(trees.run) == ["valid, gradients"]


@pytest.mark.parametrize("limit", ["DEEPEST", "LARGEST"])
def test_a_raised_limit_of_trees_is_found(limit, failures, monkeypatch):
    monkeypatch.setattr(combinators, limit, 1 << 50)
    monkeypatch.setattr(dicts, "DEEPEST", combinators.DEEPEST)
    assert failures(trees.run) == ["beyond the limits"]
