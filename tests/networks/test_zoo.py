"""The zoo: published counts, the taught shapes, names, knobs, LRN, and wishes that cannot be."""

from pathlib import Path

import numpy as np
import pytest

from neoclassic.base.errors import UsageError
from neoclassic.measure import ShapeError, fold, measure, smallest_input
from neoclassic.networks import differences, entry, list_networks, network
from neoclassic.tree import BatchNorm2d, Conv2d, Dropout, LocalResponseNorm, MaxPool2d, Sequential, at, walk
from neoclassic.views.table import at_depth

# network, input, classes, trainable parameters, multiply-accumulates an image
ROWS = [
    ("lenet", (1, 28, 28), 10, 61_706, 416_520),
    ("lenet:1998", (1, 32, 32), 10, 60_000, None),
    ("lenet:bn", (1, 28, 28), 10, 44_878, 281_640),
    ("deepconvnet", (1, 28, 28), 10, 123_552, 8_772_340),
    ("mnist-inception", (1, 28, 28), 10, 97_298, 6_019_200),
    ("mnist-residual", (1, 28, 28), 10, 41_514, 2_013_184),
    ("alexnet", (3, 227, 227), 1000, 60_965_224, 724_406_816),
    ("alexnet:torchvision", (3, 224, 224), 1000, 61_100_840, 714_188_480),
    ("alexnet:taught", (1, 224, 224), 10, 46_764_746, 938_146_176),
    ("vgg11", (3, 224, 224), 1000, 132_863_336, 7_609_090_048),
    ("vgg11:lrn", (3, 224, 224), 1000, 132_863_336, 7_609_090_048),
    ("vgg11:bn", (3, 224, 224), 1000, 132_868_840, 7_609_090_048),
    ("vgg13", (3, 224, 224), 1000, 133_047_848, 11_308_466_176),
    ("vgg13:bn", (3, 224, 224), 1000, 133_053_736, 11_308_466_176),
    ("vgg16:c", (3, 224, 224), 1000, 133_638_952, 11_770_888_192),
    ("vgg16", (3, 224, 224), 1000, 138_357_544, 15_470_264_320),
    ("vgg16:bn", (3, 224, 224), 1000, 138_365_992, 15_470_264_320),
    ("vgg19", (3, 224, 224), 1000, 143_667_240, 19_632_062_464),
    ("vgg19:bn", (3, 224, 224), 1000, 143_678_248, 19_632_062_464),
    ("vgg11:taught", (1, 224, 224), 10, 128_806_154, 7_547_232_256),
    ("vgg11:taught-quarter", (1, 224, 224), 10, 43_093_322, 512_155_648),
    ("nin", (3, 224, 224), 1000, 7_595_176, 1_100_188_800),
    ("nin:cifar", (3, 32, 32), 10, 966_986, 222_486_528),
    ("nin:taught", (1, 224, 224), 10, 1_992_166, 762_297_352),
    ("googlenet", (3, 224, 224), 1000, 6_998_552, 1_582_671_872),
    ("googlenet:torchvision", (3, 224, 224), 1000, 6_624_904, 1_498_376_192),
    ("googlenet:bn", (3, 224, 224), 1000, 11_194_984, 2_018_851_840),
    ("googlenet:taught", (1, 96, 96), 10, 5_977_530, 276_066_304),
    ("resnet18", (3, 224, 224), 1000, 11_689_512, 1_814_073_344),
    ("resnet34", (3, 224, 224), 1000, 21_797_672, 3_663_761_408),
    ("resnet50", (3, 224, 224), 1000, 25_557_032, 4_089_184_256),
    ("resnet101", (3, 224, 224), 1000, 44_549_160, 7_801_405_440),
    ("resnet152", (3, 224, 224), 1000, 60_192_808, 11_513_626_624),
    ("resnet18:a", (3, 224, 224), 1000, 11_515_688, 1_794_805_760),
    ("resnet34:a", (3, 224, 224), 1000, 21_623_848, 3_644_493_824),
    ("resnet50:2015", (3, 224, 224), 1000, 25_557_032, 3_857_973_248),
    ("resnet101:2015", (3, 224, 224), 1000, 44_549_160, 7_570_194_432),
    ("resnet152:2015", (3, 224, 224), 1000, 60_192_808, 11_282_415_616),
    ("resnet18:v2", (3, 224, 224), 1000, 11_687_720, 1_814_073_344),
    ("resnet34:v2", (3, 224, 224), 1000, 21_795_880, 3_663_761_408),
    ("resnet50:v2", (3, 224, 224), 1000, 25_549_352, 4_089_184_256),
    ("resnet101:v2", (3, 224, 224), 1000, 44_541_480, 7_801_405_440),
    ("resnet152:v2", (3, 224, 224), 1000, 60_185_128, 11_513_626_624),
    ("resnet20", (3, 32, 32), 10, 269_722, 40_551_040),
    ("resnet32", (3, 32, 32), 10, 464_154, 68_862_592),
    ("resnet44", (3, 32, 32), 10, 658_586, 97_174_144),
    ("resnet56", (3, 32, 32), 10, 853_018, 125_485_696),
    ("resnet110", (3, 32, 32), 10, 1_727_962, 252_887_680),
    ("resnet110:v2", (3, 32, 32), 10, 1_730_522, 253_149_824),
    ("resnet164:v2", (3, 32, 32), 10, 1_703_258, 244_500_992),
    ("resnet1001:v2", (3, 32, 32), 10, 10_327_706, 1_487_849_984),
    ("resnet18:taught", (1, 96, 96), 10, 11_178_378, 318_657_536),
    ("densenet121", (3, 224, 224), 1000, 7_978_856, 2_834_161_664),
    ("densenet161", (3, 224, 224), 1000, 28_681_000, 7_727_907_072),
    ("densenet169", (3, 224, 224), 1000, 14_149_480, 3_359_843_328),
    ("densenet201", (3, 224, 224), 1000, 20_013_928, 4_291_365_888),
    ("densenet264", (3, 224, 224), 1000, 33_337_704, 5_751_653_376),
    ("densenet40-12", (3, 32, 32), 10, 1_019_722, 264_812_928),
    ("densenet100-12", (3, 32, 32), 10, 6_979_642, 1_769_516_448),
    ("densenet100-24", (3, 32, 32), 10, 27_249_082, 6_889_347_744),
    ("densenet-bc100-12", (3, 32, 32), 10, 769_162, 287_929_692),
    ("densenet-bc250-24", (3, 32, 32), 10, 15_324_406, 5_418_785_724),
    ("densenet-bc190-40", (3, 32, 32), 10, 25_624_430, 9_301_945_740),
    ("densenet:taught", (1, 96, 96), 10, 758_226, 129_077_168),
    ("mobilenet-v1", (3, 224, 224), 1000, 4_231_976, 568_740_352),
    ("mobilenet-v1:0.75", (3, 224, 224), 1000, 2_585_560, 325_400_448),
    ("mobilenet-v1:0.5", (3, 224, 224), 1000, 1_331_592, 149_497_088),
    ("mobilenet-v1:0.25", (3, 224, 224), 1000, 470_072, 41_030_272),
    ("mobilenet-v1", (3, 192, 192), 1000, 4_231_976, 418_121_728),
    ("mobilenet-v1", (3, 160, 160), 1000, 4_231_976, 290_675_200),
    ("mobilenet-v1", (3, 128, 128), 1000, 4_231_976, 186_400_768),
    ("mobilenet-v1:taught", (1, 96, 96), 10, 3_216_650, 102_957_568),
    ("mobilenet-v2", (3, 224, 224), 1000, 3_504_872, 300_774_272),
    ("mobilenet-v2:1.4", (3, 224, 224), 1000, 6_108_776, 582_195_824),
    ("mobilenet-v2:1.3", (3, 224, 224), 1000, 5_386_792, 509_374_560),
    ("mobilenet-v2:0.75", (3, 224, 224), 1000, 2_636_424, 209_069_792),
    ("mobilenet-v2:0.5", (3, 224, 224), 1000, 1_968_680, 97_131_840),
    ("mobilenet-v2:0.35", (3, 224, 224), 1000, 1_677_128, 59_285_808),
    ("mobilenet-v3-large", (3, 224, 224), 1000, 5_483_032, 216_589_760),
    ("mobilenet-v3-large:0.75", (3, 224, 224), 1000, 3_993_528, 154_560_624),
    ("mobilenet-v3-large:minimalistic", (3, 224, 224), 1000, 3_924_288, 209_136_704),
    ("mobilenet-v3-small", (3, 224, 224), 1000, 2_542_856, 56_510_400),
    ("mobilenet-v3-small:0.75", (3, 224, 224), 1000, 2_041_872, 43_399_344),
    ("mobilenet-v3-small:minimalistic", (3, 224, 224), 1000, 2_044_736, 52_288_448),
]

