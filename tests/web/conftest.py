"""A served model and a browser; each module of tests starts a server and a browser of its own."""

import pytest
from browser import Browser
from serving import Running, make_model


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    make_model().save(path)
    return path


@pytest.fixture(scope="module")
def running(model, tmp_path_factory):
    one = Running(model, tmp_path_factory.mktemp("home"), "--engine", "numpy")
    yield one
    assert one.end() == (0, "")
