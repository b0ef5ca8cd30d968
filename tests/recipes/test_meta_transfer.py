"""Meta-transfer: MZSR's second stage."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from metasr.data.tasks import Task
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError
from metasr.meta.inner_loop import inner_loop
from metasr.meta.meta_gradient import meta_gradient
from metasr.meta.precision import Precision
from metasr.meta.rates import PerStepRates
from metasr.meta.step_weights import StepWeights
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.base import schedule_factor
from metasr.recipes.meta_transfer import MetaTransfer
from recipes.fitting import Either, fit, silent_options
from small_problems import real_task


def small() -> PlainCNN:
    return PlainCNN(channels=4, layers=3)


def batches(count: int) -> list[list[Task]]:
    return [[real_task(seed=2 * i), real_task(seed=2 * i + 1)] for i in range(count)]


def test_loss_after_adaptation_goes_down() -> None:
    torch.manual_seed(0)
    tasks = batches(1)[0]
    recipe = MetaTransfer(PlainCNN(channels=12, layers=3), steps=40, rate=3e-3, inner_steps=2, schedule="constant")

    def score(steps: int) -> float:
        losses = []
        for t in tasks:
            source = imresize(t.support_lr, 2)
            net = inner_loop(
                recipe.model,
                lambda n, x=source, y=t.support_hr: F.l1_loss(n(x), y),
                steps=steps,
                rates=recipe.rates,
                order="none",
            )
            with torch.no_grad():
                losses.append(F.l1_loss(net(imresize(t.query_lr, 2)), t.query_hr).item())
        return sum(losses) / len(losses)

    before = score(2)
    logged = fit(recipe, [tasks], steps=40)
    assert score(2) < 0.9 * before
    assert score(2) < score(0)
    assert logged[-1]["train/loss"] < 0.9 * logged[0]["train/loss"]


@pytest.mark.parametrize(("kind", "order"), [("per_step", "second"), ("meta_sgd", "first"), ("fixed", "second")])
def test_steps_are_adams_on_the_meta_gradient(kind: str, order: str) -> None:
    """The gradient goes through a surrogate loss and Lightning; Adam by hand on the gradient itself does the same."""
    torch.manual_seed(0)
    weights = StepWeights(anneal_steps=4)
    recipe = MetaTransfer(
        small(), steps=5, rate=2e-3, inner_steps=2, rates=kind, rates_lr=1e-3, order=order, step_weights=weights
    )
    model, rates = copy.deepcopy(recipe.model), copy.deepcopy(recipe.rates)
    given = batches(3)
    logged = fit(recipe, given, steps=3)

    parameters = [*model.parameters(), *rates.parameters()]
    groups = [{"params": list(model.parameters())}, {"params": list(rates.parameters())}]
    adam = torch.optim.Adam([g for g in groups if g["params"]])
    for step, tasks in enumerate(given):
        for group, rate in zip(adam.param_groups, (2e-3, 1e-3), strict=False):
            group["lr"] = rate * schedule_factor("cosine", step, 5)
        found = meta_gradient(model, rates, tasks, steps=2, order=order, step_weights=weights.at(step, 2))
        assert logged[step]["train/loss"] == pytest.approx(found.loss.item(), rel=1e-5)
        assert logged[step]["train/query_after_1"] == pytest.approx(found.query[1].item(), rel=1e-5)
        assert logged[step]["train/query_after_2"] == pytest.approx(found.query[2].item(), rel=1e-5)
        for parameter, gradient in zip(parameters, found.gradients, strict=True):
            parameter.grad = gradient
        adam.step()
    got = recipe.export()
    for name, value in {**model.state_dict(), **rates.state_dict()}.items():
        torch.testing.assert_close(got.pop(name), value, rtol=1e-4, atol=1e-6)
    assert got == {}


class Checkpoint(pl.Callback):
    """Saves at the end of every step, as the resume point does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.path)
        self.seen.append(torch.load(self.path, weights_only=True)["state_dict"]["rates.inner_rates"])


def test_rates_are_inside_their_bounds_before_a_checkpoint_sees_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = MetaTransfer(small(), steps=3, inner_steps=2, rates_lr=10.0)  # a step throws every rate far outside
    checkpoint = Checkpoint(tmp_path / "resume.ckpt")
    fit(recipe, batches(1), steps=3, callbacks=[checkpoint])
    low, high = recipe.rates.bounds
    assert len(checkpoint.seen) == 3
    for rates in checkpoint.seen:
        assert ((rates == torch.tensor(low)) | (rates == torch.tensor(high))).all()


