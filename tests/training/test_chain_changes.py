"""What may change between two commands in one run folder, and what may not: steps, rates, images, the place."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from metasr.config import build
from metasr.errors import DivergenceError, InputError, StageError
from metasr.recipes.base import Recipe
from metasr.runs.card import read_card
from metasr.runs.lock import RunLock
from running import SMALL, compose, run_py, save_picture, train
from training.chain_stages import FIRST, SECOND

PRETRAIN = (*SMALL, "stages_to_run=[pretrain]")
CONSTANT = (*PRETRAIN, "stages.pretrain.recipe.schedule=constant")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / FIRST / "weights.safetensors")


def test_more_steps_go_on_from_the_resume_point(tmp_path: Path) -> None:
    train(compose(*CONSTANT, "stages.pretrain.steps=9"), tmp_path / "at once")
    train(compose(*CONSTANT, "stages.pretrain.steps=5"), tmp_path / "longer")
    train(compose(*CONSTANT, "stages.pretrain.steps=9"), tmp_path / "longer")
    want, got = weights(tmp_path / "at once"), weights(tmp_path / "longer")
    assert all(torch.equal(want[name], got[name]) for name in want)
    card = read_card(tmp_path / "longer" / FIRST)
    assert (card["status"], card["steps"], card["extended"]) == ("finished", 9, {"5": 9})
    assert "extended" not in read_card(tmp_path / "at once" / FIRST)


def test_the_schedule_is_that_of_the_new_number_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    kind = type(build.recipe(compose(*SMALL), "pretrain"))
    honest = kind.training_step

    def training_step(self: Recipe, *args: Any) -> Any:
        rates.append(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return honest(self, *args)

    monkeypatch.setattr(kind, "training_step", training_step)
    train(compose(*PRETRAIN, "stages.pretrain.steps=10"), tmp_path / "at once")
    whole = rates.copy()
    rates.clear()
    train(compose(*PRETRAIN, "stages.pretrain.steps=4"), tmp_path / "longer")
    assert rates[3] < whole[3]
    rates.clear()
    train(compose(*PRETRAIN, "stages.pretrain.steps=10"), tmp_path / "longer")
    assert rates == pytest.approx(whole[4:])


def test_what_builds_on_a_stage_that_was_trained_longer_is_stale(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    train(compose(*PRETRAIN, "stages.pretrain.steps=7"), run)
    with pytest.raises(StageError, match=r"'meta_transfer' in .* is stale: .*\(parent: then \w+, now \w+\)"):
        train(compose(*SMALL, "stages.pretrain.steps=7"), run)


def test_without_a_resume_point_more_steps_are_other_choices(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / FIRST / "resume.ckpt").unlink()
    with pytest.raises(StageError, match=r"'pretrain' .*stage\.steps: then 6, now 7; it has no resume point, from"):
        train(compose(*PRETRAIN, "stages.pretrain.steps=7"), run)


@pytest.fixture
def diverges(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Makes the loss infinite at a step as long as the learning rate is above a bound; notes steps and rates."""
    told: dict[str, Any] = {"at": 3, "above": 7e-4, "seen": []}
    kind = type(build.recipe(compose(*SMALL), "pretrain"))
    honest = kind.training_step

    def training_step(self: Recipe, *args: Any) -> Any:
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        told["seen"].append((self.global_step, rate))
        if self.global_step == told["at"] and rate > told["above"]:
            self.require_finite(torch.tensor(float("inf")), of=lambda: "the degradation g2.0d")
        return honest(self, *args)

    monkeypatch.setattr(kind, "training_step", training_step)
    return told


