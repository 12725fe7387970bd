"""How fast each layer learns, and from when on: by depth, afresh, by pattern, thawing; alike on both engines."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import cut_after
from options import TINY
from parity import weights_of

from neoclassic.base.errors import UsageError
from neoclassic.engines import Optimizer, Speed, create
from neoclassic.engines.weights import initial, parameter_shapes
from neoclassic.model.artefact import Model
from neoclassic.networks import entry, network
from neoclassic.train import rates, transfer
from neoclassic.train.listener import Listener
from neoclassic.train.loop import Training, resume, train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Settings

pytest.importorskip("torch")
ENGINES = ("numpy", "torch")


def of(name, classes=10):
    """The shapes of a network's parameters by key."""
    return parameter_shapes(network(name, classes), entry(name).input)


@pytest.fixture(scope="module")
def few(fashion):
    return replace(fashion, train=fashion.train.subset(np.arange(60)), test=fashion.test.subset(np.arange(20)))


def two_classes(splits):
    parts = {"train": splits.train, "test": splits.test}
    return replace(splits, **{r: replace(p, classes=("a", "b"), labels=p.labels % 2) for r, p in parts.items()})


class Told(Listener):
    def __init__(self):
        self.lines = []

    def noted(self, line):
        self.lines.append(line)


# ── the factors ──────────────────────────────────────────────────────────────────────────────────────


def test_depth_is_counted_from_the_head_down_and_norms_belong_to_the_layer_before_them():
    def depth(name):
        found = {}
        for key, level in rates.depths(of(name)).items():
            assert found.setdefault(key.partition(".")[0], level) == level
        return found

    assert depth("lenet:bn") == {
        "conv1": 4,
        "bn1": 4,
        "conv2": 3,
        "bn2": 3,
        "fc1": 2,
        "bn3": 2,
        "fc2": 1,
        "bn4": 1,
        "fc3": 0,
    }
    assert depth("resnet18") == {"stem": 5, "stage1": 4, "stage2": 3, "stage3": 2, "stage4": 1, "fc": 0}
    googlenet = depth("googlenet:torchvision")
    assert googlenet["auxiliary1"] == googlenet["auxiliary2"] == googlenet["fc"] == 0
    assert (googlenet["inception5b"], googlenet["stage1"]) == (1, len(googlenet) - 3)


def test_the_factors_combine_in_the_order_that_is_stated():
    recipe = TINY.but(
        network="resnet18",
        rate_decay=0.5,
        fresh_rate=10.0,
        rates=(("stage3", 3.0),),
        freeze=("stem",),
        unfreeze=((2, "stage1"),),
    )
    plan = rates.plan(recipe, of("resnet18"), {"fc.weight", "fc.bias"})
    assert list(plan) == [0, 1]
    assert plan[1]["fc.weight"] == plan[1]["fc.bias"] == 10.0
    assert plan[1]["stage4.block1.sum.path.conv1.weight"] == 0.5
    assert plan[1]["stage3.block1.sum.path.conv1.weight"] == 3.0
    assert plan[1]["stage1.block1.sum.path.conv1.weight"] == 0.5**4
    assert plan[0]["stage1.block1.sum.path.conv1.weight"] == 0.0
    assert plan[0]["stem.conv.weight"] == plan[1]["stem.conv.weight"] == 0.0
    assert rates.plan(TINY, of("lenet")) == {0: {}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unfreeze": ((4, "conv1"),)}, "unfreeze takes epochs from 1 to 3, not 4"),
        ({"unfreeze": ((0, "conv1"),)}, "unfreeze takes epochs from 1 to 3, not 0"),
        ({"unfreeze": ((2, "stem"),)}, "no parameter matches 'stem': the paths begin with conv1, conv2, fc1"),
        ({"unfreeze": ((2, "*"),)}, "every parameter is frozen before epoch 2: add --unfreeze '1=fc3', for example"),
        ({"unfreeze": ((2, "conv*"),), "freeze": ("fc*",)}, "every parameter is frozen before epoch 2"),
        ({"freeze": ("*",)}, "every parameter is frozen: there is nothing to train"),
        ({"rate_decay": 1.5}, "rate decay must be above 0, at most 1, not 1.5"),
        ({"fresh_rate": 0.0}, "fresh rate must be above 0, not 0.0"),
    ],
)
def test_what_cannot_be_says_why_before_anything_is_written(changes, message, few, tmp_path):
    with pytest.raises(UsageError, match=message):
        train(TINY.but(**changes), Settings("numpy"), tmp_path / "run", few)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("written", ["conv1", "=conv1", "2=", "first=conv1", "-1=conv1", "1.5=conv1"])
