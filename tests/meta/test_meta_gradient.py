"""The meta-gradient against a closed form, finite differences, its definitions, learn2learn and torch.func.

Everything in float64: what is compared here agrees to ten digits, or is wrong.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import l1_loss, mse_loss, softplus

from metasr.data.tasks import Task
from metasr.degradation.resize import imresize
from metasr.errors import InputError
from metasr.meta.learn2learn import MAML, MetaSGD
from metasr.meta.meta_gradient import enlarge, meta_gradient, require_training_order, surrogate_loss
from metasr.meta.rates import FixedRates, MetaSGDRates, PerStepRates
from metasr.models import plain_cnn
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.meta_transfer import MetaTransfer
from small_problems import SmoothCNN, bits, random_task

STEPS = 4
WEIGHTS = [0.1, 0.25, 0.05, 0.6]


@pytest.fixture(autouse=True)
def _float64() -> object:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def relative_error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    assert [tuple(g.shape) for g in got] == [tuple(w.shape) for w in want]
    a, b = (torch.cat([t.detach().reshape(-1) for t in ts]) for ts in (got, want))
    assert b.norm() > 1e-6, "a gradient of zero proves nothing"
    return float((a - b).norm() / b.norm())


# --- closed form ---


class ColourMap:
    """A 1×1 convolution under squared loss, worked out by hand.

    With W = (M | b), 3×4, and F the 4×N matrix of pixels (R, G, B, 1), the loss is ‖WF - T‖² / 3N, whose gradient is
    W S - C with S = 2 F Fᵀ / 3N and C = 2 T Fᵀ / 3N. A step is W ← W - r ∘ (W S - C): linear in W, so all derivatives
    of the steps are products of the matrices I - diag(r) (I₃ ⊗ S), on W's rows laid end to end.
    """

    def __init__(self, lr: Tensor, hr: Tensor) -> None:
        x = imresize(lr, 2).numpy().transpose(1, 0, 2, 3).reshape(3, -1)
        features = np.vstack([x, np.ones((1, x.shape[1]))])
        self.target = hr.numpy().transpose(1, 0, 2, 3).reshape(3, -1)
        self.features = features
        self.s = 2 * features @ features.T / self.target.size
        self.c = 2 * self.target @ features.T / self.target.size

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return (w.reshape(3, 4) @ self.s - self.c).ravel()

    def loss(self, w: np.ndarray) -> float:
        return float(((w.reshape(3, 4) @ self.features - self.target) ** 2).mean())

    def jacobian(self, rates: np.ndarray) -> np.ndarray:
        return np.eye(12) - np.diag(rates) @ np.kron(np.eye(3), self.s)


def closed_form(
    w: np.ndarray, rates: np.ndarray, tasks: Sequence[Task], weights: Sequence[float], *, first_order: bool = False
) -> tuple[float, np.ndarray, np.ndarray]:
    """Outer loss, its gradient by W (12,), and by every rate of every step (steps, 12)."""
    loss, by_w, by_rates = 0.0, np.zeros(12), np.zeros_like(rates)
    for task in tasks:
        support = ColourMap(task.support_lr, task.support_hr)
        query = ColourMap(task.query_lr, task.query_hr)
        phi, inner, jacobians = [w], [], []
        for row in rates:
            inner.append(support.gradient(phi[-1]))
            jacobians.append(np.eye(12) if first_order else support.jacobian(row))
            phi.append(phi[-1] - row * inner[-1])
        for j, weight in enumerate(weights, start=1):
            loss += weight * query.loss(phi[j]) / len(tasks)
            at_query = query.gradient(phi[j])
            by_w += weight * np.linalg.multi_dot([np.eye(12), *reversed(jacobians[:j])]).T @ at_query / len(tasks)
            for i in range(j):  # step i moved the weights by -rate · gradient; later steps carry that on
                onwards = np.linalg.multi_dot([np.eye(12), np.eye(12), *reversed(jacobians[i + 1 : j])])
                by_rates[i] += weight * -inner[i] * (onwards.T @ at_query) / len(tasks)
    return loss, by_w, by_rates


def as_tensors(flat: np.ndarray) -> list[Tensor]:
    """W's rows laid end to end, as the convolution's weight and bias."""
    matrix = torch.from_numpy(flat.reshape(3, 4).copy())
    return [matrix[:, :3, None, None], matrix[:, 3]]


def colour_problem() -> tuple[nn.Conv2d, np.ndarray, list[Task]]:
    model = nn.Conv2d(3, 3, 1)
    w = torch.cat([model.weight[:, :, 0, 0], model.bias[:, None]], 1).detach().numpy().ravel()
    return model, w, [random_task(seed=1), random_task(seed=2), random_task(seed=3)]


@pytest.mark.parametrize("order", ["second", "first"])
@pytest.mark.parametrize("weights", [WEIGHTS, [0.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.5, 0.0]])
def test_per_step_rates_against_the_closed_form(order: str, weights: list[float]) -> None:
    model, w, tasks = colour_problem()
    values = 0.1 + 0.8 * torch.rand(STEPS, 2)
    rates = PerStepRates.of(values)
    per_weight = values.numpy()[:, [0, 0, 0, 1] * 3]

    found = meta_gradient(model, rates, tasks, steps=STEPS, order=order, step_weights=weights, loss=mse_loss)
    loss, by_w, by_rates = closed_form(w, per_weight, tasks, weights, first_order=order == "first")

    assert found.loss.item() == pytest.approx(loss, rel=1e-12)
    of_bias = np.array([0, 0, 0, 1] * 3, bool)
    want_rates = torch.from_numpy(np.stack([by_rates[:, ~of_bias].sum(1), by_rates[:, of_bias].sum(1)], 1))
    assert relative_error(found.gradients[:2], as_tensors(by_w)) < 1e-12
    assert relative_error(found.gradients[2:], [want_rates]) < 1e-12


@pytest.mark.parametrize("order", ["second", "first"])
def test_rates_per_weight_against_the_closed_form(order: str) -> None:
    model, w, tasks = colour_problem()
    rates = MetaSGDRates(list(model.parameters()))
    with torch.no_grad():
        for r in rates.parameters():
            r.copy_(0.1 + 0.8 * torch.rand_like(r))
    row = torch.cat([rates.meta_rates[0][:, :, 0, 0], rates.meta_rates[1][:, None]], 1).detach().numpy().ravel()

    found = meta_gradient(model, rates, tasks, steps=STEPS, order=order, step_weights=WEIGHTS, loss=mse_loss)
    _, by_w, by_rates = closed_form(w, np.tile(row, (STEPS, 1)), tasks, WEIGHTS, first_order=order == "first")

    assert relative_error(found.gradients, [*as_tensors(by_w), *as_tensors(by_rates.sum(0))]) < 1e-12


def test_fixed_schedule_against_the_closed_form() -> None:
    model, w, tasks = colour_problem()
    schedule = (0.7, 0.3, 0.2)  # the last for step 4 as well
    found = meta_gradient(
        model, FixedRates(schedule), tasks, steps=STEPS, order="second", step_weights=WEIGHTS, loss=mse_loss
    )
    rates = np.repeat([0.7, 0.3, 0.2, 0.2], 12).reshape(STEPS, 12)
    _, by_w, _ = closed_form(w, rates, tasks, WEIGHTS)
    assert relative_error(found.gradients, as_tensors(by_w)) < 1e-12


# --- finite differences and definitions ---


def outer_loss(
    model: nn.Module,
    parameters: Sequence[Tensor],
    rates: Callable[[int, int], Tensor | float],
    tasks: Sequence[Task],
    weights: Sequence[float],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The meta-loss written out with torch.func alone."""
    names = [name for name, _ in model.named_parameters()]
    total = torch.zeros(())

    def at(phi: Sequence[Tensor], lr: Tensor, hr: Tensor) -> Tensor:
        return loss(functional_call(model, dict(zip(names, phi, strict=True)), (enlarge(lr, hr, 2),)), hr)

    for task in tasks:
        phi = list(parameters)
        for step, weight in enumerate(weights):
            inner = torch.func.grad(lambda p, t=task: at(p, t.support_lr, t.support_hr))(phi)
            phi = [p - rates(step, i) * g for i, (p, g) in enumerate(zip(phi, inner, strict=True))]
            total = total + weight * at(phi, task.query_lr, task.query_hr) / len(tasks)
    return total


