"""docs/notebook.ipynb, executed as a reader does: every cell ends with one complete picture of its training."""

import ast
import csv
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from helpers import needs

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of the cell that contains a text, after all cells were executed."""
    for package in ("nbclient", "ipykernel", "ipywidgets"):
        needs(package)
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("cells")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where `!neoclassic` is
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute(
        env={**os.environ, "PATH": path}
    )
    assert not (folder / "figures").exists()  # d2l's figures are in the cells
    return lambda text: next(cell.outputs for cell in notebook.cells if text in cell.source)


def curves(outputs):
    """The only picture among the outputs of a cell, and the points of each of its lines, by id, in pixels."""
    (svg,) = (o.data["image/svg+xml"] for o in outputs if "image/svg+xml" in o.get("data", {}))
    lines, drawing = {}, ET.fromstring(svg)
    for group in drawing.iter(f"{SVG}g"):
        if re.fullmatch(r"(train|test|validation|val)[_-]\w+", name := group.get("id", "")):
            assert name not in lines, f"{name} is drawn twice"
            path = group.find(f"{SVG}path").get("d")
            lines[name] = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]
    return drawing, lines


def right_edge(drawing):
    """The horizontal position, in pixels, at which the axes end."""
    frame = next(g for g in drawing.iter(f"{SVG}g") if g.get("id") == "patch_2")
    return max(float(x) for x in re.findall(r"[ML] (\S+)", frame.find(f"{SVG}path").get("d")))


def html(outputs):
    """The HTML of the only output of a cell."""
    (output,) = outputs
    return output.data["text/html"]


def test_a_network_draws_itself_and_its_cost_stands_below(cells):
    page = html(cells("\nlenet"))
    drawing = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert "image 1×28×28" in "".join(drawing.itertext())
    assert page.rindex("<td>61,706</td>") > page.index("</svg>")
    own = html(cells("nc.Sequential("))
    assert own.count("<svg") == 1
    assert "nc.measure(network, (channels, height, width))" in own


def test_a_measure_a_diff_and_a_recipe_are_tables(cells):
    measured = html(cells("nc.measure(lenet"))
    assert "<td>conv2</td><td>Conv2d</td><td>16×10×10</td>" in measured
    assert "<td>added</td><td>bn1 and 1 more</td>" in html(cells("nc.diff("))
    assert "<th>learning rate</th>" in html(cells("nc.recipe("))
    for cell in ("nc.measure(lenet", "nc.diff(", "nc.recipe("):
        assert len(cells(cell)[0].data["text/plain"]) < 2000


def test_fit_shows_curves_up_to_the_last_epoch(cells):
    drawing, lines = curves(cells("clf.fit("))
    assert {name: len(points) for name, points in lines.items()} == {
        "train-loss": 3,
        "validation-loss": 3,
        "train-accuracy": 3,
        "validation-accuracy": 3,
    }
    (data,) = (each.text for each in drawing.iter("{http://purl.org/dc/elements/1.1/}description"))
    rows = list(csv.DictReader(data.splitlines()))
    (last,) = (ast.literal_eval(o.data["text/plain"]) for o in cells("clf.history_"))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert last["epoch"] == 3
    for name in ("train_loss", "train_accuracy", "validation_accuracy"):
        assert float(rows[-1][name]) == pytest.approx(last[name], abs=0.01)
    assert not [o for o in cells("clf.fit(") if o.output_type == "stream"]  # the bar is gone, and nothing is wrong


def test_a_command_draws_with_the_backend_that_it_inherits(cells):
    (output,) = cells("neoclassic explain")
    assert "cam: looked/cam.png" in output.text
    assert "no picture" not in output.text


def test_train_ch6_shows_its_last_epoch(cells):
    drawing, lines = curves(cells("d2l.train_ch6("))
    assert {name: len(points) for name, points in lines.items()} == {"train-loss": 10, "train-acc": 10, "test-acc": 2}
    for points in lines.values():
        assert points[-1][0] == pytest.approx(right_edge(drawing))  # x goes to the number of epochs
    assert "test acc 0." in "".join(o.text for o in cells("d2l.train_ch6(") if o.output_type == "stream")


def test_quick_points_are_all_in_the_picture(cells):
    drawing, lines = curves(cells("animator.add("))
    for name in ("train-loss", "test-loss"):
        assert len(lines[name]) == 10
        assert lines[name][-1][0] == pytest.approx(right_edge(drawing))
        assert [y for _, y in lines[name]] == sorted(y for _, y in lines[name])  # the loss falls, to the bottom


def test_the_trainer_shows_its_last_epoch(cells):
    drawing, lines = curves(cells("d2l.Trainer("))
    assert {name: len(points) for name, points in lines.items()} == {"train_loss": 5, "val_loss": 2, "val_acc": 2}
    assert lines["val_acc"][-1][0] == pytest.approx(right_edge(drawing))
    assert lines["train_loss"][-1][0] > lines["train_loss"][-2][0] > lines["val_loss"][0][0]


# ── the same calls elsewhere ─────────────────────────────────────────────────────────────────────────


def script(folder, before=""):
    """Run the notebook's cells as a script, without commands. Its standard output goes to a file."""
    cells = (cell["source"] for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code")
    lines = [line for cell in cells for line in [*cell, "\n"] if not line.startswith("!")]
    (folder / "script.py").write_text(before + "".join(lines), "utf-8")
    with (folder / "output.txt").open("w") as output:
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=folder, stdout=output, stderr=subprocess.PIPE, text=True, timeout=120
        )
    return done, (folder / "output.txt").read_text("utf-8")


def test_the_same_calls_work_in_a_script(tmp_path):
    done, output = script(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch 10  train loss 0.1  test loss 0.12" in output
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [f"script-{i}.png" for i in (1, 2, 3)]


def test_without_torch_they_work_or_say_in_a_line_what_to_install(tmp_path):
    done, _ = script(tmp_path, "import sys; sys.modules['torch'] = None\n")
    *before, line = done.stderr.splitlines()
    assert not before  # no traceback
    said = re.fullmatch(r".*script\.py, line (\d+): the book's code needs PyTorch: .*pip install torch", line)
    lines = (tmp_path / "script.py").read_text("utf-8").splitlines()
    assert "import d2l" in lines[int(said[1]) - 1]  # fit() worked before
