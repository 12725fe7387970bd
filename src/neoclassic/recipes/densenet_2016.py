"""G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely connected convolutional networks", arXiv 1608.06993.

Section 4.2, CIFAR-10 with augmentation: 300 epochs with batches of 64; the learning rate is divided by 10 after half
and after three quarters of them; random crops of images padded by 4 pixels, and flips; no dropout. `reaches` is from
table 2.
"""

from __future__ import annotations

from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe


def bc100_12() -> Recipe:
    return Recipe(
        name="densenet-2016:bc100-12",
        network="densenet-bc100-12",
        data="cifar-10",
        source="arXiv 1608.06993, section 4.2",
        reaches=".9549 in the paper",
        epochs=300,
        batch_size=64,
        optimizer=Optimizer("sgd", momentum=0.9, nesterov=True, weight_decay=1e-4),
        learning_rate=0.1,
        schedule="step",
        milestones=(150.0, 225.0),
        augmentation=Augmentation(pad=4, flip=True),
        initialisation="he",
        standardise=True,
        validation=0.0,
    )


RECIPES = (bc100_12,)
