"""What all verbs share: the command group, common options, and the handling of errors."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import click

from neoclassic import __version__
from neoclassic.base.errors import NeoclassicError, NeoclassicWarning, UsageError, unknown
from neoclassic.base.signals import ENDINGS, handling
from neoclassic.base.text import hidden, json_text, printable
from neoclassic.cli.completion import Text

EXAMPLES = {
    "list": "neoclassic list 'resnet*'",
    "show": "neoclassic show lenet --batch 256",
    "diff": "neoclassic diff alexnet alexnet:torchvision",
    "train": "neoclassic train lenet --epochs 5 --out runs/first",
    "recipes": "neoclassic recipes 'd2l-zh:*'",
    "import": "neoclassic import weights.pth --network resnet18 --classes names.txt",
    "evaluate": "neoclassic evaluate runs/first",
    "predict": "neoclassic predict runs/first photo.jpg drawings/ --top 3",
    "embed": "neoclassic embed runs/first photos/ --out features.npz",
    "similar": "neoclassic similar runs/first photo.jpg photos/ --out similar.html",
    "join": "neoclassic join runs/first runs/second --out both.safetensors",
    "export": "neoclassic export runs/first model.onnx --verify 64",
    "serve": "neoclassic serve runs/first --port 8000",
    "lab": "neoclassic lab lenet@fashion-mnist --open",
    "explain": "neoclassic explain runs/first photo.jpg --path conv2 --out looked",
    "doctor": "neoclassic doctor runs/first",
    "compare": "neoclassic compare runs/* --out compared",
    "report": "neoclassic report runs/first",
    "search": "neoclassic search lenet lenet:bn --data fashion-mnist --minutes 15",
    "bench": "neoclassic bench lenet resnet18:taught --batch-size 64",
    "check": "neoclassic check photos/",
    "cache": "neoclassic cache --clear 'decoded'",
}


class _Group(click.Group):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:  # click would drop its message
            raise NeoclassicError(str(error) or "stopped") from error

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        known = context.resilient_parsing or args[0] in self.commands or args[0].startswith("-")
        if not known:
            raise unknown("command", args[0], self.list_commands(context))
        return super().resolve_command(context, args)

    def list_commands(self, _context: click.Context) -> list[str]:
        """The verbs in the order in which a newcomer needs them."""
        return [name for name in EXAMPLES if name in self.commands]


class Verb(click.Command):
    """A command whose --help may list its options under headings; those without one come last, as "Options"."""

    headings: Mapping[str, Sequence[str]]  # the names of the parameters under each

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.headings:
            super().format_options(context, formatter)
            return
        options = (param for param in self.get_params(context) if isinstance(param, click.Option))
        records = {option: option.get_help_record(context) for option in options}
        under = {name: heading for heading, names in self.headings.items() for name in names}
        for section in (*self.headings, "Options"):
            rows = [record for p, record in records.items() if record and under.get(p.name or "", "Options") == section]
            with formatter.section(section):
                formatter.write_dl([(option.ljust(HELP_COLUMN), about) for option, about in rows])


HELP_COLUMN = 30  # the width of the options beside their texts, as click has it


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="neoclassic %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback if an error occurs.")
def cli(debug: bool) -> None:
    """The classic convolutional networks, LeNet to MobileNet V3: exact, fast, and the same answer everywhere.

    To begin: neoclassic train lenet
    """


def verb(function: Callable[..., None], headings: Mapping[str, Sequence[str]] | None = None) -> Verb:
    """Add a function to the group as a command. Its help ends with an example; --debug may also follow the verb."""
    name = function.__name__.rstrip("_")
    debug = click.option("--debug", is_flag=True, hidden=True, expose_value=False)
    command = click.command(name, cls=Verb, epilog=f"Example:  {EXAMPLES[name]}")(debug(function))
    command.headings = headings or {}
    for param in command.params:
        if isinstance(param.type, click.types.StringParamType):
            param.type = Text()
    cli.add_command(command)
    return command


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
engine = click.option("--engine", default="auto", metavar="NAME", help="numpy, torch or auto (torch if installed).")
any_engine = click.option("--engine", default="auto", metavar="NAME", help="numpy, torch, onnx or auto.")
device = click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps …")
devices = click.option(
    "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps …; two for alexnet: cuda:0,cuda:1."
)


def _limit_pixels(context: click.Context, _param: click.Parameter, millions: int | None) -> None:
    """Apply the limit until the verb ends."""
    if millions is not None:
        from neoclassic.data.image_files import pixel_limit

        context.with_resource(pixel_limit(millions * 1_000_000))


max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1, 10_000),
    metavar="MILLIONS",
    expose_value=False,
    callback=_limit_pixels,
    help="Refuse images of more than this many million pixels. Default: 67.",
)
data_dir = click.option("--data-dir", metavar="FOLDER", help="Folder to search first for the data set.")


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 for success, 1 if the work failed, 2 for a wrong call."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with _safe_streams(), _one_line_warnings(), _stoppable():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        if empty := _empty(arguments):
            raise UsageError(f"{empty} is empty: is a shell variable not set?")
        cli.main(arguments, prog_name="neoclassic", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except BrokenPipeError:  # the reader of the output has closed it: `neoclassic list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.ClickException as error:
        return _fail(error, " ".join(error.format_message().split()), 2, arguments)
    except NeoclassicError as error:
        return _fail(error, str(error), error.exit_code, arguments)
    except (click.Abort, KeyboardInterrupt) as error:
        return _fail(error, "stopped", 1, arguments)
    except OSError as error:  # a path that cannot be examined: no permission, or a name that is too long
        if error.filename is not None and error.strerror:
            return _fail(error, f"{os.fsdecode(error.filename)}: {error.strerror}", 1, arguments)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            return _fail(error, f"the output cannot be written: {error.strerror}", 1, arguments)
        return _unexpected(error, arguments)
    except MemoryError as error:
        return _fail(error, "not enough memory: try a smaller --batch-size or --image-size", 1, arguments)
    except Exception as error:
        return _unexpected(error, arguments)
    return 0


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """Report an exception that no rule expects as a bug, without its traceback."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    advice = "a bug in neoclassic: please report it; --debug shows the traceback"
    return _fail(error, f"unexpected {what} ({advice})", 1, arguments)


