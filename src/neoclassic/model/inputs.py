"""Images on their way into a network: in device memory if they fit, in host memory otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from neoclassic.data.augmentation import Draw, augment
from neoclassic.data.on_demand import OnDemand
from neoclassic.data.preprocessing import Array, Preprocessing, to_input
from neoclassic.data.resizing import Enlarged, Resized
from neoclassic.data.undecoded import Undecoded
from neoclassic.engines import Engine


def resident(engine: Engine, images: Array | OnDemand) -> Any:
    """uint8 images, N×H×W×C, ready to be indexed: in device memory if they fit, in host memory otherwise.

    Small images that are to be enlarged are uploaded small. They are enlarged at once if the device has plenty of
    memory, and batch by batch otherwise. Photos that are not decoded yet stay where they are.
    """
    if isinstance(images, Undecoded):
        return images
    if isinstance(images, Resized) and images.enlarges and engine.holds(images.images.nbytes):
        small = Enlarged(images, engine.xp, engine.put)
        return small.all() if engine.holds(4 * images.nbytes) else small
    return engine.put(np.asarray(images)) if engine.holds(images.nbytes) else images


def inputs(engine: Engine, pixels: Any, p: Preprocessing) -> Any:
    """float32 N×C×H×W of pixels indexed from `resident`, with the same bits as `to_input` gives."""
    if isinstance(pixels, np.ndarray):
        return to_input(pixels, p)
    return engine.xp.moveaxis(augment(pixels, Draw(), p, engine.xp, engine.put), 3, 1)
