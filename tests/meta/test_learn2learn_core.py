"""learn2learn's core, imported with or without the parts of it that need gym and torchvision."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metasr.meta import learn2learn_core as core


@pytest.fixture
def without_learn2learn(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a fresh interpreter: nothing of learn2learn is loaded; afterwards all is as it was."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "learn2learn"]:
        monkeypatch.delitem(sys.modules, name)
    return monkeypatch


def loaded() -> list[str]:
    return [n for n in sys.modules if n.partition(".")[0] == "learn2learn"]


def test_what_is_offered_is_learn2learns_own() -> None:
    spec = importlib.util.find_spec("learn2learn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    for name in core.__all__:
        module = sys.modules[getattr(core, name).__module__]
        assert Path(str(module.__file__)).is_relative_to(folder), name
        assert module.__name__.startswith("learn2learn.")


def test_core_loads_where_the_whole_cannot(without_learn2learn: pytest.MonkeyPatch) -> None:
    ordinary = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name == "learn2learn":
            raise RuntimeError("operator torchvision::nms does not exist")
        return ordinary(name, package)

    without_learn2learn.setattr(importlib, "import_module", refuse)
    package = core._load()
    assert package.algorithms.MAML.__module__ == "learn2learn.algorithms.maml"
    assert not [n for n in loaded() if n.startswith(("learn2learn.vision", "learn2learn.gym", "learn2learn.text"))]


def test_nothing_half_loaded_is_left_behind(without_learn2learn: pytest.MonkeyPatch) -> None:
    ordinary = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name in ("learn2learn", "learn2learn.algorithms"):
            raise ImportError(f"no {name} today")
        return ordinary(name, package)

    without_learn2learn.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError, match=r"no learn2learn\.algorithms today"):
        core._load()
    assert loaded() == []


def test_absence_is_told_with_what_to_do(without_learn2learn: pytest.MonkeyPatch) -> None:
    without_learn2learn.setattr(sys, "path", [])
    without_learn2learn.setattr(sys, "meta_path", [f for f in sys.meta_path if "editable" not in repr(f).lower()])
    with pytest.raises(ImportError, match="learn2learn is not installed: run `make setup`"):
        core._load()
    assert loaded() == []
