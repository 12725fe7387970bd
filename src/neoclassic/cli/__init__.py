"""The command line: one function a verb, one module a group of verbs.

Nothing heavy is imported before a verb needs it.
"""

from neoclassic.cli import models, networks, photos, seeing, training  # each adds its verbs to the group
from neoclassic.cli.base import EXAMPLES, cli, main

__all__ = ["EXAMPLES", "cli", "main", "models", "networks", "photos", "seeing", "training"]
