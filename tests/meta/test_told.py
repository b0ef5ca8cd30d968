"""Networks that are told the degradation: the meta-gradient passes through their data steps."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metasr.data.tasks import Task
from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.pipeline import Degradation
from metasr.meta.cuda_graph import Engine
from metasr.meta.inner_loop import inner_loop
from metasr.meta.meta_gradient import meta_gradient, meta_parameters
from metasr.meta.rates import PerStepRates
from metasr.models.unfolded import UnfoldedNet
from small_problems import picture

STEPS, WEIGHTS = 2, (0.3, 0.7)


class SmoothPrior(nn.Module):
    """A prior without kinks, so that finite differences have a derivative to agree with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.told = nn.Linear(2, 4)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        return image + self.last(F.softplus(self.first(image) + self.told(condition)[..., None, None]))


def network() -> UnfoldedNet:
    torch.manual_seed(0)
    return UnfoldedNet(SmoothPrior(), rounds=2).double()


def task(kernel: Tensor, *, scale: int = 2) -> Task:
    degradation = Degradation(scale=scale, kernel=kernel[None], downsample="direct", noise_std=0.02)
    hr = [torch.cat([picture(24, 36, seed=10 * i + j, dtype=torch.float64) for j in range(2)]) for i in range(2)]
    lr = [degradation(image, generator=torch.Generator().manual_seed(i)) for i, image in enumerate(hr)]
    return Task(lr[0], hr[0], lr[1], hr[1], degradation)


def tasks() -> list[Task]:
    return [task(isotropic(1.5, size=7)), task(anisotropic(3.0, 0.5, 0.4, size=9), scale=3)]


def rates_for(model: nn.Module) -> PerStepRates:
    count = len(list(model.parameters()))
    return PerStepRates.of(0.01 + 0.02 * torch.rand(STEPS, count, dtype=torch.float64))


def outer_loss(model: UnfoldedNet, rates: PerStepRates, given: Sequence[Task]) -> Tensor:
    """The weighted query loss by the inner loop itself."""
    terms = []
    for one in given:

        def after_step(step: int, net: nn.Module, one: Task = one) -> None:
            if step:
                terms.append(WEIGHTS[step - 1] * F.mse_loss(net(one.query_lr, one.degradation), one.query_hr))

        inner_loop(
            model,
            lambda net, one=one: F.mse_loss(net(one.support_lr, one.degradation), one.support_hr),
            steps=STEPS,
            rates=rates,
            order="second",
            after_step=after_step,
        )
    return torch.stack(terms).sum() / len(given)


def test_second_order_against_finite_differences() -> None:
    model, given = network(), tasks()
    rates = rates_for(model)
    found = meta_gradient(
        model, rates, given, steps=STEPS, order="second", step_weights=WEIGHTS, loss=F.mse_loss, engine=Engine("auto")
    )
    assert float(found.loss) == pytest.approx(float(outer_loss(model, rates, given).detach()), rel=1e-12)
    generator = torch.Generator().manual_seed(1)
    for parameter, gradient in zip(meta_parameters(model, rates), found.gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-5 * direction
            values.append(float(outer_loss(model, rates, given).detach()))
            with torch.no_grad():
                parameter -= sign * 1e-5 * direction
        slope = (values[0] - values[1]) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-10)


def test_the_first_order_leaves_something_out() -> None:
    model, given = network(), tasks()
    rates = rates_for(model)
    second, first = (
        meta_gradient(model, rates, given, steps=STEPS, order=order, step_weights=WEIGHTS, loss=F.mse_loss).gradients
        for order in ("second", "first")
    )
    of_mu = [name for name, _ in model.named_parameters()].index("log_mu")
    assert (second[of_mu] - first[of_mu]).norm() > 1e-4 * second[of_mu].norm() > 0


def test_each_task_is_told_its_own_degradation() -> None:
    model, (one, other) = network(), tasks()
    rates = rates_for(model)
    wrong = other.degradation.of_one(0).kernel
    misled = one._replace(degradation=Degradation(scale=2, kernel=wrong[None], downsample="direct", noise_std=0.02))
    losses = [
        float(meta_gradient(model, rates, [t], steps=STEPS, order="first", step_weights=WEIGHTS).loss)
        for t in (one, misled)
    ]
    assert losses[0] < losses[1]
