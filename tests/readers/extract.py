"""The code of a book's chapters, from a checkout: cells in Markdown, or scripts in folders `ch01`, `ch02` …"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

# The chapters on convolutional networks and what they build on, under their names in all editions.
CHAPTERS = (
    *("preliminaries", "linear-networks", "linear-regression", "linear-classification", "multilayer-perceptrons"),
    *("deep-learning-computation", "builders-guide", "convolutional-neural-networks", "convolutional-modern"),
)
VISION = ("image-augmentation", "fine-tuning", "kaggle-cifar10", "kaggle-dog")
SCRIPTS_OF_NAMES = ("two_layer_net.py", "simple_convnet.py", "deep_convnet.py")  # neoclassic has these networks
EPOCHS, STEPS, WIDTH = 2, 20, 20
_CELL = re.compile(r"^```\{\.python \.input[^}\n]*\}[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TAB = re.compile(r"\s*(?:#\s*@tab|%%tab)\s+([^\n]*)\n?")


@dataclass(frozen=True)
class Cell:
    """A cell of a chapter: `line` is its first line in the file."""

    line: int
    code: str


def has_scripts(book: Path) -> bool:
    """Whether this is the code of *Deep Learning from Scratch*."""
    return (book / "common" / "layers.py").is_file()


def sections(book: Path) -> list[Path]:
    """The Markdown files of the convolutional chapters, of those before them, and of four on fine-tuning and Kaggle.

    Of *Deep Learning from Scratch*, all scripts.
    """
    if has_scripts(book):
        return [path for path in sorted(book.glob("ch*/*.py")) if path.name not in SCRIPTS_OF_NAMES]
    found = []
    for chapter in CHAPTERS:
        folder = book / f"chapter_{chapter}"
        order = re.findall(r"^([\w-]+)$", (folder / "index.md").read_text("utf-8"), re.M) if folder.is_dir() else []
        found += [folder / f"{name}.md" for name in order if name != "toc" and (folder / f"{name}.md").is_file()]
    return found + [p for name in VISION if (p := book / "chapter_computer-vision" / f"{name}.md").is_file()]


def cells(section: Path, book: Path) -> list[Cell]:
    """The cells of the PyTorch tab, without the lines that only a notebook understands. A script is one cell."""
    if section.suffix == ".py":
        return [Cell(1, section.read_text("utf-8"))]
    config = book / "config.ini"
    tabs = re.search(r"^tabs\s*=\s*(.*)$", config.read_text("utf-8"), re.MULTILINE) if config.is_file() else None
    default = tabs[1].split(",")[0].strip() if tabs else "pytorch"
    text, found = section.read_text("utf-8"), []
    for match in _CELL.finditer(text):
        tab = _TAB.match(match[1])
        named = {name.strip() for name in (tab[1] if tab else default).split(",")}
        lines = match[1][tab.end() if tab else 0 :].splitlines()
        if not named & {"pytorch", "all"} or any("d2lbook.tab" in line for line in lines):
            continue
        code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)
        if code.strip():
            found.append(Cell(text.count("\n", 0, match.start()) + 2 + bool(tab), code))
    return found


def names(section: Path, book: Path) -> list[str]:
    """The names of d2l that the cells of a section use; the names that a script uses and does not make itself."""
    if section.suffix == ".py":
        nodes = list(ast.walk(ast.parse(section.read_text("utf-8"))))
        made = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        return sorted(used - made)
    return sorted({name for cell in cells(section, book) for name in re.findall(r"\bd2l\.([A-Za-z]\w*)", cell.code)})


class Shorter(ast.NodeTransformer):
    """Cuts the number of epochs or steps wherever a cell sets it, and drops what it asserts of a full training.

    Hidden layers that a call sets are cut, too, since numerical gradients ask for every weight; but not in code that
    reads the book's weights.
    """

    NAMES = dict.fromkeys(("num_epochs", "max_epochs", "epochs", "epocs"), EPOCHS) | dict.fromkeys(
        ("iters_num", "max_iterations", "optimization_trial"), STEPS
    )
    RESULTS = ("train_loss", "train_acc", "test_acc")

    def __init__(self, code: str) -> None:
        self.reads_weights = "load_params" in code

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        named = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
        return ast.Pass(lineno=node.lineno, col_offset=0) if named & set(self.RESULTS) else node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and name.id in self.NAMES:
                    self._cut(value, self.NAMES[name.id])
        self.generic_visit(node)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        if node.arg in self.NAMES:
            self._cut(node.value, self.NAMES[node.arg])
        elif node.arg in ("hidden_size", "hidden_size_list") and not self.reads_weights:
            for each in ast.walk(node.value):
                self._cut(each, WIDTH)
        self.generic_visit(node)
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        for argument, value in zip(reversed(node.args), reversed(node.defaults), strict=False):
            if argument.arg in self.NAMES:
                self._cut(value, self.NAMES[argument.arg])
        self.generic_visit(node)
        return node

    @staticmethod
    def _cut(value: ast.AST, most: int) -> None:
        if isinstance(value, ast.Constant) and isinstance(value.value, int):
            value.value = min(value.value, most)
