"""What is packaged: every import is declared, and a source distribution holds all that its tests need."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from helpers import needs

import neoclassic

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
ADDRESS = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["address"]
PACKAGES = {  # by the module that is imported, where the two are not called alike
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
    "tensorboardX": "tensorboardx",
}
NOT_OURS = {  # imported only where their owner runs us
    "IPython": "in its own shells",
    "sklearn": "when scikit-learn asks for an estimator's tags",
    "triton": "where PyTorch has brought it",
}


def imported():
    """(module, file) of everything that the package imports from others, inside functions too."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names and name != "neoclassic":
                    yield name, str(file.relative_to(ROOT / "src" / "neoclassic"))


def packages(requirements):
    return {re.match(r"[\w-]+", requirement)[0].lower() for requirement in requirements}


def test_everything_that_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"]
    declared = packages(PROJECT["dependencies"]).union(
        *(packages(needed) for extra, needed in extras.items() if extra not in ("test", "docs", "dev"))
    )
    found = {name for name, _ in imported()}
    assert {"numpy", "h11", "torch"} <= found
    undeclared = {name for name in found if PACKAGES.get(name, name) not in declared}
    assert undeclared == NOT_OURS.keys()
    unused = declared - {PACKAGES.get(name, name) for name in found}
    assert not unused, "declared, and never imported"


def test_the_server_imports_what_its_extra_brings():
    theirs = {PACKAGES.get(name, name) for name, file in imported() if file.startswith("web/")}
    assert theirs <= packages(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["serve"])


def test_every_licence_that_is_named_is_there():
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])


def here():
    """The files of this source tree that belong to it, by their paths."""
    tops = [".ci", ".github", "benchmarks", "docs", "results", "src", "tests"]
    inside = (p for top in tops for p in (ROOT / top).rglob("*") if "__pycache__" not in p.parts)
    names = (
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "Makefile",
        "README.md",
        "README.zh-CN.md",
        "RESULTS.md",
        "hatch_build.py",
    )
    single = (ROOT / name for name in (*names, "SECURITY.md"))
    return {str(p.relative_to(ROOT)) for p in (*inside, *single) if p.is_file()}


def test_a_source_distribution_holds_what_its_tests_read():
    needs("hatchling")
    from hatchling.builders.sdist import SdistBuilder

    packed = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert len(here()) > 200
    assert here() <= packed
    strange = {path for path in packed if re.search(r"\.venv|__pycache__|_cache/|\.egg-info|^runs/|^\.git/", path)}
    assert not strange


@pytest.fixture(scope="module")
def published():
    """hatch_build.py, which makes the package page."""
    needs("hatchling")
    path = ROOT / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(page):
    return re.findall(r"\]\(([^)]*)\)", page)


def test_the_package_page_says_what_the_readme_says_and_has_no_dead_link():
    needs("hatchling")
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    metadata = ProjectMetadata(str(ROOT), PluginManager()).core
    assert "pip install -q neoclassic && .venv/bin/neoclassic train lenet" in metadata.readme
    assert "中文" not in metadata.readme
    assert [link for link in links(metadata.readme) if not link.startswith("https://")] == []
    assert [url for url in metadata.urls.values() if not url.startswith(ADDRESS)] == []
    assert bool(metadata.urls) == bool(ADDRESS)


def test_without_an_address_the_package_page_names_files_of_the_source_distribution(published):
    page = published.page((ROOT / "README.md").read_text("utf-8"), "", "v1")
    named = re.findall(r"`((?:docs/)?[\w./-]+\.(?:md|svg))`", page)
    assert {"RESULTS.md", "docs/install.md", "docs/pictures/lenet-blocks.svg"} <= set(named)
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert links(page) == []


def test_with_an_address_links_and_pictures_of_the_package_page_lead_there(published):
    there = "https://github.com/OWNER/neoclassic"
    readme = (ROOT / "README.md").read_text("utf-8")
    page = published.page(readme, there, "v1")
    paths = [path.partition(" ")[0] for path in links(readme.replace("[中文](README.zh-CN.md)", ""))]
    assert len(paths) > 10
    assert links(page) == [f"{there}/{'raw' if p.endswith('.svg') else 'blob'}/v1/{p}" for p in paths]
    assert set(published.urls(there, "v1")) == {"Source", "Changelog", "Issues"}


def test_a_published_tutorial_opens_in_colab_and_installs_what_is_published():
    from docs.site import notebooks

    path = ROOT / "docs" / "tutorials" / "first-network.ipynb"
    there = notebooks.colab(path, "https://github.com/OWNER/neoclassic")
    assert there.startswith("https://colab.research.google.com/github/OWNER/neoclassic/blob/v")
    assert there.endswith("/docs/tutorials/first-network.ipynb")
    assert notebooks.colab(path, "") == notebooks.colab(path, "https://example.org/neoclassic") == ""
    if notebooks.colab(path):
        assert [p.name for p in path.parent.glob("*.ipynb") if "../.." in p.read_text("utf-8")] == []


def test_what_is_built_passes_twine(tmp_path):
    needs("hatchling")
    needs("twine")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    made = [
        next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])),
        next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *made], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_classifiers_are_pythons_that_neoclassic_ran_in():
    named = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", each)}
    results = (path.read_text("utf-8") for path in (ROOT / "results").glob("*.json"))
    ran = {version for text in results for version in re.findall(r'"python": "(3\.\d+)', text)}
    assert named
    assert named <= ran


def test_the_citation_is_that_of_this_version():
    stated = dict(re.findall(r"^([\w-]+): (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M))
    assert (stated["version"], stated["license"]) == (PROJECT["version"], PROJECT["license"])
    assert PROJECT["version"] == neoclassic.__version__
    assert stated.get("repository-code", "") == ADDRESS


@pytest.mark.slow
def test_the_tests_of_a_source_distribution_pass_in_it(tmp_path):
    needs("hatchling")
    from hatchling.builders.sdist import SdistBuilder

    (made,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(made) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    tests = ["project", "cli/test_command_line.py", "compat/test_documents.py", "model/test_export.py", "networks"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *(f"tests/{name}" for name in tests)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
