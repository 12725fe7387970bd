"""benchmarks/peers.py: what neoclassic does there, and how the peers are compared. Keras is not installed for tests."""

import json
from dataclasses import replace

import pytest

from benchmarks import peers, results


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_ours_trains_and_answers(engine, monkeypatch):
    monkeypatch.setitem(peers.WORK, "lenet", replace(peers.WORK["lenet"], batch=20, images=40))
    ours = peers.Ours("lenet", engine, "32")
    assert ours.parameters == 61_706
    assert ours.recipe.optimizer.momentum == peers.MOMENTUM
    assert ours.training() > 0
    assert ours.classifier.predict_proba(ours.images).shape == (40, peers.CLASSES)
    assert ours.inference() > 0


def test_the_ratio_is_that_to_the_fastest_peer(tmp_path):
    windows = {"keras, jax": [9.0, 10.0, 50.0], "keras, torch": [20.0, 20.0, 20.0], "neoclassic, numpy": [30.0] * 3}
    found = peers.compared(windows)
    assert {way: row["ratio"] for way, row in found.items()} == {
        "keras, jax": 0.5,
        "keras, torch": 1.0,
        "neoclassic, numpy": 1.5,
    }
    answers = peers.compared({**windows, "neoclassic, onnx": [40.0] * 3})
    report = {
        "networks": {"lenet": {"training": found, "inference": answers}},
        "how": "medians",
        "machine": {"load, before and after": [0.1, 1.2]},
        "versions": {"keras": "3.15"},
        "date": "2026-11-30",
    }
    (tmp_path / "peers.json").write_text(json.dumps(report))
    lines = results.text(tmp_path).splitlines()
    assert "| network | | keras, jax | keras, torch | neoclassic, numpy | neoclassic, onnx |" in lines
    assert "| lenet | training | 10.0 (0.50) | 20.0 (1.00) | 30.0 (1.50) |  |" in lines
    assert "| lenet | inference | 10.0 (0.50) | 20.0 (1.00) | 30.0 (1.50) | 40.0 (2.00) |" in lines


@pytest.mark.parametrize("network", peers.WORK)
def test_an_epoch_has_whole_batches_and_classes(network):
    work = peers.WORK[network]
    assert work.images % work.batch == 0
    assert work.images % peers.CLASSES == 0
