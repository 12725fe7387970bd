"""The sources of the site: each page is copied, its links are set for its language, its generated parts are filled in.

A page `X.md` may have a Chinese form `X.zh-CN.md`. Both become `X.md`, each in the folder of its language, so a link
between pages is the same in both; a page without a Chinese form is in English on the Chinese site, too. A line such as
`<!-- site: drawing lenet -->` is replaced by what the function of that name makes.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

from docs.site import reference, zoo

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ZH = ".zh-CN"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ADDRESS = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]  # of the sources, or ""
TAG = f"v{PROJECT['project']['version']}"
OTHERS = {  # pages of the site that stand outside docs/
    "project/results.md": ROOT / "RESULTS.md",
    "project/changelog.md": ROOT / "CHANGELOG.md",
    "project/contributing.md": ROOT / "CONTRIBUTING.md",
}
MARK = re.compile(r"^<!-- site: (\w+)(.*?) -->$", re.M)
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?((?: \"[^\"]*\")?\))")
STAMP = re.compile(r"^<!-- english: \w+ -->$", re.M)  # see `translations`
FENCED = re.compile(r"^(`{3,}).*?^\1$", re.M | re.S)
HAN = "[\u3000-\u303f\u3400-\u9fff\uff00-\uffef\u201c\u201d]"
BREAK = re.compile(f"(?<={HAN})\n {{0,3}}(?={HAN})")
SWITCH = re.compile(r" ?\[(?:English|中文)\]\([^)]*\)")  # the site has its own


def sources() -> dict[str, Path]:
    """Where the English form of each page stands, by its path on the site."""
    inside = {
        path.relative_to(DOCS).as_posix(): path
        for path in sorted(DOCS.rglob("*"))
        if path.suffix in (".md", ".ipynb") and ZH not in path.name and "site" not in path.relative_to(DOCS).parts
    }
    return inside | OTHERS


def chinese(path: Path) -> Path:
    """Where the Chinese form of a page stands, if there is one."""
    return path.with_name(path.name.replace(path.suffix, ZH + path.suffix))


def stage(target: Path, language: str) -> None:
    """Write the sources of one language. Notebooks are written by `notebooks`."""
    shutil.rmtree(target, ignore_errors=True)
    made = target / "_made"
    made.mkdir(parents=True)
    for name, path in sources().items():
        if path.suffix == ".md":
            own = chinese(path) if language == "zh" and chinese(path).exists() else path
            text = linked(STAMP.sub("", own.read_text("utf-8")), own, name, language)
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(filled(text, made, language), "utf-8")
    shutil.copytree(DOCS / "pictures", target / "pictures")
    shutil.copytree(ROOT / "results", target / "results")  # the pages link to the files of their numbers
    shutil.copy(DOCS / "standalone_predict.py", target)


def linked(text: str, path: Path, name: str, language: str = "en") -> str:
    """The text with its links from file to file as links from page to page. path: the file; name: its page."""
    pages = {place.resolve(): page for page, place in sources().items()}
    pages |= {file: f"results/{file.name}" for file in (ROOT / "results").glob("*.json")}

    def link(found: re.Match[str]) -> str:
        place = Path(os.path.normpath(path.parent / found[2].replace(ZH, "")))
        if place not in pages:
            return found[0]
        relative = os.path.relpath(pages[place], Path(name).parent).replace(os.sep, "/")
        section = (found[3] or "").removeprefix("#")
        if section and language == "zh" and chinese(place).exists():
            section = dict(zip(sections(place), sections(chinese(place)), strict=True)).get(section, section)
        return f"{found[1]}{relative}{'#' if section else ''}{section}{found[4]}"

    text = LINK.sub(link, SWITCH.sub("", text))
    return joined(text) if language == "zh" else text


def joined(text: str) -> str:
    """Chinese text with its lines joined, because a line break would become a space between two characters."""
    parts = re.split(r"(^(`{3,}).*?^\2$)", text, flags=re.M | re.S)
    return "".join(BREAK.sub("", part) if i % 3 == 0 else part for i, part in enumerate(parts) if i % 3 != 2)


def sections(path: Path) -> list[str]:
    """The addresses of the sections of a page, as GitHub and MyST make them of the headings."""
    text = FENCED.sub("", path.read_text("utf-8"))
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ +(.*)$", text, re.M)]


def filled(text: str, made: Path, language: str) -> str:
    """The text with its generated parts."""
    return MARK.sub(lambda found: GENERATED[found[1]](found[2].split(), made, language), text)


Generate = Callable[[list[str], Path, str], str]
GENERATED: dict[str, Generate] = {
    "api": lambda names, _made, _language: reference.api(*names),
    "records": lambda names, _made, _language: reference.records(*names),
    "commands": lambda _names, _made, _language: reference.commands(),
    "drawing": lambda names, made, language: zoo.drawing(names[0], made, language),
    "blocks": lambda names, made, language: zoo.drawing(names[0], made, language, blocks=True),
    "layers": lambda names, _made, language: zoo.layers(names[0], language, *map(int, names[1:])),
    "variants": lambda names, _made, language: zoo.variants(tuple(names), language),
    "source": lambda names, _made, _language: zoo.source(names[0]),
    "reached": lambda names, _made, language: zoo.reached(tuple(names), language),
}
