"""MAML-SR's recipe: its orders, its losses, and that two steps of one batch resume exactly."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from metasr.data.catalog import image_set
from metasr.data.datamodule import PatchData
from metasr.data.tasks import Pairs, PairSampler
from metasr.degradation.names import parse
from metasr.degradation.pipeline import DegradationSampler
from metasr.degradation.resize import imresize
from metasr.errors import DivergenceError, InputError, WeightsError
from metasr.models.maml_sr_net import MAMLSRNet
from metasr.recipes.base import schedule_factor
from metasr.recipes.maml_sr import MAMLSRRecipe
from recipes.fitting import Gradients, fit, silent_options
from small_problems import picture


def small(**options: Any) -> MAMLSRNet:
    return MAMLSRNet(4, **options)


def pairs(seed: int = 0, *, count: int = 2, side: int = 16, dtype: torch.dtype = torch.float32) -> Pairs:
    hr = torch.cat([picture(side, side, seed=10 * seed + i, dtype=dtype) for i in range(count)])
    degradation = parse("area", scale=2)
    return Pairs(degradation(hr), hr, degradation)


def deep_loss(model: MAMLSRNet, batch: Pairs, weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Tensor:
    source = imresize(batch.lr, 2)
    terms = [w * (i - batch.hr).abs().mean() for w, i in zip(weights, model.deep(source), strict=True)]
    return torch.stack(terms).sum()


def final_loss(model: MAMLSRNet, batch: Pairs) -> Tensor:
    return (model(imresize(batch.lr, 2)) - batch.hr).abs().mean()


def gradients(loss: Tensor, model: MAMLSRNet) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True))


def stepped(model: MAMLSRNet, loss: Tensor, rate: float) -> MAMLSRNet:
    """A copy of a model, one step of gradient descent on."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p, g in zip(other.parameters(), gradients(loss, model), strict=True):
            p -= rate * g
    return other


@pytest.mark.parametrize("order", ["second", "first", "notebook"])
def test_losses_go_down(order: str) -> None:
    torch.manual_seed(0)
    batch = pairs()
    recipe = MAMLSRRecipe(small(), steps=20, rate=5e-3, order=order, schedule="constant")
    before = final_loss(recipe.network, batch).item(), deep_loss(recipe.network, batch).item()
    fit(recipe, [batch], steps=20)
    assert final_loss(recipe.network, batch).item() < 0.9 * before[0]
    assert deep_loss(recipe.network, batch).item() < before[1]


def test_the_first_order_step_by_hand() -> None:
    """The gradients of the outer loss at φ, applied to θ by Adam; two inner steps, own λ, half the batch each."""
    torch.manual_seed(0)
    batch, weights = pairs(count=3, dtype=torch.float64), (0.5, 0.0, 2.0)
    options = {"inner_steps": 2, "inner_rate": 0.05, "deep_weights": weights, "outer_deep_weight": 0.3, "split": True}
    recipe = MAMLSRRecipe(small(last_gain=1.0).double(), steps=5, rate=2e-3, order="first", **options)
    model = copy.deepcopy(recipe.network)
    logged = fit(recipe, [batch], steps=1)

    inner, outer = (Pairs(batch.lr[s], batch.hr[s], batch.degradation) for s in (slice(1), slice(1, None)))
    adapted = stepped(model, deep_loss(model, inner, weights), 0.05)
    adapted = stepped(adapted, deep_loss(adapted, inner, weights), 0.05)
    final, deep = final_loss(adapted, outer), deep_loss(adapted, outer, weights)
    assert logged[0]["train/final"] == pytest.approx(final.item(), rel=1e-5)
    assert logged[0]["train/deep"] == pytest.approx(deep.item(), rel=1e-5)
    assert logged[0]["train/loss"] == pytest.approx(final.item() + 0.3 * deep.item(), rel=1e-5)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for p, g in zip(model.parameters(), gradients(final + 0.3 * deep, adapted), strict=True):
        p.grad = g
    adam.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(recipe.export()[name], value, rtol=0, atol=1e-8)


