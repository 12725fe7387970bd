"""A tree of one's own as an entry: its input, its number of classes, its nodes."""

import pytest

from neoclassic import networks
from neoclassic.measure import ShapeError
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    Auxiliary,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    ReLU,
    Select,
    Sequential,
    Sum,
    from_dict,
    to_dict,
)

POOLED = (AdaptiveAvgPool2d(), Flatten())


def test_the_last_layers_get_as_many_outputs_as_there_are_classes():
    tree = Sequential(
        Conv2d(8, 3),
        side=Auxiliary(*POOLED, Linear(7)),
        end=Sequential(Sum(Identity(), ReLU()), *POOLED, Linear(7), Dropout()),
    )
    made = networks.entry(tree).tree(3)
    assert made == Sequential(
        Conv2d(8, 3),
        side=Auxiliary(*POOLED, Linear(3)),
        end=Sequential(Sum(Identity(), ReLU()), *POOLED, Linear(3), Dropout()),
    )
    assert networks.entry(tree).tree() == tree


@pytest.mark.parametrize(
    ("tree", "three"),
    [
        (Sequential(Conv2d(9, 1, bias=False), ReLU(), *POOLED), Sequential(Conv2d(3, 1, bias=False), ReLU(), *POOLED)),
        (Sequential(Flatten(), Linear(9), Sequential(ReLU())), Sequential(Flatten(), Linear(3), Sequential(ReLU()))),
    ],
)
def test_a_convolution_or_a_linear_layer_decides(tree, three):
    assert networks.entry(tree).tree(3) == three


@pytest.mark.parametrize(
    "tree",
    [
        Sequential(Conv2d(4, 1), Concat(Conv2d(5, 1), Conv2d(5, 1)), *POOLED),
        Sequential(Flatten(), Linear(10), Sum(Identity(), Linear(10))),
        Sequential(Conv2d(10, 1), Conv2d(10, 1, groups=2), *POOLED),
    ],
)
def test_what_no_single_layer_decides_stays(tree):
    assert networks.entry(tree).tree(3) == tree


def test_the_input_is_grey_or_else_in_colour_and_as_small_as_fashion_mnist_if_that_is_enough():
    assert networks.entry(Sequential(Conv2d(4, 3), *POOLED, Linear(2))).input == (1, 28, 28)
    assert networks.entry(Sequential(Select((2,)), Conv2d(4, 3), *POOLED, Linear(2))).input == (3, 28, 28)
    assert networks.entry(Sequential(Conv2d(4, 41), *POOLED, Linear(2))).input == (1, 41, 41)
    with pytest.raises(ShapeError, match="fc: needs a flat input"):
        networks.entry(Sequential(Conv2d(4, 3), Linear(2)))


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ([(20, 30)] * 3, (20, 30)),
        ([(20, 30), (40, 30), (50, 60)], (30, 30)),
        ([(3000, 4000)] * 2, (128, 128)),
        ([(2, 2)], (5, 5)),
        ([], (128, 128)),
    ],
)
def test_images_keep_their_size_if_they_share_a_small_one(sizes, size):
    assert networks.size_for(networks.entry(Sequential(Conv2d(4, 5), *POOLED, Linear(2))), sizes) == size


def test_a_class_that_is_derived_from_a_node_leaves_no_trace():
    class Block(Sequential):
        def __init__(self, width):
            super().__init__(Conv2d(width, 3), ReLU())

    plain = networks.entry(Sequential(Block(4), *POOLED, Linear(2))).tree()
    assert plain == Sequential(Sequential(Conv2d(4, 3), ReLU()), *POOLED, Linear(2))
    assert from_dict(to_dict(plain)) == plain
