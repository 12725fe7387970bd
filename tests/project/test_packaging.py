"""What is packaged: every import is declared, and a source distribution holds all that its tests need."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from helpers import needs

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
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


def test_the_package_page_says_what_the_readme_says_and_has_no_dead_link():
    needs("hatchling")
    needs("hatch_fancy_pypi_readme")
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    page = ProjectMetadata(str(ROOT), PluginManager()).core.readme
    assert "neoclassic train lenet" in page
    assert "中文" not in page
    assert [link for link in re.findall(r"\]\(([^)]*)\)", page) if not link.startswith("https://")] == []
    assert len(page) > 0.8 * len((ROOT / "README.md").read_text("utf-8"))


def test_the_citation_is_that_of_this_version():
    stated = dict(re.findall(r"^(version|license): (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M))
    assert stated == {"version": PROJECT["version"], "license": PROJECT["license"]}


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
