"""The command that runs a book's chapters, on a small book of two chapters that is written here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from readers import extract

READERS = Path(__file__).parents[1] / "readers"
CHAPTER = """# A chapter

```{.python .input}
from d2l import mxnet as d2l
```

```{.python .input}
#@tab pytorch
%matplotlib inline
from d2l import torch as d2l
import torch
```

```{.python .input  n=3}
#@tab mxnet, pytorch
num_epochs, lr = 10, 0.1
num_epochs
```

```{.python .input}
#@tab all
d2l.reshape(torch.arange(4), (2, 2)), d2l.no_such_name
```

```{.python .input}
%%tab pytorch
assert num_epochs > 2, d2l.try_gpu()
```

```{.python .input}
#@tab tensorflow
import tensorflow
```
"""
OWN = """
no_such_name = 1
def reshape(x, *args): return x.reshape(*args)
def try_gpu(): raise RuntimeError
"""


@pytest.fixture
def book(tmp_path):
    (tmp_path / "config.ini").write_text("[library]\ntabs = mxnet, pytorch, tensorflow\n")
    folder = tmp_path / "chapter_preliminaries"
    folder.mkdir()
    (folder / "index.md").write_text("# Preliminaries\n\n```toc\n:maxdepth: 2\n\nsecond\nfirst\n```\n")
    (folder / "second.md").write_text(CHAPTER)
    (folder / "first.md").write_text("```{.python .input}\n#@tab all\n1 + 1\n```\n")
    (tmp_path / "d2l").mkdir()
    (tmp_path / "d2l" / "torch.py").write_text(OWN)
    return tmp_path


def test_the_cells_of_the_pytorch_tab_are_found_in_the_books_order(book):
    second, first = extract.sections(book)
    assert (second.stem, first.stem) == ("second", "first")
    found = extract.cells(second, book)
    assert [cell.line for cell in found] == [9, 16, 22, 27]
    assert found[0].code.splitlines() == ["", "from d2l import torch as d2l", "import torch"]
    assert extract.names(second, book) == ["no_such_name", "reshape", "try_gpu"]


def test_scripts_are_cells_of_the_other_book(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "layers.py").write_text("")
    (tmp_path / "ch04").mkdir()
    code = "from common.functions import *\n\n\ndef relu(x):\n    return x\n\n\nprint(relu(sigmoid(0)))\n"
    (tmp_path / "ch04" / "train.py").write_text(code)
    (tmp_path / "ch04" / "two_layer_net.py").write_text("")
    (section,) = extract.sections(tmp_path)
    assert len(extract.cells(section, tmp_path)) == 1
    assert extract.names(section, tmp_path) == ["print", "sigmoid"]


def test_a_book_is_run_with_both_packages_and_what_failed_is_said(book, tmp_path):
    kept = tmp_path / "kept.json"
    done = subprocess.run(
        [sys.executable, READERS, book, "--own", "--keep", kept, "--edition", "small"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        "section cells failed",
        "preliminaries/second 4 2",
        f"line 22: MissingName: d2l.no_such_name is not available here: {lines[2].partition('here: ')[2]}",
        "line 27: AssertionError: cpu (the book's own names fail, too)",
        "preliminaries/first 1 0",
        "all 5 2",
    ], done.stderr
    assert done.returncode == 1
    edition = json.loads(kept.read_text())["small"]
    assert [(row["section"], row["cells"], row["own"]) for row in edition["sections"]] == [
        ("preliminaries/second", 4, 1),
        ("preliminaries/first", 1, 0),
    ]
    assert edition["sections"][0]["failed"][1] == {"line": 27, "error": "AssertionError: cpu", "own": True}
