"""``python -m metasr``: the same as the command ``metasr``."""

from __future__ import annotations

import sys

from metasr.cli import main

if __name__ == "__main__":
    sys.exit(main())
