"""Memory and receptive fields against torch: saved tensors, live tensors, and the gradients of one unit."""

import weakref
from dataclasses import fields

import pytest
import torch
from kinds import each
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neoclassic import networks
from neoclassic.engines.torch import modules as engine
from neoclassic.measure import measure
from neoclassic.tree import (
    RBF,
    AvgPool2d,
    BatchNorm2d,
    Combinator,
    Conv2d,
    Dropout,
    Hardsigmoid,
    Hardswish,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    PadChannels,
    ReLU,
    ReLU6,
    Select,
    Sequential,
    Sigmoid,
    Tanh,
)

COSTED = [
    *("lenet", "lenet:1998", "alexnet", "nin:cifar", "vgg11", "googlenet:taught", "resnet18", "resnet18:v2"),
    *("densenet:taught", "mobilenet-v2", "mobilenet-v3-small", "mnist-inception", "deepconvnet"),
]


def storage(tensor):
    return tensor.untyped_storage()._cdata


def own(module):
    return {storage(t) for t in [*module.parameters(), *module.buffers()]}


@pytest.mark.parametrize("name", COSTED)
def test_training_memory_is_what_autograd_keeps(name):
    row, batch = networks.entry(name), 2
    module, kept = engine.build(networks.network(name), row.input).train(), {}
    weights, alive = own(module), []

    def keep(tensor):
        if storage(tensor) not in weights:
            kept[storage(tensor)] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(torch.rand(batch, *row.input))
    assert output is not None
    assert measure(networks.network(name), row.input).memory(batch).training == pytest.approx(
        sum(kept.values()), rel=0.03
    )


class Live(TorchDispatchMode):
    """Counts the bytes of all arrays that are alive."""

    def __init__(self, known):
        super().__init__()
        self.now = self.peak = 0
        self.known = dict.fromkeys(known, 0)

    def add(self, tensor):
        whole, key = tensor.untyped_storage(), storage(tensor)
        if key not in self.known:
            self.known[key] = size = whole.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(whole, self.free, key)

    def free(self, key):
        self.now -= self.known.pop(key)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return result


@pytest.mark.parametrize("name", COSTED)
def test_inference_memory_is_what_torch_has_alive_at_most(name):
    row, batch = networks.entry(name), 2
    module = engine.build(networks.network(name), row.input).eval()
    images = torch.rand(batch, *row.input)
    with torch.no_grad(), Live(own(module)) as live:
        live.add(images)
        module(images)
    assert measure(networks.network(name), row.input).memory(batch).inference == pytest.approx(live.peak, rel=0.03)


# ── receptive fields ─────────────────────────────────────────────────────────────────────────────────

PASSED = (
    *(ReLU, ReLU6, Sigmoid, Tanh, Hardsigmoid, Hardswish),
    *(BatchNorm2d, LocalResponseNorm, Dropout, Select, PadChannels),
)


def thin(node):
    """The tree with one channel per layer and nothing that could block a gradient. Receptive fields are the same.

    Maxima become averages; activations, norms and channel selections are removed."""
    if isinstance(node, Combinator):
        options = {f.name: getattr(node, f.name) for f in fields(node) if f.name != "children"}
        return type(node).of({name: thin(child) for name, child in node.children}, **options)
    if isinstance(node, MaxPool2d):
        return AvgPool2d(node.kernel_size, node.stride, node.padding, node.ceil_mode)
    if isinstance(node, Conv2d):
        return Conv2d(1, node.kernel_size, node.stride, node.padding)
    if isinstance(node, RBF):
        return Linear(1)
    return Identity() if isinstance(node, PASSED) else node


def opened(tree):
    """The paths of the main path: the children of the root, and of the sequences in it."""
    for name, child in tree.children:
        yield name
        if isinstance(child, Sequential):
            yield from (f"{name}.{inner}" for inner in opened(child))


def seen(gradient):
    """The first pixel that a gradient reaches along height and width, and the one after the last."""
    reached = gradient.abs().sum((0, 1)) > 0
    spans = [reached.any(1 - axis).nonzero()[:, 0] for axis in (0, 1)]
    return [(int(span[0]), int(span[-1]) + 1) for span in spans]


def module_that_lets_everything_pass(tree, shape):
    module = engine.build(tree, shape).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(1 / p[0].numel() if p.ndim > 1 else 0.0)
    for child in module.modules():
        if isinstance(child, engine.Product):
            child.__class__ = engine.Sum  # a sum sees what a product sees, without its huge numbers
    return module


@pytest.mark.parametrize("name", each())
def test_a_unit_sees_the_pixels_that_its_gradient_reaches(name):
    tree, shape = networks.network(name), networks.entry(name).input
    m, module = measure(tree, shape), module_that_lets_everything_pass(thin(tree), (1, *shape[1:]))
    image = torch.ones(1, 1, *shape[1:], dtype=torch.double, requires_grad=True)
    outputs = {}
    for path, child in module.named_modules():
        child.register_forward_hook(lambda _m, _x, y, path=path: outputs.update({path: y}))
    module(image)
    looked = list(dict.fromkeys((m[p].output, m[p].fields, p) for p in opened(tree) if len(m[p].output) == 3))
    distinct = {(output[1:], along): path for output, along, path in looked}
    assert len(distinct) >= 4
    for path in list(distinct.values())[:: -(-len(distinct) // 8)]:
        row = m[path]
        _, height, width = row.output
        for y, x in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
            (gradient,) = torch.autograd.grad(outputs[path][0, :, y, x].sum(), image, retain_graph=True)
            found = seen(gradient)
            wanted = [f.pixels(i, side) for f, i, side in zip(row.fields, (y, x), shape[1:], strict=True)]
            # at the image's far edge a field may end in pixels that a stride left over, or in inner padding
            found = [
                (f[0], w[1]) if w[1] == side and f[1] <= side else f
                for f, w, side in zip(found, wanted, shape[1:], strict=True)
            ]
            assert found == wanted, f"{path} at {y}, {x}"
