"""Training on several devices by Lightning's DDP: two processes with their own tasks are one with all of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from metasr.config import build
from metasr.recipes.base import Recipe
from metasr.seeds import generator_from
from running import compose, run_py

COMMON = ("profile=smoke", "logger=none", "seed=3")
NO_VALIDATION = "stages.{}.validation.degradations=[]"
SMALL = ("model.channels=8", "model.layers=3")
MZSR = ("+experiment=mzsr_x2", *SMALL, "adapt_steps=[0]")
MAML_SR = ("+experiment=maml_sr_x2", "model.width=2", "solver.max_steps=0")
WEIGHTED = ("+experiment=weightnet_x2", *SMALL)
MRDA = ("+experiment=mrda_x4_iso", "compare_with.oracle=null")
KDSR = ("+experiment=kdsr_x4_iso", "compare_with.oracle=null")


class Case(NamedTuple):
    """A stage, how it is made small, and for how many steps: DDP complains of a missing gradient at the next one."""

    stage: str
    overrides: tuple[str, ...]
    steps: int = 1
    clip: float | None = None


CASES = {
    "pretrain": Case("pretrain", MZSR),
    "pretrain, clipped": Case("pretrain", MZSR, 3, clip=0.01),
    "meta_transfer": Case("meta_transfer", MZSR),
    "meta_transfer, clipped": Case("meta_transfer", MZSR, 3, clip=0.01),
    "maml_sr": Case("maml_sr", MAML_SR),
    "maml_sr, notebook": Case("maml_sr", (*MAML_SR, "order=notebook"), 4),
    "weighted": Case("weighted", WEIGHTED),
    "weighted, every=2": Case("weighted", (*WEIGHTED, "stages.weighted.recipe.every=2"), 3),
    "mrda's meta_transfer": Case("meta_transfer", MRDA),
    "teacher": Case("teacher", MRDA, 2),
    "teacher of pairs": Case("teacher", KDSR, 2),
    "student, its encoder alone": Case("student", (*MRDA, "stages.student.recipe.encoder_steps=2"), 2),
    "student": Case("student", (*MRDA, "stages.student.recipe.encoder_steps=0"), 2),
}


def steps_of_two(case: Case, overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """One process that takes both processes' batches, and optimiser steps on the mean of their gradients."""
    cfg = compose(*overrides)
    recipe = build.recipe(cfg, case.stage)
    data = build.stage_data(cfg, case.stage)
    data.setup("fit")
    made = recipe.configure_optimizers()
    for step in range(case.steps):
        monkeypatch.setattr(Recipe, "global_step", step)
        made["optimizer"].zero_grad()
        drawn = step // getattr(recipe, "steps_per_batch", 1)
        for rank in (0, 1):
            batch = data.sampler.draw(data.pool, generator=generator_from(cfg.seed, case.stage, drawn, rank))
            (recipe.training_step(batch, step) / 2).backward()  # gradients add up
        if case.clip is not None:
            trained = [p for group in recipe.parameter_groups() for p in group["params"]]
            assert float(torch.nn.utils.clip_grad_norm_(trained, case.clip)) > case.clip  # or nothing would be clipped
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
        if hasattr(recipe, "rates"):
            recipe.rates.clamp_()
    return recipe.export()


def difference(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """The largest of any number in two sets of weights."""
    return max(float((a[key] - b[key]).abs().max()) for key in a)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one_with_the_same_tasks(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    case = CASES[name]
    stage = case.stage
    overrides = (
        *case.overrides, *COMMON, NO_VALIDATION.format(stage), f"stages_to_run=[{stage}]",
        f"stages.{stage}.steps={case.steps}", f"stages.{stage}.parent=null",
        f"stages.{stage}.clip={case.clip or 'null'}", "evaluation.released=false",
        "degradations=[bicubic]", "device=cpu",
    )  # fmt: skip
    run = tmp_path / "run"
    done = run_py(*overrides, f"run={run}", "trainer.devices=2", "+trainer.strategy=ddp", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "MEMBER: 2/2" in done.stdout + done.stderr
    assert done.stdout.count("finished in") == 1  # one of the two speaks
    (weights,) = run.glob(f"*_{stage}/weights.safetensors")
    got, want = load_file(weights), steps_of_two(case, overrides, monkeypatch)
    start = build.recipe(compose(*overrides), stage).export()
    assert set(got) == set(want)
    apart, moved = difference(got, want), difference(want, start)
    record_property("largest difference of a weight", apart)
    record_property("largest step of a weight", moved)
    told = f"{name}: two processes and one lie {apart:.2g} apart, after moving by {moved:.2g}"
    print(told)
    for key, value in want.items():
        torch.testing.assert_close(got[key], value, atol=2e-6, rtol=1e-4, msg=lambda m, key=key: f"{told}; {key}: {m}")
    assert moved > 1e-5, told
    if case.clip is not None:  # and clipping is what made the difference
        assert difference(want, steps_of_two(case._replace(clip=None), overrides, monkeypatch)) > 1e-5
