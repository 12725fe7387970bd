"""What a probe sees of a network in training."""

from dataclasses import replace

import numpy as np
import pytest
from options import TINY

from neoclassic.data.preprocessing import to_input
from neoclassic.engines import weights as arrays
from neoclassic.insight.probe import BINS, Probe, Spread, to_dict
from neoclassic.train.job import prepare
from neoclassic.train.parallel import World
from neoclassic.train.run import Settings


@pytest.fixture(scope="module")
def job(fashion):
    few = replace(fashion, train=fashion.train.subset(np.arange(300)), test=fashion.test.subset(np.arange(50)))
    return prepare(replace(TINY, network="lenet:bn", batch_size=50), Settings("numpy"), few, World())


def test_what_it_sees_is_what_the_engine_computes(job):
    weights, probe = job.engine.weights(), Probe.of(job)
    probe.index = 3
    glance = probe.look(weights)
    images = to_input(job.monitored.images[:16], job.preprocessing)
    exact = job.engine.features(images, ["conv1", "fc3"])
    assert glance.values["conv1"] == pytest.approx(exact["conv1"][3], abs=1e-5)
    assert (glance.pixels == job.monitored.images[3]).all()
    assert glance.label == job.monitored.classes[job.monitored.labels[3]]
    assert (glance.kernels.path, glance.kernels.maps.shape) == ("conv1", (6, 5, 5))
    spreads = {one.path: one for one in glance.activations}
    assert spreads["fc3"].mean == pytest.approx(float(exact["fc3"].mean()), abs=1e-5)
    labels = job.training.labels[:16]
    gradients = job.engine.gradients(to_input(job.training.images[:16], job.preprocessing), labels).weights
    seen = {one.path: one for one in glance.gradients}
    assert {f"{path}.weight" for path in seen} == {key for key in gradients if key.endswith(".weight")}
    assert seen["conv2"].deviation == pytest.approx(float(gradients["conv2.weight"].std()), rel=1e-3)


def test_the_mistakes_are_wrong_and_the_worst_come_first(job):
    weights = job.engine.weights()
    glance = Probe.of(job).look(weights)
    logits = job.engine.logits(to_input(job.monitored.images, job.preprocessing))
    labels, classes = job.monitored.labels, job.monitored.classes
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    wrong = [i for i in np.argsort(-losses) if logits[i].argmax() != labels[i]]
    assert [one.index for one in glance.mistakes] == wrong[:12]
    for one, pixels in zip(glance.mistakes, glance.mistaken, strict=True):
        assert (one.label, one.answer) == (classes[labels[one.index]], classes[logits[one.index].argmax()])
        assert (pixels == job.monitored.images[one.index]).all()
    assert len(to_dict(glance)["mistakes"]) == len(glance.mistakes)


def test_looking_changes_nothing_and_a_second_look_sees_the_same(job):
    before = job.engine.weights()
    probe = Probe.of(job)
    first, second = probe.look(before), probe.look(before)
    assert all((before[key] == after).all() for key, after in job.engine.weights().items())
    assert first.gradients == second.gradients
    assert first.activations == second.activations


def test_a_spread_counts_all_values():
    values = np.array([-1.0, 0.0, 0.0, 1.0, np.nan], np.float32)
    spread = Spread.of("x", values)
    assert (sum(spread.counts), len(spread.counts), spread.zeros, spread.most) == (4, BINS, 0.5, 1.0)
    assert spread.counts[0] == spread.counts[-1] == 1
    assert Spread.of("x", np.zeros(3)).zeros == 1


def test_a_network_without_a_convolution_has_no_kernels(fashion):
    from neoclassic.tree import Flatten, Linear, Sequential

    few = replace(fashion, train=fashion.train.subset(np.arange(100)), test=fashion.test.subset(np.arange(20)))
    tree = Sequential(Flatten(), Linear(10))
    job = prepare(replace(TINY, network="own", tree=tree), Settings("numpy"), few, World())
    glance = Probe.of(job).look(arrays.initial(tree, job.shape))
    assert glance.kernels is None
    assert [one.path for one in glance.gradients] == ["fc"]
