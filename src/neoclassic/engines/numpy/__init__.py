"""The NumPy engine, from scratch: it trains every network of the zoo and imports no torch."""

from neoclassic.engines.numpy.engine import NumpyEngine

__all__ = ["NumpyEngine"]
