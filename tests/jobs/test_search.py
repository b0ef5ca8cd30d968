"""What a search goes by, and which runs it gives up."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from metasr.errors import InputError, MetasrError
from metasr.jobs.search import MedianPruning, PrunedError, validation_psnr
from running import compose


def test_the_number_of_most_updates_counts_mean_over_degradations():
    metrics = {
        "val/psnr_y/a@0": 20.0, "val/psnr_y/a@10": 31.0, "val/psnr_y/a@2": 50.0, "val/psnr_y/b_n5@1": 28.0,
        "val/psnr_y/b_n5@own": 25.0, "val/ssim_y/a@99": 0.5, "train/loss": 3.0, "rates/step_1": 0.01,
    }  # fmt: skip
    assert validation_psnr(metrics) == 28.0
    assert validation_psnr(dict(reversed(metrics.items()))) == 28.0
    assert validation_psnr({"train/loss": 1.0, "val/ssim_y/a@0": 0.9}) is None


def intermediate(folder: Path, values: dict[int, float]) -> None:
    folder.mkdir(parents=True)
    (folder / "intermediate.json").write_text(json.dumps(values))


class Run:
    """A run whose validation scores are given."""

    def __init__(self, folder: Path, **choices: int) -> None:
        self.watch = MedianPruning(folder=folder, stage="last", **choices)
        self.recipe = SimpleNamespace(unit="step", steps=40, global_step=0)

    def at(self, step: int, value: float, stage: str = "last") -> None:
        self.recipe.global_step = step
        self.watch(stage, self.recipe, {"val/psnr_y/a@1": value, "val/ssim_y/a@1": 0.5})


def test_a_run_below_the_median_of_the_others_is_given_up(tmp_path: Path):
    for name, values in (("a", {10: 30.0, 20: 31.0}), ("b", {10: 32.0, 20: 33.0}), ("c", {10: 20.0})):
        intermediate(tmp_path / name, values)
    run = Run(tmp_path / "own", startup=2)
    run.at(10, 30.0)  # as good as the median of three
    with pytest.raises(PrunedError, match=r"given up at step 20 of 40: 31.900 dB .* median of 2 other runs is 32.000"):
        run.at(20, 31.9)
    assert json.loads((tmp_path / "own" / "intermediate.json").read_text()) == {"10": 30.0, "20": 31.9}


def test_the_best_so_far_counts(tmp_path: Path):
    for name in "abc":
        intermediate(tmp_path / name, {10: 30.0, 20: 31.0})
    run = Run(tmp_path / "own", startup=3)
    run.at(10, 31.5)
    run.at(20, 25.0)
    with pytest.raises(PrunedError) as error:
        Run(tmp_path / "other", startup=3).at(20, 30.9)
    assert error.value.value == 30.9
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.value, isinstance(again, MetasrError)) == (str(error.value), 30.9, True)


def test_a_run_gone_on_with_forgets_what_came_after_its_resume_point(tmp_path: Path):
    intermediate(tmp_path / "own", {10: 29.0, 20: 35.0, 30: 36.0})
    for name in "ab":
        intermediate(tmp_path / name, {20: 31.0})
    with pytest.raises(PrunedError):
        Run(tmp_path / "own", startup=2).at(20, 30.0)
    assert json.loads((tmp_path / "own" / "intermediate.json").read_text()) == {"10": 29.0, "20": 30.0}


@pytest.mark.parametrize(
    ("choices", "step", "stage"),
    [({"startup": 4}, 10, "last"), ({"startup": 3, "warmup": 11}, 10, "last"), ({"startup": 3}, 40, "last"),
     ({"startup": 3}, 10, "first")],
)  # fmt: skip
def test_runs_are_kept(tmp_path: Path, choices: dict[str, int], step: int, stage: str):
    for name in "abc":
        intermediate(tmp_path / name, {10: 30.0, 40: 30.0})
    intermediate(tmp_path / "damaged", {})
    (tmp_path / "damaged" / "intermediate.json").write_text("[1")
    run = Run(tmp_path / "own", **choices)
    run.at(step, 1.0, stage)
    assert (tmp_path / "own" / "intermediate.json").exists() == (stage == "last")


def test_a_stage_without_validation_is_not_compared(tmp_path: Path):
    watch = MedianPruning(folder=tmp_path / "own", stage="last", startup=1)
    watch("last", SimpleNamespace(global_step=1), {"train/x": 1.0})
    assert not (tmp_path / "own").exists()


def test_limits_make_sense(tmp_path: Path):
    with pytest.raises(InputError, match=r"prune.startup must be at least 1, got 0"):
        Run(tmp_path, startup=0)
    with pytest.raises(InputError, match=r"prune.warmup must be at least 0, got -1"):
        Run(tmp_path, startup=1, warmup=-1)


def test_the_search_that_comes_with_it():
    cfg = compose("+experiment=mzsr_x2", "+sweep=mzsr_rates_search")
    assert (cfg.prune.startup, cfg.sweep_name, list(cfg.adapt_steps)) == (4, "mzsr_rates_search", [10])
    assert cfg.stages.meta_transfer.validation.every > 0
    assert compose("+experiment=mzsr_x2").prune.startup == 0