class _Visible(dict[int, Any]):
    """A table for `str.translate` that shows control characters, so that no file or class name moves the cursor."""

    def __missing__(self, code: int) -> Any:
        character = chr(code)
        shown = code if character in "\n\t\r" or not hidden(character) else printable(character)
        return self.setdefault(code, shown)


class _SafeStream:
    """A text stream that shows control characters instead of sending them."""

    visible = _Visible()

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        return self._stream.write(text.translate(self.visible))

    def write_styled(self, text: str) -> None:
        """Write text with our own escape codes for colours, in which names are printable already."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _safe_streams() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):  # a file name may not be text, and a terminal may not support Unicode
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (_SafeStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does: what it is writing is cleaned up."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    with handling([n for n in ENDINGS if signal.getsignal(n) == signal.SIG_DFL], stop):
        yield


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print each of our own warnings as one line, without the source line that raised it, and none of Pillow's."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
        if issubclass(category, NeoclassicWarning):
            with suppress(OSError):  # the terminal may be gone
                click.echo(f"neoclassic: {printable(str(message))}", err=True)
        else:
            shown(message, category, *where, **how)

    with warnings.catch_warnings():
        warnings.simplefilter("always", NeoclassicWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.showwarning = show
        yield


def _empty(arguments: list[str]) -> str | None:
    """The first option or argument that is an empty string, which could be taken for the current folder."""
    for before, argument in pairwise(["", *arguments]):
        if not argument:
            return before if before.startswith("-") else "an argument"
        if argument.startswith("--") and argument.endswith("="):
            return argument[:-1]
    return None


def _fail(error: BaseException, message: str, code: int, arguments: list[str]) -> int:
    if "--debug" in arguments:
        import traceback

        traceback.print_exception(error)
    with suppress(OSError):  # the terminal may be gone
        click.echo(f"neoclassic: {printable(message)}", err=True)
    return code


def print_json(value: Any) -> None:
    click.echo(json_text(value, indent=1))


def tell_skipped(skipped: Sequence[tuple[str, str]], read: int, listed: str = "") -> None:
    """Say on standard error how many images cannot be read, if any. read: how many can; listed: where all are named."""
    if skipped:
        (path, reason), n = skipped[0], len(skipped)
        more = f"; {listed}" if listed and n > 1 else ""
        click.echo(f"{n:,} of {n + read:,} images cannot be read, first {path}: {reason}{more}", err=True)
