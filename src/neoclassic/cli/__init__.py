"""The command line: one function per verb, one module per group of verbs.

Importing a module adds its verbs. A verb imports what it needs when it is called, so that `neoclassic --help` stays
quick.
"""

from neoclassic.cli import features, importing, insight, models, networks, photos, predicting, searching, training
from neoclassic.cli.base import EXAMPLES, cli, main

__all__ = [
    "EXAMPLES",
    "cli",
    "features",
    "importing",
    "insight",
    "main",
    "models",
    "networks",
    "photos",
    "predicting",
    "searching",
    "training",
]