def plain_cnn_without_kinks(monkeypatch: pytest.MonkeyPatch) -> PlainCNN:
    monkeypatch.setattr(plain_cnn, "F", SimpleNamespace(relu=softplus))
    return PlainCNN(channels=4, layers=3)


@pytest.mark.parametrize("which", ["PlainCNN", "SmoothCNN"])
def test_second_order_against_finite_differences(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain_cnn_without_kinks(monkeypatch) if which == "PlainCNN" else SmoothCNN()
    tasks = [random_task(seed=4), random_task(seed=5)]
    parameters = [p.detach() for p in model.parameters()]
    rates = PerStepRates(3, len(parameters), initial=0.05)
    with torch.no_grad():
        rates.inner_rates.uniform_(0.02, 0.09)
    weights = [0.2, 0.3, 0.5]
    found = meta_gradient(model, rates, tasks, steps=3, order="second", step_weights=weights, loss=mse_loss)

    def value(*tensors: Tensor) -> float:
        *phi, alpha = tensors
        return outer_loss(model, phi, lambda j, i: alpha[j, i], tasks, weights, loss=mse_loss).item()

    where = [*parameters, rates.inner_rates.detach()]
    assert found.loss.item() == pytest.approx(value(*where), rel=1e-12)
    step = 1e-4
    generator = torch.Generator().manual_seed(1)
    directions = [[torch.randn(t.shape, generator=generator) for t in where] for _ in range(4)]
    only_rates = [[torch.zeros_like(t) for t in where] for _ in range(3)]
    for j, direction in enumerate(only_rates):
        direction[-1][j] = 0.1
    for direction in directions + only_rates:
        moved = [value(*(t + k * step * d for t, d in zip(where, direction, strict=True))) for k in (-2, -1, 1, 2)]
        difference = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step)
        exact = sum(float((g * d).sum()) for g, d in zip(found.gradients, direction, strict=True))
        assert exact == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("order", ["second", "first"])
