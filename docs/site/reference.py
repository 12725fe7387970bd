"""Markdown of the reference: names from their docstrings, commands from their own help."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import click

import neoclassic
from neoclassic import verbs
from neoclassic.cli import cli
from neoclassic.cli.base import EXAMPLES

DEFINED = re.compile(r"^(\*{0,2}\w+(?:, \w+)*)(?:  +(\S.*)|$)")  # in a docstring: `name   what it is`
SPECIAL = re.compile(r"([\\<>*\[\]])")


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def fenced(kind: str, inner: str, argument: str = "") -> str:
    """A block whose fence is longer than the fences in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"^`{3,}", inner, re.M))])
    return f"{fence}{kind}{' ' + argument if argument else ''}\n{inner}\n{fence}"


# ── docstrings ───────────────────────────────────────────────────────────────────────────────────────


def prose(docstring: str) -> str:
    """Markdown of a docstring: paragraphs, examples after `>>>`, and lists of names."""
    blocks = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(filter(None, map(_block, blocks)))


def _block(block: str) -> str:
    lines = block.splitlines()
    if lines[0].lstrip().startswith(">>>"):
        return fenced("python", textwrap.dedent(block))
    if lines[0].startswith("    "):
        return fenced("text", textwrap.dedent(block))
    if len(lines) > 1 and DEFINED.match(lines[0]) and all(DEFINED.match(x) or x.startswith(" ") for x in lines):
        return table(("field", "meaning"), list(_defined(lines)))
    if lines[0].startswith("- "):
        return "\n".join(_escaped(line) for line in lines)
    return _escaped(" ".join(map(str.strip, lines)))


def _defined(lines: list[str]) -> Iterator[tuple[str, str]]:
    names, texts = "", [""]
    for line in lines:
        if found := DEFINED.match(line):
            if names:
                yield names, " ".join(texts)
            names = ", ".join(code(name) for name in found[1].split(", "))
            texts = [_escaped(found[2])] if found[2] else []
        else:
            texts.append(_escaped(line.strip()))
    yield names, " ".join(texts)


def _escaped(text: str) -> str:
    """The text with Markdown's own signs as they are, except in `code`."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else SPECIAL.sub(r"\\\1", part) for part in parts)


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────


def public(name: str) -> Any:
    """What `nc.<name>` is; the function of a module that can be called."""
    found = getattr(neoclassic, name)
    if not isinstance(found, ModuleType):
        return found
    return (
        getattr(verbs, name) if name in verbs.__all__ else getattr(importlib.import_module("neoclassic.measure"), name)
    )


def api(*names: str) -> str:
    """The entries of public names."""
    return "\n\n".join(entry(name, public(name)) for name in names)


def records(*paths: str) -> str:
    """The entries of records that functions return, each given as `module.Class`."""
    entries = []
    for path in paths:
        module, _, name = path.rpartition(".")
        entries.append(entry(name, getattr(importlib.import_module(module), name), module))
    return "\n\n".join(entries)


def entry(name: str, thing: Any, module: str = "neoclassic") -> str:
    """The signature, the docstring, the parameters, and the members of a class."""
    is_class = inspect.isclass(thing)
    parts = [prose(inspect.getdoc(thing) or "")]
    if not (is_class and issubclass(thing, Exception)):
        parts.append(_parameters(thing))
    if is_class:
        parts += _members(name, thing)
    kind = "py:exception" if is_class and issubclass(thing, Exception) else "py:class" if is_class else "py:function"
    qualified = f"{module}.{name}"
    return fenced(f"{{{kind}}}", "\n\n".join(filter(None, parts)), qualified + _signature(thing))


def _signature(thing: Any) -> str:
    """The names and defaults; nothing for an exception."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    found = inspect.signature(thing)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values() if p.name != "self"]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _parameters(thing: Any) -> str:
    """A table of types and defaults, and what is returned."""
    rows = []
    for p in inspect.signature(thing).parameters.values():
        if p.name == "self" or p.annotation is inspect.Parameter.empty:
            continue
        default = "" if p.default is inspect.Parameter.empty else repr(p.default)
        default = "…" if "factory" in default else default
        rows.append((code(p.name), code(_type(p.annotation)), code(default)))
    returns = inspect.signature(thing).return_annotation
    tail = "" if inspect.isclass(thing) or returns in (None, "None") else f"Returns {code(_type(returns))}."
    return "\n\n".join(filter(None, [table(("parameter", "type", "default"), rows) if rows else "", tail]))


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.strip("'\"")


def _members(name: str, cls: type) -> list[str]:
    """The public methods and properties that have a docstring of their own."""
    fields = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    members = []
    for member, raw in vars(cls).items():
        doc = inspect.getdoc(raw.func if hasattr(raw, "func") else raw) if not member.startswith("_") else None
        if (
            member in fields
            or not doc
            or not (callable(raw) or isinstance(raw, property | classmethod) or hasattr(raw, "func"))
        ):
            continue
        if isinstance(raw, property) or hasattr(raw, "func"):
            members.append(fenced("{py:attribute}", prose(doc), member))
        else:
            function = getattr(cls, member)
            text = "\n\n".join(filter(None, [prose(doc), _parameters(function)]))
            members.append(fenced("{py:method}", text, member + _signature(function)))
    return members


# ── the command line ─────────────────────────────────────────────────────────────────────────────────


def commands(heading: Callable[[str], str] = "## {}".format) -> str:
    """A section for each verb, in the order of the help."""
    return "\n\n".join(_command(name, heading) for name in EXAMPLES if name in cli.commands)


def _command(name: str, heading: Callable[[str], str]) -> str:
    command = copy.copy(cli.commands[name])  # click keeps the option --help that it makes for a context
    context = click.Context(command, info_name=f"neoclassic {name}")
    usage = " ".join([f"neoclassic {name}", *command.collect_usage_pieces(context)])
    parts = [heading(name), fenced("text", usage), prose(inspect.cleandoc(command.help or ""))]
    under = {p: title for title, names in getattr(command, "headings", {}).items() for p in names}
    options = [p for p in command.get_params(context) if isinstance(p, click.Option) and not p.hidden]
    for title in [*getattr(command, "headings", {}), "Options"]:
        rows = [_option(p, context) for p in options if under.get(p.name or "", "Options") == title]
        if rows:
            parts.append(table((title.lower() if title != "Options" else "option", ""), rows))
    parts.append(fenced("sh", EXAMPLES[name]))
    return "\n\n".join(filter(None, parts))


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    names, about = option.get_help_record(context) or ("", "")
    return code(names), _escaped(about)
