"""The networks of the zoo, for tests that run each: one that only repeats another's code, deeper or wider, is slow."""

import pytest

from neoclassic.networks import list_networks

REPEATED = {
    *("vgg13", "vgg13:bn", "vgg16", "vgg16:bn", "vgg19:bn"),
    *("resnet34", "resnet34:a", "resnet34:v2", "resnet101", "resnet101:2015", "resnet101:v2"),
    *("resnet152:2015", "resnet152:v2", "resnet32", "resnet44", "resnet56", "resnet1001:v2"),
    *("densenet169", "densenet201", "densenet264"),
    *("densenet100-12", "densenet100-24", "densenet-bc250-24", "densenet-bc190-40"),
    *("mobilenet-v1:0.75", "mobilenet-v1:0.5", "mobilenet-v3-large:0.75"),
    *("mobilenet-v2:1.3", "mobilenet-v2:0.75", "mobilenet-v2:0.5"),
}


def each(heavy=lambda name: False):
    """The names of all networks. Those that repeat another, and those that are heavy, are marked as slow."""
    slow = [name for name in list_networks() if name in REPEATED or heavy(name)]
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in list_networks()]
