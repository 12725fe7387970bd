"""The NumPy engine: trains every network of the zoo with NumPy alone, without torch."""

from neoclassic.engines.numpy.engine import NumpyEngine

__all__ = ["NumpyEngine"]
