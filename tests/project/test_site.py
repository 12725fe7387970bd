"""The documentation site: its reference is complete, its two languages agree, and what its pages state is true."""

import csv
import doctest
import inspect
import io
import json
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers import needs
from PIL import Image

import neoclassic as nc
from docs.site import notebooks, reference, staging, translations, zoo
from neoclassic import verbs
from neoclassic.cli import cli
from neoclassic.model.artefact import Model
from neoclassic.networks import list_networks
from neoclassic.train.recipe import Recipe

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^(`{3,})(\S*).*?\n(.*?)^\1$", re.M | re.S)


def page(name):
    return (DOCS / name).read_text("utf-8")


def marked(text, kind):
    """The arguments of all marks of a kind."""
    return [name for found in staging.MARK.finditer(text) if found[1] == kind for name in found[2].split()]


# ── the reference ────────────────────────────────────────────────────────────────────────────────────


def test_every_public_name_is_in_the_reference_once():
    assert sorted(marked(page("reference/python.md"), "api")) == sorted(nc.__all__)


@pytest.mark.parametrize("name", nc.__all__)
def test_an_entry_has_the_signature_and_the_whole_docstring(name):
    thing, text = reference.public(name), reference.api(name)
    assert f"neoclassic.{name}" in text.splitlines()[0]
    if not (inspect.isclass(thing) and issubclass(thing, Exception)):
        for parameter in inspect.signature(thing).parameters.values():
            assert f"`{parameter.name}`" in text
    words = re.findall(r"[A-Za-z]{4,}", inspect.getdoc(thing))
    assert set(words) <= set(re.findall(r"[A-Za-z]{4,}", text))


@pytest.mark.filterwarnings("ignore::neoclassic.base.errors.NeoclassicWarning")
def test_every_public_name_has_an_example_that_prints_what_it_says(tmp_path, monkeypatch, fashion):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(fashion.test.images[12, :, :, 0]).save("shoe.png")
    runner = doctest.DocTestRunner()
    for name in nc.__all__:
        docstring = inspect.getdoc(reference.public(name))
        found = doctest.DocTestParser().get_doctest(docstring, {"nc": nc}, name, name, 0)
        assert found.examples, name
        if name not in verbs.__all__:  # those are run in test_docs_python.py
            assert runner.run(found).failed == 0, name


def test_every_command_and_option_is_in_the_reference():
    text = reference.commands()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert sections.keys() == cli.commands.keys()
    for name, command in cli.commands.items():
        for option in (o for p in command.params if not getattr(p, "hidden", False) for o in p.opts if o[0] == "-"):
            assert re.search(rf"[` ]{re.escape(option)}[`, ]", sections[name]), f"{name} {option}"


def test_the_reader_of_a_model_file_reads_what_neoclassic_reads():
    code = FENCE.findall(page("reference/model-file.md"))[-1][2]
    assert not re.search(r"import (numpy|safetensors|neoclassic)", code)
    scope = {}
    exec(code, scope)
    for file in sorted((ROOT / "src" / "neoclassic" / "pretrained").glob("*.safetensors")):
        header, tensors = scope["read"](file)
        model = Model.load(file)
        assert header["classes"] == list(model.classes)
        assert header["preprocessing"] == json.loads(json.dumps(model.preprocessing.to_dict()))
        assert tensors.keys() == model.weights.keys()
        for name, (shape, values) in tensors.items():
            assert np.array_equal(np.array(values).reshape(shape), model.weights[name]), name


def test_the_page_on_model_files_names_every_entry_and_limit():
    text = page("reference/model-file.md")
    for entry in (*Model.load(ROOT / "src/neoclassic/pretrained/lenet@fashion-mnist.safetensors").header(), "checksum"):
        assert f"`{entry}`" in text
    assert "32 MiB" in text
    assert "10,000 nodes" in text


def test_the_page_on_run_folders_names_all_that_a_training_writes(ornaments, tmp_path, run, idx_folder):
    text = page("reference/run-folder.md")
    train = ("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--epochs", 1, "--max-steps", 2)
    code, _, err = run(*train, "--out", tmp_path / "run")
    assert code == 0, err
    for file in (tmp_path / "run").iterdir():
        assert f"`{file.name}`" in text
    columns = next(csv.reader(io.StringIO((tmp_path / "run" / "log.csv").read_text("utf-8"))))
    entries = json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))
    assert [name for name in (*columns, *entries) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["install.md", "install.zh-CN.md"])
def test_the_page_on_installing_names_every_extra(name):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {*re.findall(r"^\| `(\w+)`", page(name), re.M)} == extras.keys() - {"test", "docs", "dev"}


def test_the_page_on_http_has_every_route_and_status():
    needs("starlette")
    from neoclassic.web.intake import Limits
    from neoclassic.web.openapi import openapi

    described, text = openapi(Limits()), page("reference/http.md")
    for path, methods in described["paths"].items():
        assert f"{next(iter(methods)).upper()} {path}`" in text
    for status in described["paths"]["/predict"]["post"]["responses"]:
        assert status == "200" or re.search(rf"^\| .*\b{status}\b", text, re.M)


# ── the two languages ────────────────────────────────────────────────────────────────────────────────


def test_no_page_changed_in_one_language_only():
    """python -m docs.site.translations says what to do."""
    assert translations.stale() == []


def test_tutorials_guides_and_networks_are_in_chinese():
    there = {name for name in staging.sources() if not name.startswith(("reference/", "project/"))}
    assert there <= translations.translated().keys() | {"editions.md"}


def code_blocks(path):
    """The fenced blocks without comments, and the marks, in order."""
    text = path.read_text("utf-8")
    blocks = [(kind, inner) for _, kind, inner in FENCE.findall(text) if kind != "text"]
    shown = [re.sub(r"\s*#.*$", "", inner, flags=re.M) if kind in ("python", "sh") else inner for kind, inner in blocks]
    return shown, [found[0] for found in staging.MARK.finditer(text)]


MARKDOWN = [name for name in translations.translated() if name.endswith(".md") and name != "books.md"]


@pytest.mark.parametrize("name", MARKDOWN)
def test_both_languages_show_the_same_code_and_have_the_same_sections(name):
    english, page = translations.translated()[name]
    assert code_blocks(english) == code_blocks(page)
    levels = [re.findall(r"^(#+) ", FENCE.sub("", path.read_text("utf-8")), re.M) for path in (english, page)]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("name", [name for name in translations.translated() if name.endswith(".ipynb")])
def test_both_languages_of_a_notebook_have_the_same_code_and_no_outputs(name):
    import nbformat

    english, page = (nbformat.read(path, 4) for path in translations.translated()[name])
    assert notebooks.code_of(english) == notebooks.code_of(page)
    assert [cell.cell_type for cell in english.cells] == [cell.cell_type for cell in page.cells]
    assert not any(cell.get("outputs") for cell in (*english.cells, *page.cells))


def test_comments_are_not_compared_and_code_is():
    assert notebooks.without_comments("x = 1  # eins\n!ls # a\n") == "x = 1\n!ls # a"
    assert notebooks.without_comments('x = "# no comment"') == 'x = "# no comment"'


# ── the networks and their results ───────────────────────────────────────────────────────────────────


def test_every_network_has_a_page():
    patterns = [
        name for path in (DOCS / "networks").glob("*.md") for name in marked(path.read_text("utf-8"), "variants")
    ]
    shown = {name for pattern in patterns for name in list_networks(pattern)}
    assert shown == set(list_networks())


def test_every_measured_training_is_on_a_page_with_its_file():
    text = "".join(zoo.reached((pattern,), "en") for pattern in ("*",))
    assert len(zoo.measured()) > 40
    for file, run in zoo.measured():
        row = next(line for line in text.splitlines() if f"`{file}`" in line)
        runs = run["test_accuracy"]["runs"]
        assert f"| {sum(runs) / len(runs):.4f}" in row
        assert ("±" in row) == (len(runs) > 1)
        assert ("diverged" in row) == bool(run.get("diverged"))
        assert len(runs) == 1 or f"± {np.std(runs, ddof=1):.4f} |" in row


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_link_and_picture_of_a_page_leads_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", path.read_text("utf-8")))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_a_recipes_fields_are_named_in_the_reference():
    fields = inspect.signature(Recipe).parameters
    assert all(f"`{name}`" in reference.records("neoclassic.train.recipe.Recipe") for name in fields)


# ── the site itself ──────────────────────────────────────────────────────────────────────────────────


def test_links_are_set_for_the_site():
    linked = staging.linked("[a](books.zh-CN.md#x) [b](../RESULTS.md) ![c](pictures/c.png)", DOCS / "own.md", "own.md")
    assert linked == "[a](books.md#x) [b](project/results.md) ![c](pictures/c.png)"
    there = staging.linked("[a](deploy.md#over-http)", DOCS / "photos.zh-CN.md", "photos.md", "zh")
    assert there == "[a](deploy.md#通过-http)"
    assert staging.linked("x [中文](books.zh-CN.md)", DOCS / "books.md", "books.md") == "x"


def test_a_line_break_between_chinese_characters_is_no_space():
    text = "网络\n很小，\n  也快。\n\n```\n网\n络\n```\n用\nReLU\n- 一\n"
    assert staging.joined(text) == "网络很小，也快。\n\n```\n网\n络\n```\n用\nReLU\n- 一\n"


def test_chinese_is_searched_by_pairs_of_characters():
    pytest.importorskip("sphinx")
    from docs.site import search

    assert search.words("卷积层 LeNet") == ["卷", "积", "层", "卷积", "积层", "LeNet"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site, built as `make docs` does."""
    pytest.importorskip("myst_nb")
    from docs.site.build import build

    out = tmp_path_factory.mktemp("site")
    build(out, execute=not os.environ.get("NEOCLASSIC_SITE_FAST"))
    return out / "html"


OPENED = (
    *("index", "guides", "tutorials/first-network", "tutorials/own-photos", "networks/lenet", "networks/resnet"),
    *("reference/python", "reference/cli", "photos", "gallery", "convolution", "project/results"),
)
LOOK = """() => ({
    wide: document.documentElement.scrollWidth - innerWidth,
    missing: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
    other: document.querySelector('.site-language a').href,
})"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(built, tmp_path, width):
    from browser import Browser

    browser, seen = Browser(tmp_path / "profile"), set()
    try:
        browser.page.set_viewport_size({"width": width, "height": 900})
        for language in ("en", "zh"):
            for name in OPENED:
                browser.open((built / language / f"{name}.html").as_uri())
                browser.page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
                browser.page.wait_for_load_state("networkidle")
                found = browser.page.evaluate(LOOK)
                assert found["wide"] <= 0, (language, name)
                assert found["missing"] == [], (language, name)
                seen |= {link.partition("#")[0] for link in (*found["links"], found["other"])}
        assert [
            link for link in seen if link.startswith("file:") and not Path(link[7:].partition("?")[0]).exists()
        ] == []
        assert browser.complaints == []
        assert [url for url in browser.requests if not url.startswith(("file:", "data:", "about:"))] == []
        for language, words in (("en", "receptive field"), ("zh", "感受野")):
            browser.open((built / language / "search.html").as_uri() + f"?q={words}")
            browser.page.wait_for_selector("#search-results li")
    finally:
        browser.close()
