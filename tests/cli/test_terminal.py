"""What the verbs show in a terminal: tables that fit its window, help in groups, colours where they are wanted."""

import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from helpers import columns, golden, in_terminal, neoclassic
from hypothesis import given, settings
from hypothesis import strategies as st
from options import TINY
from PIL import Image

from neoclassic.cli import cli, features, models, training
from neoclassic.cli.terminal import print_fitted
from neoclassic.data import cache
from neoclassic.data.check import Report
from neoclassic.data.findings import Finding
from neoclassic.insight import compare
from neoclassic.insight.bench import Row
from neoclassic.insight.compare import RunSummary
from neoclassic.model.embedding import Neighbour, Similar
from neoclassic.model.evaluate import Evaluation
from neoclassic.views.table import LEFT, RIGHT, SHORTEN, WRAP, Column, Table

WIDTHS = (80, 200)
NAMES = ("猫", "狗" * 20, "cafe\u0301", "<b>bold</b>, \x1b[31mred", "a class with a very long name, and more of it")


@pytest.fixture
def wide(monkeypatch):
    """A function that makes standard output a terminal of a width."""

    def make(width):
        monkeypatch.setattr("neoclassic.cli.terminal.window", lambda: width)
        monkeypatch.setenv("COLUMNS", str(width))

    return make


# ── the tables of all verbs ──────────────────────────────────────────────────────────────────────────


def _evaluation():
    confusion = np.array([[90, 5, 5, 0, 0], [3, 97, 0, 0, 0], [0, 0, 100, 0, 0], [1, 1, 1, 97, 0], [0, 0, 0, 0, 12]])
    evaluation = Evaluation(396 / 412, 0.1234, 412, NAMES, confusion)
    pairs = [(NAMES[0], NAMES[1], 5, 0.05), (NAMES[1], NAMES[0], 3, 0.03)]
    models._print_evaluation(SimpleNamespace(evaluation=evaluation, pairs=pairs, calibration_error=0.0123), "photos")


def _similar():
    folder = "/home/someone/Pictures/a folder with a long name/another folder with a long name"
    near = [Neighbour(0.99 - i / 10, f"{folder}/写真/{i}.jpg", name, i) for i, name in enumerate(NAMES[:3])]
    print_fitted(features._table(Similar("photo.jpg", np.zeros((1, 1, 3), np.uint8), tuple(near))))


def _compare():
    log = [{"validation_accuracy": i / 60, "test_accuracy": None} for i in range(50)]
    counts = {"parameters": 61_706, "macs": 416_520, "seconds": 75.4}
    run = RunSummary(
        "first", Path("first"), TINY, "tiny", log, 0.9, (0.894, 0.906), True, **counts, engine="numpy", device="cpu"
    )
    other = replace(
        run, name="a/folder/with/a/long/name/第二", accuracy=0.85, interval=None, finished=False, log=log[:3]
    )
    print_fitted(compare.table([run, other]))


def _check():
    counts = {"train": {f"class {i}": 100 + i for i in range(12)}, "test": dict.fromkeys(NAMES[:2], 10)}
    paths = tuple(f"/home/someone/photos/train/class 1/写真 {i}.jpg: the file is cut off" for i in range(7))
    findings = (
        Finding("error", "duplicates", "3 images are both in the training and in the test set: remove one", paths[:1]),
        Finding("warning", "unreadable", "7 images cannot be read: training skips such images", paths),
    )
    print_fitted(Report("photos", counts, findings, "crop", "most are nearly square", ("a note",)).text())


def _cache():
    root = Path("/home/someone/.cache/neoclassic")
    key = "01f864821b77fb7d00a05b01a00cce06"
    entries = [
        cache.Entry(root / "decoded" / key, "decoded: 写真 train, 160 images at 224×224×3", (), 24_117_248),
        cache.Entry(root / "mnist", "data set", (), 11_594_722),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "entries", lambda: entries)
        patch.setattr(cache, "folder", lambda: root)
        cli.main(["cache"], standalone_mode=False)


def _bench():
    rows = [Row("mobilenet-v3-large:minimalistic", "torch", "cuda:0", "bf16", "on", 256, 12_345.6, 45_678.9)]
    print_fitted(training._rates([*rows, Row("lenet", "onnx", "cpu", "32", "off", 32, None, 9_999.0)]))
    done = {"recipe": "neoclassic:fashion-record-gpu", "engine": "torch", "device": "cuda", "precision": "bf16"}
    done |= {
        "epochs": 30,
        "images_per_second": 23_456,
        "seconds": 77.5,
        "test_accuracy": 0.9412,
        "accuracy_interval": [0.9364, 0.9457],
        "reaches": ".94 " * 20,
    }
    print_fitted("", training._done([done]))


LINES = (
    "list",
    "list --models",
    "show resnet18 --batch 32",
    "show googlenet --depth 1",
    "show mobilenet-v2 --explain --depth 2",
    "show lenet --compare vgg11 resnet50 googlenet mobilenet-v3-small",
    "diff alexnet alexnet:torchvision",
    "recipes",
    "predict lenet@fashion-mnist 鞋.png a-rather-long-name-of-a-file.png --engine numpy",
)
MADE = {  # the tables whose numbers depend on a training or a machine
    "evaluate": _evaluation,
    "compare": _compare,
    "similar": _similar,
    "check": _check,
    "cache": _cache,
    "bench": _bench,
}


