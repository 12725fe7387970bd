"""Chinese pages that follow their English ones: `python -m docs.site.translations [--accept PAGE…]`.

A Chinese page states the digest of the English page that it translates. When the English page changes, the digests
differ, and a test fails until the Chinese page was changed too and its digest was renewed with --accept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from docs.site.staging import ROOT, chinese, sources

STAMP = re.compile(r"\n<!-- english: (\w+) -->\n$")
BOTH_MADE = {"editions.md"}  # make_editions.py writes both languages


def translated() -> dict[str, tuple[Path, Path]]:
    """(English, Chinese) of each page that people translate, by the page's name."""
    pages = {name: path for name, path in sources().items() if name not in BOTH_MADE} | {
        "README.md": ROOT / "README.md"
    }
    return {name: (path, chinese(path)) for name, path in pages.items() if chinese(path).exists()}


def digest(english: Path) -> str:
    """Of what a translator reads: a page's text, or the cells of a notebook."""
    if english.suffix == ".ipynb":
        cells = json.loads(english.read_text("utf-8"))["cells"]
        text = "\0".join("".join(cell["source"]) for cell in cells)
    else:
        text = english.read_text("utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stated(page: Path) -> str | None:
    """The digest that a Chinese page states."""
    if page.suffix == ".ipynb":
        metadata: dict[str, Any] = json.loads(page.read_text("utf-8"))["metadata"]
        return metadata.get("english")
    found = STAMP.search(page.read_text("utf-8"))
    return found[1] if found else None


def stale() -> list[str]:
    """The pages whose Chinese form was not looked at since the English one changed."""
    return [name for name, (english, page) in translated().items() if stated(page) != digest(english)]


def accept(name: str) -> None:
    """State in the Chinese page that it follows the English one as it is now."""
    english, page = translated()[name]
    if page.suffix == ".ipynb":
        notebook = json.loads(page.read_text("utf-8"))
        notebook["metadata"]["english"] = digest(english)
        page.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", "utf-8")
    else:
        text = STAMP.sub("\n", page.read_text("utf-8")).rstrip("\n")
        page.write_text(f"{text}\n\n<!-- english: {digest(english)} -->\n", "utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m docs.site.translations", description="List pages to translate.")
    parser.add_argument(
        "--accept", nargs="+", metavar="PAGE", default=(), help="pages whose Chinese form is up to date"
    )
    for name in parser.parse_args().accept:
        if name not in translated():
            parser.error(f"{name}: no page with a Chinese form; choose one of {', '.join(translated())}")
        accept(name)
    for name in stale():
        print(f"{name}: the English page changed; translate the change, then --accept {name}")


if __name__ == "__main__":
    main()
