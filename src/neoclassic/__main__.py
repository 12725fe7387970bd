"""`python -m neoclassic` is the command `neoclassic`."""

import sys

from neoclassic.cli import main

sys.exit(main())
