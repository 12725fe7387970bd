"""A run finds its own data from any folder, and never takes another folder of the same name for them."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import TRAIN, fill_photos, neoclassic, write_idx

from neoclassic.model.artefact import Model

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """a/photos and a run r, trained from inside a; b/photos holds others under the same name; c holds nothing."""
    from neoclassic.cli import main

    root = tmp_path_factory.mktemp("elsewhere")
    fill_photos(root / "a" / "photos", ("cat", "dog"))
    fill_photos(root / "b" / "photos", ("cat", "dog"), 9, first=7)
    (root / "c").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "a")
        assert main([*TRAIN, "--data", "photos", "--out", "../r"]) == 0
    return root


@pytest.mark.parametrize("folder", ["a", "b", "c", "/"])
def test_a_run_is_evaluated_on_its_own_data_from_any_folder(folder, root, run_json, monkeypatch):
    monkeypatch.chdir(root / folder)
    assert run_json("evaluate", root / "r")["n"] == 6  # a fifth of 14, twice


def test_an_export_is_verified_and_a_report_made_from_another_folder(root, run, monkeypatch):
    monkeypatch.chdir(root / "b")
    code, out, err = run("export", "../r", "m.onnx", "--verify", 4)
    assert code == 0, err
    assert "label agreement 100.00%" in out
    assert run("report", "../r", "--out", "r.html")[0] == 0
    html = Path("r.html").read_text("utf-8")
    assert "Results by class" in html
    assert "The worst mistakes" in html  # which needs the test images


def test_a_run_is_resumed_from_another_folder(root, run, monkeypatch):
    monkeypatch.chdir(root / "b")
    shutil.copytree(root / "r", "resumed")
    Path("resumed/result.json").unlink()
    code, _, err = run("train", "--resume", "resumed")
    assert code == 0, err
    assert Model.load("resumed").checksum == Model.load(root / "r").checksum


def test_a_model_away_from_its_run_takes_no_other_folder_of_that_name(root, run, monkeypatch):
    monkeypatch.chdir(root / "b")
    shutil.copy(root / "r" / "model.safetensors", "alone.safetensors")
    code, _, err = run("evaluate", "alone.safetensors")
    assert code == 1
    assert err == "neoclassic: photos does not hold the data that the model was trained on: name them with --data\n"
    assert run("evaluate", "alone.safetensors", "--data", "photos")[0] == 0  # as it was named
    monkeypatch.chdir(root / "c")
    shutil.copy(root / "r" / "model.safetensors", "alone.safetensors")
    code, _, err = run("evaluate", "alone.safetensors")
    assert code == 1
    said = "the data that the model was trained on, 'photos', were not found: name them with --data"
    assert err == f"neoclassic: {said}\n"
    monkeypatch.chdir(root / "a")
    assert run("evaluate", root / "c" / "alone.safetensors")[0] == 0


def test_a_folder_that_got_more_photos_is_still_the_run_s_own(root, run, monkeypatch):
    monkeypatch.chdir(root)
    shutil.copytree("a", "grown")
    monkeypatch.chdir(root / "grown")
    assert run(*TRAIN, "--data", "photos", "--out", "r2")[0] == 0
    shutil.copy("../b/photos/cat/1.jpg", "photos/cat/new.jpg")
    monkeypatch.chdir(root)
    assert run("evaluate", "grown/r2")[0] == 0


def test_where_one_stands_does_not_change_the_model(root, run, monkeypatch):
    """The place is the run's, not the model's: the same photos under the same name give the same file."""
    monkeypatch.chdir(root)
    shutil.copytree("a/photos", "d/photos")
    monkeypatch.chdir(root / "d")
    assert run(*TRAIN, "--data", "photos", "--out", "r")[0] == 0
    assert Path("r/model.safetensors").read_bytes() == (root / "r" / "model.safetensors").read_bytes()
    assert json.loads(Path("r/recipe.json").read_text("utf-8"))["run"]["place"] == str(root / "d" / "photos")


def test_arrays_of_another_folder_of_that_name_are_refused_too(idx_folder, tmp_path, run, monkeypatch, fashion):
    for name in ("one", "two"):
        shutil.copytree(idx_folder, tmp_path / name / "digits")
    write_idx(tmp_path / "two" / "digits" / "train-images-idx3-ubyte.gz", fashion.train.images[1000:2000, :, :, 0])
    monkeypatch.chdir(tmp_path / "one")
    assert run("train", "lenet", "--data", "digits", "--engine", "numpy", "--max-steps", 2, "--out", "../r")[0] == 0
    shutil.copy("../r/model.safetensors", "../alone.safetensors")
    monkeypatch.chdir(tmp_path / "two")
    assert run("evaluate", "../r")[0] == 0
    code, _, err = run("evaluate", "../alone.safetensors")
    assert code == 1
    assert "digits does not hold the data that the model was trained on" in err


def test_a_data_folder_and_a_home_folder_are_found_from_elsewhere_too(idx_folder, tmp_path, run, monkeypatch):
    home, data = tmp_path / "home", tmp_path / "sets" / "mnist"
    shutil.copytree(idx_folder, home / "mine")
    shutil.copytree(idx_folder, data)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    given = ("train", "lenet", "--engine", "numpy", "--max-steps", 2)
    assert run(*given, "--data", "~/mine", "--out", "r1")[0] == 0
    assert run(*given, "--data", "mnist", "--data-dir", "sets", "--out", "r2")[0] == 0
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in ("r1", "r2"):
        code, _, err = run("evaluate", tmp_path / name)
        assert code == 0, err


def test_a_run_of_an_earlier_version_opens_and_is_resumed(root, run, monkeypatch):
    """Its recipe.json says nothing of a place: the path counts as seen from here."""
    monkeypatch.chdir(root / "a")
    shutil.copytree(root / "r", "old")
    saved = json.loads(Path("old/recipe.json").read_text("utf-8"))
    del saved["run"]["place"]
    Path("old/recipe.json").write_text(json.dumps(saved), "utf-8")
    Path("old/result.json").unlink()
    assert run("train", "--resume", "old")[0] == 0
    assert run("evaluate", "old")[0] == 0


def test_a_place_outside_ascii_is_found_in_any_locale(root, tmp_path):
    photos = fill_photos(tmp_path / "größe 猫", ("a", "b"))
    assert neoclassic(*TRAIN, "--data", photos, "--out", tmp_path / "r-ü").returncode == 0
    for locale, verb, *options in (
        ("C", "evaluate", "--engine", "numpy"),
        ("POSIX", "report", "--engine", "numpy"),
        ("C", "compare"),
    ):
        plain = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = neoclassic(verb, tmp_path / "r-ü", *options, env=plain)
        assert done.returncode == 0, done.stderr
