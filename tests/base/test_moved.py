"""Former module names import the modules that have these contents now."""

import importlib
import subprocess
import sys

import pytest

from neoclassic.base import moved


@pytest.mark.parametrize("old", moved.MOVED)
def test_an_old_name_is_the_new_module(old):
    module = importlib.import_module(moved.MOVED[old])
    assert importlib.import_module(old) is module
    assert module.__name__ == module.__spec__.name == moved.MOVED[old]  # as if it had never been imported otherwise


def test_old_names_come_from_the_package_too_and_first():
    code = (
        "from neoclassic import predict, artefact\n"
        "from neoclassic.errors import NeoclassicError\n"
        "import neoclassic.train.evaluate as evaluate, neoclassic.torchvision_weights\n"
        "import neoclassic.model.artefact, neoclassic as nc\n"
        "assert artefact is neoclassic.model.artefact and NeoclassicError is nc.NeoclassicError\n"
        "assert evaluate.softmax is predict.softmax\n"
        "assert not hasattr(nc, 'nothing_of_this_name')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
