"""Pretraining on pairs."""

import copy

import pytest
import torch
from torch.nn import functional as F

from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.base import schedule_factor
from metasr.recipes.pretrain import Pretrain
from recipes.fitting import fit, silent_options
from small_problems import picture, real_task


def pairs(*, seed: int = 0, scale: int = 2) -> Pairs:
    hr = torch.cat([picture(18, 18, seed=10 * seed + i) for i in range(4)])
    degradation = Degradation(scale=scale, quantise=None)
    return Pairs(degradation(hr), hr, degradation)


def test_loss_goes_down_below_interpolation() -> None:
    torch.manual_seed(0)
    batch = pairs()
    logged = fit(Pretrain(PlainCNN(channels=16, layers=3), steps=200, rate=4e-3), [batch], steps=200)
    bicubic = F.l1_loss(imresize(batch.lr, 2), batch.hr).item()
    assert logged[-1]["train/loss"] < 0.98 * bicubic < logged[0]["train/loss"]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "staircase"])
def test_steps_are_adams(schedule: str) -> None:
    """Lightning's run equals Adam by hand on the L1 loss."""
    torch.manual_seed(0)
    recipe = Pretrain(PlainCNN(channels=4, layers=3), steps=5, rate=1e-3, schedule=schedule)
    model = copy.deepcopy(recipe.model)
    batches = [pairs(seed=s, scale=2 + s % 2) for s in range(4)]
    logged = fit(recipe, batches, steps=4)
    adam = torch.optim.Adam(model.parameters())
    for step, batch in enumerate(batches):
        adam.param_groups[0]["lr"] = 1e-3 * schedule_factor(schedule, step, 5)
        loss = (model(imresize(batch.lr, batch.degradation.scale)) - batch.hr).abs().mean()
        assert logged[step]["train/loss"] == pytest.approx(loss.item(), rel=1e-5)
        adam.zero_grad()
        loss.backward()
        adam.step()
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(recipe.export()[name], parameter, rtol=1e-4, atol=1e-6)


def test_no_option_is_silent() -> None:
    baseline = {"model": lambda: PlainCNN(channels=4, layers=3), "steps": lambda: 10}
    others = {
        "model": lambda: PlainCNN(channels=4, layers=2),
        "steps": lambda: 20,
        "rate": lambda: 1e-3,
        "schedule": lambda: "constant",
    }
    assert silent_options(Pretrain, baseline, others, [pairs()]) == []


def test_divergence_names_the_degradation() -> None:
    batch = pairs()
    recipe = Pretrain(PlainCNN(channels=4, layers=3), steps=2)
    with pytest.raises(DivergenceError, match="Pretrain: loss became nan at step 0 for degradation bicubic"):
        fit(recipe, [batch._replace(hr=batch.hr * float("nan"))], steps=2)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_takes_its_input_from_the_pairs_own_scale() -> None:
    task = real_task(seed=0, side=18, scale=3)
    batch = Pairs(task.support_lr, task.support_hr, task.degradation)
    recipe = Pretrain(PlainCNN(channels=4, layers=2), steps=1)
    loss = recipe.training_step(batch, 0)
    want = F.l1_loss(recipe.model(imresize(batch.lr, 3)), batch.hr)
    assert loss.item() == pytest.approx(want.item())
