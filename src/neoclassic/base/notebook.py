"""Whether this process writes to a notebook, found out without importing IPython."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """The IPython shell, or None outside one."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module else None


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell."""
    return getattr(shell(), "kernel", None) is not None
