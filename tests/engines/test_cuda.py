"""On a CUDA device, steps that are captured once and replayed compute the same as on the CPU."""

import numpy as np
import pytest
from parity import agree, batch_of, close, smooth, weights_of

from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.data.resizing import Resized
from neoclassic.engines import Optimizer
from neoclassic.engines.weights import initial
from neoclassic.model.inputs import inputs, resident
from neoclassic.networks import network

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from neoclassic.engines.torch import TorchEngine  # noqa: E402
from neoclassic.engines.torch.cuda_graphs import GraphedFunction  # noqa: E402

NETWORKS = {
    "lenet": 28,
    "lenet:bn": 28,
    "mnist-inception": 28,
    "resnet20": 32,
    "mobilenet-v1:taught": 32,
    "nin:taught": 67,
}
STABLE = [name for name in NETWORKS if "mobilenet" not in name]  # networks whose gradients are stable in bfloat16
RULES = {
    "momentum": (Optimizer("sgd", momentum=0.9, nesterov=True, weight_decay=5e-4, decay_all=False), False),
    "adam": (Optimizer("adam", clip=1.0, average=0.9), True),
    "rmsprop": (Optimizer("rmsprop", eps=1e-3), False),
    "adagrad": (Optimizer("adagrad"), False),
}


def pair(name, side, n, soft=False):
    tree = network(name, 10)
    shape = (3 if name == "resnet20" else 1, side, side)
    weights = initial(tree, shape)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((n, *shape), np.float32)
    labels = rng.dirichlet(np.ones(10), n).astype(np.float32) if soft else rng.integers(0, 10, n)
    return TorchEngine(tree, shape, weights, "cpu"), TorchEngine(tree, shape, weights, "cuda"), images, labels


@pytest.mark.parametrize(("name", "side"), NETWORKS.items())
def test_logits_and_gradients_equal_the_cpus(name, side):
    cpu, cuda, images, _ = pair(name, side, 16)
    np.testing.assert_allclose(cuda.logits(images), cpu.logits(images), atol=1e-4, rtol=1e-4)
    tree = smooth(cpu.tree)  # at a corner, rounding may choose either gradient
    weights, batch = weights_of(tree, cpu.input, np.float32), batch_of(tree, cpu.input, 8, np.float32)
    agree(TorchEngine(tree, cpu.input, weights, "cuda"), TorchEngine(tree, cpu.input, weights, "cpu"), *batch, 5e-4)


@pytest.mark.parametrize("rule", RULES)
def test_replayed_steps_equal_the_cpus(rule):
    optimizer, soft = RULES[rule]
    cpu, cuda, images, labels = pair("lenet", 28, 48, soft)
    for engine in (cpu, cuda):
        engine.optimize(optimizer)
        for step in range(3 * (GraphedFunction.WARM_UP + 2)):  # two whole batches, a smaller one, and so on
            part = slice(32, 48) if step % 3 == 2 else slice(16 * (step % 3), 16 * (step % 3) + 16)
            engine.step(images[part][: 16 - 4 * (step % 3 == 2)], labels[part][: 16 - 4 * (step % 3 == 2)], 0.01, step)
        engine.swap_average()
    if cuda._graphs is not None:
        assert all(each.graph is not None for each in cuda._graphs.values())
    ours, theirs = cuda.metrics(), cpu.metrics()
    assert (ours.n, ours.loss) == (theirs.n, pytest.approx(theirs.loss, abs=1e-4))
    for key, w in cpu.weights().items():
        np.testing.assert_allclose(cuda.weights()[key], w, atol=2e-4, err_msg=key)
    for key, w in cpu.optimizer_state().items():
        np.testing.assert_allclose(cuda.optimizer_state()[key], w, atol=2e-3, err_msg=key)


def test_dropout_follows_from_the_seed_in_replayed_steps():
    def trained(seed):
        _, cuda, images, labels = pair("nin:taught", 67, 8)
        cuda.optimize(Optimizer("sgd"))
        for step in range(GraphedFunction.WARM_UP + 4):
            cuda.step(images, labels, 0.01, seed + step)
        return cuda.weights()

    one, same, other = trained(1), trained(1), trained(100)
    distance = max(np.abs(other[k] - w).max() for k, w in one.items())
    assert max(np.abs(same[k] - w).max() for k, w in one.items()) < distance / 100


@pytest.mark.parametrize(
    "p", [Preprocessing((96, 96), 1), Preprocessing((28, 28), 1, mean=(0.3,), std=(0.35,))], ids=str
)
def test_images_reach_the_network_bit_for_bit(p):
    _, cuda, _, _ = pair("lenet", 28, 1)
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1), dtype=np.uint8)
    images = Resized(images, p) if p.size != (28, 28) else images
    on_device = resident(cuda, images)
    for index in (slice(0, 20), torch.arange(50, device="cuda").flip(0)):
        x = inputs(cuda, on_device[index], p)
        assert x.device.type == "cuda"
        np.testing.assert_array_equal(
            x.cpu().numpy(), to_input(images[index if isinstance(index, slice) else index.cpu().numpy()], p)
        )


@pytest.mark.parametrize("name", STABLE)
def test_gradients_in_bfloat16_point_the_same_way(name):
    side = NETWORKS[name]
    cpu, _, images, labels = pair(name, side, 32)
    cuda = TorchEngine(cpu.tree, cpu.input, cpu.weights(), "cuda", bfloat16=True)
    masks = batch_of(cpu.tree, cpu.input, 32, np.float32)[2]
    ours, theirs = (engine.gradients(images, labels, masks) for engine in (cuda, cpu))
    assert ours.loss == pytest.approx(theirs.loss, rel=0.02)
    one, other = (np.concatenate([each.weights[k].ravel() for k in theirs.weights]) for each in (ours, theirs))
    assert one @ other > 0.98 * np.linalg.norm(one) * np.linalg.norm(other)
    close("logits", cuda.logits(images, exact=False), cpu.logits(images), 0.05)
