"""Figures in notebooks and scripts: complete, shown once, and independent of the notebook's backend."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import needs, write_idx
from torch import nn

from neoclassic.compat import d2l
from neoclassic.compat.d2l import figures

INLINE = "module://matplotlib_inline.backend_inline"  # the variable that a notebook's child processes inherit


def python(code, cwd, **environment):
    """The output of a program, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ── commands started from a notebook ─────────────────────────────────────────────────────────────────

COMMANDS = """
import sys
from pathlib import Path
from neoclassic.cli import main

train = "train lenet --data tiny --engine numpy --epochs 1 --batch-size 40".split()
lines = [
    [*train, "--out", "one"],
    "show lenet --svg lenet.svg".split(),
    "evaluate one --out evaluated --engine numpy".split(),
    "explain one digit.png --out looked --engine numpy".split(),
    "compare one --out compared".split(),
    "report one --engine numpy".split(),
]
assert [main(line) for line in lines] == [0] * len(lines)
made = {folder: len(list(Path(folder).glob("*.png"))) for folder in ("one", "evaluated", "looked", "compared")}
assert all(made.values()), made
assert Path("lenet.svg").stat().st_size and Path("one/report.html").stat().st_size
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with ten classes of noise, and an image."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("notebook")
    (folder / "tiny").mkdir()
    for role, n in (("train", 80), ("t10k", 20)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        write_idx(folder / "tiny" / f"{role}-images-idx3-ubyte.gz", images)
        write_idx(folder / "tiny" / f"{role}-labels-idx1-ubyte.gz", np.arange(n) % 10)
    Image.fromarray(images[0]).save(folder / "digit.png")
    return folder


@pytest.mark.parametrize("backend", [INLINE, "nonsense"])
def test_no_command_needs_the_inherited_backend(tiny, tmp_path, backend):
    for name in ("tiny", "digit.png"):
        (tmp_path / name).symlink_to(tiny / name)
    python(COMMANDS, tmp_path, MPLBACKEND=backend)


@pytest.mark.parametrize("backend", [INLINE, "nonsense", "module://no.such.module"])
def test_a_script_started_by_a_notebook_draws_with_an_available_backend(tmp_path, backend):
    listing = "from neoclassic.compat import d2l; d2l.plot([1, 2, 3]); d2l.plt.savefig('own.png')"
    python(listing, tmp_path, MPLBACKEND=backend, DISPLAY="")
    assert (tmp_path / "own.png").stat().st_size
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["-c-1.png"]


def test_the_variable_is_left_for_others(tmp_path):
    code = "import os; from neoclassic.compat import d2l; d2l.plot([1, 2]); print(os.environ['MPLBACKEND'])"
    assert python(code, tmp_path, MPLBACKEND="nonsense") == "nonsense\n"


# ── a figure is complete at any time ─────────────────────────────────────────────────────────────────


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """The points of each line in the saved PNG, by file name; figures are shown only when they must be."""
    from matplotlib.figure import Figure

    figures.flush()
    points = {}

    def savefig(figure, path, **_):
        points[Path(path).name] = [len(line.get_xdata()) for line in figure.axes[0].lines]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(figures, "PAUSE", 1e9)
    yield points
    d2l.plt.close("all")


def test_a_figure_that_is_saved_by_hand_has_every_point(kept):
    animator = d2l.Animator(xlabel="epoch", xlim=[1, 50], legend=["test acc"])
    for epoch in range(50):
        animator.add(epoch + 1, [epoch / 50])
    d2l.plt.savefig("curve.png")
    assert kept["curve.png"] == [50]
    board = d2l.ProgressBoard("x")
    for i in range(100):
        board.draw(i, i, "line", every_n=2)
    d2l.plt.savefig("board.png")
    assert kept["board.png"] == [50]


class Batches(d2l.DataModule):
    def get_dataloader(self, train):
        return [(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])) for _ in range(3)]


def classifier():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def by_ch6():
    data = Batches()
    d2l.train_ch6(classifier(), data.get_dataloader(True), data.get_dataloader(False), 4, 0.1, "cpu")
    return [12, 12, 4]


def by_ch3():
    net, data = classifier(), Batches()
    rule = torch.optim.SGD(net.parameters(), 0.1)
    loss = nn.CrossEntropyLoss(reduction="none")
    d2l.train_ch3(net, data.get_dataloader(True), data.get_dataloader(False), loss, 5, rule)
    return [5, 5, 5]


def by_trainer():
    model = d2l.SoftmaxRegression(2, lr=0.1)
    d2l.Trainer(max_epochs=4).fit(model, Batches())
    return [len(model.board.data[name]) for name in ("train_loss", "val_loss", "val_acc")]


@pytest.mark.parametrize("train", [by_ch6, by_ch3, by_trainer])
def test_the_saved_picture_is_complete_when_training_ends(kept, train):
    wanted = train()
    assert list(kept.values()) == [wanted]
    assert min(wanted) >= 4


def test_the_saved_picture_is_complete_when_training_is_stopped(kept):
    def batches():
        yield from Batches().get_dataloader(True)
        raise KeyboardInterrupt

    class Stopped(list):
        def __iter__(self):
            return batches()

    with pytest.raises(KeyboardInterrupt):
        d2l.train_ch6(classifier(), Stopped("abc"), [], 4, 0.1, "cpu")
    assert list(kept.values()) == [[3, 3, 0]]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_growing_line_looks_like_one_drawn_at_once(scale, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    y = [3.0, 40.0, 0.5, float("nan"), 7.0, 1000.0]
    animator = d2l.Animator(yscale=scale)
    for i, value in enumerate(y):
        animator.add(i, value)
    _, axes = d2l.plt.subplots()
    axes.set_yscale(scale)
    axes.plot(range(len(y)), y)
    assert animator.axes[0].get_xlim() == pytest.approx(axes.get_xlim())
    assert animator.axes[0].get_ylim() == pytest.approx(axes.get_ylim())
    d2l.plt.close("all")


def test_what_a_reader_adds_to_a_figure_stays(kept):
    animator = d2l.Animator()
    animator.add(0, 1.0)
    d2l.plt.title("mine")
    animator.add(1, 2.0)
    figures.flush()
    assert animator.axes[0].get_title() == "mine"
    animator.axes[0].cla()
    animator.add(2, 3.0)
    assert [len(line.get_xdata()) for line in animator.axes[0].lines] == [3]


def test_a_second_training_on_the_same_board_has_its_own_limits(kept):
    model = d2l.SoftmaxRegression(2, lr=0.1)
    d2l.Trainer(max_epochs=1).fit(model, Batches())
    d2l.Trainer(max_epochs=3).fit(model, Batches())
    assert model.board.axes.get_xlim() == (0, 3)
    assert len(kept) == 1


def test_two_drawings_on_one_figure_are_one_picture(kept):
    _, axes = d2l.plt.subplots()
    d2l.plot([1, 2, 3], axes=axes)
    d2l.plot([1, 2, 3, 4], axes=axes)
    figures.flush()
    assert list(kept.values()) == [[4]]


def test_text_that_cannot_be_drawn_loses_only_the_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    animator = d2l.Animator(legend=["$10_$20"])
    for epoch in range(3):
        animator.add(epoch, [1.0])
    out, err = capsys.readouterr()
    assert err.count("no picture:") == err.count("\n") == 1
    assert out.count("$10_$20 1") == 3
    d2l.plt.close("all")


# ── in a notebook's cells ────────────────────────────────────────────────────────────────────────────

CELLS = """
import os, sys
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.displaypub import DisplayPublisher