def test_a_run_that_diverges_once_goes_on_with_half_the_rates(
    tmp_path: Path, diverges: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    train(compose(*CONSTANT, "on_divergence=retry"), tmp_path)
    assert diverges["seen"] == [
        *((n, 1e-3) for n in range(4)),
        *((n, 5e-4) for n in range(2, 6)),  # from the resume point of step 2
    ]
    card = read_card(tmp_path / FIRST)
    assert card["status"] == "finished"
    assert (card["retried"]["from"], card["retried"]["rates"]) == (2, 0.5)
    assert "g2.0d" in card["retried"]["error"]
    assert "Going back to step 2, with half the learning rates" in caplog.text


def test_the_second_time_it_stops_with_the_tasks_degradation(tmp_path: Path, diverges: dict[str, Any]) -> None:
    diverges["above"] = 0.0
    with pytest.raises(DivergenceError, match=r"at step 3 for the degradation g2\.0d .* this was the second time"):
        train(compose(*CONSTANT, "on_divergence=retry"), tmp_path)
    assert [step for step, _ in diverges["seen"]] == [0, 1, 2, 3, 2, 3]
    diverges["seen"].clear()
    with pytest.raises(DivergenceError, match="second time"):  # the same command: it was tried before
        train(compose(*CONSTANT, "on_divergence=retry"), tmp_path)
    assert diverges["seen"] == [(2, 5e-4), (3, 5e-4)]


def test_by_default_it_stops_at_once(tmp_path: Path, diverges: dict[str, Any]) -> None:
    with pytest.raises(DivergenceError, match=r"at step 3 for the degradation g2\.0d with learning rate 1\.00e-03"):
        train(compose(*CONSTANT), tmp_path)
    assert [step for step, _ in diverges["seen"]] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="on_divergence must be stop or retry, got 'again'"):
        train(compose(*CONSTANT, "on_divergence=again"), tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [("remove", "b.png gone"), ("add", "d.png new"), ("resize", "b.png of another size"),
     ("swap", "the same names and sizes, other contents or another order")],
)  # fmt: skip
def test_changed_training_images_are_named(tmp_path: Path, change: str, told: str) -> None:
    images = tmp_path / "images"
    for seed, name in enumerate("abc"):
        save_picture(images / f"{name}.png", 61, 67, seed=seed)
        (images / f"{name}.png").write_bytes((images / f"{name}.png").read_bytes().ljust(30_000, b"\0"))
    fixed = (*PRETRAIN, "data=image_folder", f"data.root={images}", "data.val_fraction=0")
    train(compose(*fixed), tmp_path / "run")
    if change == "remove":
        (images / "b.png").unlink()
    elif change == "add":
        save_picture(images / "d.png", 61, 67)
    elif change == "resize":
        save_picture(images / "b.png", 59, 67)
    else:
        a, b = (images / "a.png").read_bytes(), (images / "b.png").read_bytes()
        (images / "a.png").write_bytes(b)
        (images / "b.png").write_bytes(a)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(StageError, match=rf"'pretrain' .* stale: .*data\.fingerprint: .*; training images: {told}\)"):
        train(compose(*fixed), tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_folder_that_was_moved_or_copied_half_done_goes_on(finished: Path, tmp_path: Path) -> None:
    train(compose(*PRETRAIN), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "c")
    for name in "bc":
        train(compose(*SMALL), tmp_path / name)
        want = (finished / SECOND / "weights.safetensors").read_bytes()
        assert (tmp_path / name / SECOND / "weights.safetensors").read_bytes() == want


def test_a_folder_in_which_another_command_works_is_left_alone(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(StageError, match="of this machine works in"):
        train(compose(*PRETRAIN), tmp_path)
    assert list(tmp_path.iterdir()) == []
    train(compose(*PRETRAIN), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FIRST]


@pytest.mark.parametrize(
    ("choice", "told"),
    [("+trainer.max_steps=2", r"trainer\.max_steps=2 would not be heeded: use stages\.NAME\.steps instead"),
     ("+trainer.max_time=1", r"trainer\.max_time=1 would not be heeded: use max_minutes instead"),
     ("+trainer.gradient_clip_val=2", r"use stages\.NAME\.clip instead"),
     ("+trainer.presicion=16", r"no option trainer\.presicion of Lightning's trainer: did you mean 'precision'"),
     ("trainer.precision=17", r"Lightning cannot train with these options of trainer: .*17"),
     pytest.param("trainer.accelerator=gpu", r"Lightning cannot train with these options of trainer: .*gpu",
                  marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"))],
)  # fmt: skip
def test_options_of_the_trainer_that_cannot_be_followed(tmp_path: Path, choice: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        train(compose(*PRETRAIN, choice), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_refused_command_changes_nothing_of_a_run_folder(tmp_path: Path) -> None:
    fixed = (*PRETRAIN, "testset=samples", "max_images=1", "degradations=[bicubic]", "adapt_steps=[0]",
             f"hydra.run.dir={tmp_path / 'here'}")  # fmt: skip
    first = run_py(*fixed, outputs=tmp_path / "out")
    assert first.returncode == 0, first.stderr
    here = tmp_path / "here"
    assert "seed=5" not in (here / ".hydra" / "overrides.yaml").read_text()
    assert json.loads((here / FIRST / "card.json").read_text())["config"]["seed"] == 1
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    refused = run_py(*fixed, "seed=5", outputs=tmp_path / "out")
    assert refused.returncode == 2
    assert "stale: it was made with other choices (seed: then 1, now 5)" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
