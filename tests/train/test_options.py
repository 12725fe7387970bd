"""Everything that a recipe can ask for: the same bytes after a cut, the same numbers on both engines, as published."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import cut_after, model_bytes, write_data_set
from options import OPTIONS, TINY
from parity import weights_of

import neoclassic as nc
from neoclassic import data
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.augmentation import Augmentation, augment, mix, principal_colours
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines import Optimizer, Speed, create, decide
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import evaluate
from neoclassic.networks import network
from neoclassic.train import transfer
from neoclassic.train.feed import class_weights, feed, targets
from neoclassic.train.loop import resume, train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Settings
from neoclassic.tree import Conv2d, Flatten, Linear, ReLU, Sequential

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def splits(idx_folder):
    return data.load(str(idx_folder))


@pytest.fixture(scope="module")
def few_folder(fashion, tmp_path_factory):
    """The first 200 training and 60 test images of Fashion-MNIST."""
    return write_data_set(tmp_path_factory.mktemp("data") / "few", fashion, 200, 60)


@pytest.fixture(scope="module")
def few(few_folder):
    return data.load(str(few_folder))


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_resized_when_asked_for_or_before_the_model_is_the_same(engine, few, tmp_path, monkeypatch):
    recipe = TINY.but(image_size=56, epochs=1, batch_size=20, validation=0.2, augmentation=Augmentation(colour=0.1))
    train(recipe, Settings(engine), tmp_path / "before", few)
    monkeypatch.setattr("neoclassic.data.resizing.LARGE", 1)
    train(recipe, Settings(engine), tmp_path / "when asked for", few)
    assert model_bytes(tmp_path / "before") == model_bytes(tmp_path / "when asked for")


@pytest.fixture(scope="module", params=["numpy", "torch"])
def checksums(request, few_folder, tmp_path_factory):
    """Of every option's model by processes of three hash seeds: one trains to the end, one is cut, one resumes that."""
    folder = tmp_path_factory.mktemp(request.param)
    program = Path(__file__).parents[1] / "same_bytes.py"

    def run(seed, out, mode):
        command = [sys.executable, str(program), request.param, str(few_folder), str(folder / out), mode]
        done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    whole = run("1", "whole", "whole")
    assert set(run("2", "cut", "cut")) <= {"patience"}, "these were not cut"
    return whole, run("3", "cut", "resume")


@pytest.mark.parametrize("option", OPTIONS)
def test_three_hash_seeds_and_a_cut_between_two_steps_end_with_the_same_bytes(option, checksums):
    whole, resumed = checksums
    assert whole[option] == resumed[option]


def test_cut_and_resumed_in_bfloat16_ends_with_the_same_bytes(few, tmp_path, monkeypatch):
    recipe = TINY.but(batch_size=20)
    cut_and_resume(recipe, Settings("torch", speed=Speed("bf16", "auto")), few, tmp_path, monkeypatch)


def test_cut_and_resumed_in_compiled_steps_ends_with_the_same_bytes(few, tmp_path, monkeypatch):
    from neoclassic.engines.torch import compiles

    if not compiles(torch.device("cpu")):
        pytest.skip("no C++ compiler here")
    small = Sequential(Conv2d(4, 5, stride=4), ReLU(), Flatten(), Linear(10))  # compiling takes a minute for LeNet
    recipe = TINY.but(network="small", tree=small, batch_size=20)
    cut_and_resume(recipe, Settings("torch", speed=Speed("auto", "on")), few, tmp_path, monkeypatch)


def cut_and_resume(recipe, settings, splits, tmp_path, monkeypatch):
    train(recipe, settings, tmp_path / "whole", splits)
    cut = cut_after(14, monkeypatch)  # in the second epoch
    with pytest.raises(KeyboardInterrupt):
        train(recipe, settings, tmp_path / "cut", splits)
    resume(tmp_path / "cut", splits)
    assert cut
    assert model_bytes(tmp_path / "cut") == model_bytes(tmp_path / "whole")


@pytest.mark.parametrize("option", OPTIONS)
def test_a_recipe_comes_back_from_json(option):
    recipe = TINY.but(**OPTIONS[option])
    assert recipe.checked() is recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


# ── both engines ─────────────────────────────────────────────────────────────────────────────────────

