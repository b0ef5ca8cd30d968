"""The parts of learn2learn that the inner loop uses.

``import learn2learn`` also imports its vision, text and reinforcement-learning corners, which need gym and torchvision;
beside a CPU build of torch the latter cannot even be imported. Its core needs torch alone. So: try the ordinary import,
and where it fails, give Python a bare package object that knows only where the files lie, import the core modules from
it, and leave nothing half loaded behind if that fails too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

_CORE = ("learn2learn.utils", "learn2learn.nn", "learn2learn.optim", "learn2learn.algorithms")
_ADVICE = "learn2learn is not installed: run `make setup`, or `pip install --no-deps -r requirements-learn2learn.txt`"


def _forget() -> None:
    for name in [n for n in sys.modules if n == "learn2learn" or n.startswith("learn2learn.")]:
        del sys.modules[name]


def _load() -> ModuleType:
    try:
        return importlib.import_module("learn2learn")
    except (ImportError, RuntimeError, AttributeError):
        _forget()
    spec = importlib.util.find_spec("learn2learn")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(_ADVICE)
    package = ModuleType("learn2learn")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["learn2learn"] = package
    try:
        for name in _CORE:
            importlib.import_module(name)
    except BaseException:
        _forget()
        raise
    return package


_package = _load()
_utils = importlib.import_module("learn2learn.utils")
_algorithms = importlib.import_module("learn2learn.algorithms")

clone_module = _utils.clone_module
update_module = _utils.update_module
MAML = _algorithms.MAML
MetaSGD = _algorithms.MetaSGD

__all__ = ["MAML", "MetaSGD", "clone_module", "update_module"]
