"""The layers of the package: who may import whom. Read from the syntax, so that no import is missed or run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
FILES = sorted(SRC.rglob("*.py"))
LONGEST = 400

# From the bottom to the top. A file imports from its own room and from those above it in this list, never from below.
ROOMS = [
    {"errors", "checks", "seeds", "paths", "text"},
    {"io"},
    {"degradation"},
    {"metrics"},
    {"data"},
    {"meta"},
    {"models"},
    {"recipes"},
    {"solvers"},
    {"evaluation"},
    {"runs"},
    {"figures"},
    {"training"},
    {"report"},
    {"config"},
    {"jobs"},
    {"api"},
    {"page"},
    {"cli", "__main__", "run"},
]
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}


def part(path: Path) -> str:
    """The layer's member that a file belongs to; none for the package's own ``__init__``."""
    inside = path.relative_to(SRC).parts
    name = inside[1] if inside[0] == "metasr" else inside[0]
    return name.removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and full name of every import, anywhere in the file (inside functions and ``TYPE_CHECKING`` too)."""
    found = []
    package = path.relative_to(SRC).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def all_imports() -> list[tuple[Path, int, str]]:
    return [(path, line, name) for path in FILES for line, name in imports(path)]


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(SRC)}:{line}"


def test_every_file_has_a_layer():
    own_init = SRC / "metasr" / "__init__.py"
    assert {part(path) for path in FILES if path != own_init} == set(LEVEL)


def test_the_packages_own_init_loads_nothing_until_it_is_asked_for():
    code = "import sys; before = set(sys.modules); import metasr; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SRC)
    loaded = {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}
    assert [name for name in ast.literal_eval(done.stdout) if name.startswith("metasr")] == ["metasr"]
    assert not {"torch", "numpy", "PIL", "hydra", "omegaconf", "pytorch_lightning", "wandb"} & loaded


def test_imports_go_one_way():
    upward = []
    for path, line, name in all_imports():
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if package != "metasr" or target in ("", "__version__") or part(path) not in LEVEL:
            continue
        if LEVEL[target] > LEVEL[part(path)]:
            upward.append(f"{where(path, line)} ({part(path)}) imports {name}")
    assert upward == []


def test_errors_and_checks_stand_alone():
    for name, allowed in (("errors", set()), ("seeds", set()), ("paths", {"errors"}), ("checks", {"errors"})):
        targets = {n.split(".")[1] for _, n in imports(SRC / "metasr" / f"{name}.py") if n.startswith("metasr.")}
        assert targets <= allowed, name


def test_lightning_is_imported_only_where_training_is():
    def allowed(path: Path) -> bool:
        return part(path) in ("recipes", "training") or path == SRC / "metasr" / "data" / "datamodule.py"

    users = [(p, n) for p, n, name in all_imports() if name.split(".")[0] in ("pytorch_lightning", "lightning")]
    assert users
    assert [where(p, n) for p, n in users if not allowed(p)] == []


def test_objects_are_instantiated_in_one_file():
    users = {p for p, _, name in all_imports() if name.startswith("hydra") and name.split(".")[-1] == "instantiate"}
    assert users == {SRC / "metasr" / "config" / "build.py"}
    for path in FILES:  # nor by `hydra.utils.instantiate(...)`
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "instantiate":
                assert path in users, where(path, node.lineno)


# What hydra calls with a config: its callbacks, and what settles a sweep's folder before there is a job.
HYDRAS_OWN = {"on_multirun_start", "on_multirun_end", "begin_sweep", "main"}


def sees_config(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function takes or gives a config: by the name of a parameter, or by an annotation."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = [ast.unparse(a) for a in [function.returns, *(g.annotation for g in arguments)] if a is not None]
    return any(g.arg == "cfg" for g in arguments) or any("DictConfig" in a for a in annotations)


def test_configuration_stops_at_one_door():
    seen = []
    for path in FILES:
        functions = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        functions.sort(key=lambda function: function.lineno)
        if part(path) == "config":
            continue
        if part(path) == "jobs":  # a job's first function (of the file itself) turns the config into objects
            first = next((f for f in functions if f.col_offset == 0), None)
            functions = [function for function in functions if function is not first]
        seen += [f"{where(path, f.lineno)} {f.name}" for f in functions if sees_config(f) and f.name not in HYDRAS_OWN]
    assert seen == []


def test_what_counts_as_seeing_a_config():
    def first(code: str) -> ast.FunctionDef:
        node = ast.parse(code).body[0]
        assert isinstance(node, ast.FunctionDef)
        return node

    for code in ("def f(cfg): 0", "def f(*, x: DictConfig | None): 0", "def f() -> list[DictConfig]: 0"):
        assert sees_config(first(code)), code
    assert not sees_config(first("def f(config: dict, cfgs=1) -> int: 0"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_reader_of_imports_sees_all_kinds(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SRC", tmp_path)
    (tmp_path / "metasr" / "data").mkdir(parents=True)
    path = tmp_path / "metasr" / "data" / "x.py"
    path.write_text("import a.b\ndef f():\n    from c import d\nfrom . import e\nfrom ..errors import g\n")
    assert sorted(imports(path)) == [(1, "a.b"), (3, "c.d"), (4, "metasr.data.e"), (5, "metasr.errors.g")]
    assert part(path) == "data"
