"""What is called what on wandb."""

from pathlib import Path

from metasr.runs.wandb_names import group_of, score_name, sweep_of


def test_runs_are_grouped_by_sweep_or_stand_alone():
    job = Path("/out/mzsr_x2/sweeps/seeds-0123/seed_1-abc")
    assert (sweep_of(job), group_of(job)) == ("seeds-0123", "seeds-0123")
    run = Path("/out/mzsr_x2/2026-01-01")
    assert (sweep_of(run), group_of(run)) == ("", "2026-01-01")


def test_names_of_scores_are_told_apart_by_all_that_makes_a_row():
    name = score_name("ssim_y", degradation="g2.0d", solver="adapt", weights="run", updates=10.0)
    assert name == "test/ssim_y/g2.0d/adapt/run@10"
    assert score_name("psnr_y", degradation="d", solver="s", weights="w", updates=2.5).endswith("@2.5")
