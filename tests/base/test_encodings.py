"""Files are written and read as UTF-8, whatever the system's own encoding is."""

import json
import os
import subprocess
import sys

import pytest
from helpers import TRAIN, fill_photos, neoclassic

STRICT = """
import json, sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="neoclassic")
from neoclassic.cli import main
for line in json.loads(sys.argv[1]):
    assert main(line) == 0, line
"""
NAMES = ("Águila", "Búho", "кот", "猫")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Photos of classes whose names are not ASCII, and a run on them."""
    root = tmp_path_factory.mktemp("encodings")
    photos, env = fill_photos(root / "größe", NAMES), {"NEOCLASSIC_CACHE": str(root / "cache")}
    done = neoclassic(*TRAIN, "--data", photos, "--out", root / "r", env=env)
    assert done.returncode == 0, done.stderr
    return photos, root / "r", env


VERBS = [
    ("report", "{run}", "--engine", "numpy"),
    ("train", "--resume", "{run}"),
    ("evaluate", "{run}", "--out", "{out}/e", "--engine", "numpy"),
    ("compare", "{run}", "--out", "{out}/c"),
    ("predict", "{run}", "{photos}", "--csv", "{out}/p.csv", "--engine", "numpy"),
    ("explain", "{run}", "{photos}/猫/0.jpg", "--out", "{out}/x", "--engine", "numpy"),
    ("check", "{photos}"),
    ("cache",),
]


def test_no_file_is_opened_in_the_encoding_of_the_system(trained, tmp_path):
    """Python itself tells where a file would be: that is an error here, as Windows would read it in cp1252."""
    photos, run, env = trained
    lines = [[a.format(run=run, photos=photos, out=tmp_path) for a in arguments] for arguments in VERBS]
    command = [sys.executable, "-X", "warn_default_encoding", "-c", STRICT, json.dumps(lines)]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", VERBS, ids=lambda arguments: arguments[0])
def test_every_verb_works_in_a_locale_without_these_letters(arguments, trained, tmp_path):
    photos, run, env = trained
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    given = [a.format(run=run, photos=photos, out=tmp_path) for a in arguments]
    done = neoclassic(*given, env=env | plain, errors="replace")
    assert done.returncode == 0, done.stderr
    if arguments[0] == "predict":
        said = (tmp_path / "p.csv").read_text("utf-8")
        assert any(name in said for name in NAMES)


def test_a_run_in_such_a_locale_is_the_same_run(trained, tmp_path):
    photos, run, env = trained
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NEOCLASSIC_CACHE": str(tmp_path / "cache")}
    done = neoclassic(*TRAIN, "--data", photos, "--out", tmp_path / "r", env=plain, errors="replace")
    assert done.returncode == 0, done.stderr
    assert neoclassic("evaluate", tmp_path / "r", "--engine", "numpy", env=env).returncode == 0
    from neoclassic.model.artefact import Model

    assert Model.load(tmp_path / "r").classes == Model.load(run).classes
