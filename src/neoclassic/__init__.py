"""The classic convolutional networks, LeNet to MobileNet V3: exact, fast, and the same answer everywhere."""

from neoclassic.errors import NeoclassicError, UsageError
from neoclassic.measure import measure
from neoclassic.networks import list_networks, network

__all__ = ["NeoclassicError", "UsageError", "list_networks", "measure", "network"]
__version__ = "0.1.0"