def test_an_epoch_and_a_pattern_are_written_so(written, run):
    code, _, err = run("train", "lenet", "--unfreeze", written)
    assert code == 2
    assert err.endswith(f"{written!r}: write EPOCH=PATTERN, as in '3=stage4'\n")


# ── what learns ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ENGINES)
def test_a_head_that_starts_afresh_learns_at_its_own_rate_and_the_rest_at_theirs(engine, few, tmp_path):
    """Plain SGD makes one step: how far each array goes is its factor times its gradient."""
    first = train(TINY.but(epochs=1), Settings(engine), tmp_path / "first", few)
    two = two_classes(few)
    plain = TINY.but(weights=first.run, optimizer=Optimizer("sgd"), epochs=1, batch_size=60, validation=0.0)
    moved = {}
    for name, changes in (("plain", {}), ("own", {"fresh_rate": 8.0, "rate_decay": 0.5})):
        told = Told()
        train(plain.but(**changes), Settings(engine), tmp_path / name, two, [told])
        after, before = Model.load(tmp_path / name).weights, Model.load(first.run).weights
        start = initial(network("lenet", 2), (1, 28, 28), "xavier", 0)
        moved[name] = {k: after[k] - (start if k.startswith("fc3") else before)[k] for k in after}
        assert ("learning rates: fc3 ×8, fc2 ×0.5, fc1 ×0.25, conv2 ×0.125, conv1 ×0.0625" in told.lines) == bool(
            changes
        )
    for key, factor in {"fc3": 8, "fc2": 0.5, "fc1": 0.25, "conv2": 0.125, "conv1": 0.0625}.items():
        step = moved["plain"][f"{key}.weight"]
        np.testing.assert_allclose(moved["own"][f"{key}.weight"], factor * step, atol=1e-6 + 1e-3 * np.abs(step).max())


@pytest.mark.parametrize("engine", ENGINES)
def test_what_thaws_stands_still_before_and_learns_afterwards_with_its_norms(engine, few, tmp_path, monkeypatch):
    told, seen = Told(), []
    end_epoch = Training.end_epoch
    monkeypatch.setattr(
        Training, "end_epoch", lambda self, *a: (seen.append(self.job.engine.weights()), end_epoch(self, *a))[1]
    )
    recipe = TINY.but(network="lenet:bn", batch_size=20, unfreeze=((3, "*"), (2, "*2"), (1, "fc3")), freeze=("bn4",))
    train(recipe, Settings(engine), tmp_path / "run", few, [told])
    fresh = initial(network("lenet:bn", 10), (1, 28, 28), "xavier", 0)
    changed = [
        {key.partition(".")[0] for key in now if not np.array_equal(now[key], before[key])}
        for before, now in zip([fresh, *seen], seen, strict=False)
    ]
    later = {"conv2", "bn2", "fc2", "fc3"}
    assert changed == [{"fc3"}, later, later | {"conv1", "bn1", "fc1", "bn3"}]
    assert "epoch 1 trains fc3; from epoch 2 also fc2, conv2, bn2; from epoch 3 also fc1, bn3, conv1, bn1" in told.lines


def test_both_engines_thaw_alike(few, tmp_path):
    recipe = TINY.but(batch_size=20, optimizer=Optimizer("adam", average=0.9), unfreeze=((2, "*"), (1, "fc*")))
    found = []
    for engine in ENGINES:
        train(recipe.but(validation=0.0), Settings(engine, "cpu", Speed("32", "off")), tmp_path / engine, few)
        found.append(Model.load(tmp_path / engine).weights)
    for key, array in found[0].items():
        np.testing.assert_allclose(array, found[1][key], atol=2e-3, err_msg=key)


