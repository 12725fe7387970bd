"""The groups of options of `neoclassic train`, and the headings that --help lists them under."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

HEADINGS = {
    "Data": (
        *("data", "data_dir", "classes", "validation", "test", "folds", "split_seed", "image_size", "fit"),
        *("keep", "channels", "standardise", "max_pixels", "strict"),
    ),
    "Recipe": ("recipe", "epochs", "batch_size", "initialisation", "patience", "seed"),
    "Optimisation": (
        *("optimizer", "learning_rate", "momentum", "nesterov", "weight_decay", "decay_all", "clip", "average"),
        *("label_smoothing", "class_weights"),
    ),
    "Learning rate schedule": ("schedule", "milestones", "gamma", "warmup_epochs"),
    "Augmentation": (
        *("pad", "flip", "shift", "rotate", "scale", "elastic", "elastic_sigma", "warp", "colour", "erase", "mixup"),
        "cutmix",
    ),
    "Pretrained weights": (
        *("weights", "mean", "std", "head", "head_first", "freeze", "unfreeze", "rates", "rate_decay", "fresh_rate"),
    ),
    "Running": ("engine", "device", "precision", "compiling", "max_steps", "out", "resume", "tensorboard"),
}


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator; --help lists them in this order."""

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class Numbers(click.ParamType):
    """Comma-separated numbers as a tuple, or one of `words`."""

    name = "numbers"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.words or isinstance(value, tuple):
            return value
        try:
            return tuple(float(number) for number in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: write numbers separated by commas{''.join(f', or {word}' for word in self.words)}")


class _Rate(click.ParamType):
    """PATTERN=NUMBER."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        pattern, _, number = str(value).rpartition("=")
        try:
            return pattern, float(number)
        except ValueError:
            self.fail(f"{value!r}: write PATTERN=NUMBER, as in 'stage1.*=0.1'")


class _Thaw(click.ParamType):
    """EPOCH=PATTERN."""

    name = "thaw"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        epoch, _, pattern = str(value).partition("=")
        if not (epoch.isascii() and epoch.isdigit() and pattern):
            self.fail(f"{value!r}: write EPOCH=PATTERN, as in '3=stage4'")
        return int(epoch), pattern


optimization = _options(
    click.option("--lr", "--learning-rate", "learning_rate", type=float, help="Peak learning rate."),
    click.option("--optimizer", metavar="NAME", help="Update rule: sgd, adam, adamw, adagrad or rmsprop."),
    click.option("--momentum", type=float, help="Momentum of sgd and rmsprop."),
    click.option("--nesterov/--no-nesterov", default=None, help="Nesterov's momentum for sgd."),
    click.option("--weight-decay", "--wd", type=float, help="Weight decay factor."),
    click.option("--decay-all/--spare-norms", default=None, help="Whether weight decay applies to biases and norms."),
    click.option("--clip", type=float, metavar="NORM", help="Clip the gradients to this total norm."),
    click.option(
        "--average", "--ema", type=float, help="Use a moving average of the weights, with a decay such as 0.999."
    ),
    click.option("--schedule", metavar="NAME", help="How the rate changes: constant, step, cosine or one-cycle."),
    click.option(
        "--milestones",
        type=Numbers(),
        metavar="EPOCHS",
        help="Epochs at which the schedule 'step' lowers the rate: 5,8.",
    ),
    click.option("--gamma", type=float, help="Factor that a milestone multiplies the rate by."),
    click.option("--warmup-epochs", type=float, help="Epochs over which the rate rises at the start."),
    click.option("--label-smoothing", type=float, help="Share of the target spread over all classes, such as 0.1."),
    click.option(
        "--class-weights",
        type=Numbers("balanced"),
        metavar="WEIGHTS",
        help="Weight of each class in the loss: 1,2.5,… or balanced.",
    ),
    click.option("--patience", type=int, help="Stop after this many epochs without a better validation accuracy."),
)
augmentation = _options(
    click.option("--pad", type=int, help="Pad with this many black pixels, then crop at random."),
    click.option("--flip/--no-flip", default=None, help="Mirror half of the images at random."),
    click.option("--shift", type=float, help="Shift by up to this fraction of the size."),
    click.option("--rotate", type=float, help="Rotate by up to this many degrees."),
    click.option("--scale", type=float, help="Enlarge or shrink by up to this fraction."),
    click.option(
        "--elastic", type=float, metavar="ALPHA", help="Strength of elastic distortion, such as 34 for 28 pixels."
    ),
    click.option("--elastic-sigma", type=float, metavar="PIXELS", help="Smoothness of elastic distortion, such as 4."),
    click.option("--warp", type=float, help="Probability that an image is shifted, rotated, scaled and distorted: 1."),
    click.option("--colour", type=float, help="Strength of AlexNet's colour shifts, such as 0.1."),
    click.option("--erase", type=float, help="Probability of erasing a random rectangle."),
    click.option("--mixup", type=float, metavar="ALPHA", help="Blend pairs of images: mixup."),
    click.option("--cutmix", type=float, metavar="ALPHA", help="Paste rectangles of other images: CutMix."),
)
splitting = _options(
    click.option(
        "--test", type=float, help="Fraction of each class for the test set, if a folder has none; 0: no test set."
    ),
    click.option("--split-seed", type=int, help="Random seed of the validation and test sets."),
)
sizing = _options(
    click.option("--image-size", "--imgsz", type=int, help="Resize images to this many pixels, square."),
    click.option(
        "--fit", metavar="NAME", help="How photos become square: crop, pad or stretch. Default: by their shapes."
    ),
)
channels = click.option("--channels", type=int, help="1 (grey) or 3 (colour). Default: as in the photos.")
transfer = _options(
    click.option(
        "--weights",
        metavar="FILE|NAME|hf:OWNER/REPO",
        help="Weights to start from: a file from neoclassic, torchvision or timm; or imagenet (downloaded once).",
    ),
    click.option(
        "--mean",
        type=Numbers(),
        metavar="NUMBERS",
        help="Mean of the pixels, such as 0.5, if it is not the usual one for the weights.",
    ),
    click.option("--std", type=Numbers(), metavar="NUMBERS", help="Standard deviation of the pixels."),
    click.option(
        "--head",
        is_flag=True,
        help="Train the last layer alone, by logistic regression on the features: quick, and good for few photos.",
    ),
    click.option(
        "--head-first/--no-head-first",
        default=None,
        help="Fit the last layer alone, then train all layers. Default for few photos with --weights.",
    ),
    click.option("--freeze", multiple=True, metavar="PATTERN", help="Layers to freeze: 'stage1.*'; repeatable."),
    click.option(
        "--rate",
        "rates",
        multiple=True,
        type=_Rate(),
        metavar="PATTERN=X",
        help="Multiply the learning rate of these layers by X; repeatable.",
    ),
    click.option(
        "--unfreeze",
        multiple=True,
        type=_Thaw(),
        metavar="EPOCH=PATTERN",
        help="Keep these layers frozen until this epoch; repeatable.",
    ),
    click.option("--rate-decay", type=float, metavar="X", help="Multiply the rate by X for each level below the head."),
    click.option("--fresh-rate", type=float, metavar="X", help="Multiply the rate of layers that start afresh by X."),
)
keep = click.option(
    "--keep",
    type=float,
    metavar="X",
    help="Share of the shorter side that a centre crop keeps, such as torchvision's 0.875.",
)
speed = _options(
    click.option(
        "--precision",
        default="auto",
        metavar="NAME",
        help="auto, 32 or bf16; auto uses bf16 if the CPU or GPU supports it in hardware.",
    ),
    click.option(
        "--compile",
        "compiling",
        default="auto",
        metavar="NAME",
        help="auto, on or off; auto compiles long float32 runs on CUDA.",
    ),
)
