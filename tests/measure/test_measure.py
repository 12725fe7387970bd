"""measure: published counts, shapes, receptive fields, memory, and errors that name the path."""

import pytest

from neoclassic.measure import Field, ShapeError, measure, output_size
from neoclassic.networks import entry, network
from neoclassic.tree import (
    Auxiliary,
    AvgPool2d,
    Concat,
    Conv2d,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    Product,
    ReLU,
    Sequential,
    Sigmoid,
    Sum,
)

# (type, output shape, parameters, MACs) of every layer, as the courses print them
LENET = [
    ("Conv2d", (6, 28, 28), 156, 117_600),
    ("Sigmoid", (6, 28, 28), 0, 0),
    ("AvgPool2d", (6, 14, 14), 0, 0),
    ("Conv2d", (16, 10, 10), 2_416, 240_000),
    ("Sigmoid", (16, 10, 10), 0, 0),
    ("AvgPool2d", (16, 5, 5), 0, 0),
    ("Flatten", (400,), 0, 0),
    ("Linear", (120,), 48_120, 48_000),
    ("Sigmoid", (120,), 0, 0),
    ("Linear", (84,), 10_164, 10_080),
    ("Sigmoid", (84,), 0, 0),
    ("Linear", (10,), 850, 840),
]
DEEPCONVNET = [
    ("Conv2d", (16, 28, 28), 160, 112_896),
    ("ReLU", (16, 28, 28), 0, 0),
    ("Conv2d", (16, 28, 28), 2_320, 1_806_336),
    ("ReLU", (16, 28, 28), 0, 0),
    ("MaxPool2d", (16, 14, 14), 0, 0),
    ("Conv2d", (32, 14, 14), 4_640, 903_168),
    ("ReLU", (32, 14, 14), 0, 0),
    ("Conv2d", (32, 16, 16), 9_248, 2_359_296),
    ("ReLU", (32, 16, 16), 0, 0),
    ("MaxPool2d", (32, 8, 8), 0, 0),
    ("Conv2d", (64, 8, 8), 18_496, 1_179_648),
    ("ReLU", (64, 8, 8), 0, 0),
    ("Conv2d", (64, 8, 8), 36_928, 2_359_296),
    ("ReLU", (64, 8, 8), 0, 0),
    ("MaxPool2d", (64, 4, 4), 0, 0),
    ("Flatten", (1024,), 0, 0),
    ("Linear", (50,), 51_250, 51_200),
    ("ReLU", (50,), 0, 0),
    ("Dropout", (50,), 0, 0),
    ("Linear", (10,), 510, 500),
    ("Dropout", (10,), 0, 0),
]


@pytest.mark.parametrize(("name", "table"), [("lenet", LENET), ("deepconvnet", DEEPCONVNET)])
def test_every_layer_of(name, table):
    layers = measure(network(name), entry(name).input).layers
    assert [(r.type, r.output, r.parameters, r.macs) for r in layers] == table


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("lenet", 61_706, 416_520), ("lenet:bn", 44_878, 281_640), ("deepconvnet", 123_552, 8_772_340)],
)
def test_published_counts_of(name, parameters, macs):
    m = measure(network(name), entry(name).input)
    assert (m.parameters, m.macs) == (parameters, macs)


def test_statistics_are_counted_separately():
    assert measure(network("lenet:bn"), (1, 28, 28)).statistics == 2 * (6 + 16 + 120 + 84)


def test_receptive_fields_of_lenet():
    m = measure(network("lenet"), (1, 28, 28))
    assert m["conv1"].fields[0] == Field(size=5, stride=1, start=-2)
    assert m["pool1"].fields[0] == Field(size=6, stride=2, start=-2)
    assert m["conv2"].fields[0] == Field(size=14, stride=2, start=-2)
    assert m["pool2"].fields[0] == Field(size=16, stride=4, start=-2)
    assert m["pool2"].fields[0].centre == 5.5
    assert m["flatten"].fields[0].size == 32  # all of the image and its padding
    assert m["fc3"].fields == m["flatten"].fields


