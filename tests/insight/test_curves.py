"""Learning curves as a sparkline, as pictures and as TensorBoard events; pictures of several runs."""

import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from neoclassic.cli import main
from neoclassic.insight import curves, events
from neoclassic.train.run import Run, Settings, State
from neoclassic.views.table import spark

LOG = [
    {"epoch": 1, "learning_rate": 0.1, "train_loss": 2.0, "train_accuracy": 0.5, "validation_loss": 1.9,
     "validation_accuracy": 0.55, "test_loss": None, "test_accuracy": None, "seconds": 2.0},
    {"epoch": 2, "learning_rate": 0.1, "train_loss": 1.0, "train_accuracy": 0.7, "validation_loss": 1.2,
     "validation_accuracy": 0.65, "test_loss": None, "test_accuracy": None, "seconds": 2.5},
]  # fmt: skip


def scalars(file):
    """(tag, step, value) of an event file, read by the format's own definition: framed protocol buffers."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = proto.Event.FromString(data[at + 12 : at + 12 + length])
        found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
        at += 12 + length + 4
    return found


def listen(folder, before, *rows, wanted=True):
    """Events as they are written in a run that resumes after `before`."""
    job = SimpleNamespace(settings=Settings(tensorboard=wanted))
    log, writer = [SimpleNamespace(**row) for row in before], events.Events()
    writer.started(job, Run(folder), State(log=log))
    for row in rows:
        log.append(SimpleNamespace(**row))
        writer.epoch_ended(log, best=True, last=False)
    writer.stopped()


def test_events_hold_the_log_once_however_often_a_run_goes_on(tmp_path):
    pytest.importorskip("tensorboardX")
    listen(tmp_path, [], LOG[0])
    listen(tmp_path, LOG[:1], LOG[1])
    (file,) = (tmp_path / "tensorboard").iterdir()
    found = scalars(file)
    assert ("loss/train", 1, 2.0) in found
    assert [(step, value) for tag, step, value in found if tag == "accuracy/validation"] == [
        (1, pytest.approx(0.55)),
        (2, pytest.approx(0.65)),
    ]
    assert not any("test" in tag for tag, _, _ in found)


def test_without_the_writer_the_call_is_wrong_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", "lenet", "--engine", "numpy", "--tensorboard", "--out", str(tmp_path / "run")]) == 2
    assert "pip install tensorboardX" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_unless_wanted(tmp_path):
    listen(tmp_path, LOG, LOG[0], wanted=False)
    assert list(tmp_path.iterdir()) == []


def test_a_sparkline():
    assert spark([0.1, 0.2, 0.3]) == "▁▅█"
    assert spark([0.5]) == "▁"


def test_pictures_of_several_runs(tmp_path):
    runs = [curves.Curve(name, LOG, 0.6 + i / 50, cost) for i, (name, cost) in enumerate((("a", 1e4), ("b", 2e6)))]
    curves.draw_runs(runs, tmp_path / "curves.png", "two runs")
    costs = {"parameters": [61706, 11178378], "MACs an image": [416520, 318657536], "seconds": [12.0, 900.0]}
    curves.draw_costs(["lenet", "resnet18:taught"], [0.89, 0.93], costs, tmp_path / "costs.png", "what it costs")
    for name in ("curves.png", "costs.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 900


def test_matplotlib_is_imported_only_when_a_picture_is_made():
    rooms = "train.loop", "insight.explain", "insight.report", "insight.compare", "cli"
    code = f"import sys, {', '.join(f'neoclassic.{room}' for room in rooms)};"
    code += "assert not {'matplotlib', 'tensorboardX'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