RULES = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adam": {},
    "adamw": {},
    "adagrad": {},
    "rmsprop": {"momentum": 0.5},
}


@pytest.mark.parametrize(
    "more", [{}, {"weight_decay": 0.1, "decay_all": False}, {"clip": 0.1, "average": 0.9}], ids=str
)
@pytest.mark.parametrize("soft", [False, True], ids=["labels", "targets"])
@pytest.mark.parametrize("name", RULES)
def test_both_engines_take_the_same_steps(name, soft, more):
    tree, shape = network("lenet", 10), (1, 28, 28)
    weights = initial(tree, shape, "xavier")
    rng = np.random.default_rng(0)
    images = rng.standard_normal((16, *shape), np.float32)
    labels = rng.random((16, 10)).astype(np.float32) if soft else rng.integers(0, 10, 16)
    rule = Optimizer(name, eps=1e-3, **RULES[name], **more)  # so that near-zero gradients are not all noise
    found = []
    for engine in ("numpy", "torch"):
        it = create(engine, tree, shape, weights, "cpu")
        it.optimize(rule, {"conv1.weight": 0.0, "fc1.weight": 0.1})
        for step in range(3):
            it.step(images, labels, 0.01, seed=step)
        trained = it.weights()
        state = it.optimizer_state()
        it.swap_average()
        averaged = it.weights()
        it.swap_average()
        assert all(np.array_equal(trained[key], w) for key, w in it.weights().items())
        found.append((trained, averaged, it.metrics(), state))
    (ours, ours_mean, seen, state), (theirs, theirs_mean, also, torchs) = found
    for key in weights:
        np.testing.assert_allclose(ours[key], theirs[key], atol=3e-5, err_msg=key)
        np.testing.assert_allclose(ours_mean[key], theirs_mean[key], atol=3e-5, err_msg=key)
    assert np.array_equal(ours["conv1.weight"], weights["conv1.weight"])
    assert not np.array_equal(ours["conv2.weight"], weights["conv2.weight"])
    assert any(not np.array_equal(ours[k], ours_mean[k]) for k in ours) == bool(more.get("average"))
    assert seen.loss_sum == pytest.approx(also.loss_sum, rel=1e-5)
    assert (seen.correct, seen.n) == (also.correct, also.n)
    assert torchs.keys() <= state.keys()


def test_averages_follow_the_formula():
    tree, shape = network("lenet:bn", 10), (1, 28, 28)
    it = create("torch", tree, shape, initial(tree, shape), "cpu")
    it.optimize(Optimizer("sgd", average=0.5))
    expected = it.weights()
    rng = np.random.default_rng(0)
    for t in range(1, 13):
        it.step(rng.standard_normal((8, *shape), np.float32), rng.integers(0, 10, 8), 0.1)
        keeps = min(0.5, (1 + t) / (10 + t))
        expected = {k: keeps * expected[k] + (1 - keeps) * w for k, w in it.weights().items()}
    it.swap_average()
    for key, w in it.weights().items():
        np.testing.assert_allclose(w, expected[key], atol=1e-5, err_msg=key)


def test_clipping_is_torchs():
    tree, shape = network("lenet", 10), (1, 28, 28)
    weights = initial(tree, shape, "xavier")
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((8, *shape), np.float32), rng.integers(0, 10, 8)
    steps = {}
    for clip in (0.0, 0.01):
        it = create("numpy", tree, shape, weights)
        it.optimize(Optimizer("sgd", clip=clip))
        it.step(*batch, 1.0)
        steps[clip] = np.concatenate([(w - weights[k]).ravel() for k, w in it.weights().items()])
    assert np.linalg.norm(steps[0.01]) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(steps[0.01] / 0.01, steps[0.0] / np.linalg.norm(steps[0.0]), atol=1e-3)


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────


def test_one_cycle_is_torchs():
    recipe = TINY.but(epochs=4, schedule="one-cycle", learning_rate=0.4)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=40, cycle_momentum=False)
    for step in range(40):
        assert recipe.learning_rate_at(step, 10) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        if step < 39:
            theirs.step()