def test_averages_outlive_a_thaw_and_momentum_does_not():
    tree, shape = network("lenet", 10), (1, 28, 28)
    images, labels = np.random.default_rng(0).standard_normal((4, *shape)), np.arange(4)
    states = []
    for engine in ENGINES:
        it = create(engine, tree, shape, weights_of(tree, shape, np.float64), "cpu")
        rule = Optimizer("adam", average=0.9)
        it.optimize(rule, {"conv1.weight": 0.0})
        for step in range(2):
            it.step(images, labels, 0.01, step)
        kept = {k: v for k, v in it.optimizer_state().items() if k.endswith(".average") or k == "average.step"}
        it.optimize(rule)
        it.load_optimizer_state(kept)
        it.step(images, labels, 0.01, 2)
        states.append(it.optimizer_state())
    assert states[0].keys() == states[1].keys()
    assert states[0]["average.step"] == 3
    assert states[0]["fc1.weight.step"] == states[0]["conv1.weight.step"] == 1
    for key, array in states[0].items():
        np.testing.assert_allclose(array, states[1][key], atol=1e-6, err_msg=key)


# ── stopped and resumed ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_cut_before_at_or_after_a_thaw_ends_with_the_same_bytes(engine, few, tmp_path, monkeypatch):
    monkeypatch.setattr("neoclassic.train.loop.CHECKPOINT_SECONDS", 0.0)  # a checkpoint after every step
    recipe = TINY.but(
        batch_size=20, optimizer=Optimizer("adam", average=0.9), learning_rate=0.01, unfreeze=((3, "conv*"), (2, "fc2"))
    )
    train(recipe, Settings(engine), tmp_path / "whole", few)
    for step in (2, 3, 4, 6, 8):  # of three epochs of three
        with monkeypatch.context() as once:
            cut_after(step, once)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, Settings(engine), tmp_path / str(step), few)
        resume(tmp_path / str(step), few)
        models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", str(step))]
        assert models[0] == models[1], step


def test_a_resumed_run_knows_from_its_checkpoint_what_started_afresh(few, tmp_path, monkeypatch):
    first = train(TINY.but(epochs=1), Settings("numpy"), tmp_path / "first", few)
    two = two_classes(few)
    recipe = TINY.but(weights=first.run, fresh_rate=8.0, epochs=2)
    train(recipe, Settings("numpy"), tmp_path / "whole", two)
    stop = Training.end_epoch

    def end_and_die(training, *arguments):
        stop(training, *arguments)
        training.save()
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "end_epoch", end_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, Settings("numpy"), tmp_path / "cut", two)
    monkeypatch.setattr(Training, "end_epoch", stop)
    start = transfer.start
    monkeypatch.setattr(transfer, "start", lambda *a, **k: replace(start(*a, **k), afresh=frozenset()))
    resume(tmp_path / "cut", two)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert models[0] == models[1]


def test_the_command_thaws_and_a_resumed_run_knows_the_schedule(run, idx_folder, tmp_path):
    code, _, err = run(
        *("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--epochs", 2, "--out", tmp_path / "run"),
        *("--unfreeze", "2=*", "--unfreeze", "1=fc3", "--rate-decay", 0.7, "--max-steps", 2),
    )
    assert code == 0, err
    assert "learning rates: fc3 ×1, fc2 ×0.7, fc1 ×0.49, conv2 ×0.343, conv1 ×0.24" in err
    assert "epoch 1 trains fc3; from epoch 2 also fc2, fc1, conv2, conv1" in err
    kept = Model.load(tmp_path / "run").recipe
    assert (kept["unfreeze"], kept["rate_decay"]) == ([[2, "*"], [1, "fc3"]], 0.7)


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16:bn", "densenet121", "mobilenet-v2", "mobilenet-v3-large", "nin", "lenet:1998"]
)
def test_every_level_has_a_depth_and_the_last_layer_is_the_head(name):
    found = rates.depths(of(name, None))
    assert set(found.values()) == set(range(max(found.values()) + 1))
    assert found[list(found)[-1]] == 0
    assert found[next(iter(found))] == max(found.values())


def test_of_many_layers_the_first_and_the_last_are_told():
    recipe = Recipe("trial", "mobilenet-v2", "photos", rate_decay=0.5)
    shapes = parameter_shapes(network("mobilenet-v2"), (3, 32, 32))
    (line,) = rates.lines(recipe, shapes, rates.plan(recipe, shapes))
    assert line == "learning rates: fc ×1, last ×0.5, block17 ×0.25, …, stem ×1.91e-06"
