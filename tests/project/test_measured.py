"""Every number in the READMEs and on the pages that was measured is a link to its file, and is what the file says."""

import json
import re

import pytest

from docs.site import measured, staging

# What looks as if it had been measured: a decimal percentage or accuracy, a time, a size, a ratio.
LOOKS_MEASURED = re.compile(
    r"(?<![\w.×/-])(?:\d+\.\d+\s?%|0?\.\d{3,}|\d[\d,]*(?:\.\d+)?"
    r"(?: s\b|\s?(?:×(?!\s?[\d`])|(?:ms|min|[MG]B|seconds?|minutes?|hours?|times)\b|毫秒|秒|分钟|小时|倍)))"
)
PUBLISHED = re.compile(r"in the paper|published runs|论文中|公开的运行结果", re.I)
NOT_MEASURED = {
    *("63.2 %", "63.2%", "9.68 times", "9.68 倍"),  # computed: 1 - 1/e, and a count of multiplications
    "0.9979",  # quoted from the notes that the table corrects
    *("512 MB", "3 GB"),  # the limit of a file, and the memory of a GPU in 2012
    *("90 minutes", "90 分钟"),  # a lesson
    "138 GB",  # the size of ImageNet
}


def sentences(path):
    """The paragraphs, list items and rows of a page without code and without numbers that have a link."""
    text = staging.FENCED.sub("", measured.LINK.sub("", measured.words(path)))
    text = re.sub(r"^ {4}.*$", "", text, flags=re.M)
    text = re.sub(r"`[^`\n]*`", "``", text)
    return re.split(r"\n\s*\n|\n(?=[-|])", text)


@pytest.mark.parametrize("path", measured.pages(), ids=lambda path: path.relative_to(measured.ROOT).as_posix())
def test_measured_numbers_are_what_their_files_say(path):
    assert measured.wrong(path) == []


def test_there_are_such_numbers_in_both_languages():
    counts = {path: len(measured.LINK.findall(measured.words(path))) for path in measured.pages()}
    assert sum(counts.values()) > 80
    assert [path.name for path, n in counts.items() if counts.get(staging.chinese(path), n) != n] == []


@pytest.mark.parametrize("path", measured.pages(), ids=lambda path: path.relative_to(measured.ROOT).as_posix())
def test_no_measured_number_is_without_its_file(path):
    if path.stem.partition(".")[0] in ("gallery", "editions"):
        return  # made of outputs and of results/, which other tests compare
    found = [each for s in sentences(path) if not PUBLISHED.search(s) for each in LOOKS_MEASURED.findall(s)]
    assert set(found) <= NOT_MEASURED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[2.5](results/x.json "min /rows/*/a ÷ /rows/*/b") to [4](results/x.json "max /rows/*/a ÷ /rows/*/b")', ""),
        ('[90.12 %](results/x.json "/deep/some, key × 100") in [1,234 s](results/x.json "/list/1")', ""),
        ('[2.6](results/x.json "min /rows/*/a ÷ /rows/*/b")', "has 2.500 at"),
        ('[90.13 %](results/x.json "/deep/some, key × 100")', "has 90.1200 at"),
        ('[1](results/x.json "/gone")', "KeyError"),
        ('[1](results/gone.json "/list/0")', "FileNotFoundError"),
        ('[1](results/x.json "list")', "not a pointer"),
        ('[1](results/x.json "/list/*")', "ValueError"),
        ('[1 to 2](results/x.json "/list/0")', "ValueError"),
    ],
)
def test_a_number_that_differs_from_its_file_is_found(text, said, tmp_path):
    found = {"rows": [{"a": 5, "b": 2}, {"a": 8, "b": 2}], "deep": {"some, key": 0.9012}, "list": [0.5, 1234.4]}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.json").write_text(json.dumps(found))
    (tmp_path / "page.md").write_text(text, "utf-8")
    wrong = measured.wrong(tmp_path / "page.md")
    assert [line for line in wrong if said and said in line] == wrong
    assert bool(wrong) == bool(said)


@pytest.mark.parametrize(
    "text", ["reaches 91.23 %", "takes 4.0 s", "is 2.5 times as fast", "快 3 倍", "a loss of 0.123"]
)
def test_a_number_without_a_link_is_found(text, tmp_path):
    (tmp_path / "page.md").write_text(text, "utf-8")
    assert [each for s in sentences(tmp_path / "page.md") for each in LOOKS_MEASURED.findall(s)]