def test_the_step_schedule_falls_at_its_milestones():
    recipe = TINY.but(epochs=4, schedule="step", learning_rate=1.0, milestones=(1.5, 3.0), gamma=0.1)
    rates = [recipe.learning_rate_at(step, 10) for step in range(40)]
    assert rates == pytest.approx([1.0] * 15 + [0.1] * 15 + [0.01] * 10)


def test_patience_ends_a_run_that_gets_no_better(splits, tmp_path):
    recipe = TINY.but(learning_rate=1e-12, epochs=9, patience=2)
    result = train(recipe, Settings("torch"), tmp_path / "run", splits)
    assert result.epochs == result.best_epoch + 2
    assert result.epochs < 9


# ── targets ──────────────────────────────────────────────────────────────────────────────────────────


def test_smoothed_targets_and_weights_are_torchs_cross_entropy(splits):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 10)).astype(np.float32), splits.train.labels[:50]
    weights = class_weights("balanced", splits.train)
    assert float((weights[splits.train.labels]).mean()) == pytest.approx(1)
    t = torch.from_numpy(targets(10, 0.1)[labels] * weights)
    ours = torch.nn.functional.cross_entropy(torch.from_numpy(logits), t)
    theirs = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits),
        torch.from_numpy(targets(10, 0.1)[labels]),
        weight=torch.from_numpy(weights),
    )
    smooth = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), label_smoothing=0.1)
    plain = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets(10, 0.1)[labels]))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    assert float(smooth) == pytest.approx(float(plain), rel=1e-5)


def test_a_rare_class_weighs_more(splits):
    rare = splits.train.subset(np.flatnonzero((splits.train.labels != 3) | (np.arange(1000) % 10 == 0)))
    weights = class_weights("balanced", rare)
    assert weights.argmax() == 3
    assert weights * rare.counts == pytest.approx(np.full(10, len(rare) / 10))
    with pytest.raises(UsageError, match="2 class weights for 10 classes"):
        class_weights((1.0, 2.0), rare)


# ── augmentation ─────────────────────────────────────────────────────────────────────────────────────

