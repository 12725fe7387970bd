"""What remains when the images are counted off in batches: any number of images trains."""

import numpy as np
import pytest

from neoclassic.base.errors import UsageError
from neoclassic.data import Dataset, Splits, batches
from neoclassic.engines import Speed
from neoclassic.recipes import choose
from neoclassic.train.loop import train
from neoclassic.train.run import Settings

ENGINES = ("numpy", "torch")


def arrays(n, test=8, side=32):
    rng = np.random.default_rng(n)

    def part(k):
        images = rng.integers(0, 256, (k, side, side, 3), np.uint8)
        return Dataset("noise", images, np.arange(k) % 2, ("a", "b"))

    return Splits(part(n), part(test), part(test))


def ends(network, n, batch, engine, tmp_path, **changes):
    recipe = choose(network, None).but(data="noise", batch_size=batch, epochs=1, **changes)
    return train(recipe, Settings(engine, speed=Speed("32", "auto")), tmp_path / "run", arrays(n)).steps


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("network", "n", "batch", "steps"),
    [
        ("lenet:bn", 33, 32, 1),  # 33
        ("lenet:bn", 17, 8, 2),  # 8, 9
        ("lenet:bn", 34, 32, 2),  # 32, 2
        ("lenet:bn", 3, 2, 1),  # 3
        ("resnet18", 9, 8, 1),  # its last maps are 1×1 at 32×32
        ("lenet", 9, 8, 2),  # without batch norm, one image is a batch
        ("lenet", 2, 1, 2),
    ],
)
def test_any_number_of_images_trains(network, n, batch, steps, engine, tmp_path):
    assert ends(network, n, batch, engine, tmp_path, image_size=32) == steps


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_of_one_are_refused_before_training_where_they_cannot_be(engine, tmp_path):
    with pytest.raises(UsageError, match=r"normalises over the batch.*--batch-size 2"):
        ends("lenet:bn", 8, 1, engine, tmp_path)
    with pytest.raises(UsageError, match=r"normalises over the batch.*more images"):
        ends("lenet:bn", 1, 8, engine, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("n", range(1, 40))
@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_batches_hold_every_image_once_and_none_is_alone_where_it_must_not_be(n, size):
    for alone in (True, False):
        cut = batches(n, size, 0, 0, alone=alone)
        assert sorted(np.concatenate(cut)) == list(range(n))
        if not alone and n > 1 and size > 1:
            assert min(map(len, cut)) > 1
            assert max(map(len, cut)) <= size + 1
    assert [len(b) for b in batches(n, size, 0, 0)] == [min(size, n - start) for start in range(0, n, size)]


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluating_and_predicting_one_image_works_with_batch_norm(engine, tmp_path):
    splits = arrays(20, test=1)
    recipe = choose("lenet:bn", None).but(data="noise", batch_size=8, epochs=1, image_size=32)
    assert train(recipe, Settings(engine, speed=Speed("32", "auto")), tmp_path / "run", splits).evaluation["n"] == 1