seen, texts = [], []

class Publisher(DisplayPublisher):
    def publish(self, data, metadata=None, *, transient=None, update=False, **_):
        if "image/svg+xml" in data or "image/png" in data:
            seen.append(("update" if update else "new", (transient or {}).get("display_id"), data["text/plain"]))
        else:
            texts.append(data["text/plain"])

class Shell(InteractiveShell):
    def enable_gui(self, gui=None):
        pass

shell = Shell.instance()
shell.kernel = object()
shell.display_pub = Publisher()
shell.run_line_magic("matplotlib", "inline")
from matplotlib.figure import Figure

Figure.__repr__ = lambda figure: str([len(line.get_xdata()) for axes in figure.axes for line in axes.lines])

def cell(code, ends_well=True):
    seen.clear()
    assert shell.run_cell(code, store_history=True).success == ends_well
    return list(seen)

def one_picture(shown, points):
    "Whatever came first, there is one picture in the cell and its last state has the points."
    first, *rest = shown
    assert first[0] == "new", shown
    assert all(kind == "update" and name == first[1] for kind, name, _ in rest), shown
    assert shown[-1][2] == points, shown

cell("from neoclassic.compat import d2l; from neoclassic.compat.d2l import figures; figures.PAUSE = 1e9")
"""


SCENES = """
growing = "a = d2l.Animator()\\nfor i in range(30): a.add(i, 1.0)\\n"