def test_no_option_is_silent() -> None:
    baseline = {"model": lambda: Either(channels=4, layers=3), "steps": lambda: 10, "inner_steps": lambda: 2}
    others = {
        "model": lambda: PlainCNN(channels=4, layers=2),
        "steps": lambda: 20,
        "rate": lambda: 1e-3,
        "inner_steps": lambda: 3,
        "inner_rate": lambda: 3e-2,
        "rates": lambda: "fixed",
        "rates_lr": lambda: 5e-3,
        "order": lambda: "first",
        "step_weights": lambda: StepWeights(kind="final"),
        "schedule": lambda: "constant",
        "engine": lambda: "eager",
        "precision": lambda: "bf16",
        "layout": lambda: "contiguous",
        "enlarge_first": lambda: False,
    }
    assert silent_options(MetaTransfer, baseline, others, batches(1)) == ["engine"]  # how fast, not what


def test_the_weight_before_any_step_reaches_the_training_and_the_log() -> None:
    logged = []
    for before in (0.0, 0.5):
        torch.manual_seed(0)
        recipe = MetaTransfer(small(), steps=1, inner_steps=2, step_weights=StepWeights(before=before))
        logged += fit(recipe, batches(1), steps=1)
    plain, more = logged
    assert "train/query_after_0" not in plain
    assert more["train/loss"] == pytest.approx(plain["train/loss"] + 0.5 * more["train/query_after_0"], rel=1e-5)


def test_options_reach_the_engine() -> None:
    recipe = MetaTransfer(small(), steps=1, engine="eager", precision="fp32", layout="contiguous")
    assert recipe.engine.kind == "eager"
    assert recipe.precision == Precision(arithmetic="fp32", layout="contiguous")
    plain = MetaTransfer(small(), steps=1)
    assert (plain.engine.kind, plain.precision) == ("auto", Precision(arithmetic="tf32", layout="auto"))


def test_rates_learn_ten_times_slower_than_they_start_by_default() -> None:
    groups = MetaTransfer(small(), steps=1, inner_rate=0.03).parameter_groups()
    assert [g["lr"] for g in groups] == pytest.approx([1e-4, 3e-3])
    assert [len(g["params"]) for g in groups] == [6, 1]
    assert len(MetaTransfer(small(), steps=1, rates="fixed").parameter_groups()) == 1


def test_divergence_names_the_tasks() -> None:
    task = real_task(seed=0)
    recipe = MetaTransfer(small(), steps=1, inner_steps=1)
    with pytest.raises(DivergenceError, match=rf"MetaTransfer: loss became nan at step 0 for tasks {task.degradation}"):
        fit(recipe, [[task._replace(query_hr=task.query_hr * float("nan"))]], steps=1)


def test_unknown_rates_and_rates_outside_their_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="'fixed', 'per_step' or 'meta_sgd', got 'learned'"):
        MetaTransfer(small(), steps=1, rates="learned")
    with pytest.raises(InputError, match="must start inside their bounds"):
        MetaTransfer(small(), steps=1, inner_rate=0.5)


# --- weights from an earlier stage ---


def trained(**options: Any) -> MetaTransfer:
    recipe = MetaTransfer(small(), steps=1, inner_steps=2, **options)
    with torch.no_grad():
        for p in recipe.rates.parameters():
            p.uniform_(0.02, 0.05)
    return recipe


@pytest.mark.parametrize(("kind", "count"), [("per_step", 1), ("meta_sgd", 6)])
def test_parents_rates_come_along(kind: str, count: int) -> None:
    parent, child = trained(rates=kind), trained(rates=kind)
    line = child.load_parent(parent.export(), origin="01_meta")
    assert line == f"6 of 6 network tensors from 01_meta and {count} rate tensors from 01_meta"
    assert child.export().keys() == parent.export().keys()
    assert all(torch.equal(v, parent.export()[k]) for k, v in child.export().items())


def test_parents_without_fitting_rates_are_told_of() -> None:
    network = "6 of 6 network tensors from p"
    bare = {k: v for k, v in trained().export().items() if k != "inner_rates"}
    more_steps = MetaTransfer(small(), steps=1, inner_steps=3).export()
    cases: list[tuple[dict[str, Any], dict[str, torch.Tensor], str]] = [
        ({}, bare, "; 1 rate tensors start afresh"),
        ({"rates": "fixed"}, bare, ""),
        ({"rates": "fixed"}, trained().export(), ", 1 rate tensors not used"),
        ({}, more_steps, ", 1 rate tensors not used; 1 rate tensors start afresh: the parent's are of another kind"),
        (
            {"rates": "meta_sgd"},
            trained().export(),
            ", 1 rate tensors not used; 6 rate tensors start afresh: the parent's are of another kind",
        ),
    ]
    for options, state, rest in cases:
        child = trained(**options)
        before = copy.deepcopy(child.rates.state_dict())
        assert child.load_parent(state, origin="p") == network + rest
        assert all(torch.equal(v, before[k]) for k, v in child.rates.state_dict().items())


def test_export_can_be_read_back_as_rates() -> None:
    recipe = trained()
    assert torch.equal(PerStepRates.of(recipe.export()["inner_rates"]).inner_rates, recipe.rates.inner_rates)
