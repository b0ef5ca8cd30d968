"""Kernel regression: its losses against formulas, and that it learns to tell one blur from another."""

from functools import partial

import pytest
import torch

from metasr.data.observations import Observations, ObservationSampler
from metasr.data.patches import PatchPool
from metasr.degradation import kernels
from metasr.degradation.kernels import GaussianSampler
from metasr.degradation.pipeline import DegradationSampler
from metasr.errors import DivergenceError, InputError
from metasr.models.kernel_regressor import KernelRegressor, axes_of
from metasr.models.plain_cnn import PlainCNN
from metasr.recipes.kernel_regression import KernelRegression, kernel_loss, noise_loss
from recipes.fitting import Gradients, fit, silent_options

SAMPLER = ObservationSampler(
    batch_size=6,
    degradations=DegradationSampler(kernels=GaussianSampler(size=11, variance=(0.1, 5.0), delta_share=0.3)),
    lr_size=26,
)


def batches(count: int = 3) -> list[Observations]:
    generator = torch.Generator().manual_seed(0)
    pool = PatchPool(torch.rand(3, 3, 71, 63, generator=generator), patch_size=52)
    return [SAMPLER.draw(pool, generator=generator) for _ in range(count)]


def small() -> KernelRegressor:
    torch.manual_seed(0)
    return KernelRegressor(width=16)


def test_the_kernel_loss_is_the_misplaced_mass() -> None:
    true = torch.stack([kernels.anisotropic(3.0, 1.0, 0.4, size=15), kernels.delta(size=15)])
    wide = torch.tensor([[0.0, 0.0, 0.0], [-9.0, 0.0, 0.0]], dtype=torch.float64)
    by_hand = (kernels.isotropic(1.0, size=15) - true[0]).abs().sum()
    assert kernel_loss(wide, true).tolist() == pytest.approx([float(by_hand), 0.0])  # the second is a single tap
    assert float(kernel_loss(wide.flip(0), true).mean()) > float(by_hand)


def test_the_kernel_loss_is_differentiable() -> None:
    true = kernels.anisotropic(2.0, 0.7, -0.3, size=9)[None]
    logs = torch.tensor([[0.2, 0.3, -0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(partial(kernel_loss, kernel=true), logs)


def test_the_noise_loss_is_relative_and_zero_where_right() -> None:
    true = torch.tensor([0.0, 9.0, 99.0], dtype=torch.float64) / 255
    assert float(noise_loss(true, true)) == 0
    ten = torch.log(torch.tensor(2.0, dtype=torch.float64))
    twice = (2 * (true * 255 + 1) - 1) / 255
    torch.testing.assert_close(noise_loss(twice, true), ten)


def test_a_fit_lowers_the_loss() -> None:
    recipe = KernelRegression(small(), steps=60, rate=5e-3)
    logged = fit(recipe, batches(1), steps=60)
    first, last = (sum(row["train/loss"] for row in part) / 5 for part in (logged[:5], logged[-5:]))
    assert last < 0.7 * first
    parts = logged[-1]
    assert parts["train/loss"] == pytest.approx(
        parts["train/kernel"] + 0.2 * parts["train/noise"] + 0.2 * parts["train/doubt"]
    )


def test_it_learns_which_way_the_blur_lies() -> None:
    """Two kernels that differ in their angle alone: after some steps the longer axis is the right one of each."""
    generator = torch.Generator().manual_seed(1)
    hr = torch.rand(8, 3, 60, 60, generator=generator)
    flat, upright = (kernels.anisotropic(4.0, 0.3, angle, size=11).float() for angle in (0.0, torch.pi / 2))
    made_by = DegradationSampler(downsample="direct").sample(8, generator=generator)
    kernel = torch.stack([flat, upright] * 4)
    lr = torch.nn.functional.conv2d(
        hr.reshape(1, 24, 60, 60), kernel.repeat_interleave(3, 0)[:, None], groups=24
    ).reshape(8, 3, 50, 50)
    batch = Observations(lr, kernel, torch.zeros(8), made_by)
    recipe = KernelRegression(small(), steps=80, rate=5e-3)
    fit(recipe, [batch], steps=80)
    told = recipe.model(lr, scale=2.0, direct=True).log_covariance.detach()
    for i, row in enumerate(told):
        long, short, theta = axes_of(row)
        assert long > 1.5 * short
        assert abs(abs(theta) - (torch.pi / 2 if i % 2 else 0.0)) < 0.3


def test_every_parameter_gets_a_gradient() -> None:
    kept = Gradients()
    fit(KernelRegression(small(), steps=1), batches(1), steps=1, callbacks=[kept])
    assert all(norm is not None for norm in kept.norms[0].values())


def test_every_argument_changes_the_outcome() -> None:
    baseline = {"model": small, "steps": lambda: 3}
    others = {
        "model": lambda: KernelRegressor(width=9),
        "steps": lambda: 9,
        "rate": lambda: 1e-3,
        "noise_weight": lambda: 1.0,
        "doubt_weight": lambda: 1.0,
        "rehearsed": lambda: 5,
        "schedule": lambda: "constant",
    }
    assert silent_options(KernelRegression, baseline, others, batches()) == []


def test_a_loss_that_is_not_finite_stops_it() -> None:
    broken = batches(1)[0]._replace(noise_std=torch.full((6,), float("nan")))
    with pytest.raises(DivergenceError, match=r"loss became nan at step 0 for (direct|bicubic) subsampling at scale 2"):
        fit(KernelRegression(small(), steps=1), [broken], steps=1)


def test_other_networks_and_shares_are_refused() -> None:
    with pytest.raises(InputError, match="trains a KernelRegressor, got PlainCNN; choose model=kernel_regressor"):
        KernelRegression(PlainCNN(channels=4, layers=2), steps=1)  # type: ignore[arg-type]
    for option in ("noise_weight", "rehearsed"):
        with pytest.raises(InputError, match=f"{option} must be at least 0, got -1"):
            KernelRegression(small(), steps=1, **{option: -1})  # type: ignore[arg-type]


def test_what_was_seen_before_is_looked_at_again() -> None:
    """Three steps of six observations, of which a memory of ten holds the latest."""
    seen: list[torch.Tensor] = []
    recipe = KernelRegression(small(), steps=3, rehearsed=400)
    given = batches()
    own = [KernelRegressor.observe(small(), b.lr, scale=2.0, direct=True)[:, :-2] for b in given]  # whatever the grid
    recipe.memory.room = 10 * 4 * (own[0].shape[1] + 2 + given[0].kernel[0].numel() + 1)
    recipe.model.register_forward_pre_hook(lambda *_: pytest.fail("what was remembered has no image any more"))
    recipe.model.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    fit(recipe, given, steps=3)
    for step, told in enumerate(seen):
        assert len(told) == 406
        torch.testing.assert_close(told[:6, :-2], own[step])
        known = torch.cat(own[: step + 1])[-10:]
        found = {int((row == known).all(1).nonzero()[0]) for row in told[6:, :-2]}  # fails for a row that is not known
        assert len(found) == len(known)  # 400 draws of at most ten miss none