PLAIN = Preprocessing((12, 16), 3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
KINDS = {
    "pad": Augmentation(pad=3),
    "flip": Augmentation(flip=True),
    "affine": Augmentation(shift=0.2, rotate=30, scale=0.3),
    "colour": Augmentation(colour=0.2),
    "erase": Augmentation(erase=0.7),
    "mixup": Augmentation(mixup=0.4),
    "cutmix": Augmentation(cutmix=1.0),
    "elastic": Augmentation(elastic=20.0, elastic_sigma=3.0),
    "warp": Augmentation(shift=0.2, rotate=30, elastic=20.0, warp=0.5),
    "all": Augmentation(2, True, 0.1, 15, 0.2, 0.1, 0.5, 0.2, 1.0, 20.0, 3.0, 0.7),
}


@pytest.fixture(scope="module")
def photos():
    return np.random.default_rng(0).integers(0, 256, (6, 12, 16, 3), np.uint8)


def augmented(kind, photos, xp, put, seed=1):
    draw = KINDS[kind].draw(len(photos), PLAIN.size, np.random.default_rng(seed), principal_colours(photos))
    x, t = augment(put(photos), draw, PLAIN, xp, put), put(np.eye(6, dtype=np.float32))
    if draw.mixture:
        x, t = mix(x, t, draw.mixture, put)
    return np.asarray(x), np.asarray(t)


def test_without_augmentation_it_is_the_preprocessing(photos):
    draw = Augmentation().draw(6, PLAIN.size, np.random.default_rng(0))
    found = augment(photos, draw, PLAIN, np, lambda a: a)
    assert np.array_equal(np.moveaxis(found, 3, 1), to_input(photos, PLAIN))


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_and_torch_make_the_same_images_and_the_seed_decides(kind, photos):
    ours, t = augmented(kind, photos, np, lambda a: a)
    theirs, also = augmented(kind, photos, torch, lambda a: torch.from_numpy(np.ascontiguousarray(a)))
    assert ours.dtype == theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    np.testing.assert_allclose(t, also, atol=1e-6)
    assert np.array_equal(ours, augmented(kind, photos, np, lambda a: a)[0])
    assert not np.array_equal(ours, augmented(kind, photos, np, lambda a: a, seed=2)[0])


def test_a_crop_is_a_window_of_the_padded_image_and_a_flip_a_mirror(photos):
    p = replace(PLAIN, mean=(0.0,), std=(1.0,))
    for seed in range(5):
        draw = Augmentation(pad=3).draw(6, p.size, np.random.default_rng(seed))
        padded = np.pad(photos, ((0, 0), (3, 3), (3, 3), (0, 0)))
        for i, image in enumerate(augment(photos, draw, p, np, lambda a: a)):
            top, left = draw.rows[i, 0] + 3, draw.columns[i, 0] + 3
            np.testing.assert_allclose(image * 255, padded[i, top : top + 12, left : left + 16], atol=1e-3)
    draw = Augmentation(flip=True).draw(6, p.size, np.random.default_rng(0))
    found = augment(photos, draw, p, np, lambda a: a) * 255
    mirrored = [np.allclose(image, photo[:, ::-1], atol=1e-3) for image, photo in zip(found, photos, strict=True)]
    same = [np.allclose(image, photo, atol=1e-3) for image, photo in zip(found, photos, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_the_affine_sampler_is_grid_sample(photos):
    draw = KINDS["affine"].draw(6, PLAIN.size, np.random.default_rng(0))
    p = replace(PLAIN, mean=(0.0,), std=(1.0,))
    ours = augment(photos, draw, p, np, lambda a: a)
    h, w = PLAIN.size
    i, j = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    y, x = (draw.affine[:, k, 0, None, None] * i + draw.affine[:, k, 1, None, None] * j for k in (0, 1))
    y, x = y + draw.affine[:, 0, 2, None, None], x + draw.affine[:, 1, 2, None, None]
    grid = np.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], 3).astype(np.float32)
    images = torch.from_numpy(photos.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    theirs = torch.nn.functional.grid_sample(images, torch.from_numpy(grid), align_corners=False)
    np.testing.assert_allclose(np.moveaxis(ours, 3, 1), theirs.numpy(), atol=1e-4)


def test_elastic_displacements_are_smoothed_noise_that_the_pixels_come_from(photos):
    from scipy import ndimage

    draw = KINDS["elastic"].draw(6, PLAIN.size, np.random.default_rng(4))
    noise = 2 * np.random.default_rng(4).random((6, 2, *PLAIN.size), dtype=np.float32) - 1
    smooth = ndimage.gaussian_filter(noise.astype(float), 3.0, mode="constant", truncate=8, axes=(2, 3))
    np.testing.assert_allclose(draw.elastic, 20 * smooth, atol=1e-4)
    found = augment(photos, draw, replace(PLAIN, mean=(0.0,), std=(1.0,)), np, lambda a: a)
    places = np.stack(np.meshgrid(*map(np.arange, PLAIN.size), indexing="ij"))
    for photo, image, moves in zip(photos, found, draw.elastic, strict=True):
        wanted = [
            ndimage.map_coordinates(photo[..., c] / 255, places + moves, order=1, mode="grid-constant")
            for c in range(3)
        ]
        np.testing.assert_allclose(image, np.stack(wanted, 2), atol=1e-4)


def test_elastic_displacements_have_the_size_that_is_documented():
    wide = Augmentation(elastic=34.0).draw(50, (96, 96), np.random.default_rng(0)).elastic[:, :, 16:-16, 16:-16]
    assert wide.std() == pytest.approx(34 / (2 * 4 * (3 * np.pi) ** 0.5), rel=0.05)
    assert abs(wide.mean()) < 0.1
    with pytest.raises(UsageError, match=r"elastic_sigma must be from 0\.1 to 100, not 0"):
        Augmentation(elastic=34.0, elastic_sigma=0).checked()


def test_images_that_are_not_warped_keep_their_pixels(photos):
    augmentation = Augmentation(shift=0.2, rotate=30, scale=0.3, elastic=20.0, warp=0.25)
    many = photos[np.arange(400) % len(photos)]
    draw = augmentation.draw(len(many), PLAIN.size, np.random.default_rng(0))
    found = augment(many, draw, replace(PLAIN, mean=(0.0,), std=(1.0,)), np, lambda a: a)
    same = np.isclose(found, many / np.float32(255), atol=1e-6).all((1, 2, 3))
    assert same.mean() == pytest.approx(0.75, abs=0.07)
    with pytest.raises(UsageError, match=r"warp must be from 0 to 1, not 1\.5"):
        Augmentation(warp=1.5).checked()


def test_colours_move_along_the_principal_components():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (50, 8, 8, 1))
    photos = np.broadcast_to(grey, (50, 8, 8, 3)).astype(np.uint8)  # one component: all channels alike
    colours = principal_colours(photos)
    variance = 3 * (grey / 255).var()
    assert np.linalg.norm(colours[-1]) == pytest.approx(variance, rel=0.01)
    np.testing.assert_allclose(colours[:-1], 0, atol=1e-9)
    np.testing.assert_allclose(colours[-1], variance / 3**0.5, rtol=0.01)


def test_mixed_targets_say_what_is_in_the_images(photos):
    for kind in ("mixup", "cutmix"):
        draw = KINDS[kind].draw(6, PLAIN.size, np.random.default_rng(3))
        x = augment(photos, draw, PLAIN, np, lambda a: a)
        before = x.copy()
        mixed, t = mix(x, np.eye(6, dtype=np.float32), draw.mixture, lambda a: a)
        for i, j in enumerate(draw.mixture.partner):
            if kind == "cutmix":
                own = (mixed[i] == before[i]).all(2).mean() if i != j else 1
                assert t[i, i] == pytest.approx(own, abs=0.02)
            else:
                kept = draw.mixture.kept
                np.testing.assert_allclose(mixed[i], kept * before[i] + (1 - kept) * before[j], atol=1e-5)
        np.testing.assert_allclose(t.sum(1), 1, atol=1e-6)


def test_the_parts_of_a_batch_make_up_the_batch(splits):
    tree, shape = network("lenet", 10), (1, 28, 28)
    p = Preprocessing((28, 28), 1)
    for option in ("geometry", "mixup and cutmix", "colour and erase", "elastic"):
        engine = create("torch", tree, shape, initial(tree, shape), "cpu")
        source = feed(engine, splits.train, p, TINY.but(**OPTIONS[option]))
        index = np.arange(40, 61)
        whole = source.batch(index, np.random.default_rng(5))
        parts = [source.batch(index, np.random.default_rng(5), part) for part in (slice(0, 8), slice(8, 21))]
        for at in (0, 1):
            assert torch.equal(torch.cat([part[at] for part in parts]), whole[at])


# ── transfer ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer") / "first"
    train(TINY, Settings("torch"), folder, splits)
    return folder


def starting(trained, classes, **changes):
    recipe = TINY.but(weights=str(trained), **changes)
    tree = network(recipe.network, classes)
    fresh = initial(tree, (1, 28, 28), "xavier", seed=7)
    return fresh, transfer.start(recipe, fresh, 1)


def test_our_weights_are_taken_over_and_the_head_starts_afresh_where_the_classes_differ(trained):
    model = Model.load(trained)
    _, same = starting(trained, 10)
    assert all(np.array_equal(same.weights[key], w) for key, w in model.weights.items())
    assert same.pixels == (model.preprocessing.mean, model.preprocessing.std)
    fresh, other = starting(trained, 3)
    heads = {key for key in fresh if not np.array_equal(other.weights[key], model.weights[key])}
    assert heads == {"fc3.weight", "fc3.bias"}
    assert np.array_equal(other.weights["fc3.weight"], fresh["fc3.weight"])
    assert other.notes == ("the last layer starts afresh: the file has 10 classes, the network 3",)


def test_a_module_is_never_made_from_a_damaged_model_of_ours(trained, tmp_path):
    damaged = bytearray((trained / "model.safetensors").read_bytes())
    damaged[-5] ^= 1  # a weight, which only the checksum can tell
    (tmp_path / "model.safetensors").write_bytes(damaged)
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(NeoclassicError, match="altered or damaged"):
            nc.torch.create("lenet", weights=weights)


def test_a_module_is_made_from_our_weights(trained):
    theirs = Model.load(trained).weights
    module = nc.torch.create("lenet", weights=trained)
    assert all(np.array_equal(module.state_dict()[key].numpy(), w) for key, w in theirs.items())
    with pytest.warns(UserWarning, match="the last layer starts afresh: the file has 10 classes, the network 4"):
        other = nc.torch.create("lenet", classes=4, weights=trained / "model.safetensors")
    assert np.array_equal(other.state_dict()["conv1.weight"].numpy(), theirs["conv1.weight"])
    assert other.state_dict()["fc3.weight"].shape == (4, 84)
    with pytest.raises(
        NeoclassicError,
        match=r"do not fit the network: \d+ of 26 arrays fit; missing bn1.weight, .* and 12 more; fc1.weight is ",
    ):
        nc.torch.create("lenet:bn", weights=trained)


def test_frozen_layers_stand_still_and_the_rest_learns(trained, splits, tmp_path):
    recipe = TINY.but(weights=str(trained), freeze=("conv1", "conv2"), epochs=1)
    train(recipe, Settings("torch"), tmp_path / "run", splits)
    before, after = Model.load(trained).weights, Model.load(tmp_path / "run").weights
    still = {key for key in before if np.array_equal(before[key], after[key])}
    assert still == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("network", "freeze", "moves"),
    [
        ("lenet:bn", ("conv1", "bn1", "conv2", "bn2"), lambda key: key.startswith(("fc", "bn3", "bn4"))),
        ("lenet:bn", ("*bn*",), lambda key: not key.startswith("bn")),
        ("lenet:bn", ("*bn1.weight",), lambda key: key != "bn1.weight"),  # the bias learns: the norm does not stand
        ("mobilenet-v3-small", ("stem", "block*", "last"), lambda key: key.startswith("classifier")),
    ],
)
def test_frozen_norms_keep_their_statistics(network, freeze, moves, engine, fashion, tmp_path):
    few = replace(fashion, train=fashion.train.subset(np.arange(40)), test=fashion.test.subset(np.arange(20)))
    recipe = TINY.but(network=network, image_size=32, validation=0.0, epochs=1, batch_size=20, clip=1.0, average=0.9)
    first = train(recipe, Settings(engine), tmp_path / "first", few)
    then = recipe.but(weights=first.run, freeze=freeze)
    before = Model.load(first.run).weights
    after = Model.load(train(then, Settings(engine), tmp_path / "then", few).run).weights
    assert {key for key in before if not np.array_equal(before[key], after[key])} == set(filter(moves, before))


