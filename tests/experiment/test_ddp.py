"""Training on several devices by Lightning's DDP: two processes with their own tasks are one with all of them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metasr.experiment import build
from metasr.seeds import generator_from
from running import compose, run_py

COMMON = ("profile=smoke", "logger=none", "seed=3")
NO_VALIDATION = "stages.{}.validation.degradations=[]"
CASES = {
    "pretrain": ("+experiment=mzsr_x2", "model.channels=8", "model.layers=3"),
    "meta_transfer": ("+experiment=mzsr_x2", "model.channels=8", "model.layers=3"),
    "maml_sr": ("+experiment=maml_sr_x2", "model.width=2"),
    "weighted": ("+experiment=weightnet_x2", "model.channels=8", "model.layers=3"),
}


def one_step_of_two(stage: str, overrides: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """One process that takes both processes' batches, and one optimiser step on the mean of their gradients."""
    cfg = compose(*overrides)
    recipe = build.recipe(cfg, stage)
    data = build.stage_data(cfg, stage)
    data.setup("fit")
    for rank in (0, 1):
        batch = data.sampler.draw(data.pool, generator=generator_from(cfg.seed, stage, 0, rank))
        loss = recipe.training_step(batch, 0)
        (loss / 2).backward()  # gradients add up
    optimizer = recipe.configure_optimizers()["optimizer"]
    optimizer.step()
    if hasattr(recipe, "rates"):
        recipe.rates.clamp_()
    return recipe.export()


@pytest.mark.slow
@pytest.mark.parametrize("stage", CASES)
def test_two_processes_are_one_with_the_same_tasks(tmp_path: Path, stage: str) -> None:
    first = NO_VALIDATION.format(stage)
    overrides = (
        *CASES[stage], *COMMON, first, f"only=[{stage}]", f"stages.{stage}.steps=1", f"stages.{stage}.parent=null",
        f"stages.{stage}.clip=null", "evaluation.released=false", "degradations=[bicubic]", "adapt_steps=[0]",
        "device=cpu",
    )  # fmt: skip
    run = tmp_path / "run"
    done = run_py(*overrides, f"run={run}", "trainer.devices=2", "+trainer.strategy=ddp", outputs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "MEMBER: 2/2" in done.stdout + done.stderr
    assert done.stdout.count("finished in") == 1  # one of the two speaks
    (weights,) = run.glob(f"*_{stage}/weights.safetensors")
    got, want = load_file(weights), one_step_of_two(stage, overrides)
    start = build.recipe(compose(*overrides), stage).export()
    assert set(got) == set(want)
    moved = 0.0
    for name in want:
        torch.testing.assert_close(got[name], want[name], atol=2e-6, rtol=1e-4)
        moved = max(moved, float((want[name] - start[name]).abs().max()))
    assert moved > 1e-5
