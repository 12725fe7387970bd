"""The formulas of each layer, evaluated again here; savings; the comparison of networks."""

import re

import pytest

from neoclassic import networks
from neoclassic.cli import main
from neoclassic.measure import measure
from neoclassic.tree import Conv2d, Linear
from neoclassic.views import arithmetic
from neoclassic.views.savings import savings


def of(name):
    return measure(networks.network(name), networks.entry(name).input)


def test_lenet_has_the_formulas_of_the_textbook(capsys):
    assert main(["show", "lenet", "--explain"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "side        ⌊(28+2·2−5)/1⌋+1 = 28",
        "parameters  (5·5·1+1)·6 = 156",
        "parameters  (5·5·6+1)·16 = 2,416",
        "MACs        5·5·6·16·10·10 = 240,000",
        "sees        6+(5−1)·2 = 14 pixels, a step is 2·1 = 2",
        "parameters  (400+1)·120 = 48,120",
        "memory      16·10·10·4 B = 6.2 KiB",
    ):
        assert line in printed


def value(formula):
    """The value of the left side of a printed formula."""
    python = formula.partition(" = ")[0].replace("·", "*").replace("−", "-").replace("/", "//")
    python = re.sub("⌈(.*?)//(\\d+)⌉", r"-(-(\1)//\2)", python) if "⌈" in python else re.sub("[⌊⌋]", "", python)
    return eval(python)


@pytest.mark.parametrize("name", networks.list_networks())
def test_every_formula_gives_its_figure(name):
    m = of(name)
    for row in m.layers:
        formulas = arithmetic.figures(m, row.path)
        if isinstance(row.node, Conv2d | Linear):
            assert value(formulas["parameters"]) == row.parameters
            assert value(formulas["MACs"]) == row.macs
        if isinstance(row.node, Conv2d):
            assert value(formulas["side"]) == row.output[1]
            whole = "the whole image: a branch before it pools over all of it"
            field = row.fields[0]
            assert formulas["sees"] == whole if field.stride == 0 else value(formulas["sees"]) == field.size
        assert value(formulas["memory"].replace(" B", "")) == row.bytes


def test_1x1_convolutions_save_macs_in_googlenet():
    found = {s.second: s for s in savings(of("googlenet"))}
    five = found["inception3a.branch5x5.conv2"]
    assert five.dense_macs == 5 * 5 * 192 * 32 * 28 * 28  # table 1 of the paper: 192 maps in, 16, then 32
    assert five.macs == (192 * 16 + 5 * 5 * 16 * 32) * 28 * 28
    assert {s.kind for s in found.values()} == {"reduced"}


def test_depthwise_separable_convolutions_save_macs_in_mobilenet():
    saved = list(savings(of("mobilenet-v1")))
    assert len(saved) == 13
    assert {s.kind for s in saved} == {"separated"}
    for s in saved:  # section 3.1 of the paper: 1/N + 1/D²
        outputs = of("mobilenet-v1")[s.second].output[0]
        assert s.macs / s.dense_macs == pytest.approx(1 / outputs + 1 / 9)


def test_a_gate_does_not_separate_a_pair_and_plain_networks_save_nothing():
    assert len(list(savings(of("mobilenet-v3-small")))) == 11
    assert list(savings(of("vgg16"))) == []


def test_networks_side_by_side(capsys):
    assert main(["show", "lenet", "--compare", "lenet:bn", "vgg11"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"61,706 +44,878 \(×0\.73\) +132,863,336 \(×2,153\)", printed)
    assert main(["show", "lenet", "vgg11"]) == 2
    assert "--compare" in capsys.readouterr().err
