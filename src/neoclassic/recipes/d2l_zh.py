"""*Dive into Deep Learning*, Chinese edition, PyTorch: `train_ch6` and its chapters.

A. Zhang, Z. Lipton, M. Li, A. Smola, zh.d2l.ai. Common to all: Fashion-MNIST, values in [0, 1] and nothing
else, 10 epochs of plain SGD at a constant rate, Xavier-uniform weights with torch's default biases, and the
test set read after every epoch: there is no validation set, and the last model is kept.

`reaches` gives the final test accuracy over all distinct published executions of the notebooks.
"""

from __future__ import annotations

from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe

COMMON = Recipe(
    name="",
    network="",
    data="fashion-mnist",
    epochs=10,
    optimizer=Optimizer("sgd"),
    schedule="constant",
    initialisation="xavier-taught",
    standardise=False,
    validation=0.0,
)


def lenet() -> Recipe:
    return COMMON.but(
        name="d2l-zh:lenet",
        network="lenet",
        source="zh.d2l.ai, chapter 6.6",
        batch_size=256,
        learning_rate=0.9,
        reaches="median .806, .752 to .828 over 181 published runs",
    )


RECIPES = (lenet,)
