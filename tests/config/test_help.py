"""The help: every choice is there, with what each experiment is."""

from __future__ import annotations

from pathlib import Path

import pytest

from metasr.config import help as shown
from metasr.paths import conf_folder


@pytest.mark.parametrize(
    ("arguments", "wanted"), [(["--help"], True), (["a=1", "-h"], True), (["--hydra-help"], False), ([], False)]
)
def test_only_the_help_flags_ask_for_it(arguments: list[str], wanted: bool) -> None:
    assert shown.wants_help(arguments) is wanted


def test_the_first_sentence_of_the_leading_comment_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# @package _global_\n# What it is,\n# over two lines; and more\n# of it\nname: a\n# not this\n")
    assert shown.first_sentence(file) == "What it is, over two lines"
    file.write_text("name: a\n# not this\n")
    assert shown.first_sentence(file) == ""


def test_every_experiment_stands_there_with_what_it_is() -> None:
    lines = shown.text(conf_folder()).splitlines()
    for path in (conf_folder() / "experiment").glob("*.yaml"):
        line = next(line for line in lines if line.split(" ")[2:3] == [path.stem])
        said = shown.first_sentence(path)
        assert said, f"{path.name} does not say what it is"
        assert line.split(path.stem, 1)[1].strip()[:20] == said[:20]


def test_nothing_is_left_to_fill_in_and_no_line_is_too_long() -> None:
    text = shown.choices(conf_folder())
    assert max(map(len, text.splitlines())) <= 120
    assert "$APP" not in shown.text(conf_folder())
    assert "$FLAGS" not in shown.text(conf_folder())


def test_all_choices_of_all_groups_but_the_inner_ones(tmp_path: Path) -> None:
    for name in ("experiment/one.yaml", "data/a.yaml", "data/b.yaml", "paths/p.yaml", "hydra/launcher/x.yaml"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# Said\n")
    text = shown.choices(tmp_path)
    assert "  one  Said" in text
    assert "  data: a, b" in text
    assert "  hydra/launcher: x" in text
    assert "paths" not in text


def test_choices_of_folders_of_one_s_own_are_told_with_the_others(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# What I want\nname: mine\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("layers: 2\n", encoding="utf-8")
    lines = shown.text(conf_folder(), tmp_path).splitlines()
    assert any(line.split() == ["mine", "What", "I", "want"] for line in lines)
    assert any(line.startswith("  model: ") and "mrda" in line and "tiny" in line for line in lines)
