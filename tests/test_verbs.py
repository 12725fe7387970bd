"""What `import neoclassic as nc` gives: its names, and the functions that do what the command line does."""

import inspect
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import fill_photos, needs

import neoclassic as nc
from neoclassic.insight.compare import Comparison
from neoclassic.insight.explain import Explanation
from neoclassic.insight.review import Review
from neoclassic.model.export import Exported
from neoclassic.recipes import choose
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Result
from neoclassic.views.diff import Diff
from neoclassic.views.drawing import Drawing

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text("utf-8")
HEAVY = {"numpy", "torch", "matplotlib", "rich", "click", "tqdm", "PIL", "IPython"}


def fresh(code):
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    return done.stdout.strip()


def test_dir_shows_exactly_the_names_that_are_documented():
    shown = fresh("import neoclassic as nc; print(*dir(nc))").split()
    assert shown == sorted(set(re.findall(r"\bnc\.(\w+)", PAGE)))
    assert set(shown) - set(nc.__all__) == {"__version__", "torch"}


def test_they_are_all_there_and_have_a_docstring_and_a_signature():
    for name in nc.__all__:
        public = getattr(nc, name)
        assert public.__doc__, name
        if not isinstance(public, type):
            assert callable(public), name
            assert "return" in str(inspect.signature(public)) or "->" in str(inspect.signature(public)), name


def test_the_import_loads_nothing_heavy():
    code = "import sys, neoclassic as nc; dir(nc); print(*sys.modules)"
    assert HEAVY & set(fresh(code).split()) == set()


@pytest.mark.parametrize(
    "order", ["import neoclassic.train.loop", "from neoclassic import compare, export, explain", ""]
)
def test_a_verb_is_called_whatever_was_imported_before(order):
    code = f"{order}\nimport neoclassic as nc\n" + (
        "for verb in (nc.train, nc.compare, nc.explain, nc.export, nc.measure):\n"
        "    try:\n        verb(nothing_of_this_name=1)\n"
        "    except (TypeError, nc.UsageError) as error:\n        print('nothing_of_this_name' in str(error))\n"
    )
    assert set(fresh(code).split()) == {"True"}


def test_a_module_that_is_called_has_the_documentation_of_its_function():
    assert "as `neoclassic train` does" in nc.train.__call__.__doc__
    assert list(inspect.signature(nc.compare).parameters) == ["runs", "out"]
    assert pickle.loads(pickle.dumps(nc.train)) is nc.train