def test_an_inner_step_on_the_image_itself_by_hand() -> None:
    """The LR patches, degraded once more, are its input, the LR patches its target."""
    torch.manual_seed(0)
    batch = pairs(side=32, dtype=torch.float64)
    recipe = MAMLSRRecipe(small().double(), steps=5, order="first", inner_rate=0.05, inner_loss="image")
    model = copy.deepcopy(recipe.network)
    logged = fit(recipe, [batch], steps=1)
    son = torch.nn.functional.avg_pool2d(batch.lr, 2)
    adapted = stepped(model, (model(imresize(son, 2)) - batch.lr).abs().mean(), 0.05)
    assert logged[0]["train/final"] == pytest.approx(final_loss(adapted, batch).item(), rel=1e-5)
    assert logged[0]["train/deep"] == pytest.approx(deep_loss(adapted, batch).item(), rel=1e-5)


def test_the_unadapted_loss_is_of_the_weights_before_the_step() -> None:
    torch.manual_seed(0)
    batch = pairs()
    recipe = MAMLSRRecipe(small(), steps=5, order="first", inner_rate=0.05, unadapted_weight=0.3, outer_deep_weight=0.0)
    model = copy.deepcopy(recipe.network)
    logged = fit(recipe, [batch], steps=1)
    adapted = stepped(model, deep_loss(model, batch), 0.05)
    wanted = final_loss(adapted, batch) + 0.3 * final_loss(model, batch)
    assert logged[0]["train/loss"] == pytest.approx(wanted.item(), rel=1e-5)


def test_the_second_order_gradient_is_of_the_loss_after_the_step() -> None:
    """Against finite differences of a plain two-step computation, in the direction of the gradient itself."""
    torch.manual_seed(0)
    batch = pairs(dtype=torch.float64)
    recipe = MAMLSRRecipe(MAMLSRNet(2, last_gain=1.0).double(), steps=1, inner_rate=0.1)
    recipe.log = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer here
    model = recipe.network

    def value() -> float:
        adapted = stepped(model, deep_loss(model, batch), 0.1)
        return (final_loss(adapted, batch) + 0.1 * deep_loss(adapted, batch)).item()

    loss = recipe._meta_loss(imresize(batch.lr, 2), batch.hr)
    assert loss.item() == pytest.approx(value(), rel=1e-10)
    direction = gradients(loss, model)
    norm = sum(float((g * g).sum()) for g in direction)
    start, step, moved = [p.detach().clone() for p in model.parameters()], 1e-7, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, s, g in zip(model.parameters(), start, direction, strict=True):
                p.copy_(s + sign * step / norm**0.5 * g)
        moved.append(value())
    assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(norm**0.5, rel=1e-4)


def test_the_notebooks_order_is_two_adam_steps_on_each_batch() -> None:
    torch.manual_seed(0)
    recipe = MAMLSRRecipe(small().double(), steps=4, rate=2e-3, order="notebook", deep_weights=(1.0, 2.0, 0.5))
    model = copy.deepcopy(recipe.network)
    given = [pairs(seed, dtype=torch.float64) for seed in (0, 0, 1, 1)]
    logged = fit(recipe, given, steps=4)
    adam = torch.optim.Adam(model.parameters())
    for step, batch in enumerate(given):
        adam.param_groups[0]["lr"] = 2e-3 * schedule_factor("cosine", step, 4)
        adam.zero_grad()
        loss = final_loss(model, batch) if step % 2 else deep_loss(model, batch, (1.0, 2.0, 0.5))
        assert logged[step]["train/loss"] == pytest.approx(loss.item(), rel=1e-4)
        for p, g in zip(model.parameters(), gradients(loss, model), strict=True):
            p.grad = g
        adam.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(recipe.export()[name], value, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "without"),
    [
        ({}, [set(), set()]),
        ({"outer_deep_weight": 0.0}, [set(), set()]),  # the heads learn through the second order
        ({"order": "first", "outer_deep_weight": 0.0}, [{"heads"}, {"heads"}]),
        ({"order": "notebook"}, [{"output", "decode.0", "decode.1", "up.0", "attention.0"}, {"heads"}]),
    ],
)
def test_every_parameter_has_a_gradient_at_every_step(options: dict[str, Any], without: list[set[str]]) -> None:
    """0 where it has no part in the loss, not missing: several devices wait for every parameter's."""
    torch.manual_seed(0)
    seen = Gradients()
    fit(MAMLSRRecipe(small(last_gain=1.0), steps=2, **options), [pairs()], steps=2, callbacks=[seen])
    for norms, resting in zip(seen.norms, without, strict=True):
        assert None not in norms.values()
        for part in ("output", "decode.0", "decode.1", "up.0", "attention.0", "heads", "down", "bridge"):
            learns = [norm > 0 for name, norm in norms.items() if name.startswith(f"model.{part}.")]
            assert learns
            assert any(learns) == (part not in resting), part


