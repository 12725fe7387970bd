"""The output of `list`, `show` and `diff`, compared with golden files; NEOCLASSIC_ACCEPT=1 rewrites them."""

import pytest
from helpers import golden

from neoclassic.measure import measure
from neoclassic.networks import entry, list_networks, network
from neoclassic.views.diff import ADDED, CHANGED, MISSING, Change, Diff, diff, measured
from neoclassic.views.table import align, layer_table, network_list, size


def check(name, text):
    golden(name, text + "\n")


def test_list():
    check("list", str(network_list(map(entry, list_networks()))))


@pytest.mark.parametrize(
    ("file", "name", "batch", "depth"),
    [
        ("show-lenet", "lenet", 256, None),
        ("show-lenet-1998", "lenet:1998", 1, 2),
        ("show-alexnet", "alexnet", 128, None),
        ("show-googlenet", "googlenet", 32, 1),
        ("show-resnet18", "resnet18", 32, None),
        ("show-resnet18-taught", "resnet18:taught", 256, 1),
        ("show-mobilenet-v3-small", "mobilenet-v3-small", 1, 2),
    ],
)
def test_show(file, name, batch, depth):
    check(file, layer_table(measure(network(name), entry(name).input), batch, depth))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("alexnet", "alexnet:torchvision"),
        ("googlenet", "googlenet:torchvision"),
        ("lenet", "lenet:1998"),
        ("resnet50", "resnet50:2015"),
        ("vgg16", "vgg16:c"),
    ],
)
def test_diff(first, second):
    check(f"diff-{first}-{second}".replace(":", "-"), repr(Diff.of(entry(first), entry(second))))


def test_columns_are_aligned_and_no_line_ends_in_blanks():
    assert align([("a", "1", ""), ("bcd", "22", "x")], "<><") == "a     1\nbcd  22  x"


def test_sizes():
    assert [size(n) for n in (0, 1023, 1024, 3_211_264, 5 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "3.1 MiB",
        "5.0 GiB",
    ]


def test_a_network_does_not_differ_from_itself_nor_by_its_image_size_alone():
    assert diff(measured(entry("resnet50")), measured(entry("resnet50"))) == []
    big, small = (measure(network("mobilenet-v1"), (3, side, side)) for side in (224, 128))
    assert diff(big, small) == []


def test_diff_shows_changed_added_and_missing_layers():
    changes = {(c.change, c.path): c for c in diff(measured(entry("resnet50")), measured(entry("resnet50:2015")))}
    stride = changes[CHANGED, "stage2.block1.sum.path.conv1"]
    assert stride == Change(CHANGED, stride.path, "Conv2d: stride 1 → 2", 0, -256 * 128 * (56**2 - 28**2))
    assert len(changes) == 6
    found = [(c.change, c.path) for c in diff(measured(entry("vgg11")), measured(entry("vgg11:lrn")))]
    assert found == [(ADDED, "stage1.lrn")]
    found = [(c.change, c.path) for c in diff(measured(entry("resnet34")), measured(entry("resnet18")))]
    assert found == [(MISSING, f"stage{i}.block{j}") for i, n in enumerate((3, 4, 6, 3), 1) for j in range(3, n + 1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [("alexnet", "alexnet:torchvision"), ("resnet18", "resnet50"), ("lenet", "vgg16"), ("densenet121", "densenet169")],
)
def test_the_changes_add_up_to_the_difference_in_parameters(first, second):
    a, b = measured(entry(first)), measured(entry(second))
    assert sum(c.parameters for c in diff(a, b)) == b.parameters - a.parameters


def test_diff_as_json_has_totals_reasons_and_changes():
    found = Diff.of(entry("vgg11"), entry("vgg11:bn")).to_dict()
    assert found["parameters"] == [132_863_336, 132_868_840]
    assert [len(reason) > 20 for reason in found["reasons"]] == [True, True]
    assert found["changes"][0] == {
        "change": "added",
        "path": "stage1.bn",
        "what": "BatchNorm2d()",
        "parameters": 128,
        "macs": 0,
    }
