"""A run and its result do not depend on pictures, events or progress lines: where those fail, a warning says so."""

import json
import sys

import pytest
from helpers import TRAIN, fill_photos

from neoclassic.insight import curves, gallery, maps, page
from neoclassic.model.artefact import Model
from neoclassic.views import drawing

pytestmark = pytest.mark.usefixtures("ornaments")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fill_photos(tmp_path_factory.mktemp("ornaments") / "two", ("cat", "dog"))


@pytest.fixture
def broken(monkeypatch):
    """Every function that draws fails."""

    def fail(*_, **__):
        raise RuntimeError("planted")

    for module in (curves, gallery, maps):
        for name in [name for name in vars(module) if name.startswith("draw")]:
            monkeypatch.setattr(module, name, fail)
    for module, name in ((drawing, "tree"), (page, "photo")):
        monkeypatch.setattr(module, name, fail)


def test_a_run_whose_every_picture_fails_is_finished_and_says_so(photos, broken, tmp_path, run):
    out = tmp_path / "run"
    code, said, err = run(*TRAIN, "--data", photos, "--out", out)
    assert code == 0
    assert "test accuracy" in said
    for name in ("curves.png", "confusion.png"):
        assert f"neoclassic: {name} could not be made (RuntimeError: planted)\n" in err
        assert not (out / name).exists()
    assert json.loads((out / "result.json").read_text("utf-8"))["test_accuracy"] >= 0
    assert Model.load(out).metrics["test"]


def test_a_report_whose_every_picture_fails_has_its_text_and_says_what_is_missing(photos, broken, tmp_path, run):
    out = tmp_path / "run"
    run(*TRAIN, "--data", photos, "--out", out)
    code, _, err = run("report", out)
    assert code == 0
    html = (out / "report.html").read_text("utf-8")
    for part in ("the picture of the reliability", "the section 'The network'", "the section 'Where it looked'"):
        assert f"neoclassic: {part} could not be made" in err
    assert "How to reproduce it" in html
    assert "The picture of the reliability could not be drawn." in html


def test_the_tables_of_an_evaluation_and_a_comparison_are_written_without_pictures(photos, broken, tmp_path, run):
    out = tmp_path / "run"
    run(*TRAIN, "--data", photos, "--out", out)
    code, _, err = run("evaluate", out, "--out", tmp_path / "e")
    assert code == 0, err
    assert sorted(p.suffix for p in (tmp_path / "e").iterdir()) == [".csv"] * 4
    code, _, err = run("compare", out, "--out", tmp_path / "c", "--json")
    assert code == 0
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["runs.csv"]
    code, said, err = run("explain", out, photos / "cat" / "0.jpg", "--out", tmp_path / "x", "--json")
    assert code == 0
    assert json.loads(said)["files"] == {}
    assert err.count("could not be made") == 5


def test_pictures_that_a_finished_run_lacks_are_drawn_when_it_is_resumed(photos, tmp_path, run):
    out = tmp_path / "run"
    run(*TRAIN, "--data", photos, "--out", out)
    drawn = {name: (out / name).read_bytes() for name in ("curves.png", "confusion.png")}
    for name in drawn:
        (out / name).unlink()
    assert run("train", "--resume", out)[0] == 0
    assert {name: (out / name).read_bytes() for name in drawn} == drawn


@pytest.mark.parametrize("when", ["__init__", "add_scalar"])
def test_events_that_cannot_be_written_end_nothing(when, photos, tmp_path, run, monkeypatch):
    class Writer:
        def __init__(self, *_):
            if when == "__init__":
                raise OSError(28, "No space left on device")

        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: name == "tensorboardX" or None)
    monkeypatch.setitem(sys.modules, "tensorboardX", type(sys)("tensorboardX"))
    sys.modules["tensorboardX"].SummaryWriter = Writer
    code, _, err = run(*TRAIN, "--data", photos, "--out", tmp_path / "run", "--tensorboard", "--epochs", 3)
    assert code == 0, err
    assert err.count("the TensorBoard events could not be made") == 1
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.filterwarnings("ignore:the model is no better than chance")  # two epochs are a try
def test_a_terminal_that_is_gone_ends_no_training(photos, tmp_path, monkeypatch):
    from neoclassic.insight.watching import watchers
    from neoclassic.recipes import choose
    from neoclassic.train.loop import train
    from neoclassic.train.run import Settings

    class Gone:
        encoding = "utf-8"

        def write(self, _):
            raise OSError(5, "Input/output error")

        def flush(self):
            raise OSError(5, "Input/output error")

        def isatty(self):
            return True

        def fileno(self):
            raise OSError(5, "Input/output error")

    recipe = choose("lenet", None, str(photos)).but(data=str(photos), epochs=2, image_size=28)
    monkeypatch.setattr(sys, "stderr", Gone())
    result = train(recipe, Settings("numpy"), tmp_path / "run", listeners=watchers(progress=True))
    assert result.epochs == 2
