"""``python src/run.py +experiment=mzsr_x2``: the same as ``metasr run +experiment=mzsr_x2``, from a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from metasr.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
