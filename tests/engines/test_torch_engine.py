"""What the torch engine computes in its own way equals what torch computes."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from neoclassic import tree as nodes  # noqa: E402
from neoclassic.base.errors import NeoclassicError  # noqa: E402
from neoclassic.engines.torch import TorchEngine  # noqa: E402
from neoclassic.engines.torch.faster import CPUAvgPool2d, CPUConv2d, SpaceToDepthConv2d, faster  # noqa: E402
from neoclassic.engines.torch.modules import AvgPool2d, build, build_combinator, build_layer  # noqa: E402
from neoclassic.engines.torch.synchronized import SyncBatchNorm, synchronized  # noqa: E402
from neoclassic.engines.weights import initial  # noqa: E402
from neoclassic.networks import network  # noqa: E402

CPU = torch.device("cpu")
CONVOLUTIONS = [  # N×C×H×W, then channels, kernel, stride, padding, groups
    ((4, 32, 3, 3), (8, 3, 1, 1, 1)),
    ((4, 32, 6, 6), (16, 1, 1, 0, 1)),
    ((4, 16, 7, 9), (8, 3, 2, 1, 1)),
    ((4, 8, 9, 9), (16, (3, 2), (2, 1), (1, 0), 1)),
    ((4, 16, 12, 12), (16, 3, 2, 1, 16)),
    ((4, 16, 11, 12), (16, 3, 2, 0, 16)),
    ((4, 16, 2, 2), (16, 3, 1, 1, 16)),
    ((4, 16, 7, 6), (16, (5, 3), (2, 1), (2, 0), 16)),
    ((4, 16, 12, 12), (16, 5, 1, 2, 16)),
    ((4, 16, 24, 24), (16, 3, 1, 1, 1)),
    ((4, 2, 24, 24), (6, 5, 1, 2, 1)),
    ((4, 256, 3, 3), (256, 3, 1, 1, 1)),
    ((4, 256, 5, 6), (256, 3, 2, 1, 1)),
    ((4, 256, 1, 2), (256, (5, 3), 1, (2, 1), 1)),
    ((4, 256, 4, 4), (256, 3, 2, 0, 1)),
]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize(("shape", "options"), CONVOLUTIONS)
def test_a_convolution_in_bfloat16_has_the_gradients_of_one_in_float32(shape, options, layout):
    """Within 1 %, or as close as torch's own layer is on a CPU without bfloat16 in hardware."""
    channels, kernel, stride, padding, groups = options
    errors = []
    for convert in (lambda layer: faster(layer, CPU), lambda layer: layer):
        torch.manual_seed(0)
        layer = convert(torch.nn.Conv2d(shape[1], channels, kernel, stride, padding, groups=groups))
        assert isinstance(layer, CPUConv2d) == (not errors)
        x = torch.randn(shape).bfloat16().float().contiguous(memory_format=layout).requires_grad_()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(parameter.bfloat16())
        results = []
        for lower in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=lower):
                y = layer(x)
            assert y.dtype == (torch.bfloat16 if lower else torch.float32)
            dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
            dy = dy.bfloat16().contiguous(memory_format=layout).to(y.dtype)
            results.append((y.detach().float(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), dy)))
        assert [y.dtype for y in results[1]] == [y.dtype for y in results[0]]
        errors.append([((b - a).abs().max() / a.abs().max()).item() for a, b in zip(*results, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours < max(0.01, 1.01 * theirs)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(3, 5, 8, 12), (2, 6, 28, 28), (2, 16, 28, 28)])
def test_means_of_2_by_2_pixels_have_torchs_outputs_and_gradients(shape, layout, dtype):
    torch.manual_seed(0)
    plain = AvgPool2d(2, 2)
    fast = faster(plain, CPU)
    assert isinstance(fast, CPUAvgPool2d)
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    results = []
    for layer in (plain, fast):
        y = layer(x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        results.append((y, *torch.autograd.grad(y, x, dy.contiguous(memory_format=layout))))
    for expected, ours in zip(*results, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("options", [(6, 5, 1, 2), (4, 3, 1, 0), (5, 7, 1, 4)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_of_2_by_2_pixels_have_the_means_and_gradients_of_the_pixels(channels, options):
    torch.manual_seed(0)
    convolution = nodes.Conv2d(*options)
    front = nodes.Sequential(conv=convolution, act=nodes.Sigmoid(), pool=nodes.AvgPool2d(2))
    module = faster(build(front, (channels, 16, 12)), CPU)
    assert isinstance(module.conv, SpaceToDepthConv2d)
    x = torch.randn(4, channels, 16, 12).requires_grad_()
    results = []
    for lower in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            y = module(x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        results.append((y.float(), *torch.autograd.grad(y, (x, *module.parameters()), dy.to(y.dtype))))
    for expected, ours in zip(*results, strict=True):
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() < 0.02 * expected.abs().max()
    assert torch.equal(module.eval()(x), results[0][0])


@pytest.mark.parametrize("shape", [(2, 3, 8, 7), (2, 3, 7, 8)])
def test_means_of_odd_maps_equal_torchs(shape):
    layer = faster(AvgPool2d(2, 2), CPU)
    x = torch.randn(shape)
    assert torch.equal(layer(x), torch.nn.functional.avg_pool2d(x, 2))


def test_synchronized_batch_norms_keep_names_and_numbers():
    torch.manual_seed(0)
    module = build(network("lenet:bn", 10), (1, 28, 28))
    x = torch.randn(4, 1, 28, 28)
    module(x)  # changes the statistics
    before, y = module.state_dict(), module.eval()(x)
    module = synchronized(module)
    assert sum(isinstance(m, SyncBatchNorm) for m in module.modules()) == 4
    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], w) for key, w in before.items())
    assert torch.equal(module.eval()(x), y)


@pytest.mark.parametrize("reason", [KeyError("getpwuid(): uid not found: 12345"), OSError("no username set")])
def test_an_account_without_a_name_has_a_folder_for_compiled_code(reason, monkeypatch, tmp_path):
    def nobody():
        raise reason

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that monkeypatch restores it
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr("neoclassic.engines.torch.devices.compiles", lambda device: True)
    tree, shape = network("lenet"), (1, 28, 28)
    TorchEngine(tree, shape, initial(tree, shape), "cpu", compiled=True)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"].startswith(str(tmp_path))


@pytest.mark.parametrize("name", ["lenet", "lenet:bn"])
def test_inexact_logits_are_in_bfloat16_and_exact_ones_in_float32(name):
    tree, shape = network(name), (1, 28, 28)
    weights = initial(tree, shape)
    images = np.random.default_rng(0).standard_normal((20, *shape), np.float32)
    plain, fast = TorchEngine(tree, shape, weights, "cpu"), TorchEngine(tree, shape, weights, "cpu", bfloat16=True)
    exact = plain.logits(images)
    np.testing.assert_array_equal(plain.logits(images, exact=False), exact)
    np.testing.assert_allclose(fast.logits(images), exact, atol=1e-5)
    inexact = fast.logits(images, exact=False)
    assert inexact.dtype == np.float32
    assert 0 < np.abs(inexact - exact).max() < 0.02 * np.abs(exact).max()


# Batch norms, dropout, auxiliary heads and branches.
SMALL = nodes.Sequential(
    nodes.Conv2d(4, 5, padding=2),
    nodes.BatchNorm2d(),
    nodes.ReLU(),
    nodes.MaxPool2d(2),
    nodes.Auxiliary(nodes.AdaptiveAvgPool2d(1), nodes.Flatten(), nodes.Linear(3)),
    nodes.Concat(a=nodes.Conv2d(2, 1), b=nodes.Sequential(nodes.Conv2d(3, 1), nodes.ReLU())),
    *(nodes.Flatten(), nodes.Dropout(0.5), nodes.Linear(3)),
)


def test_a_faster_module_shares_the_parameters_and_leaves_the_module_as_it_is():
    module = build(SMALL, (1, 8, 8))
    kinds = [type(m) for m in module.modules()]
    fast = faster(module, CPU)
    assert [type(m) for m in module.modules()] == kinds
    assert list(fast.state_dict()) == list(module.state_dict())
    for ours, theirs in ((fast.named_parameters(), module.parameters()), (fast.named_buffers(), module.buffers())):
        assert all(one is other for (_, one), other in zip(ours, theirs, strict=True))
    fast.eval()
    assert module.training
    assert all(m.training for m in module.modules())
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    x, before = torch.randn(4, 1, 8, 8), module.conv.weight.detach().clone()
    logits, side = fast.train()(x)
    (logits.sum() + side.square().sum()).backward()
    optimizer.step()
    assert not torch.equal(module.conv.weight, before)
    assert torch.equal(module.eval()(x), fast.eval()(x))


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module)), lambda module: saved_and_loaded(module)],
    ids=["deepcopy", "pickle", "torch.save"],
)
@pytest.mark.parametrize("form", [lambda module: module, lambda module: faster(module, CPU)], ids=["plain", "faster"])
def test_a_copy_of_a_module_computes_the_same_and_is_independent(form, copied):
    module = form(build(SMALL, (1, 8, 8)))
    other, x = copied(module), torch.randn(4, 1, 8, 8)
    assert [*other.state_dict()] == [*module.state_dict()]
    wanted = module.eval()(x)
    assert torch.equal(other.eval()(x), wanted)
    torch.manual_seed(0)
    expected = module.train()(x)
    torch.manual_seed(0)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(other.train()(x), expected, strict=True))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(module.state_dict()["conv.weight"], module.conv.weight)
    assert module.conv.weight.any()


