"""The networks of the zoo, for tests that run each: one that only repeats another's code, deeper or wider, is slow."""

import pytest

from neoclassic.networks import list_networks

REPEATED = {
    *("vgg13", "vgg13:bn", "vgg16", "vgg16:bn", "vgg19", "vgg19:bn"),
    *("resnet34", "resnet34:a", "resnet34:v2", "resnet101", "resnet101:2015", "resnet101:v2"),
    *("resnet152:2015", "resnet152:v2", "resnet32", "resnet44", "resnet56", "resnet1001:v2"),
    *("densenet169", "densenet201", "densenet264"),
    *("densenet100-12", "densenet100-24", "densenet-bc250-24", "densenet-bc190-40"),
    *("mobilenet-v1:0.75", "mobilenet-v1:0.5", "mobilenet-v3-large:0.75"),
    *("mobilenet-v2:1.3", "mobilenet-v2:0.75", "mobilenet-v2:0.5"),
}


def each(names=None, heavy=lambda name: False):
    """These names, or those of all networks, as parameters. What repeats another network, or is heavy, is slow."""
    names = list_networks() if names is None else names
    return [pytest.param(n, marks=[pytest.mark.slow] * (n in REPEATED or heavy(n))) for n in names]
