"""Arguments of the layers in the form in which they compute. UsageError, in one line, for what does not fit."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.engines.contract import Array


def rows(x: Array, inputs: int, what: str) -> Array:
    """x as N×inputs. Images are flattened; a vector is one row, or, if there is one input, a row for each number."""
    x_ND = x.reshape(-1, inputs) if x.ndim == 1 and inputs in (1, x.size) else x
    x_ND = x_ND.reshape(*x_ND.shape[:1], prod(x_ND.shape[1:]))
    if x_ND.ndim != 2 or x_ND.shape[1] != inputs:
        raise UsageError(f"{what} of {inputs} inputs takes N×{inputs}, not an array of shape {x.shape}")
    return x_ND


def each(value: Any, n: int, what: str, dtype: np.dtype) -> Array:
    """A parameter as a vector of n: it may be given as one number."""
    values = np.asarray(value, dtype)
    if values.shape == (n,):
        return values
    if values.size not in (1, n) or values.shape[-1:] not in ((), (values.size,)):
        raise UsageError(f"{what} is one number, or {n} of them, not an array of shape {values.shape}")
    return np.broadcast_to(values.reshape(-1), n)


def weights(W: Any, ndim: int, form: str, dtype: np.dtype) -> Array:
    """W as an array with this many axes, which `form` names."""
    array: Array = np.asarray(W, dtype)
    if array.ndim != ndim:
        raise UsageError(f"the weights are {form}, not an array of shape {array.shape}")
    return array


def check_images(x: Array, channels: int | None = None) -> None:
    """Check that x is images, with this many channels if they are given."""
    if x.ndim != 4 or channels not in (None, x.shape[1]):
        kind = "pooling" if channels is None else f"a convolution of {channels} channels"
        raise UsageError(f"{kind} takes images N×C×H×W, not an array of shape {x.shape}")
