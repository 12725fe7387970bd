"""Nodes are data: equality, repr, names, paths, JSON."""

import gc
from dataclasses import dataclass

import pytest

from neoclassic import tree as nodes
from neoclassic.base.errors import NeoclassicError
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
        ({"type": "Conv2d", "out_channels": 3, "kernel_size": "__import__"}, "not a number"),
        ({"type": "ReLU", "inplace": True}, "has no 'inplace'"),
        ({"type": "Sequential", "children": [1]}, "not a network tree"),
    ],
)
def test_json_that_is_no_tree_is_refused(data, message):
    with pytest.raises(NeoclassicError, match=message):
        from_dict(data)


# ── nodes check themselves ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Conv2d(6, 5, stride=0), ValueError, "Conv2d: stride must be at least 1, not 0"),
        (lambda: Conv2d(6, 5, padding=-1), ValueError, "Conv2d: padding must be at least 0, not -1"),
        (lambda: Conv2d(6, 5.0), TypeError, "Conv2d: kernel_size must be a whole number, not 5.0"),
        (lambda: Conv2d("6", 5), TypeError, "Conv2d: out_channels must be a whole number, not 6"),
        (lambda: Conv2d(6, 5, bias=1), TypeError, "Conv2d: bias must be True or False, not 1"),
        (lambda: Conv2d(True, 5), TypeError, "Conv2d: out_channels must be a whole number, not True"),
        (lambda: Linear(0), ValueError, "Linear: out_features must be at least 1, not 0"),
        (lambda: nodes.Dropout(7), ValueError, "Dropout: p must be from 0 to 1, not 7"),
        (lambda: nodes.Dropout(float("nan")), TypeError, "Dropout: p must be a finite number, not nan"),
        (lambda: nodes.BatchNorm2d(eps=-1.0), ValueError, "BatchNorm2d: eps must be at least 0, not -1.0"),
        (lambda: nodes.BatchNorm2d(momentum=2), ValueError, "BatchNorm2d: momentum must be from 0 to 1, not 2"),
        (lambda: nodes.MaxPool2d(2, stride=0), ValueError, "MaxPool2d: stride must be at least 1, not 0"),
        (lambda: nodes.Select([0, 1]), TypeError, r"Select: channels must be a tuple of whole numbers, not \[0, 1\]"),
        (
            lambda: nodes.RBF(((1, 2), (3,))),
            TypeError,
            "RBF: prototypes must be a tuple .* all of one length",
        ),
        (
            lambda: Sequential([Conv2d(6, 5)]),
            TypeError,
            r"child 1 is \[.*, not a node: give the nodes one by one",
        ),
        (lambda: Sequential(head=None), TypeError, "child 'head' is None, not a node"),
        (lambda: Sequential.of({"a.b": Linear(3)}), ValueError, "'a.b' cannot be the name of a child"),
        (lambda: nodes.Auxiliary(weight=Linear(3)), TypeError, r"weight must be a finite number, not Linear\(3\)"),
    ],
)
def test_a_node_that_cannot_be_says_what_is_wrong_when_it_is_made(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_tree_from_json_is_refused_for_the_same_reasons():
    data = to_dict(Sequential(Conv2d(6, 5)))
    data["children"]["conv"]["stride"] = 0
    with pytest.raises(NeoclassicError, match="not a network tree: Conv2d: stride must be at least 1, not 0"):
        from_dict(data)


def test_a_node_of_one_s_own_is_checked_by_its_annotations():
    @dataclass(frozen=True, repr=False)
    class LeakyReLU(nodes.Node):
        slope: float = 0.01
        about: dict = None  # a kind that nothing is known of

    assert repr(LeakyReLU(0.2)) == "LeakyReLU(slope=0.2)"
    with pytest.raises(TypeError, match="LeakyReLU: slope must be a finite number, not steep"):
        LeakyReLU("steep")
    del LeakyReLU
    gc.collect()  # or the tests of every node would know it