def test_branches_see_what_the_widest_one_sees():
    tree = Sequential(Concat(a=Conv2d(2, 1), b=Conv2d(2, 5, padding=2)), Sum(Identity(), Conv2d(4, 3, padding=1)))
    m = measure(tree, (1, 9, 9))
    assert m["concat"].output == (4, 9, 9)
    assert m["concat"].fields[0] == Field(5, 1, -2)
    assert m["sum"].fields[0] == Field(7, 1, -3)


def test_a_combinator_adds_up_its_children_and_an_auxiliary_head_is_counted_separately():
    tree = Sequential(Conv2d(2, 3), aux=Auxiliary(Flatten(), Linear(5)), flatten=Flatten(), fc=Linear(3))
    m = measure(tree, (1, 4, 4))
    assert m["aux"].parameters == m.auxiliary.parameters == 8 * 5 + 5
    assert m.auxiliary.macs == 40
    assert m.parameters == 20 + 27
    assert m["aux"].output == (2, 2, 2)
    assert measure(network("lenet"), (1, 28, 28)).auxiliary is None


def test_training_memory_is_what_the_backward_pass_needs():
    tree = Sequential(Conv2d(4, 3, padding=1), ReLU(), MaxPool2d(2), Flatten(), Linear(10))
    m = measure(tree, (1, 8, 8)).memory(batch=3)
    kept = 64 + 256 + 2 * 64 + 64  # input, relu, indices of 8 bytes each, pooled (which Linear keeps)
    assert m.training == 3 * 4 * kept
    assert m.inference == 3 * 4 * (64 + 256 + 256)  # the images, the convolution's output and the ReLU's
    assert m.weights == 4 * (40 + 650)


def test_product_takes_a_gate_for_each_channel():
    gate = Sequential(AvgPool2d(4), Conv2d(3, 1), Sigmoid())
    assert measure(Product(Identity(), gate), (3, 4, 4)).output == (3, 4, 4)


@pytest.mark.parametrize(
    ("size", "args", "expected"),
    [
        (112, (3, 2, 0, True), 56),
        (112, (3, 2, 0, False), 55),
        (5, (2, 2, 1, True), 3),  # a fourth window would start in the padding
        (7, (2, 3, 0, False), 2),
    ],
)
def test_output_size(size, args, expected):
    assert output_size(size, *args) == expected


@pytest.mark.parametrize(
    ("tree", "shape", "message"),
    [
        (Sequential(Conv2d(4, 5), MaxPool2d(2)), (1, 5, 5), "pool: a 2×2 window does not fit (input 4×1×1)"),
        (Sequential(Linear(3)), (1, 5, 5), "fc: needs a flat input: a Flatten is missing (input 1×5×5)"),
        (Sequential(Flatten(), Conv2d(4, 3)), (1, 5, 5), "conv: needs channels × height × width (input 25)"),
        (
            Conv2d(4, 1, groups=2),
            (3, 5, 5),
            "the network: 3 input channels cannot be split into 2 groups (input 3×5×5)",
        ),
        (Sum(a=Conv2d(4, 1), b=Conv2d(5, 1)), (3, 5, 5), "the network: cannot add 4×5×5 and 5×5×5 (input 3×5×5)"),
        (Concat(a=Conv2d(4, 1), b=ReLU(), c=MaxPool2d(2)), (3, 5, 5), "cannot join the channels of 4×5×5"),
        (ReLU(), (0, 5, 5), "every side of the input must be at least 1"),
    ],
)
def test_a_shape_that_cannot_be_names_the_path_the_input_and_the_reason(tree, shape, message):
    with pytest.raises(ShapeError) as error:
        measure(tree, shape)
    assert message in str(error.value)
