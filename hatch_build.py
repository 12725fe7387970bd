"""What the package page says, made when the package is built: README.md, and where the sources are.

Hatchling calls `CustomMetadataHook`. `address` in pyproject.toml is the one place that says where the sources are, such
as https://github.com/OWNER/neoclassic; the project's URLs and the links of the page follow from it. While it is empty,
the page names the files of the source distribution instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LANGUAGES = re.compile(r" \[中文\]\([^)]*\)")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)\s]*)[^)]*\)")  # of a picture or a file of the sources
INSTALL = re.compile(r"(pip install (?:-q )?'?)\.(?=[\[\s])")


def page(readme: str, address: str, tag: str) -> str:
    """The README as an index shows it. tag: the version of the sources that links lead to."""

    def link(found: re.Match[str]) -> str:
        picture, text, path = found.groups()
        if address:
            return f"{picture}[{text}]({address}/{'raw' if picture else 'blob'}/{tag}/{path})"
        if path.startswith("results/"):
            return text
        return f"`{path}`" if path.startswith(text) else f"{text} (`{path}`)"

    text = LINK.sub(link, LANGUAGES.sub("", readme))
    where = "" if address else "\nThe files that this page names are in the source distribution.\n"
    return INSTALL.sub(r"\1neoclassic", text) + where


def urls(address: str, tag: str) -> dict[str, str]:
    """The links beside the package page."""
    there = {"Source": "", "Changelog": f"/blob/{tag}/CHANGELOG.md", "Issues": "/issues"}
    return {name: address + path for name, path in there.items()} if address else {}


class CustomMetadataHook(MetadataHookInterface):
    """Sets the fields that pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        address, tag = self.config["address"], f"v{metadata['version']}"
        readme = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": page(readme, address, tag)}
        metadata["urls"] = urls(address, tag)
