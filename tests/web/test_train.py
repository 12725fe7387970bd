"""Training in the lab over its interface: it is the ordinary run, one at a time, and a run elsewhere can be watched."""

import json
import time
from http.client import HTTPConnection

import pytest
from labs import Lab

from neoclassic.model.artefact import Model
from neoclassic.train.loop import resume, train
from neoclassic.train.run import Run, Settings
from neoclassic.web.look import unpacked

KNOBS = "epochs=3&batch_size=100&seed=3"


class Events:
    """The server-sent events of a lab."""

    def __init__(self, lab):
        self.connection = HTTPConnection("127.0.0.1", lab.port, timeout=60)
        self.connection.request("GET", "/lab/train/events", headers={"Authorization": f"Bearer {lab.token}"})
        self.answer = self.connection.getresponse()
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def until(self, condition):
        """The first news for which a condition holds."""
        while line := self.answer.readline().decode():
            if line.startswith("data: ") and condition(news := json.loads(line[6:])):
                return news
        raise AssertionError("the server ended the events")

    def close(self):
        self.answer.close()
        self.connection.close()

    def phase(self, *phases):
        return self.until(lambda news: news["phase"] in phases)


@pytest.fixture
def lab(tmp_path):
    one = Lab(folder=tmp_path)
    yield one
    if one.process.poll() is None:
        assert one.end()[0] == 0


@pytest.fixture
def events(lab):
    one = Events(lab)
    yield one
    one.close()


def start(lab, data, more=""):
    return lab.json(f"/lab/train/start?network=lenet&data={data}&{KNOBS}{more}", "POST")


def do(lab, query):
    return lab.json(f"/lab/train/do?{query}", "POST")


def test_what_is_trained_here_is_what_the_command_line_trains(lab, events, idx_folder, tmp_path, run):
    start(lab, idx_folder, "&epochs=1")
    news = events.phase("finished")
    assert news["run"] == "runs/lenet-tiny-1"
    assert len(news["log"]) == 1
    again = ["--data", idx_folder, "--epochs", 1, "--batch-size", 100, "--seed", 3, "--engine", "numpy"]
    assert run("train", "lenet", *again, "--out", tmp_path / "again")[0] == 0
    here, there = (Run(path).result() for path in (tmp_path / news["run"], tmp_path / "again"))
    assert here.checksum == there.checksum
    assert {path.name for path in (tmp_path / news["run"]).iterdir()} >= {"curves.png", "confusion.png", "log.csv"}


def test_steps_epochs_rates_and_an_end_that_can_be_resumed(lab, events, idx_folder, tmp_path):
    start(lab, idx_folder, "&recipe=d2l-zh:lenet&learning_rate=0.05")
    do(lab, "act=pause")
    news = events.phase("resting")
    step = news["step"]
    do(lab, "act=step")
    news = events.until(lambda news: news["phase"] == "resting" and news["step"] == step + 1)
    do(lab, "rate=0.01&delay=0.01")
    do(lab, "act=epoch")
    news = events.until(lambda news: news["phase"] == "resting" and len(news["log"]) == 1)
    assert news["step"] == news["per_epoch"]
    assert news["log"][0]["learning_rate"] == pytest.approx(0.01)
    assert lab.ask("POST", f"/lab/train/start?network=lenet&data={idx_folder}")[0] == 400
    do(lab, "act=stop")
    news = events.phase("stopped")
    assert "neoclassic train --resume" in news["message"]
    lab.json("/lab/train/resume", "POST")
    done = events.phase("finished")
    assert (done["run"], len(done["log"])) == (news["run"], 3)
    assert done["log"][2]["learning_rate"] == pytest.approx(0.01)
    assert "rates.csv" in done["warnings"][-1]
    assert Model.load(tmp_path / done["run"]).checksum == Run(tmp_path / done["run"]).result().checksum


