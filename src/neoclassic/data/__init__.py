"""Data sets: uint8 images and labels, their sources, and how images become the input of a network."""

from neoclassic.data.dataset import Dataset, Splits, batches, stratified_split
from neoclassic.data.folders import Folder, scan
from neoclassic.data.image_files import open_image
from neoclassic.data.preprocessing import Preprocessing, statistics, to_input, to_pixels
from neoclassic.data.resizing import resize_all
from neoclassic.data.sources import SOURCES, load, open_dataset

__all__ = [
    "SOURCES",
    "Dataset",
    "Folder",
    "Preprocessing",
    "Splits",
    "batches",
    "load",
    "open_dataset",
    "open_image",
    "resize_all",
    "scan",
    "statistics",
    "stratified_split",
    "to_input",
    "to_pixels",
]
