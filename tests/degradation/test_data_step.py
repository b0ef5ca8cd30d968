"""The data step against dense solves, its derivatives, its borders, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metasr.degradation.data_step import FourierStep, conjugate_step, data_step, is_closed
from metasr.degradation.kernels import anisotropic, isotropic
from metasr.degradation.pipeline import Degradation, Downsample
from metasr.errors import InputError
from small_problems import picture

SUBSAMPLINGS: tuple[Downsample, ...] = ("direct", "bicubic", "area")
MU = 0.01


def problem(
    seed: int = 0, *, lr: tuple[int, int] = (9, 10), scale: int = 2, batch: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """A guess, an LR batch and a lopsided kernel for each image, none of which has to do with the others."""
    generator = torch.Generator().manual_seed(seed)
    guess, observed, kernel = (
        torch.rand(shape, generator=generator, dtype=torch.float64)
        for shape in ((batch, 1, lr[0] * scale, lr[1] * scale), (batch, 1, *lr), (batch, 5, 3))
    )
    return guess, observed, kernel / kernel.sum((1, 2), keepdim=True)


def matrix(degradation: Degradation, size: tuple[int, int], *, periodic: bool) -> Tensor:
    """The degradation as a dense matrix, by its answers to single pixels; of a plane of copies where it is periodic."""
    height, width = size
    pixels = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    if not periodic:
        return degradation.linear(pixels).flatten(1).T
    answers = degradation.linear(pixels.repeat(1, 1, 3, 3))
    rows, columns = (int(n / degradation.scale) for n in size)
    return answers[..., rows : 2 * rows, columns : 2 * columns].flatten(1).T


def solved(forward: Tensor, guess: Tensor, observed: Tensor, mu: float) -> Tensor:
    """argmin of the data step's two terms by its normal equations."""
    left = forward.T @ forward + mu * torch.eye(forward.shape[1], dtype=torch.float64)
    return torch.linalg.solve(left, forward.T @ observed.flatten() + mu * guess.flatten()).reshape(guess.shape)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("downsample", SUBSAMPLINGS)
def test_closed_form_is_the_dense_solution_of_a_periodic_image(downsample: Downsample, scale: int) -> None:
    guess, observed, kernel = problem(scale=scale)
    degradation = Degradation(scale=scale, kernel=kernel, downsample=downsample, padding="circular", gain=0.7)
    found = data_step(guess, observed, degradation, MU)
    for index in range(2):
        forward = matrix(degradation.of_one(index), (9 * scale, 10 * scale), periodic=True)
        truth = solved(forward, guess[index], observed[index], MU)
        assert (found[index] - truth).abs().max() < 1e-9


@pytest.mark.parametrize("downsample", SUBSAMPLINGS)
def test_each_image_has_its_own_mu(downsample: Downsample) -> None:
    guess, observed, kernel = problem()
    degradation = Degradation(scale=2, kernel=kernel, downsample=downsample)
    both = data_step(guess, observed, degradation, torch.tensor([0.1, 0.001], dtype=torch.float64))
    for index, mu in enumerate((0.1, 0.001)):
        one = slice(index, index + 1)
        alone = data_step(guess[one], observed[one], degradation.of_one(index), mu)
        torch.testing.assert_close(both[one], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 1.5])
