"""The Triton kernels against torch's layers. Without a GPU, Triton's interpreter runs them on the CPU."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from parity import close, weights_of

from neoclassic.tree import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Sum,
)

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from neoclassic.engines.torch import cuda, modules  # noqa: E402
from neoclassic.engines.torch.cuda.depthwise import depthwise_conv2d  # noqa: E402
from neoclassic.engines.torch.cuda.fusion import TritonConv2d, with_triton  # noqa: E402
from neoclassic.engines.torch.cuda.stem import stem_conv2d  # noqa: E402
from neoclassic.engines.torch.faster import FusedSequential, fastest  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def maps(*shape, more=0):
    """Random channels-last maps, whose values differ from each other and from 0; a slice of maps with more channels."""
    torch.manual_seed(sum(shape))
    N, C, H, W = shape
    wide = (torch.randperm(N * H * W * (C + more)) - 0.5 * N * C * H * W + 0.25) / (N * C * H * W)
    wide = wide.view(N, H, W, C + more).permute(0, 3, 1, 2).to(DEVICE)
    return wide[:, :C]


def same(ours, theirs, *inputs):
    """Assert that a function in float32 and another in float64 have the same outputs and gradients.

    The gradient of the output is a slice of a wider map, as it is before a concatenation.
    """
    results = []
    for function, dtype in ((ours, torch.float32), (theirs, torch.float64)):
        given = [x.detach().to(dtype, copy=True).requires_grad_() for x in inputs]
        y = function(*given)
        results.append([y, *torch.autograd.grad(y, given, maps(*y.shape, more=8).to(dtype))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)


POOLS = {
    "halves": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 2),
    "padded": nn.MaxPool2d(3, 2, 1),
    "same size": nn.MaxPool2d(3, 1, 1),
    "rounded up": nn.MaxPool2d(3, 2, ceil_mode=True),
    "padded and rounded up": nn.MaxPool2d(2, 2, 1, ceil_mode=True),
    "with gaps": nn.MaxPool2d(2, 3),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("shape", [(2, 16, 12, 11), (3, 6, 7, 7), (1, 24, 8, 9)], ids=str)
def test_max_pool(pool, shape):
    x, bias = maps(*shape), torch.linspace(-0.3, 0.3, shape[1], device=DEVICE)
    assert cuda.supports_max_pool(pool)
    same(lambda x: cuda.max_pool2d(x, pool), pool, x)

    def theirs(x, bias):
        return pool(functional.relu(x + bias[:, None, None]))

    same(lambda x, bias: cuda.max_pool2d(x, pool, bias, relu=True), theirs, x, bias)


@pytest.mark.parametrize("shape", [(2, 16, 12, 11), (3, 6, 5, 5), (5, 96, 1, 1)], ids=str)
def test_add(shape):
    x, other, bias = maps(*shape), maps(*shape, more=8).flip(0), torch.linspace(-0.3, 0.3, shape[1], device=DEVICE)
    same(lambda x, other: cuda.add(x, other, relu=True), lambda x, other: functional.relu(x + other), x, other)
    same(lambda x, b: cuda.add(x, bias=b), lambda x, b: x + b[:, None, None], x, bias)
    same(lambda x, b: cuda.add(x, bias=b, relu=True), lambda x, b: functional.relu(x + b[:, None, None]), x, bias)


@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), nn.AvgPool2d(3, 2), nn.AvgPool2d(2, 3)], ids=str)
def test_avg_pool(pool):
    assert cuda.supports_avg_pool(pool)
    assert not cuda.supports_avg_pool(nn.AvgPool2d(3, 1, 1))
    same(lambda x: cuda.avg_pool2d(x, pool), pool, maps(2, 16, 11, 12))


@pytest.mark.parametrize(
    ("shape", "kernels", "S", "P"),
    [((2, 1, 23, 22), (6, 5), 1, 2), ((3, 1, 27, 27), (96, 11), 4, 1), ((2, 3, 9, 9), (64, 7), 2, 3)],
    ids=str,
)
def test_stem(shape, kernels, S, P):
    x, weight = maps(*shape).contiguous(), maps(kernels[0], shape[1], kernels[1], kernels[1])
    same(lambda w: stem_conv2d(x, w, S, P, w.dtype), lambda w: functional.conv2d(x.double(), w, None, S, P), weight)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(2, 16, 12, 11), (3, 6, 5, 5), (40, 96, 5, 5)], ids=str)
def test_batch_norm(shape, relu):
    C = shape[1]
    x, bias = maps(*shape) + 7, torch.linspace(-3, 3, C, device=DEVICE)
    norms = [nn.BatchNorm2d(C, 1e-3, 0.3).to(DEVICE, dtype) for dtype in (torch.float32, torch.float64)]
    weight, shift = torch.linspace(-1, 1, C, device=DEVICE), torch.linspace(-0.5, 0.5, C, device=DEVICE)

    def set_to(norm, weight, shift):
        norm.__dict__ |= {"weight": weight, "bias": shift}
        norm._parameters.clear()
        return norm

    def ours(x, weight, shift):
        return cuda.batch_norm(x, set_to(norms[0], weight, shift), bias, relu)

    def theirs(x, weight, shift):
        y = set_to(norms[1], weight, shift)(x + bias[:, None, None])
        return functional.relu(y) if relu else y

    same(ours, theirs, x, weight, shift)
    for running in ("running_mean", "running_var"):
        one, other = (getattr(norm, running).double() for norm in norms)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    cuda.batch_norm(x, norms[0], bias.requires_grad_()).sum().backward()
    assert not bias.grad.any()


@pytest.mark.parametrize(("K", "S", "P"), [(3, 1, 1), (3, 2, 1), (5, 2, 2), (5, 1, 2)])
@pytest.mark.parametrize("shape", [(2, 16, 12, 11), (3, 6, 7, 7)], ids=str)
def test_depthwise(shape, K, S, P):
    x, weight = maps(*shape), maps(shape[1], 1, K, K)
    same(
        lambda x, w: depthwise_conv2d(x, w, S, P),
        lambda x, w: functional.conv2d(x, w, None, S, P, groups=shape[1]),
        x,
        weight,
    )


def test_bfloat16_is_rounded_once():
    x, bias = maps(2, 16, 6, 6).bfloat16(), torch.linspace(-0.3, 0.3, 16, device=DEVICE)
    wanted = functional.relu(functional.max_pool2d(x.float(), 2) + bias[:, None, None]).bfloat16()
    tolerance = 0 if DEVICE == "cuda" else 2**-7  # the interpreter truncates where a GPU rounds
    torch.testing.assert_close(cuda.max_pool2d(x, nn.MaxPool2d(2), bias, relu=True), wanted, atol=0, rtol=tolerance)


def test_unsupported_windows():
    assert not cuda.supports_max_pool(nn.MaxPool2d((2, 3)))
    assert not cuda.supports_max_pool(nn.MaxPool2d(16))


# Every step that `with_triton` fuses, and what it leaves as it is.
BLOCK = Sequential(
    depthwise=Conv2d(16, 3, padding=1, groups=16, bias=False),
    bn1=BatchNorm2d(),
    relu=ReLU(),
    conv=Conv2d(16, 3, padding=1),
    bn2=BatchNorm2d(),
)
TREE = Sequential(
    Sequential(Conv2d(16, 3, padding=1), ReLU(), MaxPool2d(3, 2, 1)),
    Sequential(Sum(path=BLOCK, shortcut=Identity()), ReLU()),
    Sequential(BatchNorm2d(), ReLU(), MaxPool2d(2), Conv2d(8, 1), AvgPool2d(2)),
    Concat(
        a=Sequential(Conv2d(8, 1), ReLU()),
        b=Sequential(Conv2d(16, 3, padding=1), ReLU(), Conv2d(8, 1), Sigmoid()),
        c=Sequential(MaxPool2d(3, 1, 1), Conv2d(8, 1, bias=False), ReLU()),
    ),
    *(Conv2d(10, 1), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Linear(10)),
)


def test_a_network_of_every_fused_step():
    shape = (1, 18, 18)
    weights = weights_of(TREE, shape, np.float64)
    images = np.random.default_rng(0).standard_normal((4, *shape))
    results = []
    for dtype, kernels in ((torch.float64, False), (torch.float32, True)):
        module = modules.build(TREE, shape)
        modules.load(module, weights)
        module.to(DEVICE, dtype, memory_format=torch.channels_last).train()
        running = with_triton(module, fused=True) if kernels else module
        assert any(isinstance(m, FusedSequential) for m in running.modules()) == kernels
        logits = running(torch.from_numpy(images).to(DEVICE, dtype))
        logits.square().sum().backward()
        state = {k: v for k, v in module.state_dict().items() if "running" in k}
        gradients = {f"gradient of {k}": p.grad for k, p in module.named_parameters()}
        results.append({"logits": logits.detach(), **gradients, **state})
    largest = max(g.abs().max() for k, g in results[0].items() if "gradient" in k).item()
    for key, wanted in results[0].items():
        close(key, results[1][key].cpu().numpy(), wanted.cpu().numpy(), 1e-5, largest if "gradient" in key else None)
    unfused = with_triton(module, fused=False)
    assert not any(isinstance(step, partial) for m in unfused.modules() for step in getattr(m, "training_steps", ()))


def test_where_triton_does_not_work(monkeypatch):
    def no_compiler(_partials):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")

    cuda.triton_error.cache_clear()
    monkeypatch.setattr("neoclassic.engines.torch.cuda.launch.sum_partials", no_compiler)
    module = modules.build(TREE, (1, 18, 18))
    reason = cuda.triton_error(torch.device(DEVICE))
    cuda.triton_error.cache_clear()
    assert reason == "Failed to find C compiler."
    monkeypatch.setattr(cuda, "triton_error", lambda device: reason)
    with pytest.warns(UserWarning, match="Triton does not work here: Failed to find C compiler.$"):
        running = fastest(module, torch.device("cuda"), triton=True, fused=True)
    assert any(isinstance(m, FusedSequential) for m in running.modules())
    assert not any(isinstance(m, TritonConv2d) for m in running.modules())


@pytest.mark.parametrize("relu", [False, True])
def test_a_frozen_norm_uses_its_running_statistics_and_keeps_them(relu):
    norm, x, bias = nn.BatchNorm2d(16).to(DEVICE), maps(2, 16, 5, 5), torch.linspace(-3, 3, 16, device=DEVICE)
    norm(maps(4, 16, 5, 5) + 7)
    norm.eval()
    before = norm.running_mean.clone()
    y = norm(x + bias[:, None, None])
    torch.testing.assert_close(cuda.batch_norm(x, norm, bias, relu), functional.relu(y) if relu else y)
    assert torch.equal(norm.running_mean, before)


def test_a_norm_of_one_number():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        cuda.batch_norm(maps(1, 16, 1, 1), nn.BatchNorm2d(16).to(DEVICE))


def test_a_depthwise_convolution_in_float64_is_torchs():
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False).to(DEVICE).double()
    x = maps(2, 16, 6, 6).double()
    torch.testing.assert_close(cuda.conv2d(layer, x), layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 4), reason="older versions have another compiler API"
)
def test_every_kernel_compiles_for_a_gpu(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run([sys.executable, script, "80"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sources = Path(cuda.__file__).parent.rglob("*.py")
    launched = {name for file in sources for name in re.findall(r"^ +(_\w+)\[", file.read_text(), re.MULTILINE)}
    assert sorted(done.stdout.split()) == sorted(launched)