def saved_and_loaded(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_a_shallow_copy_of_a_module_shares_its_parameters():
    module = build(SMALL, (1, 8, 8))
    other = copy.copy(module)
    assert other is not module
    assert all(one is two for one, two in zip(other.parameters(), module.parameters(), strict=True))


@pytest.mark.parametrize("operation", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda f: f.__name__)
def test_an_engine_says_that_it_cannot_be_copied(operation):
    engine = TorchEngine(SMALL, (1, 8, 8), initial(SMALL, (1, 8, 8)), "cpu")
    with pytest.raises(TypeError, match=r"^a TorchEngine cannot be copied or pickled: keep its weights\(\) [^\n]+$"):
        operation(engine)


def test_hasattr_answers():
    module = build(SMALL, (1, 8, 8))
    engine = TorchEngine(SMALL, (1, 8, 8), initial(SMALL, (1, 8, 8)), "cpu")
    for each in (module, faster(module, CPU), engine, engine.module):
        for name in ("nothing", "__deepcopy__", "__array__", "_repr_html_"):
            assert hasattr(each, name) in (True, False)
        assert not hasattr(each, "nothing")
    assert hasattr(module, "conv")


def test_a_node_without_a_module_is_an_error():
    @dataclass(frozen=True, repr=False)
    class LeakyReLU(nodes.Node):
        slope: float = 0.01

    class Mean(nodes.Combinator):
        pass

    with pytest.raises(NeoclassicError, match=r"^act: the torch engine does not know LeakyReLU: add a rule [^\n]+$"):
        build_layer(LeakyReLU(), "act", 3)
    with pytest.raises(NeoclassicError, match=r"^the network: the torch engine does not know Mean: add a rule"):
        build_combinator(Mean(nodes.ReLU()), "", {})
    del LeakyReLU, Mean
    gc.collect()  # other tests enumerate the subclasses of Node