def test_without_intermediate_images_the_inner_step_is_on_the_final_loss() -> None:
    torch.manual_seed(0)
    batch = pairs()
    recipe = MAMLSRRecipe(small(deep_supervision=False, attention="none"), steps=1, inner_rate=0.1)
    model = copy.deepcopy(recipe.network)
    logged = fit(recipe, [batch], steps=1)
    adapted = stepped(model, final_loss(model, batch), 0.1)
    assert logged[0]["train/loss"] == pytest.approx(final_loss(adapted, batch).item(), rel=1e-5)
    assert "train/deep" not in logged[0]


def test_no_option_is_silent() -> None:
    baseline = {"model": lambda: MAMLSRNet(2, last_gain=1.0), "steps": lambda: 10}
    others = {
        "model": lambda: MAMLSRNet(2, last_gain=1.0, attention="none"),
        "steps": lambda: 20,
        "rate": lambda: 5e-4,
        "inner_steps": lambda: 2,
        "inner_rate": lambda: 5e-2,
        "order": lambda: "first",
        "deep_weights": lambda: (1.0, 0.5, 1.0),
        "outer_deep_weight": lambda: 0.0,
        "unadapted_weight": lambda: 0.5,
        "split": lambda: True,
        "inner_loss": lambda: "image",
        "schedule": lambda: "constant",
    }
    assert silent_options(MAMLSRRecipe, baseline, others, [pairs()]) == []


# --- the same batch twice, and resume ---


class Stop(pl.Callback):
    """Saves after a step and ends the run there."""

    def __init__(self, path: Path, *, after: int) -> None:
        self.path, self.after = path, after

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def train(folder: Path, *, resume: Path | None = None, stop: int | None = None) -> tuple[MAMLSRRecipe, list[bytes]]:
    torch.manual_seed(0)
    seen: list[bytes] = []

    class Watched(MAMLSRRecipe):
        def training_step(self, batch: Pairs, batch_idx: int) -> Tensor:
            seen.append(batch.hr.numpy().tobytes())
            return super().training_step(batch, batch_idx)

    recipe = Watched(small(), steps=6, order="notebook")
    sampler = PairSampler(batch_size=2, degradations=DegradationSampler(downsample="area"))
    images = image_set("samples", split="val").subset(1)
    data = PatchData(images, sampler=sampler, patch_size=16, steps=6, seed=1, stage="maml_sr")
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=6, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
        callbacks=[] if stop is None else [Stop(folder / "resume.ckpt", after=stop)],
    )  # fmt: skip
    trainer.fit(recipe, datamodule=data, ckpt_path=resume, weights_only=None if resume is None else True)
    return recipe, seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stop", [2, 3])
def test_the_notebooks_pairs_share_a_batch_and_resume_within_one(stop: int, tmp_path: Path) -> None:
    whole, seen = train(tmp_path)
    assert [seen[i] == seen[i + 1] for i in range(5)] == [True, False, True, False, True]
    _, first = train(tmp_path, stop=stop)
    resumed, second = train(tmp_path, resume=tmp_path / "resume.ckpt")
    assert (len(first), len(second)) == (stop, 6 - stop)
    assert first + second == seen
    assert all(torch.equal(v, resumed.export()[k]) for k, v in whole.export().items())