@pytest.mark.parametrize("downsample", ["direct", "bicubic"])
def test_conjugate_gradients_give_the_dense_solution_with_mask_gain_and_broken_scale(
    downsample: Downsample, scale: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    observed = torch.rand(1, 1, 8, 10, generator=generator, dtype=torch.float64)
    guess = torch.rand(1, 1, int(8 * scale), int(10 * scale), generator=generator, dtype=torch.float64)
    mask = torch.ones(1, 1, 8, 10, dtype=torch.float64)
    mask[..., 2:5, 3:6] = 0
    kernel = anisotropic(2.0, 0.5, 0.4, size=5)
    degradation = Degradation(scale=scale, kernel=kernel, downsample=downsample, mask=mask, gain=0.6)
    assert not is_closed(degradation)
    size = (guess.shape[-2], guess.shape[-1])
    seen = matrix(degradation, size, periodic=False) * mask.flatten()[:, None]
    truth = solved(seen, guess[0], (observed * mask)[0], MU)
    found = conjugate_step(guess, observed, degradation, MU, tolerance=1e-12)
    assert (found[0] - truth).abs().max() < 1e-9
    torch.testing.assert_close(data_step(guess, observed, degradation, MU), found, rtol=0, atol=1e-4)


def test_derivatives_of_first_and_second_order() -> None:
    guess, observed, kernel = problem(lr=(4, 3))
    given = [t.requires_grad_() for t in (guess, observed, kernel, torch.tensor([0.2, 0.05], dtype=torch.float64))]

    def step(image: Tensor, lr: Tensor, taps: Tensor, mu: Tensor) -> Tensor:
        taps = taps / taps.sum((1, 2), keepdim=True)  # a nudged tap leaves it a kernel
        return data_step(image, lr, Degradation(scale=2, kernel=taps, downsample="direct", padding="circular"), mu)

    def mirrored(image: Tensor, lr: Tensor, taps: Tensor, mu: Tensor) -> Tensor:
        taps = taps / taps.sum((1, 2), keepdim=True)
        return data_step(image, lr, Degradation(scale=2, kernel=taps, downsample="direct"), mu)

    assert torch.autograd.gradcheck(step, given)
    assert torch.autograd.gradgradcheck(step, given, fast_mode=True)
    assert torch.autograd.gradcheck(mirrored, given, fast_mode=True)


@pytest.mark.parametrize("downsample", SUBSAMPLINGS)
def test_nothing_rings_at_the_borders(downsample: Downsample) -> None:
    """From the aligned image on, the step brings a ramp's border no further from the truth than its middle."""
    truth = picture(48, 60).double()
    degradation = Degradation(scale=2, kernel=isotropic(2.0, size=9), downsample=downsample, quantise=None)
    step = FourierStep(degradation.linear(truth), degradation)
    start = truth + 0.05 * torch.sin(torch.arange(60, dtype=torch.float64) / 3)  # a guess that is wrong everywhere
    error = (step(start, 1e-3) - truth).abs()
    before = (start - truth).abs()
    assert error.mean() < before.mean()
    for border in (error[..., :4, :], error[..., -4:, :], error[..., :4], error[..., -4:]):
        assert border.mean() < before.mean()


def test_a_guess_that_explains_the_image_stays() -> None:
    truth = picture(32, 44).double()
    for downsample in SUBSAMPLINGS:
        degradation = Degradation(scale=2, kernel=isotropic(1.5, size=7), downsample=downsample, quantise=None)
        found = data_step(truth, degradation.linear(truth), degradation, 1e-4)
        assert (found - truth).abs().max() < 1e-9


def test_what_the_lr_image_tells_is_counted() -> None:
    """Of a delta before direct subsampling it tells one pixel in s²; of nothing seen, none."""
    lr = torch.rand(1, 1, 9, 12, dtype=torch.float64)
    for scale in (1, 2, 3):
        step = FourierStep(lr, Degradation(scale=scale, downsample="direct"))
        assert float(step.blind_share(1e-9)) == pytest.approx(1 - 1 / scale**2, abs=1e-6)
        assert float(step.blind_share(1e9)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("mu", "told"),
    [(0.0, "above 0"), (-1.0, "above 0"), (float("nan"), "above 0"), (torch.ones(3), "one for each of 2")],
)
def test_a_mu_out_of_range_is_refused(mu: Tensor | float, told: str) -> None:
    guess, observed, kernel = problem()
    for mask in (None, torch.ones(1, 1, 9, 10)):
        degradation = Degradation(scale=2, kernel=kernel[0], downsample="direct", mask=mask)
        with pytest.raises(InputError, match=told):
            data_step(guess, observed, degradation, mu)


def test_sizes_that_do_not_fit_are_refused() -> None:
    guess, observed, kernel = problem()
    degradation = Degradation(scale=2, kernel=kernel, downsample="direct")
    with pytest.raises(InputError, match=r"must be of shape \(2, 1, 18, 20\)"):
        data_step(guess[..., 1:], observed, degradation, MU)
    large = replace(degradation, kernel=isotropic(2.0, size=91))
    with pytest.raises(InputError, match="91x91 is larger than the image with its mirrored border, 82x84"):
        data_step(guess, observed, large, MU)
    with pytest.raises(InputError, match="use conjugate_step"):
        FourierStep(observed, Degradation(scale=1.5, downsample="direct"))
