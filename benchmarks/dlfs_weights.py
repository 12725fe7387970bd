"""The accuracy of the author's weights of DeepConvNet: python benchmarks/dlfs_weights.py 2016.pkl 2022.pkl

The files are ch08/deep_convnet_params.pkl of github.com/oreilly-japan/deep-learning-from-scratch, in the first commit
and in that of September 2022. Each answers for the 10,000 test images of MNIST; its accuracy and SHA-256 are written to
results/.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np

from neoclassic.compat import dlfs

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    _, (images, labels) = dlfs.load_mnist(flatten=False)
    files = {}
    for path in map(Path, sys.argv[1:]):
        network = dlfs.DeepConvNet()
        network.load_params(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files[path.stem] = {"test_accuracy": round(network.accuracy(images, labels), 4), "sha256": digest}
    found = {
        "benchmark": "dlfs_weights",
        "what": "the author's weights of DeepConvNet, on MNIST's 10,000 test images",
        "files": files,
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    (RESULTS / "dlfs_weights.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(files, indent=1))


if __name__ == "__main__":
    main()
