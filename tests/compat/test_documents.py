"""docs/books.md and its translation: every name in them exists, and both list the same errors."""

import json
import re
import runpy
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


def test_the_pages_for_teachers_are_those_of_the_results():
    made = runpy.run_path(str(DOCS / "make_editions.py"))
    results = json.loads(made["RESULTS"].read_text("utf-8"))
    for language, name in enumerate(made["PAGES"]):
        assert (DOCS / name).read_text("utf-8") == made["page"](results, language), "run python docs/make_editions.py"


def test_what_the_pages_for_teachers_name_is_here_and_what_fails_is_not_ours():
    results = json.loads((DOCS.parent / "results" / "readers.json").read_text("utf-8"))
    assert {"d2l-zh 2.0", "d2l-en 1.0.3", "d2l-en 0.16.6", "d2l-en 0.14.4"} <= set(results)
    for edition in results.values():
        for row in edition["sections"]:
            missing = [name for name in row["names"] if not hasattr(d2l, name) and not hasattr(dlfs, name)]
            assert not missing, row["section"]
            assert all(cell["own"] for cell in row["failed"]), f"only neoclassic's names fail in {row['section']}"


def test_as_many_listings_are_tested_as_the_page_says():
    counts = [len(list((DOCS.parent / "tests" / "listings" / g).glob("*.py"))) for g in ("earlier", "later", "dlfs")]
    assert counts == [10, 10, 7]