@pytest.mark.parametrize("name", ["lenet:bn", "resnet20", "mobilenet-v1:taught"])
def test_both_engines_agree_on_frozen_norms(name):
    tree, shape = network(name, 10), (1, 32, 32)
    rng, weights = np.random.default_rng(0), weights_of(tree, shape, np.float64)
    images, labels = rng.standard_normal((6, *shape)), rng.integers(0, 10, 6)
    frozen = {key: 0.0 for key in weights if "bn" in key and "running" not in key}
    frozen |= dict.fromkeys(list(weights)[:2], 0.0)
    found, steps = [], []
    for engine in ("numpy", "torch"):
        it = create(engine, tree, shape, weights, "cpu")
        it.optimize(Optimizer("sgd", momentum=0.9, clip=0.01), frozen)
        found.append(it.gradients(images, labels))
        for step in range(3):
            it.step(images, labels, 0.1, seed=step)
        steps.append(it.weights())
        np.testing.assert_allclose(found[-1].logits, create(engine, tree, shape, weights, "cpu").logits(images))
    ours, theirs = found
    assert ours.weights.keys() == theirs.weights.keys()
    assert not ours.weights.keys() & frozen.keys()
    for key, gradient in theirs.weights.items():
        np.testing.assert_allclose(ours.weights[key], gradient, atol=1e-9, err_msg=key)
    for key, w in steps[1].items():
        np.testing.assert_allclose(steps[0][key], w, atol=1e-9, err_msg=key)
        assert np.array_equal(w, weights[key]) == (key in frozen or "running" in key), key


