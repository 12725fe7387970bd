"""A small recipe, and all the options that a recipe can have."""

from neoclassic.data.augmentation import Augmentation
from neoclassic.engines import Optimizer
from neoclassic.train.recipe import Recipe

TINY = Recipe(
    name="test:tiny",
    network="lenet",
    data="tiny",
    epochs=3,
    batch_size=100,
    optimizer=Optimizer("sgd", momentum=0.9),
    learning_rate=0.05,
    initialisation="xavier",
    standardise=True,
)
OPTIONS = {
    "nesterov": {"nesterov": True, "weight_decay": 1e-3},
    "adam": {"optimizer": Optimizer("adam"), "learning_rate": 0.002},
    "adamw": {"optimizer": Optimizer("adamw", weight_decay=0.1, decay_all=False), "learning_rate": 0.002},
    "rmsprop": {"optimizer": Optimizer("rmsprop", momentum=0.5), "learning_rate": 0.001},
    "adagrad": {"optimizer": Optimizer("adagrad"), "learning_rate": 0.01},
    "clip": {"clip": 0.1},
    "average": {"average": 0.9},
    "average of statistics": {"network": "lenet:bn", "average": 0.9},
    "step": {"schedule": "step", "milestones": (1.0, 2.0), "gamma": 0.3},
    "cosine": {"schedule": "cosine", "warmup_epochs": 1.0},
    "one-cycle": {"schedule": "one-cycle"},
    "smoothing": {"label_smoothing": 0.1},
    "class weights": {"class_weights": "balanced"},
    "geometry": {"augmentation": Augmentation(pad=2, flip=True, shift=0.1, rotate=10, scale=0.1)},
    "elastic": {"augmentation": Augmentation(rotate=5, elastic=30.0, warp=0.8)},
    "colour and erase": {"augmentation": Augmentation(colour=0.1, erase=0.5)},
    "mixup and cutmix": {"augmentation": Augmentation(mixup=0.2, cutmix=1.0)},
    "patience": {"patience": 2},
    "freeze and rates": {"freeze": ("conv1",), "rates": (("fc*", 0.1),)},
    "rate decay": {"rate_decay": 0.7, "optimizer": Optimizer("adam"), "learning_rate": 0.002},
    "unfreezing": {"unfreeze": ((3, "*"), (2, "fc*"), (1, "fc3")), "average": 0.9, "momentum": 0.9},
    "unfreezing norms": {"network": "lenet:bn", "unfreeze": ((2, "*1"), (3, "*2")), "optimizer": Optimizer("adam")},
}
