"""Where output goes: pipes and links are written into, "-" is standard output, what cannot be written is told first."""

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import TRAIN, fill_photos, neoclassic

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError

HEAD = "path,label,probability,error"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A photo, and a run that knows it."""
    from neoclassic.cli import main

    root = tmp_path_factory.mktemp("outputs")
    fill_photos(root / "two", ("cat", "dog"))
    assert main([*TRAIN, "--data", str(root / "two"), "--out", str(root / "run")]) == 0
    return root / "two" / "cat" / "0.jpg", root / "run"


@pytest.fixture
def reader(tmp_path):
    """A pipe, and a function that returns what came out of it."""
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    thread.start()

    def read():
        thread.join(30)
        assert stat.S_ISFIFO(pipe.stat().st_mode), "the pipe was replaced"
        return got[0]

    return pipe, read


def test_a_csv_into_a_pipe_reaches_its_reader(trained, reader, run):
    photo, folder = trained
    pipe, read = reader
    assert run("predict", folder, photo, "--csv", pipe)[0] == 0
    assert read().decode().splitlines()[0] == HEAD


@pytest.mark.parametrize(
    "arguments",
    [("show", "lenet", "--svg"), ("report", "{run}", "--out")],
    ids=["show --svg", "report --out"],
)
def test_every_other_file_goes_into_a_pipe_too(arguments, trained, reader, run):
    pipe, read = reader
    code, _, err = run(*(a.format(run=trained[1]) for a in arguments), pipe)
    assert code == 0, err
    assert read().startswith((b"<svg", b"<!doctype html>"))


def test_a_link_is_followed_to_its_file_and_stays_a_link(trained, tmp_path, run):
    photo, folder = trained
    (tmp_path / "shared").mkdir()
    real, link = tmp_path / "shared" / "answers.csv", tmp_path / "answers.csv"
    real.write_text("old")
    link.symlink_to(real)
    assert run("predict", folder, photo, "--csv", link)[0] == 0
    assert link.is_symlink()
    assert real.read_text().startswith(HEAD)


def test_a_link_to_nothing_yet_makes_its_file(tmp_path, run):
    (tmp_path / "link.svg").symlink_to(tmp_path / "drawing.svg")
    assert run("show", "lenet", "--svg", tmp_path / "link.svg")[0] == 0
    assert (tmp_path / "link.svg").is_symlink()
    assert (tmp_path / "drawing.svg").read_text().startswith("<svg")


def test_links_in_a_circle_are_an_error_in_one_line(tmp_path, run):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    code, _, err = run("show", "lenet", "--svg", tmp_path / "a")
    assert code == 1
    assert err.startswith("neoclassic: cannot write ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_every_name_of_standard_output_is_standard_output(name, trained):
    if name != "-" and not Path(name).exists():
        pytest.skip(f"there is no {name} here")
    photo, folder = trained
    done = neoclassic("predict", folder, photo, "--csv", name)
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head == HEAD
    assert row.startswith(f"{photo},")
    assert neoclassic("show", "lenet", "--svg", name).stdout.startswith("<svg")


def test_standard_output_into_a_file_is_that_file(trained, tmp_path):
    photo, folder = trained
    with (tmp_path / "answers.csv").open("w") as file:
        assert neoclassic("predict", folder, photo, "--csv", "-", capture_output=False, stdout=file).returncode == 0
    assert (tmp_path / "answers.csv").read_text().startswith(HEAD)


def test_onnx_and_report_on_standard_output_are_whole_files(trained, tmp_path):
    pytest.importorskip("onnxruntime")
    photo, folder = trained
    done = neoclassic("export", folder, "-", text=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "model.onnx").write_bytes(done.stdout)
    assert neoclassic("predict", tmp_path / "model.onnx", photo).returncode == 0
    assert neoclassic("report", folder, "--engine", "numpy", "--out", "-").stdout.rstrip().endswith("</html>")


def test_what_would_mix_on_standard_output_is_refused(trained, run):
    photo, folder = trained
    assert run("predict", folder, photo, "--csv", "-", "--json")[0] == 2
    assert run("export", folder, "-", "--verify", 2)[0] == 2


@pytest.mark.parametrize("verb", ["evaluate {run}", "compare {run}", "explain {run} {photo}"])
def test_several_files_do_not_go_to_standard_output(verb, trained, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo, folder = trained
    code, _, err = run(*verb.format(run=folder, photo=photo).split(), "--out", "-")
    assert code == 2
    assert err == "neoclassic: - is standard output, but several files are written: name a folder\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("line", ["list", "show lenet", "show lenet --svg -", "predict {run} {photo} --csv -"])
def test_a_full_disk_behind_standard_output_is_one_line(line, trained):
    photo, folder = trained
    with Path("/dev/full").open("w") as full:
        given = line.format(run=folder, photo=photo).split()
        done = neoclassic(*given, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "neoclassic: the output cannot be written: No space left on device\n"


def test_a_process_substitution_is_written_into(trained, tmp_path):
    photo, folder = trained
    command = (
        f'"{sys.executable}" -m neoclassic predict "{folder}" "{photo}" --csv >(cat > "{tmp_path}/got") > /dev/null'
    )
    subprocess.run(["bash", "-c", f"{command}; wait $!"], check=True, timeout=60)
    assert (tmp_path / "got").read_text().startswith(HEAD)


def test_a_file_keeps_its_permissions_and_a_new_one_has_those_of_the_umask(tmp_path):
    (tmp_path / "private").write_text("old")
    (tmp_path / "private").chmod(0o600)
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "private", "new")
        files.write(tmp_path / "fresh", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_what_can_be_no_output_is_one_line(tmp_path, run):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert run("show", "lenet", "--svg", tmp_path / "s")[0] == 1
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "none" / "x.svg", tmp_path / "file" / "x.svg", tmp_path / ("x" * 300)):
        code, _, err = run("show", "lenet", "--svg", place)
        assert code == 1
        assert err.startswith(f"neoclassic: cannot write {place}: ")
        assert err.count("\n") == 1
    assert list(tmp_path.glob(".*")) == []


# ── told before the work, not after it ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "{run}", "{photo}", "--csv", "{none}/p.csv"),
        ("evaluate", "{run}", "--out", "{file}/e"),
        ("explain", "{run}", "{photo}", "--out", "{file}/e"),
        ("compare", "{run}", "--out", "{file}/c"),
        ("report", "{run}", "--out", "{none}/r.html"),
        ("export", "{run}", "{none}/m.onnx"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_output_that_cannot_be_written_is_told_before_any_model_runs(arguments, trained, tmp_path, run, monkeypatch):
    (tmp_path / "file").write_text("")
    photo, folder = trained
    places = {"run": folder, "photo": photo, "none": tmp_path / "none", "file": tmp_path / "file"}

    def work(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr("neoclassic.model.artefact.read", work)
    code, _, err = run(*(a.format(**places) for a in arguments))
    assert code == 1
    assert err.startswith(("neoclassic: cannot write ", "neoclassic: cannot make "))


def test_a_run_folder_that_cannot_be_made_is_told_before_photos_are_read(trained, tmp_path, run, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("neoclassic.data.open_dataset", lambda *_: pytest.fail("the work began"))
    code, _, err = run(*TRAIN, "--data", trained[0].parents[1], "--out", tmp_path / "file" / "run")
    assert code == 1
    assert "is not a folder" in err


@pytest.mark.parametrize("kind", ["missing", "text", "other"])
def test_weights_that_cannot_be_read_are_told_before_photos_are(kind, trained, tmp_path, run, monkeypatch):
    photo, folder = trained
    (tmp_path / "text.pth").write_text("no weights")
    files = {"missing": tmp_path / "none.pth", "text": tmp_path / "text.pth", "other": folder}
    monkeypatch.setattr("neoclassic.data.folders.Folder.prepare", lambda *_: pytest.fail("the photos were read"))
    network = "lenet:bn" if kind == "other" else "lenet"
    arguments = ("--engine", "numpy", "--data", photo.parents[1], "--weights", files[kind], "--out", tmp_path / "r")
    code, _, err = run("train", network, *arguments)
    assert code in (1, 2)
    assert str(files[kind]) in err.splitlines()[-1]


def test_without_any_temporary_folder_one_is_made_next_to_the_output(tmp_path, monkeypatch):
    def none(*_, dir=None, **__):  # noqa: A002
        if dir is None:
            raise FileNotFoundError("No usable temporary directory found")
        return made(dir=dir)

    import tempfile

    made = tempfile.TemporaryDirectory
    monkeypatch.setattr("neoclassic.base.files.tempfile.TemporaryDirectory", none)
    with files.scratch(tmp_path / "model.onnx") as folder:
        assert folder.parent == tmp_path
    with pytest.raises(NeoclassicError, match="set TMPDIR"), files.scratch():
        pass
    assert list(tmp_path.iterdir()) == []


def test_content_in_pieces_is_written_whole_or_not_at_all(tmp_path):
    def broken():
        yield b"half"
        raise ValueError("no more")

    files.write(tmp_path / "file", iter([b"one ", b"two"]))
    with pytest.raises(ValueError, match="no more"):
        files.write(tmp_path / "file", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"one two"
