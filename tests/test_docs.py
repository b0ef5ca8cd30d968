"""The README and the site: their commands are ones that the program takes, their paths and links exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from metasr.cli import parser
from metasr.config.command_line import check_choices, sweep_as_run
from metasr.paths import conf_folder
from running import PROJECT, compose

PAGES = sorted(
    [
        *(PROJECT / "docs").glob("*.md"),
        *(PROJECT / "docs" / "methods").glob("*.md"),
        *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "weights/README.md")),
    ]
)
IDS = [str(page.relative_to(PROJECT)) for page in PAGES]


def commands(page: Path) -> list[list[str]]:
    """The commands of a page's code blocks, split as a shell does it, without their comments."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(r"^ {4,6}((?:python|metasr|make) .*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


def of(*beginning: str) -> list[list[str]]:
    """All commands that begin so, each once."""
    lines = {tuple(line) for page in PAGES for line in commands(page)}
    return [list(line) for line in sorted(lines) if line[: len(beginning)] == beginning]


def test_readme_is_a_front_door() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 120


def test_there_are_commands_to_test() -> None:
    assert min(len(of("python", "src/run.py")), len(of("metasr", "upscale"))) >= 8


@pytest.mark.parametrize("line", of("python", "src/run.py"), ids=" ".join)
def test_training_commands_compose(line: list[str], tmp_path: Path) -> None:
    if "[KEY=VALUE" in line:
        pytest.skip("tells the form of all commands")
    arguments = sweep_as_run([a for a in line[2:] if a != "-m"])
    check_choices([a for a in arguments if "NAME" not in a], conf_folder())
    single = [re.sub(r"(?<==)(HR_|RUN_)?(FOLDER|FILE|NAME)\b", str(tmp_path), a) for a in arguments]
    single = [re.sub("^seed=.*,.*", "seed=1", a) for a in single if not re.match("hydra[./]launcher", a)]
    cfg = compose(*single)
    assert cfg.name is not None or cfg.task != "run"


@pytest.mark.parametrize("line", of("metasr"), ids=" ".join)
def test_console_commands_parse(line: list[str]) -> None:
    if line[1] in ("run", "sweep", "evaluate", "report"):
        pytest.skip("their arguments are those of python src/run.py")
    assert parser().parse_args([a for a in line[1:] if a not in ("[...]",)]).command == line[1]


def script_options() -> list[tuple[str, frozenset[str]]]:
    """The scripts of benchmarks/ that pages name, each with the options used."""
    lines = of("python")
    named = [line for line in lines if line[1].startswith("benchmarks/")]
    return [(line[1], frozenset(a.strip("[]") for a in line if a.lstrip("[").startswith("--"))) for line in named]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "options"), script_options())
def test_benchmarks_know_their_options(script: str, options: frozenset[str]) -> None:
    text = subprocess.run(
        [sys.executable, script, "--help"], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert all(option in text for option in options)


@pytest.mark.parametrize("line", of("make"), ids=" ".join)
def test_make_knows_its_targets(line: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in line[1:] if "=" not in word} <= targets


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_files_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"`((?:src|conf|benchmarks|tests|docs|notebooks|weights)/[\w./*-]+)`", text):
        assert list(PROJECT.glob(name.rstrip("/"))), f"{page.name} names {name}"
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert link.startswith("http") or (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=PROJECT, check=True, timeout=300,
    )  # fmt: skip
    assert (tmp_path / "site" / "methods" / "mzsr.html").is_file()
