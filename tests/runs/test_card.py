"""Cards: hashes, reading, writing whole."""

import json
from pathlib import Path

import pytest

from metasr.errors import StageError
from metasr.runs.card import (
    CARD_NAME,
    config_hash,
    environment,
    git_commit,
    read_card,
    write_card,
)


def test_hash_is_of_the_choices_not_of_their_order() -> None:
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    assert config_hash({"a": [1, 2]}) != config_hash({"a": [2, 1]})
    assert config_hash({"a": None}) != config_hash({})
    assert len(config_hash({})) == 16


def test_card_round_trip(tmp_path: Path) -> None:
    assert read_card(tmp_path) == {}
    write_card(tmp_path / "stage", {"steps": 3, "path": tmp_path})
    assert read_card(tmp_path / "stage") == {"steps": 3, "path": str(tmp_path)}
    assert [p.name for p in (tmp_path / "stage").iterdir()] == [CARD_NAME]


@pytest.mark.parametrize("text", ['{"status": ', "", "[1, 2]", "\x00", "null"])
def test_unreadable_cards(tmp_path: Path, text: str) -> None:
    (tmp_path / CARD_NAME).write_text(text)
    with pytest.raises(StageError, match=r"card .*card\.json (cannot be read|must hold).*remove the stage's folder"):
        read_card(tmp_path)


def test_a_card_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / CARD_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StageError, match="cannot be read"):
        read_card(tmp_path)


def test_environment_tells_versions_and_machine() -> None:
    found = environment()
    assert found["versions"]["torch"]
    assert found["versions"]["learn2learn"]
    assert found["machine"]["threads"] >= 1
    assert found["written"].endswith("+00:00")
    json.dumps(found)


def test_commit_is_a_hash_or_nothing() -> None:
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("+dirty")) == 40