def test_the_loss_before_any_step_counts_by_its_plain_gradient(order: str) -> None:
    model, tasks = SmoothCNN(), [random_task(seed=17), random_task(seed=18)]
    parameters = [p.detach() for p in model.parameters()]
    rates = PerStepRates(2, len(parameters), initial=0.05)
    given = {"steps": 2, "order": order, "step_weights": [0.0, 0.6], "loss": mse_loss}
    without = meta_gradient(model, rates, tasks, **given)
    found = meta_gradient(model, rates, tasks, before=0.7, **given)

    def plain(phi: list[Tensor]) -> Tensor:
        names = [name for name, _ in model.named_parameters()]
        return torch.stack([
            mse_loss(functional_call(model, dict(zip(names, phi, strict=True)), (enlarge(t.query_lr, t.query_hr, 2),)),
                     t.query_hr) for t in tasks
        ]).mean()  # fmt: skip

    gradients, value = torch.func.grad_and_value(plain)(parameters)
    assert found.query[0].item() == pytest.approx(value.item(), rel=1e-12)
    assert found.loss.item() == pytest.approx(without.loss.item() + 0.7 * value.item(), rel=1e-12)
    *of_weights, of_rates = [f - w for f, w in zip(found.gradients, without.gradients, strict=True)]
    assert relative_error(of_weights, [0.7 * g for g in gradients]) < 1e-10
    assert float(of_rates.abs().max()) == 0


