"""The parts of learn2learn that the inner loop uses, without the rest of it.

``import learn2learn`` also imports its vision, text and reinforcement-learning corners, which need gym and torchvision
(beside a CPU build of torch the latter cannot even be imported), and ``learn2learn.algorithms`` imports Lightning,
which takes two seconds. The core needs torch alone. So Python is given bare package objects that know only where the
files lie, the core modules are imported from them, and nothing is left behind in ``sys.modules``: whoever imports
learn2learn in the ordinary way, before or after, gets it whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_BARE = ("learn2learn", "learn2learn.algorithms")
_MODULES = ("learn2learn.utils", "learn2learn.algorithms.maml", "learn2learn.algorithms.meta_sgd")
_ADVICE = "learn2learn is not installed: run `make setup`, or `pip install --no-deps -r requirements-learn2learn.txt`"


def _take_loaded() -> dict[str, ModuleType]:
    """Remove everything of learn2learn's from ``sys.modules``, and give it."""
    names = [n for n in sys.modules if n == "learn2learn" or n.startswith("learn2learn.")]
    return {name: sys.modules.pop(name) for name in names}


def _load() -> dict[str, Any]:
    """Import the core modules, and give their names; ``sys.modules`` is as it was afterwards, whatever happens.

    Raises:
        ImportError: if learn2learn is not installed, with what to do.
    """
    before = _take_loaded()
    try:
        spec = importlib.util.find_spec("learn2learn")
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError(_ADVICE)
        folders = list(spec.submodule_search_locations)
        for name in _BARE:
            package = ModuleType(name)
            package.__path__ = [f"{f}/{'/'.join(name.split('.')[1:])}".rstrip("/") for f in folders]
            sys.modules[name] = package
        contents: dict[str, Any] = {}
        for name in _MODULES:
            contents |= vars(importlib.import_module(name))
        return contents
    finally:
        _take_loaded()
        sys.modules.update(before)


_core = _load()
clone_module = _core["clone_module"]
update_module = _core["update_module"]
MAML = _core["MAML"]
MetaSGD = _core["MetaSGD"]

__all__ = ["MAML", "MetaSGD", "clone_module", "update_module"]