# the same with both auxiliary heads
WITH_AUXILIARY = {"googlenet": (13_378_280, 1_591_044_096), "googlenet:torchvision": (13_004_888, 1_506_748_416)}

# output shapes of the network's own children, as the courses print them
PRINTED = {
    "lenet": "6×28×28 6×28×28 6×14×14 16×10×10 16×10×10 16×5×5 400 120 120 84 84 10",
    "alexnet:taught": (
        "96×54×54 96×54×54 96×26×26 256×26×26 256×26×26 256×12×12 384×12×12 384×12×12 384×12×12 384×12×12 "
        "256×12×12 256×12×12 256×5×5 6400 4096 4096 4096 4096 4096 4096 10"
    ),
    "vgg11:taught": "64×112×112 128×56×56 256×28×28 512×14×14 512×7×7 25088 4096 4096 4096 4096 4096 4096 10",
    "vgg11:taught-quarter": "16×112×112 32×56×56 64×28×28 128×14×14 128×7×7 6272 4096 4096 4096 4096 4096 4096 10",
    "nin:taught": "96×54×54 96×26×26 256×26×26 256×12×12 384×12×12 384×5×5 384×5×5 10×5×5 10×1×1 10",
    "googlenet:taught": "64×24×24 192×12×12 480×6×6 832×3×3 1024 10",
    "resnet18:taught": "64×24×24 64×24×24 128×12×12 256×6×6 512×3×3 512×1×1 512 10",
    "densenet:taught": (
        "64×24×24 192×24×24 96×12×12 224×12×12 112×6×6 240×6×6 120×3×3 248×3×3 248×3×3 248×3×3 248×1×1 248 10"
    ),
    "deepconvnet": (
        "16×28×28 16×28×28 16×28×28 16×28×28 16×14×14 32×14×14 32×14×14 32×16×16 32×16×16 32×8×8 64×8×8 "
        "64×8×8 64×8×8 64×8×8 64×4×4 1024 50 50 50 10 10"
    ),
}