@pytest.mark.parametrize("loss", [mse_loss, l1_loss])
def test_second_order_equals_torch_func(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    model = PlainCNN(channels=4, layers=3)
    tasks = [random_task(seed=6), random_task(seed=7)]
    rates = PerStepRates(STEPS, 6, initial=0.03)
    found = meta_gradient(model, rates, tasks, steps=STEPS, order="second", step_weights=WEIGHTS, loss=loss)

    def value(phi: list[Tensor], alpha: Tensor) -> Tensor:
        return outer_loss(model, phi, lambda j, i: alpha[j, i], tasks, WEIGHTS, loss=loss)

    where = [p.detach() for p in model.parameters()]
    by_phi, by_rates = torch.func.grad(value, argnums=(0, 1))(where, rates.inner_rates.detach())
    assert relative_error(found.gradients, [*by_phi, by_rates]) < 1e-12


def test_first_order_is_the_query_gradient_at_the_adapted_weights() -> None:
    """FOMAML by definition: Σ_j w_j ∇q(φ_j); the rate of step i gets Σ_{j > i} w_j ⟨-∇s(φ_i), ∇q(φ_j)⟩ per tensor."""
    model, task = SmoothCNN(), random_task(seed=8)
    rates = PerStepRates(3, 6, initial=0.05)
    weights = [0.5, 0.2, 0.3]
    found = meta_gradient(model, rates, [task], steps=3, order="first", step_weights=weights, loss=mse_loss)

    phi = SmoothCNN()
    phi.load_state_dict(model.state_dict())

    def gradient(lr: Tensor, hr: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(mse_loss(phi(enlarge(lr, hr, 2)), hr), list(phi.parameters())))

    by_phi = [torch.zeros_like(p) for p in phi.parameters()]
    by_rates = torch.zeros(3, 6)
    supports: list[list[Tensor]] = []
    for weight in weights:
        supports.append(gradient(task.support_lr, task.support_hr))
        with torch.no_grad():
            for p, g in zip(phi.parameters(), supports[-1], strict=True):
                p -= 0.05 * g
        for i, g in enumerate(gradient(task.query_lr, task.query_hr)):
            by_phi[i] += weight * g
            for j, support in enumerate(supports):
                by_rates[j, i] -= weight * (support[i] * g).sum()
    assert relative_error(found.gradients, [*by_phi, by_rates]) < 1e-12


def test_first_and_second_order_differ() -> None:
    model, task = SmoothCNN(), random_task(seed=9)
    both = [
        meta_gradient(model, FixedRates((0.05,)), [task], steps=2, order=order, step_weights=[0.5, 0.5], loss=mse_loss)
        for order in ("first", "second")
    ]
    assert both[0].loss.item() == pytest.approx(both[1].loss.item(), rel=1e-12)
    assert relative_error(both[0].gradients, both[1].gradients) > 1e-3


# --- learn2learn ---


def adapt_with_learn2learn(algorithm: MAML | MetaSGD, tasks: Sequence[Task], weights: Sequence[float]) -> None:
    """Accumulate gradients the way learn2learn's examples do."""
    for task in tasks:
        learner = algorithm.clone()
        total = torch.zeros(())
        for weight in weights:
            source = enlarge(task.support_lr, task.support_hr, 2)
            learner.adapt(l1_loss(learner(source), task.support_hr))
            total = total + weight * l1_loss(learner(enlarge(task.query_lr, task.query_hr, 2)), task.query_hr)
        (total / len(tasks)).backward()


@pytest.mark.parametrize("order", ["second", "first"])
@pytest.mark.parametrize("weights", [WEIGHTS, [0.0, 0.0, 0.0, 1.0]])
def test_equals_learn2learns_maml(order: str, weights: list[float]) -> None:
    model = PlainCNN(channels=4, layers=3)
    tasks = [random_task(seed=10), random_task(seed=11)]
    found = meta_gradient(model, FixedRates((0.02,)), tasks, steps=STEPS, order=order, step_weights=weights)
    adapt_with_learn2learn(MAML(model, lr=0.02, first_order=order == "first"), tasks, weights)
    assert relative_error(found.gradients, [p.grad for p in model.parameters()]) < 1e-12


@pytest.mark.parametrize("order", ["second", "first"])
def test_equals_learn2learns_meta_sgd(order: str) -> None:
    model = PlainCNN(channels=4, layers=3)
    tasks = [random_task(seed=12), random_task(seed=13)]
    rates = MetaSGDRates(list(model.parameters()), initial=0.02)
    found = meta_gradient(model, rates, tasks, steps=STEPS, order=order, step_weights=WEIGHTS)
    theirs = MetaSGD(model, lr=0.02, first_order=order == "first")
    adapt_with_learn2learn(theirs, tasks, WEIGHTS)
    assert relative_error(found.gradients, [p.grad for p in [*model.parameters(), *theirs.lrs]]) < 1e-12


# --- the rest ---


def test_query_losses_by_step() -> None:
    model, tasks = SmoothCNN(), [random_task(seed=14), random_task(seed=15)]
    rates = FixedRates((0.05,))
    found = meta_gradient(model, rates, tasks, steps=3, order="second", step_weights=[0.25, 0.0, 0.75], loss=mse_loss)
    parameters = [p.detach() for p in model.parameters()]
    want = [
        outer_loss(model, parameters, lambda j, i: 0.05, tasks, weights, loss=mse_loss).item()
        for weights in ([1.0], [0.0, 0.0, 1.0])
    ]
    assert [q.item() for q in found.query][1::2] == pytest.approx(want, rel=1e-12)
    assert torch.stack(found.query).isnan().tolist() == [True, False, True, False]


def test_model_and_rates_are_untouched() -> None:
    model, rates = SmoothCNN(), PerStepRates(2, 6)
    before = bits(model), bits(rates)
    meta_gradient(model, rates, [random_task(seed=16)], steps=2, order="second", step_weights=[0.5, 0.5])
    assert (bits(model), bits(rates)) == before
    assert all(p.grad is None for p in [*model.parameters(), *rates.parameters()])


def test_frozen_tensors_have_no_gradient_and_stay_as_they_are() -> None:
    model, task = SmoothCNN(), random_task(seed=17)
    model.convs[1].requires_grad_(False)
    found = meta_gradient(model, PerStepRates(2, 4), [task], steps=2, order="second", step_weights=[0.0, 1.0])
    assert [g.shape for g in found.gradients] == [
        *(p.shape for c in (model.convs[0], model.convs[2]) for p in c.parameters()),
        (2, 4),
    ]


def test_enlarge_is_bicubic_to_the_size_of_the_target() -> None:
    lr = torch.rand(2, 3, 5, 4)
    assert torch.equal(enlarge(lr, torch.empty(2, 3, 9, 8), 2), imresize(lr, 2)[..., :9, :8])


def test_surrogate_has_exactly_the_given_gradient() -> None:
    torch.set_default_dtype(torch.float32)
    parameters = [torch.randn(s, requires_grad=True) for s in ((3, 4), (5,), ())]
    wanted = [torch.randn(p.shape, requires_grad=True) for p in parameters]
    got = torch.autograd.grad(surrogate_loss(parameters, wanted), [*parameters, *wanted], allow_unused=True)
    assert all(torch.equal(g, w) for g, w in zip(got, wanted, strict=False))
    assert got[3:] == (None, None, None)


@pytest.mark.parametrize(
    ("tasks", "weights"), [([], [1.0]), (["one"], [0.5, 0.5]), (["one"], [0.0])], ids=["tasks", "length", "zeros"]
)
def test_impossible_meta_batches_are_refused(tasks: list[object], weights: list[float]) -> None:
    with pytest.raises(InputError, match="at least one task and one weight per inner step"):
        meta_gradient(SmoothCNN(), FixedRates((0.1,)), tasks, steps=1, order="second", step_weights=weights)


@pytest.mark.parametrize("order", ["none", "third"])
def test_orders_that_would_learn_nothing_are_refused(order: str) -> None:
    with pytest.raises(InputError, match=f"order must be one of second, first, got '{order}'"):
        require_training_order(order)
    with pytest.raises(InputError, match="order must be one of second, first"):
        MetaTransfer(PlainCNN(4, 2), steps=1, order=order)  # type: ignore[arg-type]
