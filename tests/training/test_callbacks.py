"""What a trainer does beside training."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metasr.errors import DivergenceError
from metasr.recipes.base import Recipe
from metasr.training.callbacks import RESUME_NAME, ResumePoint
from recipes.fitting import fit


class Breaks(Recipe):
    """Its weight becomes NaN in one step, while its loss stays finite."""

    def __init__(self, *, at: int) -> None:
        super().__init__(nn.Linear(1, 1, bias=False), steps=10, schedule="constant")
        self.at = at

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": 0.5}]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.model.weight.sum()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.global_step == self.at:
            self.model.weight.register_hook(lambda gradient: gradient * float("nan"))


def test_nan_never_replaces_the_last_good_resume_point(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"Breaks: 1 of 1 .* after step 6; .*resume point.* is kept: lower"):
        fit(Breaks(at=4), [torch.ones(1)], steps=8, callbacks=[ResumePoint(tmp_path, every=2)])
    assert [path.name for path in tmp_path.iterdir()] == [RESUME_NAME]
    kept = torch.load(tmp_path / RESUME_NAME, weights_only=True)
    assert kept["global_step"] == 4
    assert kept["state_dict"]["model.weight"].isfinite().all()


def test_resume_points_come_at_multiples_and_at_the_end(tmp_path: Path) -> None:
    seen: list[int] = []

    class Looks(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            path = tmp_path / RESUME_NAME
            seen.append(torch.load(path, weights_only=True)["global_step"] if path.exists() else 0)

    fit(Breaks(at=99), [torch.ones(1)], steps=7, callbacks=[ResumePoint(tmp_path, every=3), Looks()])
    assert seen == [0, 0, 3, 3, 3, 6, 7]
