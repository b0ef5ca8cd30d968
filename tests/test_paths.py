"""Where the project's folders are, and what commands in messages look like."""

import shutil
import sys
from pathlib import Path

import pytest

from metasr import paths
from metasr.paths import conf_folder, interpreter, outputs_folder, program
from metasr.runs.folder import command

PROJECT = conf_folder().parent


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as an installed one sees itself, started from a folder of the user's."""
    monkeypatch.setattr(paths, "_CHECKOUT", tmp_path / "lib")
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "lib" / "site-packages" / "metasr")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METASR_OUTPUTS", raising=False)
    return tmp_path


def test_the_interpreter_is_named_as_it_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "executable", str(PROJECT / ".venv" / "bin" / "python"))
    assert interpreter() == ".venv/bin/python"
    assert command("mzsr_x2", "/r") == ".venv/bin/python src/run.py +experiment=mzsr_x2 run=/r"
    monkeypatch.chdir(tmp_path)
    assert interpreter() == f"{PROJECT}/.venv/bin/python"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert interpreter() == "python"


@pytest.mark.parametrize(
    ("started", "inside", "told"),
    [
        ("src/run.py", True, "python src/run.py"),
        ("src/run.py", False, f"python {PROJECT}/src/run.py"),
        ("/any/bin/metasr", True, "metasr run"),
        ("/any/bin/metasr", False, "metasr run"),
        ("/any/src/metasr/__main__.py", False, "python -m metasr run"),
        ("/usr/lib/pytest/__main__.py", True, "python src/run.py"),
    ],
)
def test_a_checkouts_program_is_named_as_it_works_here(
    started: str, inside: bool, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT if inside else tmp_path)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(sys, "argv", [started])
    assert program() == told


def test_an_installed_program_is_named_by_its_command(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["my_script.py"])
    for found, told in (("/bin/metasr", "metasr run"), (None, "python -m metasr run")):
        monkeypatch.setattr(shutil, "which", lambda _, found=found: found)
        assert program() == told


def test_an_installed_program_writes_where_it_is_started(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outputs_folder() == installed / "outputs"
    assert conf_folder() == installed / "lib" / "site-packages" / "metasr" / "_project" / "conf"
    monkeypatch.setenv("METASR_OUTPUTS", "elsewhere")
    assert outputs_folder() == installed / "elsewhere"
