"""What the onnx engine refuses. That its answers are right is tested with the export."""

import pytest

from neoclassic import engines
from neoclassic.base.errors import UsageError
from neoclassic.engines.weights import initial
from neoclassic.networks import network

SHAPE = (1, 28, 28)


@pytest.fixture
def engine():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tree = network("lenet")
    return engines.create("onnx", tree, SHAPE, initial(tree, SHAPE))


def test_it_has_no_training(engine):
    with pytest.raises(UsageError, match="the onnx engine only predicts: use --engine numpy"):
        engine.step(None, None, 0.1)
    assert not hasattr(engine, "step")
    assert hasattr(engine, "logits")
    assert getattr(engine, "weights", None) is None
