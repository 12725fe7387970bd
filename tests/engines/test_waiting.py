"""Threads of the torch engine sleep while they wait, so that another program on the machine does not stop them."""

import os
import subprocess
import sys

import pytest
from helpers import needs

PROGRAM = """
import os, sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_loader

class Watch(MetaPathFinder, Loader):
    "Stands for PyTorch: when it is imported, it says what PyTorch would find, and ends the process."

    def find_spec(self, name, path=None, target=None):
        return spec_from_loader(name, self) if name == "torch" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        print("policy", os.environ.get("OMP_WAIT_POLICY"), flush=True)
        os._exit(0)

sys.meta_path.insert(0, Watch())
from neoclassic.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_they_are_told_before_torch_is_loaded_unless_the_user_says_otherwise(given, used, idx_folder, tmp_path):
    needs("torch")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    options = ["--engine", "torch", "--max-steps", "1", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", PROGRAM, "train", "lenet", "--data", str(idx_folder), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"policy {used}\n"
