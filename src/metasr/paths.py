"""Where the project's own folders are: in a checkout, or inside an installed package."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def in_checkout() -> bool:
    """Whether the package runs from the project's checkout (with ``conf/`` beside ``src/``)."""
    return (_CHECKOUT / "conf" / "config.yaml").is_file() and (_CHECKOUT / "src" / "metasr") == _PACKAGE


def conf_folder() -> Path:
    """The folder of configs."""
    return (_CHECKOUT if in_checkout() else _PACKAGE / "_project") / "conf"


def weights_folder() -> Path:
    """The folder of released weights."""
    return (_CHECKOUT if in_checkout() else _PACKAGE / "_project") / "weights"


def outputs_folder() -> Path:
    """Where runs go: ``$METASR_OUTPUTS``, else ``outputs/`` of the checkout, else of the current folder."""
    given = os.environ.get("METASR_OUTPUTS")
    if given:
        return Path(given).expanduser().absolute()
    return (_CHECKOUT if in_checkout() else Path.cwd()) / "outputs"
