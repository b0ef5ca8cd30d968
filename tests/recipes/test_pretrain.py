"""Pretraining on pairs."""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from metasr.data.tasks import Pairs
from metasr.degradation.pipeline import Degradation
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError
from metasr.meta.cuda_graph import Engine
from metasr.meta.precision import Precision
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.base import schedule_factor
from metasr.recipes.pretrain import Pretrain
from recipes.fitting import Either, fit, silent_options
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
    baseline = {"model": lambda: Either(channels=4, layers=3), "steps": lambda: 10}
    others = {
        "model": lambda: PlainCNN(channels=4, layers=2),
        "steps": lambda: 20,
        "rate": lambda: 1e-3,
        "schedule": lambda: "constant",
        "engine": lambda: "eager",
        "precision": lambda: "bf16",
        "layout": lambda: "contiguous",
        "enlarge_first": lambda: False,
    }
    assert silent_options(Pretrain, baseline, others, [pairs()]) == ["engine"]  # how fast, not what


def test_options_reach_the_engine() -> None:
    recipe = Pretrain(PlainCNN(4, 2), steps=1, engine="eager", precision="fp32", layout="contiguous")
    assert recipe.engine.kind == "eager"
    assert recipe.precision == Precision(arithmetic="fp32", layout="contiguous")
    assert (Pretrain(PlainCNN(4, 2), steps=1).engine.kind, Pretrain(PlainCNN(4, 2), steps=1).precision) == (
        "auto",
        Precision(arithmetic="tf32", layout="auto"),
    )


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_steps_played_back_are_eager_ones() -> None:
    """Pairs and weights change from step to step; a captured step sees it."""

    def played(run: Any) -> Any:
        held = [t.clone() for t in run()]

        def replay() -> list[torch.Tensor]:
            count.append(1)
            for into, value in zip(held, run(), strict=True):
                into.copy_(value)
            return held

        return replay

    count: list[int] = []
    ends = []
    for engine in (Engine("eager"), Engine(capture=played)):
        torch.manual_seed(0)
        recipe = Pretrain(PlainCNN(channels=4, layers=3), steps=4)
        recipe.engine = engine
        fit(recipe, [pairs(seed=s) for s in range(4)], steps=4)
        ends.append(recipe.export())
    assert len(count) == 4
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_frozen_tensors_stay_as_they_are() -> None:
    model = PlainCNN(channels=4, layers=3)
    model.conv2.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    fit(Pretrain(model, steps=2), [pairs()], steps=2)
    assert [torch.equal(v, before[k]) for k, v in model.state_dict().items()] == [False] * 2 + [True] * 2 + [False] * 2


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_layers_without_a_part_in_the_output_stay_as_they_are() -> None:
    torch.manual_seed(0)
    recipe = Pretrain(MAMLSRNet(2), steps=2)
    before = recipe.export()
    fit(recipe, [pairs()], steps=2)
    stay = {name for name, value in recipe.export().items() if torch.equal(value, before[name])}
    assert stay >= {name for name in before if name.startswith("heads.")}
    assert "output.weight" not in stay


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
    surrogate = recipe.training_step(batch, 0)
    want = F.l1_loss(recipe.model(imresize(batch.lr, 3)), batch.hr)
    parameters = list(recipe.model.parameters())
    for got, gradient in zip(
        torch.autograd.grad(surrogate, parameters), torch.autograd.grad(want, parameters), strict=True
    ):
        torch.testing.assert_close(got, gradient)
