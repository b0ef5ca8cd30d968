"""learn2learn's core, imported without the parts of it that need gym, torchvision and Lightning."""

import importlib
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metasr.meta import learn2learn as core


def loaded() -> dict[str, ModuleType]:
    return {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "learn2learn"}


def test_what_is_offered_is_learn2learns_own() -> None:
    spec = importlib.util.find_spec("learn2learn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    for name in core.__all__:
        thing = getattr(core, name)
        source = thing.__code__.co_filename if inspect.isfunction(thing) else thing.clone.__code__.co_filename
        assert Path(source).is_relative_to(folder), name


def test_neither_lightning_nor_torchvision_nor_gym_is_imported() -> None:
    code = (
        "import sys, metasr.meta.learn2learn; "
        "heavy = {'pytorch_lightning', 'torchvision', 'gym', 'learn2learn'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_ordinary_import_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = ModuleType("learn2learn"), ModuleType("learn2learn.vision")
    monkeypatch.setitem(sys.modules, "learn2learn", whole)
    monkeypatch.setitem(sys.modules, "learn2learn.vision", part)
    contents = core._load()
    assert loaded() == {"learn2learn": whole, "learn2learn.vision": part}
    assert contents["clone_module"].__module__ == "learn2learn.utils"


def test_nothing_half_loaded_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name == "learn2learn.algorithms.maml":
            raise ImportError(f"no {name} today")
        return ordinary(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)
    before = loaded()
    with pytest.raises(ImportError, match=r"no learn2learn\.algorithms\.maml today"):
        core._load()
    assert loaded() == before


def test_absence_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    before = loaded()
    with pytest.raises(ImportError, match="learn2learn is not installed: run `make setup`"):
        core._load()
    assert loaded() == before
