"""The folder for the Hugging Face Hub: its files, what its card says, and that it reads back with the same answers."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import TRAIN, fill_photos, needs
from hubs import hub

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.text import markdown
from neoclassic.insight import hub_folder
from neoclassic.insight.card_parts import repository
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import wilson

needs("onnxruntime")
NAMES = ("*bold* `code` | <b>x", '"a": [b] #c', "- 1. www.ant.org $x$", "日本語 😀")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with photos, a finished run on them, and its folder for the Hub."""
    root = tmp_path_factory.mktemp("card")
    fill_photos(root / "photos", NAMES, 24)
    where = ("--data", str(root / "photos"), "--out", str(root / "run"))
    environment = os.environ | {"NEOCLASSIC_CACHE": str(root / "cache")}
    for line in ((*TRAIN, *where), ("export", str(root / "run"), str(root / "pushed"), "--hub")):
        command = [sys.executable, "-m", "neoclassic", *line]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def card(work):
    return (work / "pushed" / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def result(work):
    return json.loads((work / "run" / "result.json").read_text("utf-8"))


def tables(text):
    """The rows of each Markdown table, as lists of cells."""
    found = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    cells = [[re.split(r"(?<!\\)\|", row)[1:-1] for row in each.strip().splitlines()] for each in found]
    return [[[cell.strip() for cell in row] for row in table] for table in cells]


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────


def test_the_folder_is_whole(work):
    assert {path.name for path in (work / "pushed").iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "model.onnx", "standalone_predict.py")
    }
    assert not [path for path in work.iterdir() if path.name.startswith(".neoclassic")]
    said = json.loads((work / "pushed" / "config.json").read_text("utf-8"))
    model = Model.load(work / "pushed")
    assert tuple(said["id2label"][str(i)] for i in range(4)) == model.classes == tuple(sorted(NAMES))
    assert said["checksum"] == model.checksum