# a cell ends with the whole curve, however it ends
one_picture(cell(growing), "[30]")
one_picture(cell(growing + "1/0", ends_well=False), "[30]")

# a later cell has its own picture
one_picture(cell("a.add(30, 1.0)"), "[31]")
one_picture(cell("a.fig"), "[31]")
assert cell("1 + 1") == []
one_picture(cell("d2l.plt.plot([1, 2, 3, 4])"), "[4]")

# what is shown or changed by hand is not shown twice
one_picture(cell(growing + "d2l.plt.show()"), "[30]")
one_picture(cell(growing + "assert d2l.plt.gcf() is a.fig"), "[30]")
one_picture(cell("d2l.plot([1, 2, 3]); d2l.plt.plot([1, 2]); d2l.plt.title('late')"), "[3, 2]")

# a training
cell("import torch; batches = [(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])) for _ in range(3)]")
cell("net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))")
one_picture(cell("d2l.train_ch6(net, batches, batches, 4, 0.1, 'cpu')"), "[12, 12, 4]")
"""


FITS = """
from neoclassic.insight import growing

growing.PAUSE = 1e9
cell("import numpy as np, neoclassic as nc; X = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)")
fit = "clf = nc.Classifier('lenet', epochs=3, batch_size=16, engine='numpy'); clf.fit(X, np.arange(60) % 2)"

# the first epoch is shown at once, and at the end all of them; of the bar nothing is left
shown = cell(fit)
assert [(kind, text.partition(":")[0]) for kind, _, text in shown] == [
    ("new", "lenet, epoch 1 of 3"),
    ("update", "lenet, epoch 3 of 3"),
]
assert shown[0][1] == shown[1][1]
assert any("epoch 1/3" in text for text in texts)
assert texts[-1] == ""

# a training that is stopped shows what there is, and continues in another cell
cell("from neoclassic.engines.numpy import NumpyEngine; import os, signal; step, steps = NumpyEngine.step, []")
cell('''def stopping(*a, **k):
    steps.append(1)
    len(steps) == 10 and os.kill(os.getpid(), signal.SIGINT)
    step(*a, **k)
NumpyEngine.step = stopping''')
(kind, _, first), (again, _, text) = cell(fit, ends_well=False)
assert (kind, again, text.partition(":")[0]) == ("new", "update", "lenet, epoch 2 of 3")
shown = cell("clf.fit(X, np.arange(60) % 2, resume=True)")
assert [text.partition(":")[0] for _, _, text in shown] == ["lenet, epoch 3 of 3"]

# without the wish for it there is nothing
assert cell(fit.replace("epochs=3", "epochs=1, verbose=False")) == []
"""


def test_fit_shows_one_complete_picture_in_each_cell(tmp_path):
    needs("IPython")
    python(CELLS + FITS, tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_cell_shows_one_complete_picture_and_no_file_is_written(tmp_path):
    needs("IPython")
    python(CELLS + SCENES, tmp_path)
    assert not list(tmp_path.iterdir())
