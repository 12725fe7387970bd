"""What a network may be is stated once: a tree beyond it is refused where it is made, and in files."""

import json
import struct

import numpy as np
import pytest

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import create, weights
from neoclassic.model.artefact import HEADER, Model
from neoclassic.tree import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Node,
    ReLU,
    Select,
    Sequential,
    Sum,
    combinators,
    from_dict,
    to_dict,
)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Conv2d(1, 1, stride=2**70), "Conv2d: stride must be at most 65536"),
        (lambda: Conv2d(1, 3, padding=10**6), "Conv2d: padding must be at most 512"),
        (lambda: Linear(1 << 40), "Linear: out_features must be at most 16777216"),
        (lambda: MaxPool2d(2, padding=2), "MaxPool2d: padding must be at most half of a kernel of 2, not 2"),
        (lambda: AvgPool2d(3, padding=2), "AvgPool2d: padding must be at most half of a kernel of 3, not 2"),
        (lambda: Select((0, -1)), "Select: channels must be at least 0, not -1"),
        (lambda: Select((-(2**63),)), "Select: channels must be at least 0"),
        (lambda: Sequential(*[ReLU()] * 10_000), "at most 64 levels and 10,000 nodes, not 2 and 10,001"),
    ],
)
def test_an_argument_beyond_the_limits_is_refused_when_the_node_is_made(make, reason):
    with pytest.raises(ValueError, match=reason) as error:
        make()
    assert isinstance(error.value, UsageError)  # one line on the command line


def test_a_number_that_no_float_can_be_is_refused():
    with pytest.raises(UsageError, match="BatchNorm2d: eps must be a finite number"):
        BatchNorm2d(eps=10**400)


def test_levels_are_counted_as_they_are_added():
    tree: Node = Flatten()
    for _ in range(combinators.DEEPEST - 1):
        tree = Sequential(tree)
    assert (tree.depth, tree.nodes) == (64, 64)
    with pytest.raises(ValueError, match="at most 64 levels"):
        Sequential(tree)
    assert from_dict(to_dict(tree)) == tree


def test_shared_subtrees_count_each_time():
    def doubled(n):  # 2ⁿ nodes in n objects
        return Sum(*[doubled(n - 1)] * 2) if n else ReLU()

    assert doubled(10).nodes == 2047
    with pytest.raises(ValueError, match="10,000 nodes"):
        doubled(60)


def test_json_beyond_the_limits_is_refused_in_one_line():
    data = {"type": "ReLU"}
    for _ in range(500):
        data = {"type": "Sequential", "children": {"a": data}}
    with pytest.raises(NeoclassicError, match="more than 64 levels") as error:
        from_dict(data)
    assert "\n" not in str(error.value)


def model_of(tree, shape):
    return Model("x", tree, shape, ("a", "b"), Preprocessing(shape[1:], shape[0]), weights.initial(tree, shape))


def test_a_network_that_needs_gigabytes_for_one_image_is_refused(tmp_path):
    wide = Sequential(Conv2d(300, 1), Conv2d(1, 64, stride=64), Flatten(), fc=Linear(2))
    model_of(wide, (1, 1024, 1024)).save(tmp_path / "wide.safetensors")
    with pytest.raises(NeoclassicError, match=r"needs 1.2 GiB for one image"):
        Model.load(tmp_path / "wide.safetensors")


@pytest.mark.parametrize("offset", ['"9"', "null", "[1]", "{}", "1.5"])
def test_offsets_that_are_no_numbers_are_damage(offset, tmp_path):
    inner = json.dumps(json.dumps({"kind": "model", "format": 1}))
    header = (
        f'{{"__metadata__":{{"neoclassic":{inner}}},"x":{{"dtype":"F32","shape":[1],"data_offsets":[0,{offset}]}}}}'
    )
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + b"\0" * 4)
    with pytest.raises(NeoclassicError, match="damaged"):
        Model.load(path)


def test_a_header_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "long.safetensors"
    path.write_bytes(struct.pack("<Q", HEADER + 1) + b"{" + b" " * 100)
    with pytest.raises(NeoclassicError, match="not a neoclassic model"):
        Model.load(path)


@pytest.mark.parametrize("name", ["forward", "type", "training", "children", "steps"])
def test_names_that_pytorch_uses_itself_are_refused_there_and_answer_elsewhere(name):
    tree, shape = Sequential.of({name: ReLU(), "f": Flatten(), "fc": Linear(2)}), (1, 4, 4)
    drawn, images = weights.initial(tree, shape), np.zeros((1, *shape), np.float32)
    assert create("numpy", tree, shape, drawn).logits(images).shape == (1, 2)
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match=f"^{name}: a module of PyTorch cannot have a child of this name"):
        create("torch", tree, shape, drawn, "cpu")


@pytest.mark.parametrize("piece", [b"[],", b'{"a":[]},'])
def test_a_header_of_many_lists_is_refused_before_it_is_parsed(piece, tmp_path, monkeypatch):
    lists = piece * (1_100_000 // piece.count(b"[") // (1 + piece.count(b"{")))
    header = b'{"__metadata__":{"neoclassic":"{}"},"x":[' + lists[:-1] + b"]}"
    path = tmp_path / "lists.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    monkeypatch.setattr("neoclassic.model.artefact.json.loads", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(NeoclassicError, match="its header has too many entries"):
        Model.load(path)


@pytest.mark.parametrize("kind", [{}, [], None, 1, {"type": "ReLU"}])
def test_a_node_whose_type_is_no_name_is_refused(kind):
    with pytest.raises(NeoclassicError, match="not a network tree: unknown node"):
        from_dict({"type": kind})


def test_a_tree_without_a_computing_layer_gives_its_images_back():
    images = np.random.default_rng(0).random((5, 3, 4, 4), np.float32)
    for tree in (Sequential(), Sequential(Sequential())):
        np.testing.assert_array_equal(create("numpy", tree, (3, 4, 4), {}).logits(images), images)
