"""Ours: one for each network, that simply trains well. `neoclassic train <network>` uses it."""

from __future__ import annotations

from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe


def lenet() -> Recipe:
    return Recipe(
        name="neoclassic:lenet",
        network="lenet",
        data="fashion-mnist",
        source="neoclassic",
        about="standardised inputs, Adam, cosine",
        epochs=15,
        batch_size=128,
        optimizer=Optimizer("adam"),
        learning_rate=0.008,
        schedule="cosine",
        warmup_epochs=0.5,
        initialisation="xavier",
        standardise=True,
    )


def lenet_bn() -> Recipe:
    return lenet().but(name="neoclassic:lenet:bn", network="lenet:bn")


def deepconvnet() -> Recipe:
    return Recipe(
        name="neoclassic:deepconvnet",
        network="deepconvnet",
        data="mnist",
        source="neoclassic",
        about="Adam, cosine",
        epochs=10,
        batch_size=100,
        optimizer=Optimizer("adam"),
        learning_rate=0.001,
        schedule="cosine",
        warmup_epochs=0.2,
        initialisation="he",
    )


def default(network: str) -> Recipe:
    """For a network without a recipe of its own."""
    return Recipe(
        name=f"neoclassic:{network}",
        network=network,
        data="fashion-mnist",
        source="neoclassic",
        about="SGD with momentum, cosine",
        epochs=10,
        batch_size=128,
        optimizer=Optimizer("sgd", momentum=0.9, nesterov=True, weight_decay=5e-4),
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=0.5,
        initialisation="he",
        standardise=True,
    )


RECIPES = (lenet, lenet_bn, deepconvnet)
