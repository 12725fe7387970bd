"""Data sets: uint8 images and labels, where they come from, and how images are brought to a network."""

from neoclassic.data.dataset import Dataset, Splits, batches, stratified_split
from neoclassic.data.folders import Folder, scan
from neoclassic.data.preprocessing import Preprocessing, open_image, resize_all, statistics, to_input, to_pixels
from neoclassic.data.sources import SOURCES, find, load

__all__ = [
    "SOURCES",
    "Dataset",
    "Folder",
    "Preprocessing",
    "Splits",
    "batches",
    "find",
    "load",
    "open_image",
    "resize_all",
    "scan",
    "statistics",
    "stratified_split",
    "to_input",
    "to_pixels",
]
