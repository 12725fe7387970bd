"""The command line: one function per verb, one module per group of verbs.

A verb imports what it needs when it is called, so that `neoclassic --help` stays quick.
"""

from neoclassic.cli import importing, insight, models, networks, photos, training  # each adds its verbs to the group
from neoclassic.cli.base import EXAMPLES, cli, main

__all__ = ["EXAMPLES", "cli", "importing", "insight", "main", "models", "networks", "photos", "training"]