FACTS = Path(__file__).parents[1] / "facts"


def size(shape):
    return "×".join(map(str, shape))


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters", "macs"), ROWS, ids=[f"{row[0]}@{row[1][2]}" for row in ROWS]
)
def test_published_counts(name, shape, classes, parameters, macs):
    m = measure(network(name, classes), shape)
    assert m.parameters == parameters
    assert macs in (None, m.macs)
    assert m.output == (classes,)


def test_every_row_of_the_table_is_listed_with_its_input_and_classes():
    published = {}
    for name, shape, classes, *_ in ROWS:
        published.setdefault(name, (shape, classes))
    assert published.keys() <= set(list_networks())
    assert {name: (entry(name).input, entry(name).classes) for name in published} == published


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_counts_with_auxiliary_heads(name):
    m = measure(network(name), entry(name).input)
    assert (m.parameters + m.auxiliary.parameters, m.macs + m.auxiliary.macs) == WITH_AUXILIARY[name]
    assert [node.weight for path, node in walk(network(name)) if path in ("auxiliary1", "auxiliary2")] == [0.3, 0.3]


@pytest.mark.parametrize("name", PRINTED)
def test_shapes_as_the_courses_print_them(name):
    m = measure(network(name), entry(name).input)
    assert " ".join(size(row.output) for row in at_depth(m, 1)) == PRINTED[name]


def taught_layers():
    _, *blocks = (FACTS / "taught_layers.txt").read_text("utf-8").split("\n\n")
    lines = [[line.strip() for line in block.splitlines()] for block in blocks]
    return {name: layers for name, *layers in lines}


@pytest.mark.parametrize(("name", "layers"), taught_layers().items(), ids=taught_layers())
def test_every_convolution_and_linear_layer_of_the_taught_form(name, layers):
    m = measure(network(name), entry(name).input)
    ours = [f"{size(r.output)} {r.parameters} {r.macs}" for r in m.layers if r.macs]
    assert ours == layers


# ── the structure behind the counts ──────────────────────────────────────────────────────────────────


