"""Several models, and several views of an image, that answer as one."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from neoclassic import data
from neoclassic.base.errors import UsageError
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.model.ensemble import Ensemble, MultiView, models_first, open_models
from neoclassic.model.evaluate import softmax
from neoclassic.networks import network

CLASSES = tuple("abcdefghij")


def model(seed, size=28, **changes):
    tree, shape = network("lenet:bn", 10) if size == 28 else network("resnet20", 10), (1, size, size)
    p = Preprocessing((size, size), 1, mean=(0.1 * seed,), std=(0.5 + 0.1 * seed,))
    weights = initial(tree, shape, "xavier", seed)
    found = Model("lenet:bn" if size == 28 else "resnet20", tree, shape, CLASSES, p, weights, data={"name": "tiny"})
    return replace(found, calibration={"temperature": 0.5 + seed}, **changes)


@pytest.fixture
def files(tmp_path):
    paths = [str(tmp_path / f"{seed}.safetensors") for seed in range(3)]
    for seed, path in enumerate(paths):
        model(seed).save(path)
    return paths


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)


def alone(seed, pixels):
    it = model(seed)
    return softmax(it.engine("numpy").logits(to_input(pixels, it.preprocessing)), it.temperature)


def test_the_answer_is_the_mean_of_the_calibrated_probabilities_each_with_its_own_preprocessing(files, pixels):
    first, together = open_models(files, "numpy")
    found = softmax(together.logits(to_input(pixels, first.preprocessing)), first.temperature)
    np.testing.assert_allclose(found, np.mean([alone(seed, pixels) for seed in range(3)], 0), atol=1e-5)


def test_views_are_mirrored_and_moved(pixels):
    images = to_input(pixels, Preprocessing((28, 28), 1))
    seen = list(MultiView(flip=True, shift=2).of(images))
    assert len(seen) == 10
    assert np.array_equal(seen[0], images)
    assert np.array_equal(seen[1], images[..., ::-1])
    assert np.array_equal(seen[2][:, :, 2:], images[:, :, :-2])
    assert np.array_equal(seen[2][:, :, 0], images[:, :, 0])
    assert np.array_equal(seen[8][..., :-2], images[..., 2:])
    it = model(1)
    both = Ensemble([(it, it.engine("numpy"))], MultiView(flip=True)).logits(to_input(pixels, it.preprocessing))
    mean = (alone(1, pixels) + alone(1, pixels[:, :, ::-1])) / 2
    np.testing.assert_allclose(softmax(both), mean, atol=1e-5)


def test_models_and_ensembles_are_copied_and_asked_for_attributes_as_any_object_is(files, pixels):
    first, together = open_models(files, "numpy")
    for again in (copy.copy(first), copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert again.checksum == first.checksum
    images = to_input(pixels, first.preprocessing)
    assert np.array_equal(copy.copy(together).logits(images), together.logits(images))
    assert not hasattr(together, "step")
    assert getattr(together, "features", None) is None
    with pytest.raises(UsageError, match="an ensemble only predicts and has no 'step'"):
        together.step()


def test_one_model_without_views_is_itself(files):
    found, engine = open_models(files[:1], "numpy")
    assert found.temperature == 0.5
    assert engine.name == "numpy"


def test_models_that_do_not_go_together_are_refused(files, tmp_path):
    other = str(tmp_path / "other.safetensors")
    model(1, classes=CLASSES[::-1]).save(other)
    with pytest.raises(UsageError, match="has different classes"):
        open_models([files[0], other])
    model(1, size=32).save(other)
    with pytest.raises(UsageError, match=r"needs different images from .* \(1×28×28 and 1×32×32\)"):
        open_models([files[0], other])


def test_the_command_line_takes_several_models(files, idx_folder, tmp_path, run_json, run):
    assert models_first(["run", files[0], "photo.png", files[1]]) == (["run", files[0]], ["photo.png", files[1]])
    images = data.load(str(idx_folder)).test.images
    Image.fromarray(images[0, :, :, 0]).save(tmp_path / "photo.png")
    (found,) = run_json("predict", *files, tmp_path / "photo.png", "--flip", "--engine", "numpy")
    first, together = open_models(files, "numpy", "auto", MultiView(flip=True))
    expected = softmax(together.logits(to_input(images[:1], first.preprocessing)))[0]
    assert found["index"] == expected.argmax()
    assert found["probability"] == pytest.approx(expected.max(), abs=1e-6)
    assert run("predict", files[0])[::2] == (2, "neoclassic: name images, or folders of images, after the model\n")
