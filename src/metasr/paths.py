"""Where the project's own folders are: in a checkout, or inside an installed package."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
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
    chosen = os.environ.get("METASR_OUTPUTS")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return (_CHECKOUT if in_checkout() else Path.cwd()) / "outputs"


def program(command: str = "run") -> str:
    """What to type, here and now, for one of this program's commands: ``metasr run``, or ``python src/run.py``.

    It is named as the user started it where that can be told: by the installed command, as a module, or by the script
    of a checkout. Outside of the checkout's folder the script, and the Python inside the checkout, get whole paths.
    """
    started = Path(sys.argv[0])
    as_module = started.parts[-2:] == ("metasr", "__main__.py")
    if started.stem == "metasr":
        return f"metasr {command}"
    if in_checkout() and command == "run" and not as_module:
        inside = Path.cwd().is_relative_to(_CHECKOUT)
        script = _CHECKOUT / "src" / "run.py"
        return f"{interpreter()} {shlex.quote(os.path.relpath(script) if inside else str(script))}"
    if not as_module and shutil.which("metasr"):
        return f"metasr {command}"
    return f"{interpreter()} -m metasr {command}"


def interpreter() -> str:
    """Python as the user started it: by its path where it lies inside the checkout, else ``python``."""
    binary = Path(sys.executable)  # links kept: they make the environment
    if not (in_checkout() and binary.is_relative_to(_CHECKOUT)):
        return "python"
    return shlex.quote(os.path.relpath(binary) if Path.cwd().is_relative_to(_CHECKOUT) else str(binary))
