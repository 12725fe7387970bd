"""The notebooks of the site: executed once, as a reader would, and shown with their outputs in both languages."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
import time
import tokenize
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from docs.site.staging import ADDRESS, ROOT, TAG, chinese, linked, sources

SECONDS = 900  # that a cell may take, on a busy machine
DOWNLOAD = {"en": "{{download}}`Download this notebook <{}>`", "zh": "{{download}}`下载这个 Notebook <{}>`"}
COLAB = {"en": "[Open in Colab]({})", "zh": "[在 Colab 中打开]({})"}


def code_of(notebook: NotebookNode) -> list[str]:
    """The code of each cell, without comments and blank lines: what must be the same in both languages."""
    return [without_comments(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def without_comments(code: str) -> str:
    """The code without comments. Lines that start with ! or % are for IPython and stay."""
    ours = "\n".join("pass" if line.lstrip().startswith(("!", "%")) else line for line in code.splitlines())
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(ours + "\n").readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(line for line in lines if line.strip())


def execute(path: Path, cache: Path) -> tuple[NotebookNode, float]:
    """The notebook with its outputs, and the seconds that it took; 0 if it was executed before with the same code."""
    notebook = nbformat.read(path, 4)
    digest = hashlib.sha256("\n\n".join(code_of(notebook)).encode())
    for file in sorted((ROOT / "src").rglob("*.py")):
        digest.update(file.read_bytes())
    kept = cache / f"{path.stem}-{digest.hexdigest()[:16]}.ipynb"
    if kept.exists():
        return nbformat.read(kept, 4), 0.0
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        settings = {"timeout": SECONDS, "kernel_name": "python3", "resources": {"metadata": {"path": folder}}}
        NotebookClient(notebook, **settings).execute(env=env)
    cache.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, kept)
    return notebook, time.perf_counter() - start


def stage(targets: dict[str, Path], cache: Path, run: bool = True) -> dict[str, float]:
    """Execute all notebooks, two at a time, and write them for each language. Return the seconds of each.

    run: whether to execute them; otherwise they have no outputs.
    """
    pages = {name: path for name, path in sources().items() if path.suffix == ".ipynb"}

    def made(path: Path) -> tuple[NotebookNode, float]:
        return execute(path, cache) if run else (nbformat.read(path, 4), 0.0)

    with ThreadPoolExecutor(2) as pool:
        executed = dict(zip(pages, pool.map(made, pages.values()), strict=True))
    for language, target in targets.items():
        for name, (notebook, _) in executed.items():
            own = chinese(pages[name]) if language == "zh" and chinese(pages[name]).exists() else pages[name]
            _write(notebook, own, target, name, language)
    return {name: seconds for name, (_, seconds) in executed.items()}


def readable(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs without warnings, and without the progress lines that were wiped."""
    return [each for each in outputs if each.get("name") != "stderr" and each.get("text", "x").strip()]


def colab(path: Path, address: str = ADDRESS) -> str:
    """Where Colab opens a notebook of the sources. Empty unless they are on GitHub, from where Colab gets it."""
    owner_and_name = address.removeprefix("https://github.com/")
    if owner_and_name == address:
        return ""
    inside = path.relative_to(ROOT).as_posix()
    return f"https://colab.research.google.com/github/{owner_and_name}/blob/{TAG}/{inside}"


def _write(executed: NotebookNode, path: Path, target: Path, name: str, language: str) -> None:
    """The notebook at `path` with the outputs of the executed one, and a link to itself as it is in the sources."""
    notebook = nbformat.read(path, 4)
    outputs = [readable(cell.outputs) for cell in executed.cells if cell.cell_type == "code"]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = outputs.pop(0)
        else:
            cell.source = linked(cell.source, path, name, language)
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    place = target / "_notebooks" / Path(name).name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(path.read_bytes())
    notebook.cells[0].source += "\n\n" + DOWNLOAD[language].format(f"/{place.relative_to(target).as_posix()}")
    if there := colab(path):
        notebook.cells[0].source += " · " + COLAB[language].format(there)
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target / name)