def _everything(run, capsys):
    """Every table, each below the command that prints it."""
    for name in ("鞋.png", "a-rather-long-name-of-a-file.png"):
        Image.new("L", (28, 28)).save(name)
    shown = []
    for line in LINES:
        code, out, err = run(*line.split())
        assert code == 0, err
        shown.append(f"$ neoclassic {line}\n{out}")
    for name, show in MADE.items():
        show()
        shown.append(f"$ neoclassic {name} …\n{capsys.readouterr().out}")
    return "\n".join(shown)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder and caches without weights."""
    monkeypatch.chdir(tmp_path)
    for name in ("NEOCLASSIC_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_table_fits_the_window(width, wide, run, capsys, empty):
    wide(width)
    shown = _everything(run, capsys)
    over = [line for line in shown.splitlines() if columns(line) > width and not line.startswith("$ ")]
    assert not over
    assert not re.search(r" $|\x1b", shown, re.M)
    golden(f"tables-{width}", shown)


@pytest.mark.parametrize("width", [33, 61, 130])
def test_every_table_fits_odd_windows_too(width, wide, run, capsys, empty):
    wide(width)
    shown = [line for line in _everything(run, capsys).splitlines() if not line.startswith("$ ")]
    assert [line for line in shown if columns(line) > width] == []


def test_wider_windows_show_more(wide, run):
    shown = {}
    for width in (40, 80, 120, 200):
        wide(width)
        shown[width] = run("show", "resnet18")[1]
    titles = {width: text.splitlines()[2].split() for width, text in shown.items()}
    assert [len(titles[width]) for width in shown] == sorted(len(t) for t in titles.values())
    assert titles[200] == ["path", "type", "output", "parameters", "MACs", "memory", "sees", "step", "centre"]
    assert "not shown in 80 columns: " in shown[80]
    assert "not shown" not in shown[200]


def test_a_pipe_gets_everything_whatever_the_window(run, monkeypatch):
    usual = run("recipes")[1]
    monkeypatch.setenv("COLUMNS", "20")
    assert run("recipes")[1] == usual
    assert max(map(len, usual.splitlines())) > 150


# ── one table ────────────────────────────────────────────────────────────────────────────────────────


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


CELLS = st.text(st.sampled_from("ab c猫\u0301é-"), max_size=30).map(lambda text: " ".join(text.split()))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4), st.integers(24, 90), st.sampled_from([LEFT, RIGHT]))
def test_no_line_is_wider_than_the_window_and_nothing_is_lost(rows, width, side):
    table = Table((Column("one", narrow=WRAP), Column("two", side, WRAP), Column("three", narrow=WRAP)), tuple(rows))
    stream = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neoclassic.cli.terminal.window", lambda: width)
        patch.setattr("sys.stdout", stream)
        print_fitted(table)
    shown = stream.getvalue()
    assert max(map(columns, shown.splitlines())) <= width
    for character in "猫\u0301é-cb":
        assert shown.count(character) == sum(cell.count(character) for row in rows for cell in row)


def test_paths_lose_their_beginning_and_prose_is_wrapped(wide, capsys):
    wide(40)
    columns_of = (Column("path", narrow=SHORTEN, least=10), Column("about", narrow=WRAP, least=10))
    print_fitted(Table(columns_of, (("/home/someone/写真/a long folder/猫.jpg", "words that go on and on and on"),)))
    out = capsys.readouterr().out
    assert "…" in out
    assert "猫.jpg" in out
    assert "/home" not in out
    assert re.findall(r"\b(?:words|that|go|on|and)\b", out) == ["words", "that", "go", "on", "and", "on", "and", "on"]


# ── a real terminal ──────────────────────────────────────────────────────────────────────────────────

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_colours_are_shown_in_a_terminal_and_nowhere_else():
    line = ("diff", "lenet", "lenet:1998")
    coloured = in_terminal(80, *line)
    assert "\x1b[31mmissing" in coloured
    plain = in_terminal(80, *line, env={"NO_COLOR": "1"})
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == plain.split()
    assert "\x1b" not in plain
    assert "\x1b" not in in_terminal(80, *line, env={"TERM": "dumb"})
    assert "\x1b" not in neoclassic(*line, env={"FORCE_COLOR": "1"}).stdout


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, ASCII], ids=["colour", "plain", "ascii"])
def test_a_terminal_shows_names_as_text_and_no_line_is_too_wide(env, tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "\x1b[31mred 猫.png")
    shown = in_terminal(50, "predict", "lenet@fashion-mnist", tmp_path, "--engine", "numpy", env=env)
    assert "\\u001b[31mred" in re.sub(r"\n *", "", shown)
    assert max(map(columns, shown.splitlines())) <= 50
    assert shown.isascii() == (env is ASCII)


@pytest.mark.parametrize("verb", ["list", "recipes", "show lenet", "diff lenet lenet:1998"])
def test_a_terminal_without_unicode_gets_tables_that_fit(verb):
    shown = in_terminal(70, *verb.split(), env=ASCII)
    assert shown.isascii()
    assert "\\u" not in shown
    assert max(map(columns, shown.splitlines())) <= 70


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", WIDTHS)
def test_the_help_of_every_verb(width, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = [["--help"], *([verb, "--help"] for verb in cli.commands)]
    shown = "\n".join(f"$ neoclassic {' '.join(line)}\n{run(*line)[1]}" for line in lines)
    assert max(map(columns, shown.splitlines())) <= min(width, 100)
    assert "..." not in shown.replace("[ARGS]...", "")  # no text is cut
    golden(f"help-{width}", shown)


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_every_option_has_a_text(verb):
    options = [p for p in cli.commands[verb].params if isinstance(p, click.Option) and not p.hidden]
    assert [option.name for option in options if not (option.help or "").endswith((".", "…"))] == []


def test_every_option_of_train_stands_under_a_heading():
    train = cli.commands["train"]
    under = [name for names in train.headings.values() for name in names]
    assert len(under) == len(set(under))
    options = {p.name for p in train.params if isinstance(p, click.Option) and not p.hidden}
    assert options - set(under) == {"as_json"}
    assert set(under) <= options
