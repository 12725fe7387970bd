"""Promises of README, docs/ and --help that no other test checks, each tested in the way that a reader would use it."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers import needs
from PIL import Image

from neoclassic.cli import cli
from neoclassic.train.recipe import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = (
    "IPython",
    "h11",
    "huggingface_hub",
    "onnx",
    "onnxruntime",
    "prometheus_client",
    "python_multipart",
    "sklearn",
    "starlette",
)
OPTIONAL += ("tensorboardX", "torch", "torchvision", "triton", "uvicorn")
# A process with only the packages that `pip install .` installs, and without a network.
BARE = f"""
import socket, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
def refuse(*_, **__):
    raise OSError("there is no network")
socket.create_connection = socket.socket.connect = socket.getaddrinfo = refuse
"""
MAIN = "from neoclassic.cli import main; sys.exit(main(sys.argv[1:]))"


def page(name):
    return (ROOT / name).read_text("utf-8")


def python(code, *arguments, **options):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **options)


def bare(*arguments, **options):
    """Run a command line with only neoclassic's dependencies and without a network."""
    return python(BARE + MAIN, *arguments, **options)


# ── README ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_example_in_python_works_after_the_first_command():
    first = re.findall(r"^```python\n(.*?)^```$", page("README.md"), re.M | re.S)[0]
    assert len(doctest.DocTestParser().get_examples(first)) >= 4
    run = "import doctest; test = doctest.DocTestParser().get_doctest(sys.argv[1], {}, 'README', None, 0); "
    run += "sys.exit(doctest.DocTestRunner().run(test).failed)"
    done = python(BARE + run, first)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_second_example_says_what_it_needs():
    before = page("README.md").partition("nc.torch.create")[0].rpartition("```\n\n")[2]
    assert "pip install '.[torch]'" in before


