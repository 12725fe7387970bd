"""Runs listings one after another, each as a script of its own: python run.py FOLDER LISTING…

FOLDER is where they may write. The training set is cut to a few images and the test set to fewer, so that a listing
takes seconds; everything else is as a reader has it. One line of JSON a listing: name, error or null, what it printed.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

from neoclassic import data
from neoclassic.data import Splits
from neoclassic.data import load as whole

IMAGES = {"train": 8, "test": 4}


def few(name, data_dir=None):
    splits = whole(name, data_dir)
    return Splits(splits.train.subset(np.arange(IMAGES["train"])), splits.test.subset(np.arange(IMAGES["test"])))


def main(folder, *listings):
    if os.environ.get("LISTINGS_FEW"):
        data.load = few
    os.chdir(folder)
    warnings.simplefilter("error", RuntimeWarning)
    for listing in listings:
        sys.argv = [listing]
        printed, error = io.StringIO(), None
        try:
            with contextlib.redirect_stdout(printed):
                runpy.run_path(listing, run_name="__main__")
        except BaseException:
            error = traceback.format_exc()
        print(json.dumps({"name": Path(listing).stem, "error": error, "printed": printed.getvalue()}), flush=True)


main(*sys.argv[1:])
