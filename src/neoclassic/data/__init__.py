"""Data sets: uint8 images and labels in memory, where they come from, and how images are brought to a network."""

from neoclassic.data.dataset import Dataset, Splits, batches, stratified_split
from neoclassic.data.preprocessing import Preprocessing, open_image, resize_all, statistics, to_input, to_pixels
from neoclassic.data.sources import SOURCES, load

__all__ = [
    "SOURCES",
    "Dataset",
    "Preprocessing",
    "Splits",
    "batches",
    "load",
    "open_image",
    "resize_all",
    "statistics",
    "stratified_split",
    "to_input",
    "to_pixels",
]