def test_what_is_thawed_learns_again():
    """Statistics too, as the next `optimize` says."""
    tree, shape = network("lenet:bn", 10), (1, 28, 28)
    images, labels = np.random.default_rng(0).standard_normal((6, *shape), np.float32), np.arange(6)
    for engine in ("numpy", "torch"):
        it = create(engine, tree, shape, initial(tree, shape), "cpu")
        it.optimize(Optimizer(), {"bn1.weight": 0.0, "bn1.bias": 0.0})
        it.step(images, labels, 0.1)
        assert not it.weights()["bn1.running_mean"].any()
        it.optimize(Optimizer())
        it.step(images, labels, 0.1)
        assert it.weights()["bn1.running_mean"].any()
        assert it.weights()["bn1.bias"].any()


def test_transfer_that_cannot_be_says_why(trained, splits, tmp_path):
    for changes, error, message in (
        ({"network": "lenet:bn"}, UsageError, "holds 'lenet': train that, not 'lenet:bn'"),
        ({"freeze": ("stem*",)}, UsageError, r"no parameter matches 'stem\*': the paths begin with conv1, conv2, fc1"),
        ({"freeze": ("*",)}, UsageError, "every parameter is frozen"),
        ({"weights": "nowhere.safetensors"}, NeoclassicError, "no weights at nowhere"),
    ):
        recipe = TINY.but(**{"weights": str(trained), **changes})
        with pytest.raises(error, match=message):
            train(recipe, Settings("torch"), tmp_path / "run", splits)
    assert not (tmp_path / "run").exists()


