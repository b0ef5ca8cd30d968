"""First-order meta-training by the one recipe: two parameters by hand, no inner step, and a network that enlarges."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from metasr.data.tasks import Task
from metasr.degradation.pipeline import Degradation
from metasr.errors import InputError
from metasr.meta.inner_loop import inner_loop
from metasr.meta.meta_gradient import meta_gradient, network_input
from metasr.meta.rates import FixedRates
from metasr.meta.step_weights import StepWeights
from metasr.models.mln import MLN
from metasr.recipes.meta_transfer import MetaTransfer
from recipes.fitting import fit
from small_problems import bits, picture, random_task

RATE, STEPS = 0.3, 5
FINAL = [0.0] * (STEPS - 1) + [1.0]


class Line(nn.Module):
    """a · x + b, the same for every pixel: two parameters. It keeps the size, so the scale is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(-0.2, dtype=torch.float64))

    def forward(self, image: Tensor) -> Tensor:
        return self.a * image + self.b


def slope(x: Tensor, y: Tensor, a: float, b: float) -> tuple[float, float]:
    """Derivatives of mean (a x + b - y)² by a and b."""
    error = a * x + b - y
    return float((2 * error * x).mean()), float((2 * error).mean())


def by_hand(tasks: list[Task], a: float, b: float) -> tuple[float, float]:
    """FOMAML: step on the support pairs, then the query's gradient where that ends, averaged over the tasks."""
    total = [0.0, 0.0]
    for task in tasks:
        x, y = a, b
        for _ in range(STEPS):
            by_a, by_b = slope(task.support_lr, task.support_hr, x, y)
            x, y = x - RATE * by_a, y - RATE * by_b
        by_a, by_b = slope(task.query_lr, task.query_hr, x, y)
        total[0] += by_a / len(tasks)
        total[1] += by_b / len(tasks)
    return total[0], total[1]


def tasks_of(count: int) -> list[Task]:
    return [random_task(seed=s, side=6, scale=1) for s in range(count)]


def gradient(
    model: nn.Module, tasks: list[Task], *, steps: int = STEPS, order: str = "first", loss=mse_loss
) -> list[Tensor]:
    weights = StepWeights(kind="final").at(0, steps)
    return meta_gradient(
        model, FixedRates((RATE,)), tasks, steps=steps, order=order, step_weights=weights, loss=loss,
        enlarge_first=False,
    ).gradients  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_two_parameters_by_hand(count: int) -> None:
    model, tasks = Line(), tasks_of(count)
    got = [float(g) for g in gradient(model, tasks)]
    assert got == pytest.approx(by_hand(tasks, 0.7, -0.2), rel=1e-12)


def test_second_order_differs() -> None:
    tasks = tasks_of(2)
    first, second = (gradient(Line(), tasks, order=order) for order in ("first", "second"))
    assert all(abs(float(a - b)) > 1e-3 * abs(float(a)) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("order", ["first", "second"])
def test_without_inner_steps_it_is_the_plain_gradient_of_the_outer_half(order: str) -> None:
    torch.manual_seed(0)
    model = MLN(scale=2, width=3, depth=1)
    tasks = [random_task(seed=s, dtype=torch.float32) for s in (1, 2)]
    got = gradient(model, tasks, steps=0, order=order, loss=l1_loss)
    plain = torch.stack([l1_loss(model(t.query_lr), t.query_hr) for t in tasks]).mean()
    for g, want in zip(got, torch.autograd.grad(plain, list(model.parameters())), strict=True):
        torch.testing.assert_close(g, want)


def test_without_inner_steps_the_loss_is_told_as_that_of_none() -> None:
    found = meta_gradient(
        Line(), FixedRates((RATE,)), tasks_of(1), steps=0, order="first", step_weights=[1.0], enlarge_first=False
    )
    assert len(found.query) == 1
    assert found.query[0] == found.loss


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_the_recipe_trains_without_inner_steps_and_with_them() -> None:
    task = random_task(seed=3, dtype=torch.float32)
    ends = []
    for steps in (0, 2):
        torch.manual_seed(0)
        recipe = MetaTransfer(
            MLN(scale=2, width=3, depth=1), steps=2, inner_steps=steps, rates="fixed", order="first",
            step_weights=StepWeights(kind="final"), enlarge_first=False,
        )  # fmt: skip
        fit(recipe, [[task]], steps=2)
        ends.append(recipe.export()["tail.0.weight"])
    assert not torch.equal(*ends)


def test_the_inner_loop_touches_no_parameter() -> None:
    torch.manual_seed(0)
    model = MLN(scale=3, width=3, depth=2)
    before = bits(model)
    hr = picture(21, 15)
    lr = Degradation(scale=3)(hr)
    for order in ("first", "second", "none"):
        inner_loop(model, lambda net: l1_loss(net(lr), hr), steps=3, rates=FixedRates((0.01,)), order=order)
    assert bits(model) == before
    assert all(p.grad is None for p in model.parameters())


def test_what_a_network_is_given() -> None:
    hr = picture(14, 10)
    lr = Degradation(scale=2)(hr)
    assert network_input(lr, hr, 2, enlarge_first=False) is lr
    assert network_input(lr, hr, 2, enlarge_first=True).shape == hr.shape
    with pytest.raises(
        InputError, match="HR must be 4 times as large as LR, 28x20 for LR of 7x5, got 14x10; take a pa"
    ):
        network_input(lr, hr, 4, enlarge_first=False)
    with pytest.raises(InputError, match=r"HR must be 2.5 times .*a multiple of a whole scale"):
        network_input(lr, picture(18, 12), 2.5, enlarge_first=False)