def test_the_first_command_trains_without_pytorch_and_without_a_network(tmp_path):
    command = re.search(r"/neoclassic (train lenet) ", page("README.md"))[1]
    done = bare(*command.split(), "--max-steps", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {file.name for file in (tmp_path / "runs" / "lenet-fashion-mnist-1").iterdir()}
    assert {"model.safetensors", "log.csv", "curves.png", "confusion.png", "result.json"} <= made


@pytest.mark.parametrize("line", ["list", "show lenet", "diff alexnet alexnet:taught", "recipes"])
def test_the_other_commands_need_nothing_more(line):
    assert bare(*line.split()).returncode == 0


def test_the_licences_are_those_that_are_named():
    assert "Apache License" in page("LICENSE")
    assert "MIT License" in page("src/neoclassic/data/fashion_mnist/LICENSE")


def test_most_verbs_print_json():
    plain = {name for name, verb in cli.commands.items() if "--json" not in {o for p in verb.params for o in p.opts}}
    assert plain == {"lab", "report", "serve"}


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_every_link_of_a_page_leads_somewhere(name):
    links = re.findall(r"\]\(([^)#\s]+)\)", page(name))
    local = [link for link in links if not re.match(r"https?://|mailto:", link)]
    assert [link for link in local if not ((ROOT / name).parent / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "docs/books.md", "docs/books.zh-CN.md", "docs/deploy.md"])
def test_what_a_page_says_to_install_is_an_extra_of_this_source_tree(name):
    """The package is on no index, so extras are installed from the source tree."""
    advised = re.findall(r"pip install [^`\n]*?\[(\w+)\]'", page(name))
    assert advised
    assert set(advised) <= PROJECT["optional-dependencies"].keys()
    assert "pip install 'neoclassic" not in page(name)


# ── the pages ────────────────────────────────────────────────────────────────────────────────────────


def shown():
    """(command, output) of each command that the gallery shows with its output."""
    for block in re.findall(r"^```\n\$ (.*?)^```$", page("docs/gallery.md"), re.M | re.S):
        command, _, output = block.partition("\n")
        yield command, output.removesuffix("…\n")


@pytest.mark.parametrize(("command", "output"), list(shown()), ids=[command for command, _ in shown()])
def test_the_gallery_shows_what_is_printed(command, output, run):
    code, out, _ = run(*shlex.split(command)[1:])
    assert code == 0
    assert output
    assert out.startswith(output)


def test_the_names_of_dlfs_need_only_neoclassic():
    code = "import neoclassic.compat; neoclassic.compat.install('dlfs'); from deep_convnet import DeepConvNet; "
    done = python(BARE + code + "from common.layers import *; print(Affine.__name__)")
    assert (done.returncode, done.stdout) == (0, "Affine\n"), done.stderr


def test_the_server_needs_no_pytorch_and_reads_its_file_once(tmp_path, model_file):
    for name in ("uvicorn", "starlette", "prometheus_client", "python_multipart"):
        needs(name)
    code = "import sys; sys.modules['torch'] = None; " + MAIN
    command = [sys.executable, "-c", code, "serve", str(model_file), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        port = re.search(r":(\d+) answers", process.stderr.readline())[1]
        model_file.rename(tmp_path / "gone")
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=20) as answer:
            assert json.load(answer)["network"] == "lenet"
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def model_file(tmp_path):
    from neoclassic import networks
    from neoclassic.data.preprocessing import Preprocessing
    from neoclassic.engines import weights
    from neoclassic.model.artefact import Model

    tree, shape = networks.network("lenet", 10), (1, 28, 28)
    first = weights.initial(tree, shape, seed=0)
    made = Model("lenet", tree, shape, tuple("abcdefghij"), Preprocessing((28, 28), 1), first)
    made.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_tuned_setting_replaces_the_rule_and_the_run_records_it(tmp_path, monkeypatch, idx_folder, run):
    needs("torch")
    from neoclassic.engines import Speed
    from neoclassic.recipes import choose
    from neoclassic.train import tuned

    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    train = ["train", "lenet", "--data", idx_folder, "--engine", "torch", "--device", "cpu", "--max-steps", 1]
    batch = choose("lenet", None, str(idx_folder)).batch_size
    for n, precision in enumerate(("32", "bf16")):
        tuned.remember("lenet", (28, 28), batch, "cpu", Speed(precision, "off"))
        code, _, err = run(*train, "--out", tmp_path / str(n))
        assert code == 0, err
        assert json.loads((tmp_path / str(n) / "recipe.json").read_text())["run"]["precision"] == precision


# ── the help ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("option", "names"), [("--optimizer", OPTIMIZERS), ("--schedule", SCHEDULES)])
def test_the_help_of_an_option_lists_what_it_takes(option, names):
    (found,) = (p.help for p in cli.commands["train"].params if option in p.opts)
    assert tuple(found.partition(": ")[2].rstrip(".").replace(" or ", ", ").split(", ")) == names


def test_pictures_of_an_explanation_go_where_the_help_says(tmp_path, monkeypatch, model_file, run):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save("shoe.png")
    assert run("explain", model_file, "shoe.png", "--engine", "numpy")[0] == 0
    assert list((tmp_path / "explained-shoe").glob("*.png"))


# ── restricted environments: no home, no account name, an ASCII locale, read-only folders ────────────────


# A user without an entry in the system's list of accounts has no name and no home.
NOBODY = """
import os, pwd, sys
def unknown(*_):
    raise KeyError("no such account")
pwd.getpwuid = pwd.getpwnam = unknown
"""


@pytest.fixture
def container(tmp_path):
    """Run a command line as in a container, where only `out` and the cache are writable."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "cache").mkdir()
    given = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    given |= {"LC_ALL": "C", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for folder in (here, here.parent):
        folder.chmod(0o555)

    def call(*arguments, **environment):
        done = python(NOBODY + MAIN, *arguments, cwd=here, env=given | environment)
        assert list(here.iterdir()) == []
        assert {path.name for path in tmp_path.iterdir()} <= {"here", "out", "cache"}
        return done

    call.out, call.cache = tmp_path / "out", {"NEOCLASSIC_CACHE": str(tmp_path / "cache")}
    yield call
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("line", ["list", "show lenet", "--help", "recipes"])
def test_commands_that_only_print_need_no_home_and_no_writable_folder(container, line):
    done = container(*line.split())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_drawing_needs_a_writable_folder_for_itself_only(container):
    done = container("show", "lenet", "--svg", container.out / "lenet.svg")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in container.out.iterdir()] == ["lenet.svg"]


def test_training_needs_writable_folders_for_the_run_and_the_cache(container, idx_folder):
    run = container.out / "run"
    train = ("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--max-steps", "2", "--out", run)
    done = container(*train, **container.cache)
    assert done.returncode == 0, done.stderr
    assert "Matplotlib" not in done.stderr, "its advice is not ours"
    assert {"model.safetensors", "result.json", "curves.png"} <= {path.name for path in run.iterdir()}
    for line in (("evaluate", run), ("report", run)):
        done = container(*line, "--engine", "numpy", **container.cache)
        assert done.returncode == 0, done.stderr


def test_without_a_home_or_a_cache_training_works_or_says_what_to_set(container):
    done = container("train", "lenet", "--engine", "numpy", "--max-steps", "2", "--out", container.out / "run")
    assert done.returncode == 0 or re.fullmatch(r"(lenet on .*\n)?neoclassic: .*NEOCLASSIC_CACHE.*\n", done.stderr)


def test_training_where_nothing_can_be_written_is_one_line(container):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    done = container("train", "lenet", "--engine", "numpy", "--max-steps", "2", **container.cache)
    assert done.returncode == 1
    assert re.fullmatch(r"(lenet on .*\n)?neoclassic: cannot make runs: .*\n", done.stderr)


# ── security.md ──────────────────────────────────────────────────────────────────────────────────────


def test_what_proves_a_promise_of_security_exists():
    rows = [row for row in page("docs/security.md").splitlines() if row.startswith("| ") and "`" in row.split("|")[2]]
    assert len(rows) > 15
    for row in rows:
        proof = row.split("|")[2]
        tests = re.findall(r"`(\w+/test_\w+\.py)`", proof)
        campaigns = re.findall(r"\w+", " ".join(re.findall(r"campaigns? (`\w+`(?:, `\w+`)*)", proof)))
        assert tests or campaigns, row
        assert all((ROOT / "tests" / name).is_file() for name in tests), row
        assert all((ROOT / "campaigns" / f"{name}.py").is_file() for name in campaigns), row
