"""What several tests share: a small real data set as a folder of IDX files, and the command line in-process."""

import json
import os
import shutil

import pytest
from helpers import write_data_set

from neoclassic import data
from neoclassic.cli import main

if shutil.which("nvidia-smi") is None:  # before Triton is imported: its kernels then run on the processor
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def fashion():
    return data.load("fashion-mnist")


@pytest.fixture(scope="session")
def idx_folder(fashion, tmp_path_factory):
    """The first 1,000 training and 300 test images of Fashion-MNIST, as IDX files in a folder."""
    return write_data_set(tmp_path_factory.mktemp("data") / "tiny", fashion, 1000, 300)


@pytest.fixture
def run(capsys):
    """Run a command line; give back its exit code, standard output and standard error."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def run_json(run):
    """Run a command line that must succeed, and read the JSON document it prints."""

    def call(*arguments):
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """An empty cache for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOCLASSIC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
