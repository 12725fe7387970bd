"""Images on their way into a network: where the engine computes if there is room, on the host otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from neoclassic.data.augmentation import Draw, augment
from neoclassic.data.preprocessing import Array, Preprocessing, to_input
from neoclassic.data.resizing import Enlarged, Resized
from neoclassic.engines import Engine


def held(engine: Engine, images: Array | Resized) -> Any:
    """uint8 N×H×W×C to take from by place: where the engine computes if there is room, else as they are, on the host.

    Small images that are to be blown up are enlarged there: at once if there is much room, else when they are taken.
    """
    if isinstance(images, Resized) and images.enlarges and engine.holds(images.images.nbytes):
        small = Enlarged(images, engine.xp, engine.put)
        return small.all() if engine.holds(4 * images.nbytes) else small
    return engine.put(np.asarray(images)) if engine.holds(images.nbytes) else images


def inputs(engine: Engine, pixels: Any, p: Preprocessing) -> Any:
    """float32 N×C×H×W, where the engine computes or on the host, of what was taken from `held`; `to_input`'s bits."""
    if isinstance(pixels, np.ndarray):
        return to_input(pixels, p)
    return engine.xp.moveaxis(augment(pixels, Draw(), p, engine.xp, engine.put), 3, 1)
