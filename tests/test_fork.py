"""A child that is forked after its parent has predicted answers too: gunicorn --preload, multiprocessing by fork."""

import subprocess
import sys

import pytest

START = """
import os, signal, sys, warnings
import numpy as np
import neoclassic as nc
from neoclassic.model.artefact import Model
from neoclassic.engines import create
from neoclassic.engines.weights import initial
from neoclassic.networks import network

warnings.simplefilter("ignore")
tree, shape = network("lenet:bn", 10), (1, 28, 28)
weights = initial(tree, shape)
images = np.random.default_rng(0).standard_normal((300, *shape)).astype(np.float32)
if name == "numpy":
    from neoclassic.engines.numpy import NumpyEngine
    engine = NumpyEngine(tree, shape, weights, threads=3)
else:
    engine = create(name, tree, shape, weights, "cpu")
if name == "torch":
    import torch
    torch.set_num_threads(3)
expected = engine.logits(images)

def child(work):
    process = os.fork()
    if not process:
        signal.alarm(20)
        ok = 1
        try:
            work()
            ok = 0
        finally:
            os._exit(ok)
    return os.waitpid(process, 0)[1]

def predict():
    np.testing.assert_allclose(engine.logits(images), expected, atol=1e-5)
"""

WORK = {
    "predicts": "print(child(predict), child(predict))",
    "has a child": "def both():\n    predict()\n    assert child(predict) == 0\nprint(child(both))",
    "predicts after its parent has again": "one = child(predict); predict(); print(one, child(predict))",
    "trains": (
        "from neoclassic.engines import Optimizer\n"
        "def learn():\n"
        "    engine.optimize(Optimizer())\n"
        "    engine.step(images, np.arange(300) % 10, 0.1)\n"
        "print(child(learn))"
    ),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("name", ["numpy", "torch", "onnx"])
def test_a_forked_child_answers(name, work):
    if name == "onnx" and work == "trains":
        pytest.skip("the onnx engine only predicts")
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    code = f"name = {name!r}\n{START}\n{WORK[work]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert set(done.stdout.split()) == {"0"}, done.stderr