@pytest.mark.parametrize(
    "line", ["import neoclassic as nc; nc.torch", "from neoclassic import torch", "import neoclassic.torch"]
)
def test_without_pytorch_an_error_is_one_line(line, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.modules['torch'] = None\n{line}\n", "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    says = r"script\.py, line 2: nc\.torch needs PyTorch, which is not installed here: .*install.* torch.*"
    assert re.fullmatch(f".*{says}\n", done.stderr), done.stderr


def test_in_ipython_it_is_one_line_too(tmp_path):
    needs("IPython")
    (tmp_path / "script.py").write_text("import sys; sys.modules['torch'] = None\nimport neoclassic as nc\nnc.torch\n")
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", tmp_path / "script.py"]
    environment = {"IPYTHONDIR": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environment)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert [line for line in said if "Traceback" in line or "--->" in line] == []
    assert any(line.startswith("MissingAttribute: nc.torch needs PyTorch") for line in said), said


def test_other_errors_keep_their_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.modules['torch'] = None\nimport neoclassic as nc\nassert not hasattr(nc, 'torch')\n1 / 0\n",
        "utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=100)
    assert done.stderr.startswith("Traceback")


# ── the functions ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def result(idx_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("verbs") / "run"
    return nc.train("lenet:bn", idx_folder, out=out, epochs=2, batch_size=32, engine="numpy", verbose=False)


def test_training_returns_the_result_of_the_run(result, run_json):
    assert isinstance(result, Result)
    assert result.epochs == 2
    assert json.loads(Path(result.run, "result.json").read_text("utf-8"))["checksum"] == result.checksum
    assert nc.train(resume=result.run, verbose=False) == result
    assert run_json("train", "--resume", result.run)["checksum"] == result.checksum


def test_a_call_trains_what_the_command_line_trains(result, idx_folder, tmp_path, run_json):
    options = ("--epochs", 2, "--batch-size", 32, "--engine", "numpy", "--out", tmp_path / "run")
    assert run_json("train", "lenet:bn", "--data", idx_folder, *options)["checksum"] == result.checksum


def test_a_recipe_may_be_a_record_a_name_or_that_of_a_network(monkeypatch):
    started = []
    monkeypatch.setattr("neoclassic.verbs.loop.train", lambda recipe, *_, **__: started.append(recipe) or 1 / 0)
    for given in (nc.recipe("neoclassic:lenet"), "neoclassic:lenet", "lenet"):
        with pytest.raises(ZeroDivisionError):
            nc.train(given, flip=True, weight_decay=0.25, optimizer="adamw", verbose=False)
    first, *others = started
    assert isinstance(first, Recipe)
    assert [first] * 2 == others
    assert (first.optimizer.name, first.optimizer.weight_decay, first.augmentation.flip) == ("adamw", 0.25, True)


def test_the_update_rule_keeps_its_constants_if_it_is_the_recipes_own(monkeypatch):
    started = []
    monkeypatch.setattr("neoclassic.verbs.loop.train", lambda recipe, *_, **__: started.append(recipe) or 1 / 0)
    for rule in ("sgd", "adam"):
        with pytest.raises(ZeroDivisionError):
            nc.train("resnet20", "fashion-mnist", optimizer=rule, verbose=False)
    same, other = (recipe.optimizer for recipe in started)
    assert same == choose("resnet20", None).optimizer
    assert (other.name, other.momentum) == ("adam", 0)


@pytest.mark.parametrize(
    ("arguments", "changes", "says"),
    [
        (["lenett"], {}, "unknown network or recipe 'lenett': did you mean 'lenet'"),
        (["lenet"], {"epohs": 1}, "unknown field of a recipe 'epohs': did you mean 'epochs'"),
        (["lenet"], {"head": True, "epochs": 2}, "without gradient descent: leave out epochs"),
        (["lenet"], {"resume": "run"}, "resume= uses the run's own settings"),
        ([], {}, "name a network or a recipe"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, changes, says):
    with pytest.raises(nc.UsageError, match=says):
        nc.train(*arguments, **changes, verbose=False)


def test_evaluating_is_what_the_command_line_does(result, run_json):
    reviewed = nc.evaluate(result.run, engine="numpy")
    assert isinstance(reviewed, Review)
    assert (
        reviewed.accuracy == result.test_accuracy == run_json("evaluate", result.run, "--engine", "numpy")["accuracy"]
    )
    loaded = nc.load(result.run, engine="numpy")
    assert (
        nc.evaluate(loaded, flip=True, engine="numpy").accuracy
        == nc.evaluate([result.run], flip=True, engine="numpy").accuracy
    )


def test_explaining_takes_a_file_or_pixels(result, fashion, tmp_path):
    from PIL import Image

    Image.fromarray(fashion.test.images[0, :, :, 0]).save(tmp_path / "a.png")
    of_file = nc.explain(result.run, tmp_path / "a.png", out=tmp_path / "out", engine="numpy")
    of_pixels = nc.explain(nc.load(result.run), fashion.test.images[0], engine="numpy")
    assert isinstance(of_file, Explanation)
    assert (of_file.cam == of_pixels.cam).all()
    assert (tmp_path / "out" / "cam.png").is_file()


def test_comparing_exporting_and_drawing_return_records(result, tmp_path):
    needs("onnx")
    compared = nc.compare(result, out=tmp_path / "compared")
    assert isinstance(compared, Comparison)
    assert compared.runs[0].accuracy == result.test_accuracy
    assert (tmp_path / "compared" / "runs.csv").is_file()
    exported = nc.export(result.run, tmp_path / "m.onnx", verify=4)
    assert isinstance(exported, Exported)
    assert exported.files == {"m.onnx": (tmp_path / "m.onnx").stat().st_size}
    assert exported.verification.agreement == 1
    assert "README.md" in nc.export(result.run, tmp_path / "hub", hub=True).files
    difference = nc.diff("lenet", "lenet:bn")
    assert isinstance(difference, Diff)
    drawn = nc.draw("lenet", (1, 32, 32), classes=3)
    assert isinstance(drawn, Drawing)
    assert "1×32×32 to 3 logits" in drawn.svg


def test_checking_photos_returns_the_report(tmp_path):
    fill_photos(tmp_path / "photos", ["a", "b"], n=3)
    report = nc.check(tmp_path / "photos", 32)
    assert repr(report) == report.text()
    assert report.counts


def test_export_says_what_its_file_must_be(result, tmp_path):
    with pytest.raises(nc.UsageError, match=r"must end in \.onnx"):
        nc.export(result.run, tmp_path / "m.pt")
    with pytest.raises(nc.UsageError, match="hub=True writes a folder"):
        nc.export(result.run, tmp_path / "m", hub=True, verify=3)
