"""K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", arXiv 1512.03385, section 4.2.

CIFAR-10: 64,000 steps of 128 images, the rate divided by 10 after 32,000 and 48,000; crops of the image padded by 4
pixels, flips. Two departures: 164 whole epochs, 124 steps more; pixels less the mean of each channel and divided by
its deviation, where the paper takes the mean of each pixel.

`reaches` gives the test accuracy of the paper's table 6.
"""

from __future__ import annotations

from functools import partial

from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe

STEPS_PER_EPOCH = 391  # of 50,000 images
ACCURACIES = {20: ".9125", 32: ".9249", 44: ".9283", 56: ".9303", 110: ".9357, mean .9339 ± .0016 of 5"}


def resnet(depth: int) -> Recipe:
    return Recipe(
        name=f"resnet-2015:resnet{depth}",
        network=f"resnet{depth}",
        data="cifar-10",
        source="arXiv 1512.03385, section 4.2",
        about="a warm-up of one epoch, where the paper's is 400 steps at 0.01" if depth == 110 else "",
        reaches=f"{ACCURACIES[depth]}, the paper's",
        epochs=164,
        batch_size=128,
        optimizer=Optimizer("sgd", momentum=0.9, weight_decay=1e-4),
        learning_rate=0.1,
        schedule="step",
        milestones=(32_000 / STEPS_PER_EPOCH, 48_000 / STEPS_PER_EPOCH),
        warmup_epochs=1.0 if depth == 110 else 0.0,
        augmentation=Augmentation(pad=4, flip=True),
        initialisation="he",
        standardise=True,
        validation=0.0,
    )


RECIPES = tuple(partial(resnet, depth) for depth in ACCURACIES)
