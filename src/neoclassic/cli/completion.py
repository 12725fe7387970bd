"""What a shell offers when Tab is pressed: networks, recipes, data sets, models and runs.

`COMPLETERS` says by the name of an option or argument what its value may be. Where no name begins as the user typed,
the shell offers files or folders.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

if TYPE_CHECKING:  # in older versions of click, CompletionItem has no type parameter
    Offered = list[CompletionItem[str]]
    Completer = Callable[[click.Context, str], Offered]


def _names(names: Iterable[str], typed: str, otherwise: str = "") -> Offered:
    """The names that begin as typed; if there are none, what the shell finds itself: "file" or "dir"."""
    found = [CompletionItem(name) for name in names if name.startswith(typed)]
    return found or ([CompletionItem(typed, type=otherwise)] if otherwise else [])


def words(*names: str) -> Completer:
    """Offer these words."""
    return lambda _context, typed: _names(names, typed)


def files(_context: click.Context, typed: str) -> Offered:
    """Offer files and folders."""
    return _names((), typed, "file")


def folders(_context: click.Context, typed: str) -> Offered:
    """Offer folders."""
    return _names((), typed, "dir")


def networks(_context: click.Context, typed: str) -> Offered:
    """Offer the networks of the zoo, those in a Python file whose name is typed already, or else files."""
    from neoclassic.networks import list_networks

    path, colon, _ = typed.rpartition(":")
    if colon and path.endswith(".py"):
        return _names((f"{path}:{name}" for name in _names_in(path)), typed)
    return _names(list_networks(), typed, "file")


def recipes(_context: click.Context, typed: str) -> Offered:
    """Offer the names of recipes, or else files."""
    from neoclassic.recipes import list_recipes

    return _names((recipe.name for recipe in list_recipes()), typed, "file")


def patterns(context: click.Context, typed: str) -> Offered:
    """Offer what the verb lists: recipes or networks."""
    return (recipes if context.info_name == "recipes" else networks)(context, typed)


def data_sets(_context: click.Context, typed: str) -> Offered:
    """Offer the data sets that have a name, and folders."""
    from neoclassic.data.sources import SOURCES

    return [CompletionItem(typed, type="dir"), *_names(SOURCES, typed)]


def runs(_context: click.Context, typed: str) -> Offered:
    """Offer run folders, or else folders."""
    return _names(_run_folders(typed), typed, "dir")


def models(_context: click.Context, typed: str) -> Offered:
    """Offer run folders and the models that have a name, or else files."""
    from neoclassic.model.pretrained import known

    return _names([*_run_folders(typed), *known()], typed, "file")


def models_or_networks(context: click.Context, typed: str) -> Offered:
    """Offer run folders, models that have a name, and networks, or else files."""
    from neoclassic.model.pretrained import known
    from neoclassic.networks import list_networks

    return _names([*_run_folders(typed), *list_networks(), *known()], typed) or networks(context, typed)


def models_then_images(context: click.Context, typed: str) -> Offered:
    """Offer models first, and files after a model."""
    return (files if context.params.get("given") else models)(context, typed)


def weights(_context: click.Context, typed: str) -> Offered:
    """Offer `imagenet`, or else files."""
    return _names(("imagenet",), typed, "file")


def initialisations(_context: click.Context, typed: str) -> Offered:
    """Offer the names of the ways to draw initial weights."""
    from neoclassic.engines.weights import INITIALISATIONS

    return _names(INITIALISATIONS, typed)


COMPLETERS: dict[str, Completer] = {
    **dict.fromkeys(("network", "networks", "first", "second"), networks),
    **dict.fromkeys(("recipe", "recipes"), recipes),
    **dict.fromkeys(("run", "runs", "resume"), runs),
    **dict.fromkeys(("model", "models"), models),
    **dict.fromkeys(("image", "photo", "folder", "file", "out", "svg", "csv_file", "classes"), files),
    "class_weights": words("balanced"),
    "compiling": words("auto", "on", "off"),
    "data": data_sets,
    "data_dir": folders,
    "device": words("auto", "cpu", "cuda", "mps"),
    "engine": words("auto", "numpy", "torch", "onnx"),
    "fit": words("crop", "pad", "stretch"),
    "given": models_then_images,
    "initialisation": initialisations,
    "optimizer": words("sgd", "adam", "adamw", "adagrad", "rmsprop"),
    "pattern": patterns,
    "precision": words("auto", "32", "bf16"),
    "schedule": words("constant", "step", "cosine", "one-cycle"),
    "shown": models_or_networks,
    "threshold": words("stored"),
    "weights": weights,
}


class Text(click.types.StringParamType):
    """Text that a shell can complete."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Offered:
        completer = COMPLETERS.get(param.name or "")
        return completer(ctx, incomplete) if completer else []


def _names_in(path: str) -> list[str]:
    """The functions and variables of a Python file, which is read but not run."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    names = [*functions, *(target.id for target in targets if isinstance(target, ast.Name))]
    return sorted(name for name in names if not name.startswith("_"))


def _run_folders(typed: str) -> list[str]:
    """The folders of runs, folds and searches whose paths begin as typed: where the path leads, and those in `runs`."""
    from neoclassic.model.artefact import SEARCH
    from neoclassic.model.folds import FOLDS

    parent = typed[: typed.rfind("/") + 1]
    found = (place + path.name for place in ([parent] if parent else ["", "runs/"]) for path in _entries(place))
    return [folder for folder in found if any(Path(folder, name).is_file() for name in ("recipe.json", FOLDS, SEARCH))]


def _entries(folder: str) -> list[Path]:
    try:
        return sorted(Path(folder).iterdir())
    except OSError:
        return []


@add_completion_class
class Bash(BashComplete):
    """Bash, which takes `lenet:bn` and `lenet@mnist` for several words and wants only the last of them."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \
%(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$(printf '%%q' "$value")") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
    answered = 0  # characters of the value that Bash takes for earlier words

    def get_completion_args(self) -> tuple[list[str], str]:
        cursor = "\0"
        *before, last = split_arg_string(os.environ["COMP_LINE"] + cursor)  # so that the last word may be empty
        typed = last.removesuffix(cursor)
        value = typed.partition("=")[2] if typed.startswith("-") else typed
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        self.answered = max((value.rfind(character) + 1 for character in ":=@" if character in breaks), default=0)
        return before[1:], typed

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value[self.answered :] if item.type == 'plain' else item.value}"
