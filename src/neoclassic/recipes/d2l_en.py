"""*Dive into Deep Learning*, English edition 1.0, PyTorch: `d2l.Trainer` and chapters 7.6 to 8.7.

A. Zhang, Z. Lipton, M. Li, A. Smola, d2l.ai. The recipes are those of the Chinese edition with other learning rates,
and always with batches of 128. We have not collected published runs of them: `reaches` is what our own runs reached.
"""

from __future__ import annotations

from dataclasses import replace

from neoclassic.recipes import d2l_zh
from neoclassic.train.recipe import Recipe


def _row(chinese: Recipe, chapter: str, learning_rate: float, about: str = "", reaches: str = "") -> Recipe:
    name = chinese.name.replace("d2l-zh:", "d2l-en:")
    source = f"d2l.ai 1.0, chapter {chapter}"
    recipe = replace(chinese, name=name, source=source, about=about, reaches=reaches)
    return recipe.but(batch_size=128, learning_rate=learning_rate)


def lenet() -> Recipe:
    return _row(d2l_zh.lenet(), "7.6", 0.1, reaches=".7204 to .7370 over 3 runs, torch in bf16")


def lenet_bn() -> Recipe:
    return _row(d2l_zh.lenet_bn(), "8.5", 0.1, reaches=".8063 to .8755 over 3 runs, torch in bf16")


def alexnet() -> Recipe:
    about = "identical to d2l-zh:alexnet"
    return _row(d2l_zh.alexnet(), "8.1", 0.01, about, ".8668 to .8831 over 3 runs, torch in bf16 on a GPU")


def vgg11_quarter() -> Recipe:
    return _row(d2l_zh.vgg11_quarter(), "8.2", 0.01, reaches=".8943, one run, torch in bf16 on a GPU")


def nin() -> Recipe:
    about = "may get stuck like d2l-zh:nin, with half its learning rate"
    return _row(d2l_zh.nin(), "8.3", 0.05, about, ".1000 after 1 epoch, with the loss still at ln 10; one run, torch")


def googlenet() -> Recipe:
    reaches = ".1000 after 1 epoch, with the loss just below ln 10; one run, torch"
    return _row(d2l_zh.googlenet(), "8.4", 0.01, reaches=reaches)


def resnet18() -> Recipe:
    return _row(d2l_zh.resnet18(), "8.6", 0.01, reaches=".8736 after 1 epoch, one run, torch")


def densenet() -> Recipe:
    return _row(d2l_zh.densenet(), "8.7", 0.01, reaches=".8030 after 1 epoch, one run, torch")


RECIPES = (lenet, lenet_bn, alexnet, vgg11_quarter, nin, googlenet, resnet18, densenet)
