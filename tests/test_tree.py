"""Nodes are data: equality, repr, names, paths, JSON."""

import pytest

from neoclassic.errors import NeoclassicError
from neoclassic.tree import (
    Auxiliary,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    Product,
    ReLU,
    Select,
    Sequential,
    Sigmoid,
    Sum,
    at,
    from_dict,
    to_dict,
    walk,
)

TREE = Sequential(
    Conv2d(8, 3, padding=1, bias=False),
    BatchNorm2d(eps=1e-3),
    block1=Sequential(Sum(path=Sequential(Conv2d(8, 3, padding=1), ReLU()), shortcut=Identity()), ReLU()),
    dense1=Concat(Identity(), Conv2d(4, 1)),
    gate=Product(Identity(), Sequential(Conv2d(12, 1), Sigmoid())),
    aux1=Auxiliary(Flatten(), Linear(10), weight=0.4),
    pick=Select((0, 3, 1)),
    head=Sequential(MaxPool2d(2), Flatten(), Dropout(), Linear(10)),
)


def test_the_repr_is_the_constructor_call():
    assert eval(repr(TREE)) == TREE
    assert repr(Conv2d(6, 5, padding=2)) == "Conv2d(6, 5, padding=2)"
    assert repr(Dropout()) == "Dropout()"


def test_equal_trees_are_equal_and_hash_alike():
    assert Sequential(Conv2d(6, 5)) == Sequential(Conv2d(6, 5))
    assert hash(Sequential(Conv2d(6, 5))) == hash(Sequential(Conv2d(6, 5)))
    assert Sequential(Conv2d(6, 5)) != Sequential(Conv2d(6, 3))
    assert Sum(Identity(), Identity()) != Concat(Identity(), Identity())


def test_children_by_position_are_named_by_kind_and_numbered_where_there_are_several():
    tree = Sequential(Conv2d(1, 1), ReLU(), Conv2d(1, 1), Flatten(), out=Linear(2))
    assert [name for name, _ in tree.children] == ["conv1", "relu", "conv2", "flatten", "out"]


def test_walk_goes_in_order_and_at_finds_every_path():
    paths = [path for path, _ in walk(TREE)]
    assert paths[:5] == ["", "conv", "bn", "block1", "block1.sum"]
    assert len(paths) == len(set(paths))
    assert all(at(TREE, path) == node for path, node in walk(TREE))
    with pytest.raises(KeyError):
        at(TREE, "block1.sum.nowhere")


def test_json_comes_back_equal():
    assert from_dict(to_dict(TREE)) == TREE


def test_a_name_used_twice_is_refused():
    with pytest.raises(ValueError, match="'conv' is used twice"):
        Sequential(Conv2d(1, 1), conv=Conv2d(1, 1))


def test_a_child_that_is_no_node_is_refused():
    with pytest.raises(TypeError, match="not a node"):
        Sequential(Conv2d)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "System"}, "unknown node"),
        ("Conv2d", "unknown node"),
        ({"type": "Node"}, "unknown node"),
        ({"type": "Conv2d", "out_channels": 3}, "kernel_size"),
        ({"type": "Conv2d", "out_channels": 3, "kernel_size": "__import__"}, "no number"),
        ({"type": "ReLU", "inplace": True}, "has no 'inplace'"),
        ({"type": "Sequential", "children": [1]}, "not a network tree"),
    ],
)
def test_json_that_is_no_tree_is_refused(data, message):
    with pytest.raises(NeoclassicError, match=message):
        from_dict(data)
