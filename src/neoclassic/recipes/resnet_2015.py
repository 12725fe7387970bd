"""K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", arXiv 1512.03385, section 4.2.

CIFAR-10: 64,000 steps of 128 images; the learning rate is divided by 10 after 32,000 and 48,000 steps; random crops of
images padded by 4 pixels, and flips. There are two differences: training lasts 164 whole epochs, which is 124 steps
more, and pixels are standardised per channel, whereas the paper subtracts the mean of each pixel.

`reaches` gives the test accuracy in the paper's table 6.
"""

from __future__ import annotations

from functools import partial

from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe

STEPS_PER_EPOCH = 391  # of 50,000 images
ACCURACIES = {20: ".9125", 32: ".9249", 44: ".9283", 56: ".9303", 110: ".9357, mean .9339 ± .0016 of 5 runs,"}


def resnet(depth: int) -> Recipe:
    return Recipe(
        name=f"resnet-2015:resnet{depth}",
        network=f"resnet{depth}",
        data="cifar-10",
        source="arXiv 1512.03385, section 4.2",
        about="warm-up over one epoch; the paper's is 400 steps at 0.01" if depth == 110 else "",
        reaches=f"{ACCURACIES[depth]} in the paper",
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
