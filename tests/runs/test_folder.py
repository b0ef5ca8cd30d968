"""Where jobs write."""

import os
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from metasr.errors import OutputError, StageError
from metasr.runs.folder import (
    command,
    is_stamp,
    link_latest,
    quoted,
    run_folder,
    run_folders,
    stamp,
)
from running import compose


def test_two_stamps_differ_and_sort_by_time() -> None:
    made = [stamp() for _ in range(50)]
    assert made == sorted(made)
    assert all(is_stamp(s) for s in made)
    assert len(datetime.now().strftime("%f")) == 6
    assert made[0].rpartition("-")[2].isdigit()


@pytest.mark.parametrize("name", ["latest", "sweeps", "evaluate", "2026", "2026-photos", "01_pretrain", ""])
def test_other_names_are_no_stamps(name: str) -> None:
    assert not is_stamp(name)


def test_new_runs_and_other_tasks_get_folders_of_their_own(tmp_path: Path) -> None:
    new = Path(run_folder(None, "exp", "run", str(tmp_path)))
    assert new.parent == tmp_path / "exp"
    assert is_stamp(new.name)
    other = Path(run_folder("last", "exp", "evaluate", str(tmp_path)))
    assert other.parent == tmp_path / "exp" / "evaluate"
    assert Path(run_folder(None, None, "upscale", str(tmp_path))).parent == tmp_path / "unnamed" / "upscale"


def test_a_clock_that_was_set_back_makes_no_run_older_than_the_last(tmp_path: Path) -> None:
    future = "2999-12-31_23-59-59-999999"
    (tmp_path / "exp" / future / "01_pretrain").mkdir(parents=True)
    (tmp_path / "exp" / future / "01_pretrain" / "card.json").touch()
    new = Path(run_folder(None, "exp", "run", str(tmp_path)))
    assert new.name == "3000-01-01_00-00-00-000000"
    (new / "01_pretrain").mkdir(parents=True)
    (new / "01_pretrain" / "card.json").touch()
    assert run_folder("last", "exp", "run", str(tmp_path)) == str(new)


def test_all_reports_share_a_folder(tmp_path: Path) -> None:
    assert {run_folder(None, name, "report", str(tmp_path)) for name in (None, "exp")} == {str(tmp_path / "reports")}


def test_latest_follows_the_newest_and_leaves_other_files_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        link_latest(tmp_path / name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "latest"}
    (tmp_path / "x" / "latest").mkdir(parents=True)
    link_latest(tmp_path / "x" / "c")
    assert not (tmp_path / "x" / "latest").is_symlink()
    (tmp_path / "file").write_text("")
    link_latest(tmp_path / "file" / "c")  # where no link can be


def test_last_is_the_newest_run_or_a_new_one(tmp_path: Path) -> None:
    assert is_stamp(Path(run_folder("last", "exp", "run", str(tmp_path))).name)
    older, newer = (tmp_path / "exp" / s for s in ("2026-01-02_03-04-05-000006", "2026-01-02_03-04-05-000016"))
    for folder in (newer, older, tmp_path / "exp" / "sweeps", tmp_path / "exp" / "evaluate"):
        (folder / "01_a").mkdir(parents=True)
        (folder / "01_a" / "card.json").write_text("{}")
    empty = tmp_path / "exp" / "2026-01-03_03-04-05-000000"  # what a mistyped command leaves
    (empty / ".hydra").mkdir(parents=True)
    (empty / "job.log").touch()
    (tmp_path / "exp" / "latest").symlink_to(older.name)
    (tmp_path / "exp" / "2099-01-01_00-00-00-000000").write_text("a file")
    assert run_folders(tmp_path / "exp") == [older, newer]
    assert run_folder("last", "exp", "run", str(tmp_path)) == str(newer)


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_folder("here/there", "exp", "run", "out") == str(tmp_path / "here" / "there")


def test_a_file_for_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match=r"is a file; give a folder, 'last', or leave it out"):
        run_folder(str(tmp_path / "file"), "exp", "run", str(tmp_path))


def test_an_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for run, outputs in ((None, tmp_path / "file" / "x"), (str(tmp_path / "file" / "run"), tmp_path)):
        with pytest.raises(OutputError, match=r"cannot write in .*file is a file, not a folder; set METASR_OUTPUTS"):
            run_folder(run, "exp", "run", str(outputs))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_output_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission"):
        run_folder(None, "exp", "run", str(tmp_path / "locked"))


@pytest.mark.parametrize(
    "value",
    ["/a/b-c_d.1", "/with space/x", "/a=b", "/a,b", "/[x](y){z}", "/it's", "/d'e\\'f", "/é/日本", "/a\\b", "/ends\\",
     "/$HOME", "C:/x", "~/runs", '/quo"te', "/a#b", "/100%"],
)  # fmt: skip
def test_quoting_comes_back_from_hydras_grammar(value: str) -> None:
    override = OverridesParser.create().parse_override(f"run={quoted(value)}")
    assert override.value() == value
    assert compose("+experiment=mzsr_x2", f"run={quoted(value)}").run == value


def test_the_command_to_go_on_outside_of_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert command("mzsr_x2", Path("/r")) == "python src/run.py +experiment=mzsr_x2 run=/r"
    assert command("mzsr_x2", "/a b") == """python src/run.py +experiment=mzsr_x2 'run='"'"'/a b'"'"''"""
