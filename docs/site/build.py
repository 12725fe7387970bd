"""Build the site: python -m docs.site [--fast]. It is written to build/docs/html, and opens without a server."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from docs.site import notebooks, staging

BUILD = staging.ROOT / "build" / "docs"
LANGUAGES = {"en": "en", "zh": "zh_CN"}  # the folder, and Sphinx's name
FRONT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>neoclassic</title>
<meta name="viewport" content="width=device-width">
<script>location.replace((/^zh/i.test(navigator.language) ? "zh" : "en") + "/index.html")</script></head>
<body><p><a href="en/index.html">English</a></p><p><a lang="zh-CN" href="zh/index.html">中文</a></p></body></html>
"""


def build(out: Path = BUILD, execute: bool = True) -> dict[str, float]:
    """Build both languages. Return the seconds of each part. CalledProcessError if Sphinx warns of anything.

    execute: whether notebooks are executed; otherwise they are shown without outputs.
    """
    start = time.perf_counter()
    targets = {language: out / "source" / language for language in LANGUAGES}
    for language, target in targets.items():
        staging.stage(target, language)
    seconds = notebooks.stage(targets, out / "executed", execute)
    for old in (out / "html", out / "doctrees"):  # what is left of an older build could hide a warning
        shutil.rmtree(old, ignore_errors=True)
    running = [_sphinx(target, out / "html" / language, LANGUAGES[language]) for language, target in targets.items()]
    for process in running:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)
    shutil.rmtree(out / "html" / "jupyter_execute", ignore_errors=True)  # what MyST-NB leaves beside its output
    (out / "html" / "index.html").write_text(FRONT, "utf-8")
    return seconds | {"all": time.perf_counter() - start}


def _sphinx(source: Path, target: Path, language: str) -> subprocess.Popen[bytes]:
    """Start Sphinx, for which every warning is an error."""
    options = ["-q", "-b", "html", "-W", "--keep-going", "-c", str(Path(__file__).parent)]
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(target.parents[1] / "doctrees" / language)]
    path = os.pathsep.join([str(staging.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "SITE_LANGUAGE": language, "PYTHONPATH": path}
    return subprocess.Popen([*command, str(source), str(target)], env=env, cwd=staging.ROOT)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description="Build the documentation site.")
    parser.add_argument("--fast", action="store_true", help="do not execute the notebooks")
    try:
        seconds = build(execute=not parser.parse_args().fast)
    except subprocess.CalledProcessError:
        print("the site has warnings, which are listed above: mend them and build again", file=sys.stderr)
        return 1
    for name, taken in seconds.items():
        print(f"{name:40} {taken / 60:5.1f} min")
    print(f"open {BUILD / 'html' / 'index.html'}")
    return 0
