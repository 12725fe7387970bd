"""Our own recipes: for each network one that trains well. `neoclassic train <network>` uses it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from neoclassic import networks
from neoclassic.base.errors import UsageError
from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.engines.weights import parameter_shapes
from neoclassic.model.features import ends_in_linear
from neoclassic.networks import Entry
from neoclassic.train.head import FEW
from neoclassic.train.rates import depths
from neoclassic.train.recipe import Recipe

LAYERS = ("auto", "all", "head", "head-first")  # all at once; the last alone; the last alone, and then all
# Options of gradient descent: those that differ by layer, and all; the last layer alone needs none.
LAYERWISE = ("learning_rate", "freeze", "unfreeze", "rates", "rate_decay", "fresh_rate")
DESCENT = (
    *LAYERWISE,
    *("epochs", "batch_size", "optimizer", "momentum", "nesterov", "weight_decay", "decay_all", "clip", "average"),
    *("schedule", "milestones", "gamma", "warmup_epochs", "label_smoothing", "patience", "max_steps", "head_first"),
)
LOWEST = 0.1  # learning rate of the first layer after the last one was fitted alone, as a fraction of the last one's


def lenet() -> Recipe:
    return Recipe(
        name="neoclassic:lenet",
        network="lenet",
        data="fashion-mnist",
        source="neoclassic",
        about="standardised inputs, Adam, cosine",
        reaches=".9010 to .9024 over 3 runs, numpy",
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
    return lenet().but(name="neoclassic:lenet:bn", network="lenet:bn", reaches=".9067 to .9091 over 3 runs, numpy")


def lenet_long() -> Recipe:
    """Without flips: `train lenet --data mnist` would use them, too, and a mirrored digit is not a digit."""
    return lenet().but(
        name="neoclassic:lenet-long",
        about="three times the epochs; crops, averaged weights",
        reaches=".9151 to .9158 over 3 runs, numpy",
        epochs=45,
        pad=1,
        average=0.999,
    )


def lenet_bn_long() -> Recipe:
    return lenet_long().but(
        name="neoclassic:lenet:bn-long", network="lenet:bn", reaches=".9160 to .9181 over 3 runs, numpy"
    )


DIGITS = Augmentation(shift=0.07, rotate=10, scale=0.1)
# Of the long recipes for MNIST. They hold out the same images, so that an ensemble can be chosen among their models.
ELASTIC: dict[str, Any] = {"elastic": 17.0, "warp": 0.5, "average": 0.999, "validation": 0.05, "split_seed": 0}


def deepconvnet() -> Recipe:
    """More did not help, with one run each: elastic distortion of all images (.9922 after 40 epochs) or of half of them
    (.9955 after 30), or 30 epochs with half of the images as they are (.9950)."""
    return Recipe(
        name="neoclassic:deepconvnet",
        network="deepconvnet",
        data="mnist",
        source="neoclassic",
        about="Adam, cosine, small shifts and rotations, averaged weights",
        reaches=".9955 to .9967 over 3 runs, torch in bf16",
        epochs=20,
        batch_size=100,
        optimizer=Optimizer("adam", average=0.999),
        learning_rate=0.002,
        schedule="cosine",
        warmup_epochs=0.2,
        augmentation=DIGITS,
        initialisation="he",
    )


# Shared by the counterparts of the books' Fashion-MNIST recipes. The books enlarge 28×28 pixels to 96×96 or 224×224,
# which adds no information: these recipes stay near the smallest size that the network accepts. VGG, which halves its
# maps after the first layer, reached more with 64 pixels (.9203) than with 32 (.9083, at a learning rate of 0.02).
MOMENTUM = Recipe(
    name="",
    network="",
    data="fashion-mnist",
    source="neoclassic",
    epochs=10,
    batch_size=128,
    optimizer=Optimizer("sgd", momentum=0.9, nesterov=True, weight_decay=5e-4, decay_all=False),
    schedule="cosine",
    warmup_epochs=0.5,
    augmentation=Augmentation(flip=True),
    initialisation="he",
    standardise=True,
)
# For networks without batch norm, except VGG. With momentum, GoogLeNet reached only .8937.
ADAM = MOMENTUM.but(optimizer=Optimizer("adam"), learning_rate=0.001, warmup_epochs=0.2, clip=1.0)


def alexnet_taught() -> Recipe:
    """15 epochs with the settings of the long recipes did not help: .9121, one run."""
    return ADAM.but(
        name="neoclassic:alexnet:taught",
        network="alexnet:taught",
        image_size=67,
        reaches=".9139, one run, torch in bf16 on a GPU; .9058 after 5 epochs, one run, torch",
        about="Adam, cosine, flips, He initialisation",
        learning_rate=0.0005,
    )


def vgg11_taught_quarter() -> Recipe:
    return MOMENTUM.but(
        name="neoclassic:vgg11:taught-quarter",
        network="vgg11:taught-quarter",
        image_size=64,
        reaches=".9203, one run, torch",
        about="momentum, cosine, flips, He initialisation",
        learning_rate=0.03,
        clip=1.0,
    )


def nin_taught() -> Recipe:
    return ADAM.but(
        name="neoclassic:nin:taught",
        network="nin:taught",
        image_size=67,
        reaches=".9186, one run, torch in bf16 on a GPU; .8959 after 3 epochs, one run, torch",
        about="the last ReLU starts active; Adam, cosine, flips, He initialisation",
        initialisation="he-open",
    )


def nin_taught_linear() -> Recipe:
    return nin_taught().but(
        name="neoclassic:nin:taught-linear",
        network="nin:taught-linear",
        about="cannot get stuck, because there is no last ReLU",
        reaches=".9164 to .9219 over 3 runs, torch in bf16",
        initialisation="he",
    )


def googlenet_taught() -> Recipe:
    return ADAM.but(
        name="neoclassic:googlenet:taught",
        network="googlenet:taught",
        image_size=32,
        reaches=".9111 and .9129, two runs, torch in bf16",
        about="Adam, cosine, flips, He initialisation",
    )


def resnet18_taught() -> Recipe:
    return MOMENTUM.but(
        name="neoclassic:resnet18:taught",
        network="resnet18:taught",
        image_size=32,
        reaches=".9276, one run, torch",
        about="momentum, cosine, flips",
        learning_rate=0.05,
    )


def densenet_taught() -> Recipe:
    return MOMENTUM.but(
        name="neoclassic:densenet:taught",
        network="densenet:taught",
        image_size=32,
        reaches=".9216, one run, torch",
        about="momentum, cosine, flips",
        learning_rate=0.1,
    )


# Of the long recipes for Fashion-MNIST
ONE_CYCLE: dict[str, Any] = {
    "about": "one-cycle, crops, flips, smoothed labels, averaged weights",
    "schedule": "one-cycle",
    "warmup_epochs": 0.0,
    "label_smoothing": 0.1,
    "average": 0.999,
}


def vgg11_taught_quarter_long() -> Recipe:
    return vgg11_taught_quarter().but(
        name="neoclassic:vgg11:taught-quarter-long",
        reaches=".9234, one run, torch in bf16",
        epochs=16,
        pad=4,
        **ONE_CYCLE,
    )


def nin_taught_long() -> Recipe:
    return nin_taught().but(
        name="neoclassic:nin:taught-long", reaches=".9239, one run, torch in bf16", epochs=20, pad=5, **ONE_CYCLE
    )


def googlenet_taught_long() -> Recipe:
    return googlenet_taught().but(
        name="neoclassic:googlenet:taught-long", reaches=".9187, one run, torch in bf16", epochs=25, pad=2, **ONE_CYCLE
    )


def resnet18_taught_long() -> Recipe:
    """25 epochs on 32×32 pixels take as long, and reach .9311, one run."""
    return resnet18_taught().but(
        name="neoclassic:resnet18:taught-long",
        image_size=64,
        reaches=".9356, one run, torch in bf16",
        epochs=10,
        pad=4,
        **ONE_CYCLE,
    )


def densenet_taught_long() -> Recipe:
    """20 epochs on 32×32 pixels reach .9236, one run."""
    return densenet_taught().but(
        name="neoclassic:densenet:taught-long",
        image_size=48,
        reaches=".9309, one run, torch in bf16",
        epochs=15,
        pad=3,
        **ONE_CYCLE,
    )


def mobilenet_v1_taught() -> Recipe:
    return MOMENTUM.but(
        name="neoclassic:mobilenet-v1:taught",
        network="mobilenet-v1:taught",
        image_size=32,
        reaches=".9198, one run, torch in bf16",
        about="momentum, cosine, flips",
        learning_rate=0.1,
    )


def mobilenet_v1_taught_long() -> Recipe:
    """30 epochs on 32×32 pixels take as long, and reach .9294, one run."""
    return mobilenet_v1_taught().but(
        name="neoclassic:mobilenet-v1:taught-long",
        image_size=48,
        reaches=".9312, one run, torch in bf16",
        epochs=16,
        pad=3,
        **ONE_CYCLE,
    )


# The three below enlarge the images to what keeps 2×2 or 3×3 pixels in the last maps.
LONGER = MOMENTUM.but(learning_rate=0.05, **ONE_CYCLE)


def mobilenet_v2() -> Recipe:
    """10 epochs on 64×64 pixels reach .9240, and 15 with a learning rate of 0.1 .9268, one run each."""
    return LONGER.but(
        name="neoclassic:mobilenet-v2",
        network="mobilenet-v2",
        image_size=48,
        epochs=18,
        pad=3,
        reaches=".9272, one run, torch in bf16",
    )


def mobilenet_v3_large() -> Recipe:
    """12 epochs reach .9259, and 20 on 48×48 pixels .9309, one run each."""
    return LONGER.but(
        name="neoclassic:mobilenet-v3-large",
        network="mobilenet-v3-large",
        image_size=64,
        epochs=22,
        pad=4,
        reaches=".9394, one run, torch in bf16",
    )


def mobilenet_v3_small() -> Recipe:
    """15 epochs reach .9314, one run."""
    return LONGER.but(
        name="neoclassic:mobilenet-v3-small",
        network="mobilenet-v3-small",
        image_size=96,
        epochs=24,
        pad=4,
        reaches=".9369, one run, torch in bf16",
    )


def mnist_inception() -> Recipe:
    return MOMENTUM.but(
        name="neoclassic:mnist-inception",
        network="mnist-inception",
        data="mnist",
        reaches=".9927, one run, torch in bf16",
        about="momentum, cosine, small shifts and rotations",
        learning_rate=0.02,
        clip=1.0,
        augmentation=DIGITS,
    )


def mnist_residual() -> Recipe:
    return mnist_inception().but(
        name="neoclassic:mnist-residual", network="mnist-residual", reaches=".9933, one run, torch"
    )


def mnist_residual_long() -> Recipe:
    return mnist_residual().but(
        name="neoclassic:mnist-residual-long",
        about="momentum, cosine, small shifts and rotations, elastic distortion, averaged weights",
        reaches=".9955, one run, torch in bf16",
        epochs=30,
        **ELASTIC,
    )


def mnist_inception_long() -> Recipe:
    """20 epochs with the learning rate and weight decay of the short recipe reached .9936, one run."""
    return mnist_residual_long().but(
        name="neoclassic:mnist-inception-long",
        network="mnist-inception",
        reaches=".9950, one run, torch in bf16",
        epochs=36,
        learning_rate=0.04,
        weight_decay=1e-4,
    )


def mnist_record() -> Recipe:
    """ResNet-20 on 28×28 pixels. The settings were chosen on the validation set; the test set was used once.

    14 epochs with elastic distortion of half of the images did not help: .9962, one run.
    """
    return Recipe(
        name="neoclassic:mnist-record",
        network="resnet20",
        data="mnist",
        image_size=28,
        source="neoclassic",
        about="one-cycle, shifts, rotations and scaling, averaged weights; several seeds make an ensemble",
        reaches=".9964, one run, torch; .9965 to .9968 over 3 runs in bf16 on a GPU, .9973 as an ensemble",
        epochs=10,
        batch_size=128,
        optimizer=Optimizer("sgd", momentum=0.9, nesterov=True, weight_decay=5e-4, decay_all=False, average=0.999),
        learning_rate=0.1,
        schedule="one-cycle",
        augmentation=Augmentation(shift=0.08, rotate=12, scale=0.12),
        initialisation="he",
        standardise=True,
        validation=0.05,
    )


def fashion_record() -> Recipe:
    """The same for Fashion-MNIST, with crops and flips instead, and twice the epochs."""
    return mnist_record().but(
        name="neoclassic:fashion-record",
        data="fashion-mnist",
        about="one-cycle, crops and flips, averaged weights; evaluate with --flip",
        reaches=".9419 with --flip, .9391 without, one run, torch",
        epochs=20,
        augmentation=Augmentation(pad=2, flip=True),
    )


def fashion_record_gpu() -> Recipe:
    """ResNet-18, for a GPU: forty times the parameters, on 96×96 pixels because its stem halves them twice."""
    return fashion_record().but(
        name="neoclassic:fashion-record-gpu",
        network="resnet18",
        image_size=96,
        about="one-cycle, crops, flips, random erasing, averaged weights; evaluate with --flip",
        reaches=".952 on validation images after 27 of the 30 epochs, one run that was stopped there, torch in bf16",
        epochs=30,
        batch_size=256,
        learning_rate=0.2,
        label_smoothing=0.1,
        augmentation=Augmentation(pad=8, flip=True, erase=0.5),
    )


def default(network: str | Entry) -> Recipe:
    """Return the recipe for a network that has none, such as one's own."""
    row = networks.entry(network)
    return Recipe(
        name=f"neoclassic:{networks.OWN if row.own else row}",
        network=row.name,
        tree=row.own,
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


def photos(network: str | Entry, n: int, weights: bool = False, layers: str = "auto") -> Recipe:
    """Return the recipe for a folder with n training photos, from scratch or from pretrained weights.

    layers: one of LAYERS; "auto" is "head-first" for few photos and pretrained weights, and "all" otherwise.

    Fewer photos get more epochs, so that each is seen often enough, always augmented differently. From scratch, images
    have at most 128 pixels, which is as good as 224 for few photos and takes a third of the time. From weights, images
    have the size that the weights were trained with, and the learning rate is a tenth, except for layers that start
    afresh, such as the head.
    """
    row = networks.entry(network)
    size = max(row.input[1:])
    batch = 32 if n < 5000 else 128
    steps, min_epochs, max_epochs = (500, 5, 30) if weights else (3000, 20, 100)
    recipe = Recipe(
        name="neoclassic:photos",
        network=row.name,
        tree=row.own,
        data="",
        source="neoclassic",
        about=f"{'from weights' if weights else 'from scratch'}: AdamW, cosine, augmented",
        image_size=min(size, 128) if size > 128 and not weights else None,
        epochs=min(max(math.ceil(steps * batch / max(n, 1)), min_epochs), max_epochs),
        batch_size=batch,
        optimizer=Optimizer("adamw", weight_decay=0.05, clip=1.0),
        learning_rate=1e-4 if weights else 1e-3,
        fresh_rate=10.0 if weights else 1.0,
        schedule="cosine",
        warmup_epochs=1.0,
        label_smoothing=0.1,
        augmentation=Augmentation(flip=True, shift=0.1, scale=0.25, rotate=10, colour=0.1, erase=0.25),
        initialisation="he",
        standardise=True,
    )
    if layers == "auto" and weights and n <= FEW and ends_in_linear(row.tree()):
        layers = "head-first"
    return with_layers(recipe, layers)


def _in_python(option: str) -> str:
    return "head=True" if option == "head" else option


def layers_asked(
    head: bool, head_first: bool | None, given: Collection[str], spelled: Callable[[str], str] = _in_python
) -> str:
    """Which layers a caller asks to train, one of LAYERS.

    given: the names of the options that the caller gives. spelled: how an option is written. UsageError for an option
    of gradient descent beside `head`.
    """
    if head:
        if surplus := [name for name in given if name in DESCENT]:
            what = f"{spelled('head')} fits the last layer at once, without gradient descent"
            raise UsageError(f"{what}: leave out {spelled(surplus[0])}")
        return "head"
    if head_first is None:
        return "all" if any(name in LAYERWISE for name in given) else "auto"
    return "head-first" if head_first else "all"


def with_layers(recipe: Recipe, layers: str) -> Recipe:
    """The recipe for other layers, one of LAYERS.

    Once the last layer fits the features, few epochs are left to do, and the layers below learn the more slowly the
    deeper they are, so that they keep what they know.
    """
    if layers == "head":
        about = "the last layer alone, by logistic regression on the features before it"
        return recipe.but(
            about=about, head=True, epochs=1, warmup_epochs=0.0, validation=0.0, patience=0, schedule="constant"
        )
    if layers == "head-first":
        row = recipe.entry
        deepest = max(depths(parameter_shapes(row.tree(), row.input)).values())
        return recipe.but(
            about=f"the last layer by logistic regression, then {recipe.about}",
            head_first=True,
            fresh_rate=1.0,
            rate_decay=round(LOWEST ** (1 / max(deepest, 1)), 3),
            epochs=min(recipe.epochs, 10),
        )
    return recipe


RECIPES = (
    *(lenet, lenet_long, lenet_bn, lenet_bn_long, deepconvnet),
    *(alexnet_taught, vgg11_taught_quarter, vgg11_taught_quarter_long),
    *(nin_taught, nin_taught_long, nin_taught_linear, googlenet_taught, googlenet_taught_long),
    *(resnet18_taught, resnet18_taught_long),
    *(densenet_taught, densenet_taught_long, mobilenet_v1_taught, mobilenet_v1_taught_long),
    *(mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small),
    *(mnist_inception, mnist_inception_long, mnist_residual, mnist_residual_long),
    *(mnist_record, fashion_record, fashion_record_gpu),
)
