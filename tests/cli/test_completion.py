"""Shell completion, asked as the scripts for Bash, zsh and fish ask for it."""

import os
import shutil
import subprocess
import sys

import click
import pytest
from helpers import missing, neoclassic

from neoclassic.cli import cli, main
from neoclassic.cli.completion import COMPLETERS
from neoclassic.data import SOURCES

BREAKS = " \t\n\"'@><=;|&(:"  # where Bash divides words


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a run and folds in `runs`, a run elsewhere, a folder of photos and a photo."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/first", "runs/second", "elsewhere/third"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ("folds.json" if name == "runs/second" else "recipe.json")).write_text("{}")
    (tmp_path / "runs" / "no run").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"")
    (tmp_path / "own.py").write_text("raise SystemExit\nimport math\ntiny = 1\ndef large(classes): ...\n_hidden = 2\n")
    return tmp_path


@pytest.fixture
def ask(here, monkeypatch, capsys):
    """A function that asks as the script of a shell does, with the cursor at the end of a line.

    It returns pairs of a kind (plain, file or dir) and a value.
    """

    def call(shell, line):
        words = line.split(" ")
        cursor = words[-1] if shell == "fish" else len(words) - 1
        asked = {"COMP_WORDS": line, "COMP_CWORD": cursor, "COMP_LINE": line, "COMP_WORDBREAKS": BREAKS}
        for name, value in {"_NEOCLASSIC_COMPLETE": f"{shell}_complete", **asked}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(SystemExit):
            main([])
        out, err = capsys.readouterr()
        assert err == ""
        rows = out.splitlines()
        if shell == "zsh":  # three lines each: kind, value, text
            return list(zip(rows[::3], rows[1::3], strict=True))
        return [tuple(row.partition("\t")[0].split(",", 1)) for row in rows]

    return call


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("neoclassic tr", [("plain", "train")]),
        ("neoclassic train --sch", [("plain", "--schedule")]),
        ("neoclassic train --schedule o", [("plain", "one-cycle")]),
        ("neoclassic train lenet --data ", [("dir", ""), *(("plain", name) for name in SOURCES)]),
        ("neoclassic train my_networks.py", [("file", "my_networks.py")]),
        ("neoclassic train --recipe practice", [("plain", f"practice:mnist-{n}") for n in ("inception", "residual")]),
        ("neoclassic train --resume ", [("plain", "runs/first"), ("plain", "runs/second")]),
        ("neoclassic compare runs/s", [("plain", "runs/second")]),
        ("neoclassic compare elsewhere/", [("plain", "elsewhere/third")]),
        ("neoclassic report ph", [("dir", "ph")]),
        ("neoclassic predict runs/f", [("plain", "runs/first")]),
        ("neoclassic predict runs/first ", [("file", "")]),
        ("neoclassic predict deepc", [("plain", "deepconvnet@mnist")]),
        ("neoclassic lab deepc", [("plain", "deepconvnet"), ("plain", "deepconvnet@mnist")]),
        ("neoclassic lab my_networks.py", [("file", "my_networks.py")]),
    ],
)
def test_a_shell_is_offered(shell, line, offered, ask):
    assert ask(shell, line) == offered


def test_the_networks_in_a_file_are_offered_and_the_file_is_not_run(ask):
    assert ask("fish", "neoclassic bench lenet own.py:t") == [("plain", "own.py:tiny")]


def test_a_command_that_does_not_exist_is_no_error(ask):
    assert ("plain", "train") in ask("zsh", "neoclassic trian tr")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("neoclassic show lenet:", ["1998", "bn"]),
        ("neoclassic train own.py:", ["large", "tiny"]),
        ("neoclassic train --recipe d2l-zh:lenet-", ["lenet-bn"]),
        ("neoclassic train --recipe=d2l-zh:lenet-", ["lenet-bn"]),
        ("neoclassic predict lenet:bn@", ["fashion-mnist"]),
        ("neoclassic explain --path conv1 'lenet:b", ["bn@fashion-mnist"]),
    ],
)
def test_bash_is_answered_the_last_of_what_it_takes_for_several_words(line, offered, ask):
    assert [value for _, value in ask("bash", line)] == offered


@pytest.mark.parametrize("line", ["neoclassic show lenet:b", "neoclassic predict pho"])
def test_the_script_for_bash_runs(line, here):
    if shutil.which("bash") is None:
        missing("needs bash")
    script = neoclassic(env={"_NEOCLASSIC_COMPLETE": "bash_source"}).stdout
    command = here / "neoclassic"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m neoclassic "$@"\n')
    command.chmod(0o755)
    program = (
        f"compopt() {{ echo \"$@\"; }}\n{script}\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}\n"
        "_neoclassic_completion ./neoclassic; printf '%s\\n' \"${COMPREPLY[@]}\"; complete -p neoclassic"
    )
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.stdout.split("complete ")[0].strip() == ("bn" if "lenet" in line else "-o default")
    assert "-F _neoclassic_completion neoclassic" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell):
    done = neoclassic(env={"_NEOCLASSIC_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0
    assert "_neoclassic_completion" in done.stdout


def test_every_text_can_be_completed_or_is_known_not_to_be():
    """A new option takes files by the name `out`, say; otherwise it stands in COMPLETERS or here."""
    free = {"host", "hosts", "path", "label", "unit", "shape", "clear", "freeze", "storage"}
    texts = {
        param.name
        for command in cli.commands.values()
        for param in command.params
        if isinstance(param.type, click.types.StringParamType)
    }
    assert texts - free - COMPLETERS.keys() == set()
    assert free | COMPLETERS.keys() <= texts | {"class_weights"}