# ── how fast ─────────────────────────────────────────────────────────────────────────────────────────


def test_precision_and_compiling_are_decided_by_rule():
    assert decide("numpy", "cpu", Speed("auto", "auto"), 1) == Speed("32", "off")
    assert decide("torch", "cpu", Speed("auto", "auto"), 10**18).compile == "off"
    assert decide("torch", "cpu", Speed("bf16", "on"), 1) == Speed("bf16", "on")
    with pytest.raises(UsageError, match="only float32"):
        decide("numpy", "cpu", Speed("bf16", "off"), 1)
    with pytest.raises(UsageError, match="unknown precision '16'"):
        decide("torch", "cpu", Speed("16", "off"), 1)
    with pytest.raises(UsageError, match="no device 'meta' here"):
        decide("torch", "meta", Speed("32", "off"), 1)


@pytest.mark.parametrize("unit", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_bfloat16_is_chosen_where_the_processor_has_units_for_it(unit, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):  # which this torch must have
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == unit)
    assert decide("torch", "cpu", Speed("auto", "auto"), 1).precision == "bf16"
    monkeypatch.setattr(torch.cpu, unit, lambda: False)
    assert decide("torch", "cpu", Speed("auto", "auto"), 1).precision == "32"


def test_compiling_without_a_compiler_says_what_to_do(splits, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler .* use --compile off"):
        train(TINY, Settings("torch", "cpu", Speed("auto", "on")), tmp_path / "run", splits)
    assert not (tmp_path / "run").exists()


def test_bfloat16_learns_as_float32_does(splits, tmp_path):
    recipe = TINY.but(network="lenet:bn", epochs=4)
    found = {p: train(recipe, Settings("torch", speed=Speed(p, "auto")), tmp_path / p, splits) for p in ("32", "bf16")}
    assert found["bf16"].precision == "bf16"
    assert found["bf16"].test_accuracy == pytest.approx(found["32"].test_accuracy, abs=0.08)
    assert model_bytes(tmp_path / "bf16") != model_bytes(tmp_path / "32")

    model = Model.load(tmp_path / "bf16" / "model.safetensors")  # what is said in the end is float32's
    exact = create("torch", model.tree, model.input, model.weights)
    accuracy = evaluate(exact, splits.test.images, splits.test.labels, model.classes, model.preprocessing).accuracy
    assert found["bf16"].test_accuracy == model.metrics["test"]["accuracy"] == accuracy
    assert found["bf16"].validation_accuracy == round(model.metrics["validation"]["accuracy"], 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "step"}, "needs milestones"),
        ({"patience": 3, "validation": 0.0}, "patience needs a validation set"),
        ({"class_weights": "even"}, "class weights are numbers, or 'balanced'"),
        ({"erase": 2.0}, "erase must be from 0 to 1, not 2.0"),
        ({"average": 1.0}, r"average must be in \[0, 1\)"),
        ({"clip": -1.0}, "clip must be at least 0"),
        ({"label_smoothing": 1.0}, r"label smoothing must be in \[0, 1\)"),
    ],
)
def test_what_cannot_be_says_why(change, message):
    with pytest.raises(UsageError, match=message):
        TINY.but(**change).checked()