def test_the_server_saves_a_training_when_it_ends(lab, events, idx_folder, tmp_path):
    start(lab, idx_folder)
    do(lab, "act=pause")
    folder = tmp_path / events.phase("resting")["run"]
    began = time.monotonic()
    code, said = lab.end()
    assert code == 0
    assert said.endswith("resume with: neoclassic train --resume runs/lenet-tiny-1\n")
    assert said.count("\n") == 1
    assert time.monotonic() - began < 15
    assert resume(folder).epochs == 3


def test_a_glance_has_all_arrays(lab, events, idx_folder):
    start(lab, idx_folder)
    do(lab, "act=pause")
    news = events.phase("resting")
    assert {"conv1", "fc3"} < {layer["path"] for layer in news["layers"]}
    do(lab, "image=7")
    status, content = lab.ask("GET", "/lab/train/glance?path=conv2")
    assert status == 200
    header, arrays = unpacked(content)
    assert header["index"] == 7
    assert (header["maps"]["maps"], header["kernels"]["maps"]) == (16, 6)
    sizes = [one["maps"] * one["height"] * one["width"] for one in (header["maps"], header["kernels"])]
    assert len(arrays) == sum(sizes) + 784 * (1 + len(header["mistakes"]))
    assert {one["path"] for one in header["gradients"]} == {"conv1", "conv2", "fc1", "fc2", "fc3"}
    assert lab.ask("GET", "/lab/train/glance?path=nowhere")[0] == 400


def test_a_run_of_the_command_line_is_watched(idx_folder, tmp_path):
    from options import TINY

    recipe = TINY.but(data=str(idx_folder), epochs=1)
    train(recipe, Settings("numpy"), tmp_path / "run")
    one = Lab(tmp_path / "run")
    events = Events(one)
    try:
        session = one.json("/lab/session")
        assert (session["start"], session["models"][0]) == ("look", "run")
        news = events.until(lambda news: news["phase"] == "finished" and news["glances"])
        assert [row["epoch"] for row in news["log"]] == [1]
        assert one.ask("GET", "/lab/train/glance?path=conv1")[0] == 200
        (tmp_path / "run" / "result.json").unlink()
        assert events.phase("stopped")["run"] == str(tmp_path / "run")
        one.json("/lab/train/resume", "POST")
        assert events.phase("finished")["test_accuracy"] >= 0
    finally:
        events.close()
        assert one.end() == (0, "")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("start?network=lenett", "lenet"),
        ("start?network=lenet&data=/nowhere", "data"),
        ("start?network=lenet&epochs=0", "epochs"),
        ("start?network=lenet&epochs=x", "epochs"),
        ("start?network=lenet&learning_rate=nan", "learning rate"),
        ("start?network=lenet&recipe=nothing", "recipe"),
        ("resume", "start"),
        ("do?act=pause", "start"),
        ("do?image=3", "start"),
    ],
)
def test_a_wrong_request_is_told_in_one_line(refusing, path, says):
    status, text = refusing.ask("POST", f"/lab/train/{path}")
    error = json.loads(text)["error"]
    assert (status, "\n" in error, says in error) == (400, False, True), error


@pytest.fixture(scope="module")
def refusing():
    one = Lab()
    yield one
    assert one.end() == (0, "")


def test_the_training_needs_the_token(refusing):
    for method, path in (("GET", "events"), ("GET", "options"), ("POST", "start?network=lenet"), ("POST", "do?act=go")):
        assert refusing.ask(method, f"/lab/train/{path}", token=False)[0] == 403
        assert refusing.ask(method, f"/lab/train/{path}", headers={"Origin": "http://127.0.0.1:1"})[0] == 403


def test_a_data_set_that_is_not_here_is_not_downloaded(refusing):
    absent = {"mnist", "cifar-10"} - set(refusing.json("/lab/train/options")["data"])
    for name in absent:
        status, text = refusing.ask("POST", f"/lab/train/start?network=lenet&data={name}")
        assert (status, "not on this machine" in json.loads(text)["error"]) == (400, True)