def test_it_reads_back_with_the_same_answers_from_the_folder_the_hub_and_the_onnx_file(work, tmp_path, monkeypatch):
    needs("huggingface_hub")
    from huggingface_hub import constants

    photos = [str(work / "photos" / name / "3.jpg") for name in NAMES]
    expected = nc.load(work / "run", "numpy").predict_proba(photos)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with hub({"me/pushed": {path.name: path.read_bytes() for path in (work / "pushed").iterdir()}}) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        loaded = nc.load("hf:me/pushed", "numpy")
    assert np.array_equal(loaded.predict_proba(photos), expected)
    assert np.array_equal(nc.load(work / "pushed", "numpy").predict_proba(photos), expected)
    command = ["standalone_predict.py", "--json", "model.onnx", *photos]
    done = subprocess.run([sys.executable, *command], cwd=work / "pushed", capture_output=True, text=True, check=True)
    alone = [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_no_path_of_this_machine_is_in_it(work):
    assert str(work) in json.dumps(Model.load(work / "run").recipe)
    for path in (work / "pushed").iterdir():
        assert str(work).encode() not in path.read_bytes(), path.name


def test_an_artefact_without_its_run_says_less(work, tmp_path, run):
    code, out, err = run("export", work / "run" / "model.safetensors", tmp_path / "my model", "--hub")
    assert code == 0, err
    assert out.splitlines()[-1].endswith(f"hf upload OWNER/my-model '{tmp_path / 'my model'}'")
    text = (tmp_path / "my model" / "README.md").read_text("utf-8")
    assert "The accuracy of each class is not known here." in text
    assert "# my model" in text
    assert 'nc.load("hf:OWNER/my-model")' in text


def test_without_onnx_the_folder_has_no_onnx_file_and_the_card_does_not_name_it(work, tmp_path, run, monkeypatch):
    monkeypatch.setattr(hub_folder, "find_spec", lambda _name: None)
    code, _, err = run("export", work / "run", tmp_path / "pushed", "--hub")
    assert code == 0
    assert err.startswith("model.onnx is left out: it needs onnx (")
    assert {path.name for path in (tmp_path / "pushed").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert "onnx" not in (tmp_path / "pushed" / "README.md").read_text("utf-8").lower()


def test_it_is_written_whole_or_not_at_all(work, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="full is not empty: name a new folder"):
        hub_folder.write(work / "run", tmp_path / "full")
    with pytest.raises(NeoclassicError, match=r"cannot make .*notes.txt"):
        hub_folder.write(work / "run", tmp_path / "full" / "notes.txt")
    monkeypatch.setattr(hub_folder, "export", lambda *_: (_ for _ in ()).throw(NeoclassicError("the disk is full")))
    with pytest.raises(NeoclassicError, match="the disk is full"):
        hub_folder.write(work / "run", tmp_path / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "notes.txt"]


def test_options_that_do_not_belong_together_are_refused(run, tmp_path):
    code, _, err = run("export", "run", tmp_path / "out", "--hub", "--verify", 3)
    assert code == 2
    assert "for --verify, export to a FILE.onnx" in err


# ── the card ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_head_is_yaml_that_says_what_the_model_is(card, result):
    yaml = pytest.importorskip("yaml")
    head = yaml.safe_load(card.split("---\n")[1])
    assert "license" not in head
    assert head["library_name"] == "neoclassic"
    assert head["pipeline_tag"] == "image-classification"
    assert head["tags"] == ["image-classification", "neoclassic", "lenet", "onnx"]
    (entry,) = head["model-index"]
    assert entry["name"] == "pushed"
    assert entry["results"][0]["dataset"]["name"] == "photos"
    assert entry["results"][0]["metrics"] == [{"type": "accuracy", "value": round(result["test_accuracy"], 4)}]


def test_the_card_has_the_figures_of_the_run(card, result):
    of_classes = next(table for table in tables(card) if table[0][0] == "class")
    rows = {row[0]: row for row in of_classes[2:]}
    assert set(rows) == {markdown(name) for name in NAMES}
    for each in result["evaluation"]["per_class"]:
        low, high = wilson(round(each["recall"] * each["n"]), each["n"])
        assert rows[markdown(each["class"])][1:] == [
            *(f"{each['n']}", f"{each['recall']:.1%}", f"{low:.1%}–{high:.1%}", f"{each['precision']:.1%}")
        ]
    assert f"right on **{result['test_accuracy']:.1%}** of {result['evaluation']['n']} test images of photos" in card
    assert "Few test images make the figures uncertain" in card


def test_names_of_classes_stay_text(card):
    body = re.sub(r"```.*?```|<!--.*?-->", "", card.split("---\n", 2)[2], flags=re.S)
    assert not re.search(r"(?<!\\)[<>$]", body)
    assert not re.search(r"(?<!\\)\*bold", body)
    assert "\\- 1. www\\.ant.org \\$x\\$" in body
    for table in tables(body):
        assert len({len(row) for row in table}) == 1


def test_the_commands_and_the_code_in_the_card_are_ones_that_exist(card, work):
    code = re.search(r"```python\n(.*?)```", card, re.S)[1].replace("hf:OWNER/pushed", str(work / "pushed"))
    photo = str(work / "photos" / NAMES[3] / "0.jpg")
    names = {}
    exec(code.replace("photo.jpg", photo), names)
    assert names["model"].predict([photo])[0] in NAMES
    from neoclassic.cli import cli

    for line in re.findall(r"^neoclassic (\w+) ", card, re.M):
        assert line in cli.commands


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilsons_intervals_are_the_published_ones(right, n, low, high):
    """81 of 263: Newcombe 1998, Statistics in Medicine 17, 857, table I, method 3."""
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("my model", "my-model"), ("..", "model"), ('a"b/c', "a-b-c"), ("resnet18.v2", "resnet18.v2")],
)
def test_a_repository_has_a_name_that_the_hub_allows(name, expected):
    assert repository(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b", "a\\_b"),
        ("+ x", "\\+ x"),
        ("2026-11-29", "2026-11-29"),
        ("1. x", "1\\. x"),
        ("https://x", "https\\://x"),
        ("two\nlines", "two\\\\u000alines"),
        ("plain text", "plain text"),
    ],
)
def test_markdown_is_escaped(text, expected):
    assert markdown(text) == expected
