"""Notebooks: text and notebook are the same, they hold no logic and no outputs, and each runs from top to bottom."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from running import PROJECT

FOLDER = PROJECT / "notebooks"
NAMES = sorted({path.stem for pattern in ("*.py", "*.ipynb") for path in FOLDER.glob(pattern)})
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.While, ast.Try, ast.Match)
OWN_PLACES = re.compile(r"""(?:^|[\s"'(=])(?:/|~/|[A-Za-z]:\\)[\w.]""")

every = pytest.mark.parametrize("name", NAMES)


def text(name: str) -> Any:
    return jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")


def cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def code(name: str) -> list[str]:
    return [source for kind, source in cells(text(name)) if kind == "code"]


def statements(source: str, *kinds: type[ast.AST]) -> list[Any]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def test_there_are_four() -> None:
    assert NAMES == ["01_degradations", "02_inner_loop", "03_adapt_one_image", "04_methods_side_by_side"]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in NAMES)


@every
def test_text_and_notebook_are_in_step(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert cells(notebook) == cells(text(name)), f"run: jupytext --sync notebooks/{name}.py"


@every
def test_outputs_are_stripped(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    kept = [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count") or cell.metadata]
    assert kept == [], f"run: jupyter nbconvert --clear-output --inplace notebooks/{name}.ipynb"
    assert set(notebook.metadata) <= {"kernelspec", "jupytext"}
    assert notebook.metadata.kernelspec.name == "python3"


@every
def test_no_logic(name: str) -> None:
    found = [ast.unparse(node).splitlines()[0] for source in code(name) for node in statements(source, *LOGIC)]
    assert found == [], "what computes belongs into src/metasr"


@every
def test_no_paths_of_anybodys_machine(name: str) -> None:
    for source in code(name):
        assert [line for line in source.splitlines() if OWN_PLACES.search(line)] == []


@pytest.mark.parametrize("line", ['open("/home/me/x.png")', "read('~/x')", 'Path("C:\\data")', "%cd /data"])
def test_paths_are_recognised(line: str) -> None:
    assert OWN_PLACES.search(line)
    assert not OWN_PLACES.search("a / b // c  # 1/s, x/y")


@every
def test_what_is_imported_is_there(name: str) -> None:
    imports = [node for source in code(name) for node in statements(source, ast.ImportFrom)]
    assert any(node.module.startswith("metasr.") for node in imports)
    for node in imports:
        module = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")


@every
def test_ends_with_what_to_try(name: str) -> None:
    kind, source = cells(text(name))[-1]
    assert kind == "markdown"
    assert source.startswith("## What to try\n")
    assert source.count("\n* ") >= 3


@every
@pytest.mark.slow
def test_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "TMPDIR", "METASR_OUTPUTS"):
        folder = tmp_path / variable.lower()
        folder.mkdir()
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = sorted(FOLDER.rglob("*"))
    notebook = text(name)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises where a cell does
    made = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in made)
    assert any(output.get("name") == "stdout" for output in made)
    assert sorted(FOLDER.rglob("*")) == before, "a notebook writes nothing beside itself"