def test_lenet_1998_has_the_papers_parameters_and_connections():
    m = measure(network("lenet:1998"), (1, 32, 32))
    layers = ("c1", "s2", "c3", "s4", "c5", "f6")
    assert [m[layer].parameters for layer in layers] == [156, 12, 1516, 32, 48_120, 10_164]
    assert [size(m[layer].output) for layer in layers] == ["6×28×28", "6×14×14", "16×10×10", "16×5×5", "120×1×1", "84"]
    connections = {
        path: sum(r.macs + np.prod(r.output) for r in m.layers if r.path.startswith(f"{path}.") and r.macs)
        for path in ("c1", "c3", "c5", "f6")
    }
    assert connections == {"c1": 122_304, "c3": 151_600, "c5": 48_120, "f6": 10_164}


def test_the_prototypes_are_ten_different_bitmaps_of_ink_and_paper():
    prototypes = at(network("lenet:1998"), "output").prototypes
    assert len(set(prototypes)) == 10
    assert {len(p) for p in prototypes} == {84}
    assert {pixel for p in prototypes for pixel in p} == {-1, 1}


def test_inception_modules_put_out_what_table_1_says():
    m = measure(network("googlenet"), (3, 224, 224))
    maps = {"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832, "5a": 832, "5b": 1024}
    assert {row: m[f"inception{row}"].output[0] for row in maps} == maps
    weights = {"3a": 163_328, "3b": 388_096, "4e": 867_328, "5b": 1_442_816}
    biases = {
        row: sum(r.output[0] for r in m.layers if r.path.startswith(f"inception{row}.") and r.macs) for row in weights
    }
    assert {row: m[f"inception{row}"].parameters - biases[row] for row in weights} == weights


def test_a_dense_block_adds_the_growth_rate_with_every_layer():
    m = measure(network("densenet:taught"), (1, 96, 96))
    widths = [m[path].output[0] for path in ("stem", "block1", "transition1", "block2", "transition2", "block3")]
    assert widths == [64, 192, 96, 224, 112, 240]


def test_the_stride_of_a_bottleneck():
    assert at(network("resnet50"), "stage2.block1.sum.path.conv2").stride == 2
    assert at(network("resnet50:2015"), "stage2.block1.sum.path.conv1").stride == 2


def test_widths_that_are_not_told_by_the_counts():
    norms = {node for _, node in walk(network("googlenet:torchvision")) if isinstance(node, BatchNorm2d)}
    assert norms == {BatchNorm2d(eps=1e-3)}
    assert [n.p for _, n in walk(network("googlenet")) if isinstance(n, Dropout)] == [0.7, 0.7, 0.4]
    assert at(network("alexnet:taught"), "conv1").padding == 1  # 54 with 0 too
    assert [p for p, n in walk(network("alexnet")) if isinstance(n, LocalResponseNorm | MaxPool2d)] == [
        *("lrn1", "pool1", "lrn2", "pool2", "pool3")
    ]


def test_alexnet_normalises_as_the_paper_writes():
    """Section 3.3: b_i = a_i / (k + α Σ_j a_j²)^β over n adjacent maps; k = 2, n = 5, α = 1e-4, β = 0.75."""
    torch = pytest.importorskip("torch")
    from neoclassic.engines.torch import build

    a = 40 * np.random.default_rng(0).standard_normal((2, 96, 3, 3))
    b = np.empty_like(a)
    for i in range(96):
        near = a[:, max(0, i - 2) : min(95, i + 2) + 1]
        b[:, i] = a[:, i] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    layer = build(at(network("alexnet"), "lrn1"), (96, 3, 3))
    assert layer(torch.from_numpy(a)).numpy() == pytest.approx(b, rel=1e-9)
    assert not np.allclose(a / 2**0.75, b, rtol=0.01)  # the images are strong enough to tell


# ── names and knobs ──────────────────────────────────────────────────────────────────────────────────


def test_every_network_says_how_it_differs_from_its_paper():
    assert [name for name in list_networks() if not differences(name)] == []
    assert differences("alexnet:torchvision").startswith("one tower of 64-192-384-256-256 maps")
    assert differences("resnet110:v2") == differences("resnet18:v2") != differences("resnet18")


def test_networks_are_listed_by_year():
    years = [entry(name).year for name in list_networks()]
    assert years == sorted(years)
    assert list_networks("resnet18*") == ["resnet18", "resnet18:a", "resnet18:taught", "resnet18:v2"]


@pytest.mark.parametrize(
    ("name", "knobs", "parameters"),
    [
        ("mobilenet-v1", {"width": 0.5}, 1_331_592),
        ("mobilenet-v2", {"width": 1.4}, 6_108_776),
        ("mobilenet-v3-small", {"width": 0.75}, 2_041_872),
        ("densenet40-12", {"depth": 100, "growth_rate": 24}, 27_249_082),
        ("densenet-bc100-12", {"depth": 40, "growth_rate": 36}, 1_542_682),
        ("densenet121", {"blocks": (6, 12, 64, 48)}, 33_337_704),
        ("resnet20", {"depth": 1202}, 19_421_274),
        ("resnet18", {"blocks": (3, 4, 6, 3)}, 21_797_672),
    ],
)
def test_a_knob_reaches_the_other_rows_of_the_papers_table(name, knobs, parameters):
    assert measure(network(name, **knobs), entry(name).input).parameters == parameters


def test_plain_densenet_halves_nothing_and_compression_can():
    kept = measure(network("densenet40-12"), (3, 32, 32))["transition1"]
    halved = measure(network("densenet40-12", compression=0.5), (3, 32, 32))["transition1"]
    assert (kept.output[0], halved.output[0]) == (160, 80)


@pytest.mark.parametrize(
    ("name", "wish", "message"),
    [
        ("resnet18", {"classes": 0}, "a network needs at least 1 class, not 0"),
        ("lenet:1998", {"classes": 11}, "prototype for each of the ten digits, not for 11 classes"),
        ("alexnet", {"width": 2}, "unknown knob of alexnet 'width': it has none"),
        ("mobilenet-v1", {"widht": 2}, "unknown knob of mobilenet-v1 'widht': did you mean 'width'?"),
        ("mobilenet-v1", {"width": 0}, "width must be positive, not 0"),
        ("mobilenet-v1", {"width": "a"}, "width must be like 1.0, not 'a'"),
        ("resnet18", {"blocks": (2, 2)}, "blocks must be like (2, 2, 2, 2), not (2, 2)"),
        ("resnet20", {"depth": 21}, "the depth must be 6n + 2, not 21"),
        ("densenet-bc100-12", {"depth": 41}, "the depth must be 6n + 4, not 41"),
        (
            "alexnet:2013",
            {},
            "unknown variant '2013' of 'alexnet': choose one of alexnet, alexnet:torchvision, alexnet:taught",
        ),
        ("alexnt", {}, "unknown network 'alexnt': did you mean 'alexnet'?"),
    ],
)
def test_a_wish_that_cannot_be_is_one_clear_line(name, wish, message):
    with pytest.raises(UsageError) as error:
        network(name, **wish)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_image_too_small_names_the_layer_and_the_smallest_that_works():
    with pytest.raises(ShapeError) as error:
        measure(network("alexnet"), (3, 28, 28))
    assert str(error.value) == (
        "pool2: a 3×3 window does not fit (input 256×2×2): the smallest square image that works is 67×67"
    )
    measure(network("alexnet"), (3, 67, 67))


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "densenet121", "lenet", "nin:taught"])
def test_the_smallest_image_works_and_the_next_smaller_does_not(name):
    channels = entry(name).input[0]
    side = smallest_input(network(name), channels)
    measure(network(name), (channels, side, side))
    with pytest.raises(ShapeError):
        measure(network(name), (channels, side - 1, side - 1))


def test_a_shape_error_tries_few_sizes_and_none_where_no_size_would_help(monkeypatch):
    tried, fold_once = [], fold._measure
    monkeypatch.setattr(fold, "_measure", lambda tree, shape: tried.append(shape) or fold_once(tree, shape))
    with pytest.raises(ShapeError, match="the smallest square image that works is 32×32"):
        measure(network("vgg16"), (3, 8, 8))
    assert len(tried) <= 12
    tried.clear()
    with pytest.raises(ShapeError):
        measure(Sequential(Conv2d(6, 3, groups=3)), (4, 9, 9))
    assert len(tried) == 1


def test_channels_that_the_groups_cannot_split_are_named():
    with pytest.raises(ShapeError) as error:
        measure(Sequential(towers=Conv2d(6, 3, groups=3)), (4, 9, 9))
    assert str(error.value) == "towers: 4 input channels cannot be split into 3 groups (input 4×9×9)"
    assert smallest_input(Sequential(Conv2d(6, 3, groups=3)), 4) is None