def test_only_the_notebooks_order_takes_two_steps_on_a_batch() -> None:
    assert MAMLSRRecipe(small(), steps=2, order="notebook").steps_per_batch == 2
    assert MAMLSRRecipe(small(), steps=2).steps_per_batch == 1


# --- what is shown, weights, refusals ---


@pytest.mark.parametrize("kind", ["both", "none"])
@pytest.mark.parametrize("scale", [2, 3])
def test_maps_are_of_the_images_size(kind: str, scale: int) -> None:
    recipe = MAMLSRRecipe(small(attention=kind), steps=1)
    hr, degradation = picture(24, 42), parse("area", scale=scale)
    maps = recipe.maps(degradation(hr), hr, degradation)
    levels = [f"activation {n}" for n in ("1/8", "1/4", "1/2")]
    between = [f"activation {n} {w} attention" for n in ("1/4", "1/2") for w in ("before", "after")]
    assert list(maps) == ["input", "output", *levels, *(between if kind == "both" else [])]
    for name, found in maps.items():
        assert found.shape == ((3, 24, 42) if name in ("input", "output") else (24, 42))
        assert not found.requires_grad
        assert found.min() >= 0
    torch.testing.assert_close(maps["input"], imresize(degradation(hr), scale)[0].clamp(0, 1))


def test_export_and_load() -> None:
    parent, child = MAMLSRRecipe(small(), steps=1), MAMLSRRecipe(small(), steps=1)
    with torch.no_grad():
        parent.network.output.bias.add_(1)
    count = len(parent.network.state_dict())
    assert child.load_parent(parent.export(), origin="p") == f"{count} of {count} network tensors from p"
    assert all(torch.equal(v, child.export()[k]) for k, v in parent.export().items())
    with pytest.raises(WeightsError, match="holds the weights of another network"):
        MAMLSRRecipe(small(attention="none"), steps=1).load_parent(parent.export(), origin="p")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "third"}, "order must be one of second, first, notebook, got 'third'"),
        ({"inner_steps": 0}, "inner_steps must be at least 1, got 0; for plain training use Pretrain"),
        ({"order": "notebook", "steps": 3}, "number must be even, got 3; set stages.maml_sr.steps"),
        ({"inner_loss": "final"}, "inner_loss must be one of deep, image, got 'final'"),
        ({"order": "notebook", "inner_loss": "image"}, "has no inner step, got inner_loss='image'"),
        ({"order": "notebook", "unadapted_weight": 0.1}, "all its losses are unadapted; got unadapted_weight=0.1"),
        ({"order": "notebook", "split": True}, "on the whole batch, got split=true; set split=false or another order"),
        ({"deep_weights": (1.0, 1.0)}, r"three numbers of at least 0, not all 0, got \[1.0, 1.0\]"),
        ({"deep_weights": (0.0, 0.0, 0.0)}, "to do without intermediate images set model.deep_supervision=false"),
        ({"deep_weights": (1.0, -1.0, 0.0)}, "deep_weights must be three numbers of at least 0"),
        ({"outer_deep_weight": -0.1}, "outer_deep_weight must be at least 0, got -0.1"),
        ({"inner_rate": -1.0}, "inner_rate must be above 0, got -1.0; set stages.maml_sr.recipe.inner_rate"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MAMLSRRecipe(small(), **{"steps": 4, **options})


def test_a_single_pair_cannot_be_split() -> None:
    with pytest.raises(InputError, match="split=true needs at least two pairs in a batch, got 1; raise batch_size"):
        fit(MAMLSRRecipe(small(), steps=1, split=True), [pairs(count=1)], steps=1)


def test_divergence_names_the_degradation() -> None:
    batch = pairs()
    with pytest.raises(DivergenceError, match="MAMLSRRecipe: loss became nan at step 0 for degradation area"):
        fit(MAMLSRRecipe(small(), steps=1), [batch._replace(hr=batch.hr * float("nan"))], steps=1)


def test_pairs_of_another_scale_are_refused() -> None:
    batch = pairs()
    with pytest.raises(InputError, match="LR and HR sizes do not match scale 3"):
        fit(MAMLSRRecipe(small(), steps=1), [batch._replace(degradation=parse("area", scale=3))], steps=1)
