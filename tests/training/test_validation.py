"""Validation of a recipe in the making."""

import math
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from metasr.config import build
from metasr.config.chain import validator
from metasr.figures.comparison import comparison
from metasr.recipes.base import Recipe
from running import SMOKE, compose

FEW = (*SMOKE, "stages.meta_transfer.validation.updates=[0,1]", "stages.meta_transfer.validation.crop=64",
       "stages.pretrain.validation.crop=64", "model.channels=8", "model.layers=3")  # fmt: skip


def scores(cfg: DictConfig, stage: str, recipe: Recipe) -> dict[str, float]:
    made = validator(cfg, stage)
    assert made is not None
    return made.score(recipe)


def drawn_by(cfg: DictConfig, recipe: Recipe, folder: Path, *, step: int) -> dict[str, Path]:
    made = validator(cfg, "meta_transfer")
    assert made is not None
    return made.draw(recipe, folder, step=step)


def test_scores_by_degradation_and_updates_with_the_rates() -> None:
    cfg = compose(*FEW)
    recipe = build.recipe(cfg, "meta_transfer")
    before = {k: v.clone() for k, v in recipe.state_dict().items()}
    found = scores(cfg, "meta_transfer", recipe)
    keys = {f"val/{m}/{d}@{u}" for m in ("psnr_y", "ssim_y") for d in ("g0.2d", "g2.0d") for u in (0, 1)}
    assert set(found) == keys | {"rates/step_1", "rates/step_2"}
    assert all(math.isfinite(v) for v in found.values())
    assert found["rates/step_1"] == pytest.approx(0.01)
    after = recipe.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert scores(cfg, "meta_transfer", recipe) == found


def test_the_global_random_state_is_left_alone() -> None:
    cfg = compose(*FEW)
    recipe = build.recipe(cfg, "pretrain")
    state = torch.random.get_rng_state()
    found = scores(cfg, "pretrain", recipe)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(found) == {"val/psnr_y/bicubic@0", "val/ssim_y/bicubic@0"}


def test_no_degradations_no_work() -> None:
    cfg = compose(*FEW, "stages.pretrain.validation.degradations=[]")
    assert validator(cfg, "pretrain") is None


def test_validation_images_are_not_training_images() -> None:
    cfg = compose(*SMOKE)
    assert not set(build.images(cfg, "train").paths) & set(build.images(cfg, "val").paths)


def test_pictures_of_the_first_image_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, torch.Tensor] = {}

    def kept(images: dict[str, torch.Tensor], path: Path, **_: object) -> Path:
        drawn.update(images)
        return comparison(images, path)

    monkeypatch.setattr("metasr.training.validation.comparison", kept)
    cfg = compose(*FEW, "stages.meta_transfer.validation.crop=67")
    recipe = build.recipe(cfg, "meta_transfer")
    with torch.no_grad():
        recipe.model.conv3.bias += 0.25
    found = drawn_by(cfg, recipe, tmp_path, step=20)
    assert found == {"val/sr": tmp_path / "pictures" / "step_000020.png"}
    assert list(drawn) == ["bicubic, aligned", "step 20, 1 update", "truth"]
    assert {tuple(image.shape) for image in drawn.values()} == {(1, 3, 66, 66)}
    bicubic, ours, truth = drawn.values()
    assert (bicubic - truth).abs().mean() < 0.05
    assert (ours - bicubic).mean() == pytest.approx(0.25, abs=0.1), "the present weights"
    monkeypatch.setattr(type(recipe), "maps", lambda self, lr, hr, degradation: {"LR": lr, "map": lr[0, 0]})
    found = drawn_by(cfg, recipe, tmp_path, step=21)
    assert found["val/maps"] == tmp_path / "pictures" / "step_000021_maps.png"
    assert all(path.is_file() for path in found.values())
