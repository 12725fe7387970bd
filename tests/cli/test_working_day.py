"""The frictions of a working day with photos, each through the command line as it is typed."""

import shutil

import pytest
from helpers import TRAIN, fill_photos


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    pass


@pytest.fixture(scope="module")
def trained(own_cache, tmp_path_factory):
    """A folder of two classes, and a run on it."""
    from neoclassic.cli import main

    folder = fill_photos(tmp_path_factory.mktemp("photos") / "pets", ("cat", "dog"), 20)
    run = tmp_path_factory.mktemp("runs") / "pets"
    assert main([str(a) for a in (*TRAIN, "--data", folder, "--out", run)]) == 0
    return folder, run


# ── names of classes ─────────────────────────────────────────────────────────────────────────────────


def test_names_that_differ_only_in_capitals_or_spaces_are_questioned(run, run_json, tmp_path):
    root = fill_photos(tmp_path / "pets", ("Cat", "cat", "cat ", "dog", "dog_", "hen"), 6)
    said = "'Cat', 'cat', 'cat '; 'dog', 'dog_': merge them if they are one class"
    assert any(f["severity"] == "warning" and said in f["text"] for f in run_json("check", root)["findings"])
    code, _, err = run(*TRAIN, "--data", root, "--out", tmp_path / "run")
    assert code == 0, err
    assert said in err


def test_names_that_differ_otherwise_are_not_questioned(run, tmp_path):
    root = fill_photos(tmp_path / "languages", ("C", "C++", "c-sharp", "D"), 6)
    assert "capitals" not in run("check", root)[1]


def test_a_list_with_two_classes_of_one_name_is_refused_with_the_lines(trained, run, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("crane\n\nhen\ncrane\n")
    code, _, err = run("import", trained[1] / "model.safetensors", "--network", "lenet", "--classes", names)
    assert (code, err.count("\n")) == (1, 1)
    assert "'crane' twice, in lines 1 and 4: give each class a name of its own" in err


def test_what_systems_keep_beside_photos_ends_no_prediction(trained, run_json, tmp_path):
    root = shutil.copytree(trained[0], tmp_path / "pets")
    for name in ("__MACOSX", "@eaDir", ".thumbnails"):
        shutil.copytree(root / "cat", root / name)
    for name in ("Thumbs.db", "cat/Thumbs.db", "cat/._1.jpg"):
        (root / name).write_bytes(b"\xd0\xcf\x11\xe0")
    shell = sorted(root.iterdir())  # what `pets/*` becomes
    assert len(run_json("predict", trained[1], *shell)) == 40
    assert len(run_json("predict", trained[1], root / "*" / "*.jpg")) == 40
    assert run_json("evaluate", trained[1], "--data", root)["n"] == 8


def test_what_systems_keep_beside_photos_is_no_class_of_a_table(trained, run_json, tmp_path):
    root = shutil.copytree(trained[0], tmp_path / "pets")
    shutil.copytree(root / "cat", root / "__MACOSX")
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.glob("*/*"))]
    (root / "all.csv").write_text("\n".join(["path,label", *rows, "cat/Thumbs.db,cat"]))
    report = run_json("check", root / "all.csv")
    assert {name for part in report["counts"].values() for name in part} == {"cat", "dog"}
    assert any("21 rows that name a system's own files" in f["text"] for f in report["findings"])
