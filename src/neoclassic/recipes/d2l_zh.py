"""*Dive into Deep Learning*, Chinese edition, PyTorch: `train_ch6` and its chapters.

A. Zhang, Z. Lipton, M. Li, A. Smola, zh.d2l.ai. All recipes use Fashion-MNIST with values in [0, 1] and no other
preprocessing, 10 epochs of plain SGD at a constant learning rate, and Xavier-uniform weights with torch's default
biases. There is no validation set: the test set is evaluated after every epoch, and the last model is kept.

`reaches` gives the final test accuracy over all distinct published executions of the notebooks, 2021 to 2023.
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


def lenet_bn() -> Recipe:
    return COMMON.but(
        name="d2l-zh:lenet-bn",
        network="lenet:bn",
        source="zh.d2l.ai, chapter 7.5",
        about="10 of the published runs end below .70",
        batch_size=256,
        learning_rate=1.0,
        reaches="median .845, .571 to .894 over 246 published runs",
    )


def alexnet() -> Recipe:
    return COMMON.but(
        name="d2l-zh:alexnet",
        network="alexnet:taught",
        source="zh.d2l.ai, chapter 7.1",
        batch_size=128,
        learning_rate=0.01,
        reaches="median .881, .860 to .886 over 117 published runs",
    )


def vgg11_quarter() -> Recipe:
    return COMMON.but(
        name="d2l-zh:vgg11-quarter",
        network="vgg11:taught-quarter",
        source="zh.d2l.ai, chapter 7.2",
        batch_size=128,
        learning_rate=0.05,
        reaches="median .919, .900 to .925 over 103 published runs",
    )


def nin() -> Recipe:
    return COMMON.but(
        name="d2l-zh:nin",
        network="nin:taught",
        source="zh.d2l.ai, chapter 7.3",
        about=(
            "may get stuck: 21 of the 101 published runs end below .70, 6 of them at .100 with the loss ln 10, "
            "and 2 at NaN; once all class maps are 0, the last ReLU has no gradient. neoclassic:nin:taught avoids this"
        ),
        batch_size=128,
        learning_rate=0.1,
        reaches="median .844, .100 to .885 over 101 published runs",
    )


def googlenet() -> Recipe:
    return COMMON.but(
        name="d2l-zh:googlenet",
        network="googlenet:taught",
        source="zh.d2l.ai, chapter 7.4",
        about="2 of the published runs end at NaN, and so does one of our three",
        batch_size=128,
        learning_rate=0.1,
        reaches="median .888, .100 to .902 over 110 published runs",
    )


def resnet18() -> Recipe:
    return COMMON.but(
        name="d2l-zh:resnet18",
        network="resnet18:taught",
        source="zh.d2l.ai, chapter 7.6",
        batch_size=256,
        learning_rate=0.05,
        reaches="median .913, .806 to .927 over 116 published runs",
    )


def densenet() -> Recipe:
    return COMMON.but(
        name="d2l-zh:densenet",
        network="densenet:taught",
        source="zh.d2l.ai, chapter 7.7",
        about="one of the published runs ends below .70",
        batch_size=256,
        learning_rate=0.1,
        reaches="median .878, .406 to .918 over 111 published runs",
    )


RECIPES = (lenet, lenet_bn, alexnet, vgg11_quarter, nin, googlenet, resnet18, densenet)
