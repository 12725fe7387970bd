"""Run as a program, under a hash seed that the caller chose: train by every option, and print the models' checksums.

python same_bytes.py ENGINE DATA FOLDER MODE: "whole" trains from start to end, "cut" stops after a step in the second
epoch, "resume" ends what "cut" began in the same folder.
"""

import hashlib
import json
import sys
from pathlib import Path

from options import OPTIONS, TINY

from neoclassic import data
from neoclassic.train import loop
from neoclassic.train.run import Settings

engine, source, folder, mode = sys.argv[1:]
splits = data.load(source)
save = loop.Training.save


class Cut(BaseException):
    """As good as a kill."""


def save_and_die(training):
    if training.state.step == 14:
        save(training)
        raise Cut


if mode == "cut":
    loop.CHECKPOINT_SECONDS = 0.0
    loop.Training.save = save_and_die

found = {}
for option, changes in OPTIONS.items():
    out = Path(folder) / option
    if mode == "resume":
        loop.resume(out, splits)
    else:
        try:
            loop.train(TINY.but(batch_size=20, **changes), Settings(engine), out, splits)
        except Cut:
            continue
    found[option] = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
print(json.dumps(found))
