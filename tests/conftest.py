"""What several tests share: a small real data set as a folder of IDX files, and the command line in-process."""

import json
import os
import shutil

import pytest
from helpers import write_data_set

from neoclassic import data
from neoclassic.cli import main
from neoclassic.insight.watching import Doctor, Pictures
from neoclassic.train.listener import Listener

if shutil.which("nvidia-smi") is None:  # before Triton is imported: its kernels then run on the processor
    os.environ["TRITON_INTERPRET"] = "1"

LONGEST = (  # each takes more than twenty seconds; those that take longest come first
    *("campaigns/test_short", "engines/test_parity", "train/test_options", "campaigns/test_kills"),
    *("model/test_weights_of_others", "web/test_lab_in_browser", "web/test_train_in_browser", "train/test_runs"),
    *("compat/test_listings", "insight/test_doctor", "project/test_docs_notebook", "project/test_hash_seeds"),
    *("campaigns/test_server", "train/test_search", "cli/test_notebook", "train/test_stopping", "data/test_heif"),
    *("project/test_docs_python", "project/test_docs_promises", "engines/test_towers", "campaigns/test_disks"),
    *("compat/test_readers", "base/test_names_are_text", "cli/test_command_line", "campaigns/test_files_images_trees"),
)


def pytest_collection_modifyitems(items):
    """Begin with the longest modules, so that at the end no worker has one while the others have nothing to do."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(f"{item.path.parent.name}/{item.path.stem}", len(LONGEST)))


ORNAMENTS = {
    (listener, method): getattr(listener, method)
    for listener, method in ((Pictures, "epoch_ended"), (Pictures, "finished"), (Doctor, "finished"))
}


@pytest.fixture(scope="session", autouse=True)
def _without_ornaments():
    """Trainings of this process end without pictures and diagnosis, which take longer than the training of a test."""
    with pytest.MonkeyPatch.context() as patch:
        for listener, method in ORNAMENTS:
            patch.setattr(listener, method, getattr(Listener, method))
        yield


@pytest.fixture
def ornaments(monkeypatch):
    """Trainings of this test end as a user's do, with pictures and diagnosis."""
    for (listener, method), function in ORNAMENTS.items():
        monkeypatch.setattr(listener, method, function)


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
