"""docs/books.md and its translation: every name in them exists, and both list the same errors."""

import re
from pathlib import Path

import pytest

from neoclassic.compat import d2l, dlfs
from neoclassic.networks import list_networks

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("books.md", "books.zh-CN.md")


def table(page, columns):
    lines = (DOCS / page).read_text("utf-8").splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [row for row in rows if len(row) == columns]


@pytest.mark.parametrize("page", PAGES)
def test_names_on_a_page_exist(page):
    chapters = (DOCS / page).read_text("utf-8").split("\n## ")[2]
    names = set(re.findall(r"`([A-Za-z]\w+)`", chapters.split("tests/listings")[0]))
    assert len(names) > 25
    missing = [name for name in names if not hasattr(d2l, name) and not hasattr(dlfs, name)]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_networks_that_a_page_names_are_in_the_zoo(page):
    named = set(re.findall(r"`([a-z0-9-]+:[a-z0-9-]+|mnist-[a-z]+)`", (DOCS / page).read_text("utf-8")))
    assert named
    assert named <= set(list_networks())


def test_both_languages_list_the_same_errors():
    for columns in (3, 4):
        assert len(table(PAGES[0], columns)) == len(table(PAGES[1], columns)) > 30


def test_as_many_listings_are_tested_as_the_page_says():
    counts = [len(list((DOCS.parent / "tests" / "listings" / g).glob("*.py"))) for g in ("earlier", "later", "dlfs")]
    assert counts == [10, 10, 7]
