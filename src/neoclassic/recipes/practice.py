"""*PyTorch Deep Learning Practice*, a video course: an Inception network and a residual network on MNIST.

Pixels are standardised with mean 0.1307 and deviation 0.3081, those of MNIST's training set. The initial weights are
torch's defaults. The course published no results in print: `reaches` is what our own runs reached.
"""

from __future__ import annotations

from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe

COMMON = Recipe(
    name="",
    network="",
    data="mnist",
    epochs=10,
    batch_size=64,
    optimizer=Optimizer("sgd", momentum=0.5),
    learning_rate=0.01,
    schedule="constant",
    initialisation="torch",
    standardise=True,
    validation=0.0,
)


def mnist_inception() -> Recipe:
    return COMMON.but(
        name="practice:mnist-inception",
        network="mnist-inception",
        source="lecture 11, advanced CNN",
        reaches=".9887, one run, torch in bf16",
    )


def mnist_residual() -> Recipe:
    return COMMON.but(
        name="practice:mnist-residual",
        network="mnist-residual",
        source="lecture 11, advanced CNN",
        reaches=".9897, one run, torch",
    )


RECIPES = (mnist_inception, mnist_residual)
