"""The short form of every campaign: it finds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from campaigns.__main__ import NAMES

ROOT = Path(__file__).parents[2]
MINUTES = 0.7  # for all of them together; each tries everything once, even if that takes longer


@pytest.mark.parametrize("name", NAMES)
def test_a_short_campaign_finds_nothing(name, tmp_path):
    options = ["--minutes", f"{MINUTES / len(NAMES):.3f}", "--seed", "1"]
    command = [sys.executable, "-m", "campaigns", *options, "--keep", str(tmp_path), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert done.returncode == 0, "\n".join([*faults, done.stdout[-1000:], done.stderr[-2000:]])
    assert ", 0 failed" in done.stdout
