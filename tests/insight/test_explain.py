"""Class-activation maps, compared with an implementation by torch's hooks; occlusion; receptive fields; the files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from neoclassic import engines, networks
from neoclassic.base.errors import UsageError
from neoclassic.cli import main
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.engines.torch import TorchEngine
from neoclassic.insight.attribution import grad_cam, grad_cam_plus_plus, occlusion, one_hot, target_layer, upsample
from neoclassic.insight.explain import explain
from neoclassic.measure import Field, measure
from neoclassic.model.artefact import Model

NETWORKS = {  # the target layer: the last feature map larger than 1×1, as in the paper
    "lenet": ((1, 28, 28), "sigmoid2"),
    "vgg11": ((3, 64, 64), "stage5.relu2"),
    "googlenet:taught": ((1, 96, 96), "stage5.inception5b"),
    "resnet18": ((3, 64, 64), "stage4.block2.relu"),
    "densenet:taught": ((1, 96, 96), "relu"),
    "mobilenet-v2": ((3, 64, 64), "last.relu6"),
}


def hooked(module, layer, images, index):
    """Grad-CAM and Grad-CAM++ in their usual form: two hooks and a backward pass."""
    kept = {}
    target = dict(module.named_modules())[layer]
    forward = target.register_forward_hook(lambda _m, _x, y: kept.update(a=y))
    backward = target.register_full_backward_hook(lambda _m, _x, g: kept.update(g=g[0]))
    module.zero_grad()
    module(images.requires_grad_())[0, index].backward()
    forward.remove()
    backward.remove()
    a, g = kept["a"][0].detach().double(), kept["g"][0].double()
    cam = torch.relu((g.mean((1, 2), keepdim=True) * a).sum(0))
    alpha = g**2 / (2 * g**2 + (a * 1).sum((1, 2), keepdim=True) * g**3)
    plus = torch.relu(((torch.nan_to_num(alpha) * torch.relu(g)).sum((1, 2), keepdim=True) * a).sum(0))
    return cam.numpy(), plus.numpy()


@pytest.mark.parametrize("engine", ["torch", "numpy"])
@pytest.mark.parametrize("name", NETWORKS)
def test_class_activation_maps_equal_those_from_hooks(name, engine):
    shape, layer = NETWORKS[name]
    tree = networks.network(name, 10)
    assert target_layer(measure(tree, shape)) == layer
    weights = arrays.initial(tree, shape, seed=5)
    images = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    runs = engines.create(engine, tree, shape, weights, device="cpu")
    features, gradient = runs.sensitivity(images, layer, one_hot(3, 10))
    module = TorchEngine(tree, shape, weights, "cpu").module.eval()
    cam, plus = hooked(module, layer, torch.from_numpy(images), 3)
    for found, wanted in (
        (grad_cam(features[0], gradient[0]), cam),
        (grad_cam_plus_plus(features[0], gradient[0]), plus),
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * max(wanted.max(), 1e-30))


def test_every_network_has_a_target_layer():
    for name in networks.list_networks():
        m = measure(networks.network(name), networks.entry(name).input)
        assert min(m[target_layer(m)].output[1:]) > 1


def tiny(side=28, channels=1):
    tree = networks.network("lenet", 3)
    shape = (channels, side, side)
    return Model(
        "lenet",
        tree,
        shape,
        ("cat", "dog", "owl"),
        Preprocessing((side, side), channels),
        arrays.initial(tree, shape, "xavier"),
    )


def test_occlusion_finds_the_only_pixel_that_matters():
    class OnePixel:
        """An engine whose logit of class 1 is the brightness of one pixel."""

        def holds(self, nbytes):
            return False

        def logits(self, images, exact=True):
            bright = images[:, 0, 14, 14]
            return np.stack([0 * bright, 4 * bright, 0 * bright], 1)

    pixels = np.zeros((28, 28, 1), np.uint8)
    pixels[14, 14] = 255
    lost = occlusion(OnePixel(), pixels, Preprocessing((28, 28), 1), 1, patch=4)
    assert lost[14, 14] > 0.2
    y, _ = np.nonzero(lost > 1e-6)
    assert y.min() >= 10
    assert y.max() <= 19
    assert abs(lost[0, 0]) < 1e-6


def test_upsampling_fills_the_image_and_keeps_the_position():
    small = np.zeros((4, 4))
    small[3, 0] = 7
    large = upsample(small, (28, 32), (Field(7, 7), Field(8, 8)))
    assert large.shape == (28, 32)
    assert large.max() == 1
    assert large[27, 0] == 1
    assert large[:14].max() == 0


@pytest.mark.parametrize("name", ["resnet18", "mobilenet-v2", "vgg11", "alexnet:torchvision"])
def test_a_unit_stands_at_the_centre_of_what_it_sees(name):
    m = measure(networks.network(name), (3, 224, 224))
    row = m[target_layer(m)]
    for i in range(1, row.output[1] - 1):
        small = np.zeros(row.output[1:])
        small[i, 1] = 1
        y, x = np.argwhere(upsample(small, (224, 224), row.fields) > 0.999).mean(0)
        for place, unit, field in zip((y, x), (i, 1), row.fields, strict=True):
            assert abs(place - (field.start + unit * field.stride + (field.size - 1) / 2)) <= 0.5


def test_units_that_all_see_the_same_pixels_are_spread_evenly():
    small = np.zeros((1, 3))
    small[0, 2] = 1
    (row,) = upsample(small, (1, 9), (Field(9, 0), Field(9, 0)))
    assert row.tolist() == [0, 0, 0, 0, 0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1, 1]


def test_the_receptive_field_of_a_unit():
    found = explain(tiny(), tiny().engine("torch", "cpu"), np.zeros((28, 28, 1), np.uint8), path="conv2", unit=(0, 9))
    assert found.field == ((0, 12), (16, 28))  # 14 pixels, a step of 2, two of them in the padding
    assert found.features.shape == (16, 10, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "conv9"}, "did you mean 'conv"),
        ({"label": "owll"}, "did you mean 'owl'"),
        ({"path": "conv1", "unit": (28, 0)}, "28×28, counted from 0,0"),
        ({"path": "fc1", "unit": (0, 0)}, "leave --unit out"),
    ],
)
def test_unknown_paths_classes_and_units_are_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        explain(tiny(), tiny().engine("torch", "cpu"), np.zeros((28, 28, 1), np.uint8), **options)


def test_the_command_writes_pictures_and_json(tmp_path, capsys):
    tiny().save(tmp_path / "m.safetensors")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 30, 3), np.uint8)).save(tmp_path / "owl.png")
    call = ["explain", str(tmp_path / "m.safetensors"), str(tmp_path / "owl.png"), "--out", str(tmp_path / "x")]
    assert main([*call, "--json", "--class", "owl", "--path", "conv1", "--unit", "3,4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["class"] == "owl"
    assert found["sees"] == [[1, 6], [2, 7]]
    for file in found["files"].values():
        with Image.open(file) as picture:
            assert picture.width > 300
    assert set(found["files"]) == {"cam", "occlusion", "features", "filters", "receptive-field"}
    assert main([*call, "--path", "fc2"]) == 0
    assert main([*call, "--unit", "x"]) == 2
    assert main([*call[:2], str(tmp_path / "none.png")]) == 1
