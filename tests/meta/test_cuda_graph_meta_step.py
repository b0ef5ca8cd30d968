"""The meta-step in the engine: trained as eagerly, told apart by its signature, fit to be captured."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from meta.recording import Recorder
from metasr.data.tasks import Task
from metasr.meta.cuda_graph import Engine
from metasr.meta.meta_gradient import differentiate, meta_gradient, problem_of
from metasr.meta.precision import Precision
from metasr.meta.rates import MetaSGDRates, PerStepRates, Rates, make_rates
from metasr.models.plain_cnn import PlainCNN
from small_problems import SmoothCNN, real_task


def train(engine: Engine | None, *, rates: Rates, model: torch.nn.Module, weights: list[list[float]]) -> list[Tensor]:
    """A few meta-steps of gradient descent in place; all that meta_gradient gave."""
    found = []
    for i, step_weights in enumerate(weights):
        tasks = [real_task(seed=2 * i), real_task(seed=2 * i + 1)]
        got = meta_gradient(
            model, rates, tasks, steps=len(step_weights), order="second", step_weights=step_weights, engine=engine
        )
        found += [*got.gradients, got.loss, *got.query]
        with torch.no_grad():
            for p, g in zip([*model.parameters(), *rates.parameters()], got.gradients, strict=True):
                p -= 1e-2 * g
    return found


@pytest.mark.parametrize("kind", ["per_step", "meta_sgd"])
def test_meta_steps_played_back_train_as_eager_ones(kind: str) -> None:
    """Weights and rates move, data and step weights change, one weight becomes 0: all without a stale number."""
    torch.manual_seed(0)
    model = PlainCNN(channels=4, layers=3)
    rates: Rates = PerStepRates(2, 6) if kind == "per_step" else MetaSGDRates(list(model.parameters()))
    weights = [[0.5, 0.5], [0.4, 0.6], [0.3, 0.7], [0.0, 1.0], [0.2, 0.8]]
    recorder = Recorder()
    got = train(Engine(capture=recorder), model=copy.deepcopy(model), rates=copy.deepcopy(rates), weights=weights)
    want = train(None, model=model, rates=rates, weights=weights)
    assert all(torch.equal(g.nan_to_num(7.0), w.nan_to_num(7.0)) for g, w in zip(got, want, strict=True))
    assert (recorder.captured, recorder.played) == (2, 5)


def test_a_meta_steps_signature_is_all_that_changes_its_graph() -> None:
    recorder = Recorder()
    engine = Engine(graphs=10, capture=recorder)
    model, rates = SmoothCNN(), PerStepRates(2, 6)
    one, other, larger = real_task(seed=0), real_task(seed=1), real_task(seed=0, side=18, scale=3)

    def run(tasks: list[Task], *, weights: Sequence[float] = (0.5, 0.5), order: str = "second", **more: object) -> int:
        meta_gradient(
            model,
            rates,
            tasks,
            steps=2,
            order=order,
            step_weights=weights,
            engine=engine,
            **more,  # type: ignore[arg-type]
        )
        return recorder.captured

    same = [run([one]), run([other]), run([one], weights=(0.1, 0.9))]
    others = [
        run([larger]),
        run([one, other]),
        run([one], weights=(0.0, 1.0)),
        run([one], order="first"),
        run([one], precision=Precision(arithmetic="bf16")),
        run([one], loss=torch.nn.functional.mse_loss),
    ]
    assert same == [1, 1, 1]
    assert [b - a for a, b in pairwise([1, *others])] == [1] * 6


class Launched(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes every operation by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


FROM_OR_TO_THE_HOST = {"_local_scalar_dense", "lift_fresh", "is_nonzero", "equal", "nonzero"}


@pytest.mark.parametrize("kind", ["per_step", "meta_sgd", "fixed"])
def test_nothing_in_a_meta_step_waits_for_the_host_or_copies_from_it(kind: str) -> None:
    """What a CUDA graph cannot hold: ``item()``, ``torch.tensor(...)``, sizes that depend on values."""
    model = PlainCNN(channels=4, layers=3)
    rates = make_rates(kind, model, steps=2, initial=1e-2)  # type: ignore[arg-type]
    problems = [problem_of(real_task(seed=0), Precision())]
    weights = torch.tensor([0.0, 0.5, 0.5])
    with Launched() as launched:
        differentiate(
            model, rates, problems, weights, counted=(1, 2), steps=2, order="second", loss=torch.nn.functional.l1_loss,
            precision=Precision(),
        )  # fmt: skip
    assert "convolution_backward" in launched.names
    assert launched.names & FROM_OR_TO_THE_HOST == set()
    with Launched() as other:
        torch.tensor([1.0]).sum().item()
    assert other.names >= {"_local_scalar_dense", "lift_fresh"}, "these are their names"
