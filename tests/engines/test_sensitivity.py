"""The output of a path and the gradient of chosen logits with respect to it: both engines against torch's hooks."""

import numpy as np
import pytest
import torch

from neoclassic import engines, networks
from neoclassic.base.errors import UsageError
from neoclassic.engines import weights as arrays

CASES = {
    "lenet": ((1, 28, 28), ["conv2", "sigmoid2", "pool2", "fc2", "conv1"]),
    "lenet:1998": ((1, 32, 32), ["c3", "s4.tanh", "f6"]),
    "deepconvnet": ((1, 28, 28), ["relu6", "pool1"]),
    "mnist-inception": ((1, 28, 28), ["inception2", "inception1.branch5x5", "stage1.pool"]),
    "nin:cifar": ((3, 32, 32), ["stage3.relu2", "stage2.conv1"]),
    "googlenet": ((3, 80, 80), ["inception4e", "stage1.lrn", "inception3a.branch_pool.pool"]),
    "resnet18": ((3, 64, 64), ["stage3", "stage2.block1.sum", "stem.bn"]),
    "resnet20": ((3, 32, 32), ["stage3.block1.sum.shortcut", "stage3"]),
    "densenet:taught": ((1, 32, 32), ["block2.layer4", "transition1", "block1.layer2.input"]),
    "mobilenet-v3-small": ((3, 64, 64), ["last", "block4", "block5.path.excite"]),
}
TRAINING = ["torch", "numpy"]


def reference(module, path, images, weights):
    """The two inputs of Grad-CAM in the usual way: a forward hook and a backward pass."""
    kept = {}
    handle = dict(module.named_modules())[path].register_forward_hook(lambda _m, _x, y: kept.update(y=y))
    x = torch.from_numpy(images).requires_grad_()
    (module.eval()(x) * torch.from_numpy(weights)).sum().backward(inputs=[x], retain_graph=True)
    (gradient,) = torch.autograd.grad((module(x) * torch.from_numpy(weights)).sum(), kept["y"])
    handle.remove()
    return kept["y"].detach().numpy(), gradient.numpy()


@pytest.mark.parametrize("engine", TRAINING)
@pytest.mark.parametrize("name", CASES)
def test_sensitivity_agrees_with_hooks(name, engine):
    shape, paths = CASES[name]
    tree, rng = networks.network(name, 10), np.random.default_rng(3)
    weights = {key: array.astype(np.float64) for key, array in arrays.initial(tree, shape, seed=1).items()}
    for key in weights:  # as if the network had been trained a little
        if key.endswith(("running_mean", "bias")):
            weights[key] = rng.normal(0, 0.1, weights[key].shape)
    images, choice = rng.normal(size=(3, *shape)), rng.normal(size=(3, 10))
    runs = engines.create(engine, tree, shape, weights, device="cpu")
    module = engines.create("torch", tree, shape, weights, device="cpu").module
    for path in paths:
        features, gradient = runs.sensitivity(images, path, choice)
        wanted, slope = reference(module, path, images, choice)
        assert features.shape == gradient.shape == wanted.shape
        np.testing.assert_allclose(features, wanted, rtol=1e-6, atol=1e-8 * np.abs(wanted).max(), err_msg=path)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-8 * np.abs(slope).max(), err_msg=path)
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("engine", TRAINING)
def test_an_unknown_path_is_a_usage_error(engine):
    tree = networks.network("lenet")
    runs = engines.create(engine, tree, (1, 28, 28), arrays.initial(tree, (1, 28, 28)), device="cpu")
    with pytest.raises(UsageError, match="nowhere"):
        runs.sensitivity(np.zeros((1, 1, 28, 28), np.float32), "nowhere", np.zeros((1, 10), np.float32))
