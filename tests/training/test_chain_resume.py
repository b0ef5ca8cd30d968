"""The stage chain cut short: by crashes, by slices of time, and with a resume point that cannot be used."""

import os
from pathlib import Path

import pytest
import torch

from metasr.config import build
from metasr.config.chain import stages as stages_of
from metasr.errors import InputError, SliceOverError, StageError
from metasr.recipes.base import Recipe
from metasr.runs.card import read_card
from metasr.training import chain as stages
from running import SMALL, compose, train
from training.chain_stages import FIRST, SECOND


class Crash(Exception):
    """Stands for anything that ends a process in the middle of a stage."""


def crash_at(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> list[int]:
    """Make a stage crash at a step; gives the list in which its steps will be noted."""
    kind = type(build.recipe(compose(*SMALL), stage))
    honest, seen = kind.training_step, []

    def training_step(self: Recipe, *args: object) -> object:
        seen.append(self.global_step)
        if self.global_step == step:
            raise Crash
        return honest(self, *args)

    monkeypatch.setattr(kind, "training_step", training_step)
    return seen


@pytest.mark.parametrize(("stage", "step"), [("pretrain", 3), ("pretrain", 1), ("meta_transfer", 3)])
def test_going_on_gives_the_bits_of_an_uninterrupted_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, step: int
) -> None:
    cfg = compose(*SMALL, "stages.meta_transfer.checkpoint_every=2")
    place = stages_of(cfg, tmp_path)[stage]
    with monkeypatch.context() as patched:
        crash_at(patched, stage, step)
        with pytest.raises(Crash):
            train(cfg, tmp_path)
    assert read_card(place.folder)["status"] == "started"
    assert (place.folder / "resume.ckpt").is_file() == (step >= 2)
    assert not (place.folder / "weights.safetensors").exists()
    with monkeypatch.context() as patched:
        seen = crash_at(patched, stage, -1)
        train(cfg, tmp_path)
    first = step // 2 * 2  # the last multiple of checkpoint_every: what came before is not trained again
    assert seen == list(range(first, cfg.stages[stage].steps))
    for name in (FIRST, SECOND):
        want = (finished / name / "weights.safetensors").read_bytes()
        assert (tmp_path / name / "weights.safetensors").read_bytes() == want


def test_slices_of_one_step_give_the_bits_of_an_uninterrupted_run(finished: Path, tmp_path: Path) -> None:
    cfg = compose(*SMALL, "max_minutes=1e-9")
    steps = [cfg.stages[name].steps for name in ("pretrain", "meta_transfer")]
    told = []
    for _ in range(sum(steps)):
        try:
            train(cfg, tmp_path)
        except SliceOverError as over:
            told.append(str(over))
    first = [f"over in stage 'pretrain' at step {n} of {steps[0]}" for n in range(1, steps[0])]
    second = [f"over in stage 'meta_transfer' at meta-step {n} of {steps[1]}" for n in range(1, steps[1])]
    assert len(told) == len(first + second)
    assert all(expected in message for expected, message in zip(first + second, told, strict=True))
    for name in (FIRST, SECOND):
        want = (finished / name / "weights.safetensors").read_bytes()
        assert (tmp_path / name / "weights.safetensors").read_bytes() == want
    seconds = read_card(tmp_path / SECOND)["seconds"]
    assert seconds > 0


def test_a_slice_needs_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_minutes must be above 0, or null for no limit, got 0"):
        train(compose(*SMALL, "max_minutes=0"), tmp_path)


def test_cut_short_between_the_last_step_and_the_weights(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(stages, "save_tensors", fail)
        with pytest.raises(Crash):
            train(compose(*SMALL), tmp_path)
    assert (tmp_path / FIRST / "resume.ckpt").is_file()
    train(compose(*SMALL), tmp_path)
    for name in (FIRST, SECOND):
        want = (finished / name / "weights.safetensors").read_bytes()
        assert (tmp_path / name / "weights.safetensors").read_bytes() == want


def test_cut_short_while_the_first_card_was_written(tmp_path: Path) -> None:
    (tmp_path / FIRST).mkdir()
    (tmp_path / FIRST / ".card.json.x1y2z3").write_text("{")
    train(compose(*SMALL, "stages_to_run=[pretrain]"), tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."])
def test_a_damaged_resume_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path, content: bytes
) -> None:
    cfg = compose(*SMALL)
    with monkeypatch.context() as patched:
        crash_at(patched, "pretrain", 3)
        with pytest.raises(Crash):
            train(cfg, tmp_path)
    resume = tmp_path / FIRST / "resume.ckpt"
    resume.write_bytes(content)
    with pytest.raises(
        StageError, match=r"'pretrain' cannot go on from .*resume\.ckpt: the file is damaged .*remove it"
    ):
        train(cfg, tmp_path)
    resume.unlink()
    train(cfg, tmp_path)
    want = (finished / FIRST / "weights.safetensors").read_bytes()
    assert (tmp_path / FIRST / "weights.safetensors").read_bytes() == want


def test_a_resume_point_is_read_without_executing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    with monkeypatch.context() as patched:
        crash_at(patched, "pretrain", 3)
        with pytest.raises(Crash):
            train(compose(*SMALL), tmp_path / "run")
    torch.save({"global_step": 2, "x": Bomb()}, tmp_path / "run" / FIRST / "resume.ckpt")
    with pytest.raises(StageError, match="damaged"):
        train(compose(*SMALL), tmp_path / "run")
    assert not (tmp_path / "executed").exists()
