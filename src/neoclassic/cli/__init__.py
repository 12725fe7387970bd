"""The command line: one function per verb, one module per group of verbs.

A verb imports what it needs when it is called, so that `neoclassic --help` stays quick.
"""

from neoclassic.cli import features, importing, insight, models, networks, photos, training  # each adds its verbs
from neoclassic.cli.base import EXAMPLES, cli, main

__all__ = ["EXAMPLES", "cli", "features", "importing", "insight", "main", "models", "networks", "photos", "training"]
